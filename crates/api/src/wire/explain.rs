//! Why something is where it is.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{LeaseBody, TicketBody};

/// Why a ticket or lease is where it is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ExplainBody {
    /// What was asked about.
    pub id: Uuid,
    /// What it is.
    pub kind: ExplainKind,
    /// The answer in one or two sentences.
    pub summary: String,
    /// The ticket, if it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketBody>,
    /// The lease, if it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseBody>,
    /// How it ended, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndedBody>,
}

/// What an id belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExplainKind {
    /// A request that waits.
    Ticket,
    /// Slots that are held.
    Lease,
    /// Neither any more.
    Ended,
}

/// How something ended.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EndedBody {
    /// In one word: `released`, `expired`, `timed-out` ...
    pub how: &'static str,
    /// When (RFC 3339).
    pub at: String,
    /// How long ago, in milliseconds.
    pub ago_ms: u64,
}
