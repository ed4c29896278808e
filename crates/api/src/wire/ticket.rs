//! Waiting.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{BlockBody, ClaimBody, EtaKindBody, LeaseBody};

/// Where a ticket stands. Fields that its state has no use for are left out.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TicketBody {
    /// The id of its request.
    pub id: Uuid,
    /// What became of it so far.
    pub state: TicketState,
    /// Why it ended, in a word: `timed-out`, `unattended`, `replaced`, `limit-removed` ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// When it ended (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// How long ago that is, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ago_ms: Option<u64>,
    /// What it waits for, and how.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitingBody>,
    /// Its lease, once it is granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseBody>,
}

/// What a waiting ticket waits for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WaitingBody {
    /// Tickets that go before it where it waits, plus one: 1 is next.
    pub position: u64,
    /// When it is expected to be granted, in milliseconds from now; null: unknown.
    pub eta_ms: Option<u64>,
    /// How that is known.
    pub eta_kind: EtaKindBody,
    /// Why it is not known better, or what it rests on.
    pub eta_reason: &'static str,
    /// The claims that are short, the one where it waits first.
    pub blocked_by: Vec<BlockBody>,
    /// The key at which it waits.
    pub parked_at: String,
    /// Slots that it holds already on others of its keys: key and number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub holding: BTreeMap<String, u32>,
    /// How often younger requests of looser terms went before it.
    pub passed_by_looser_terms: u32,
    /// What it claims.
    pub claims: Vec<ClaimBody>,
    /// When its request arrived (RFC 3339).
    pub arrived_at: String,
    /// How long ago that is, in milliseconds.
    pub waited_ms: u64,
    /// When it is withdrawn at the latest (RFC 3339).
    pub deadline: Option<String>,
    /// The same, in milliseconds from now.
    pub deadline_in_ms: Option<u64>,
    /// Higher goes first.
    pub priority: i32,
    /// Requests of different groups take turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Who waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// More about who waits.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What became of a ticket so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TicketState {
    /// It waits.
    Waiting,
    /// It is a lease.
    Granted,
    /// It was refused after all: a limit was removed, or a newer request took its place.
    Rejected,
    /// It was withdrawn: by its owner, by its deadline, or because nobody asked about it.
    Withdrawn,
    /// It was granted, and nobody claimed the grant in time.
    Lapsed,
}
