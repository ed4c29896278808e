//! Why a request waits.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// One claim that is short.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BlockBody {
    /// The key.
    pub key: String,
    /// The limit, if the terms are a limit's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Why: `no-room`, `behind`, `reserved`, `paused`, `closed` or `impossible`.
    pub why: &'static str,
    /// Slots in use under these terms.
    pub used: u64,
    /// Slots that the terms allow.
    pub max: u32,
    /// Slots that were asked.
    pub asked: u32,
    /// Tickets that claim the key.
    pub waiting: u32,
    /// The oldest of those who hold slots of the key, at most 5.
    pub holders: Vec<HolderBody>,
    /// When the claim could fit, in milliseconds from now; null: unknown.
    pub retry_in_ms: Option<u64>,
}

/// One who holds slots of a key.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HolderBody {
    /// The lease.
    pub id: Uuid,
    /// Its fencing token.
    pub token: u64,
    /// Who, if said.
    pub holder: Option<String>,
    /// Slots of this key.
    pub slots: u32,
    /// For how long, in milliseconds.
    pub age_ms: u64,
    /// When it ends unless renewed (RFC 3339).
    pub expires_at: Option<String>,
    /// The same, in milliseconds from now.
    pub expires_in_ms: Option<u64>,
}

/// How an expectation is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EtaKindBody {
    /// By the rules alone.
    Exact,
    /// From measured holds.
    Estimate,
    /// Not at all.
    Unknown,
}
