//! Keys.

use serde::Serialize;
use utoipa::ToSchema;

use super::{EtaKindBody, HolderBody};

/// A key as it is now.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct KeyBody {
    /// The key.
    pub key: String,
    /// Slots used under the terms of the limit of its name, if there is one.
    pub used: u64,
    /// Slots of live leases.
    pub running: u64,
    /// Ended runs that a window still counts.
    pub cooling: u64,
    /// Slots held for heavy tickets.
    pub held: u64,
    /// Tickets that claim it, wherever they wait.
    pub waiting: u32,
    /// The limit of its name, and those that match it.
    pub limits: Vec<String>,
    /// The oldest who hold its slots.
    pub holders: Vec<HolderBody>,
    /// How many hold slots of it.
    pub holder_count: u64,
    /// When the next slot is expected, in milliseconds from now; null: unknown.
    pub next_slot_in_ms: Option<u64>,
    /// How that is known.
    pub next_slot_kind: EtaKindBody,
    /// Why it is not known better, or what it rests on.
    pub next_slot_reason: &'static str,
    /// The median of the latest holds, in milliseconds.
    pub median_hold_ms: Option<u64>,
    /// Since when starts and ends are known (RFC 3339), where a window looks at them.
    pub window_known_since: Option<String>,
    /// How long ago that is, in milliseconds.
    pub window_known_for_ms: Option<u64>,
}
