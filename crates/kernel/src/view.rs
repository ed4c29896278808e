//! What can be read from the state.

use serde::Serialize;
use uuid::Uuid;

use crate::{Block, HolderView, Name, Ticket};

/// Where a ticket stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TicketView {
    /// The ticket itself.
    pub ticket: Ticket,
    /// The key at which its queue is parked.
    pub parked_at: Name,
    /// Tickets that go before it in the waitlist of that key, plus one: 1 is next. A lower bound where the
    /// waitlist is longer than what is counted for an answer.
    pub position: u64,
    /// When it is expected to be granted.
    pub eta: Eta,
    /// Every claim that is short, the one where it is parked first.
    pub blocked_by: Vec<Block>,
    /// Slots that it holds already on others of its keys while it waits.
    pub holding: Vec<(Name, u32)>,
    /// How often younger requests of other terms went before it at this key.
    pub passed_by_looser_terms: u32,
}

/// When something is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eta {
    /// Milliseconds from now; none where it is unknown.
    pub in_ms: Option<u64>,
    /// How that is known.
    pub kind: EtaKind,
    /// Why it is not known better, or what it rests on.
    pub reason: &'static str,
}

/// How an expectation is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EtaKind {
    /// By the rules alone.
    Exact,
    /// From measured holds.
    Estimate,
    /// Not at all.
    Unknown,
}

/// A key, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyView {
    /// The key.
    pub key: Name,
    /// Slots of live leases.
    pub running: u64,
    /// Ended runs still counted by the longest window in use on the key.
    pub cooling: u64,
    /// Slots held for heavy tickets.
    pub held: u64,
    /// Used slots under the terms of the limit of the key's name, if there is one, rounded up.
    pub used: u64,
    /// Tickets that claim the key, wherever they are parked.
    pub waiting: u32,
    /// The limit of the key's name, and limits that match it.
    pub limits: Vec<Name>,
    /// The oldest who hold its slots, at most as many as asked for.
    pub holders: Vec<HolderView>,
    /// How many hold slots of it.
    pub holder_count: u64,
    /// Since when starts and ends are known, where a window looks at them.
    pub window_known_since: Option<crate::Time>,
    /// The median of the latest holds, in milliseconds.
    pub median_hold_ms: Option<u64>,
    /// When the head of its waitlist is expected to be granted, or when a slot comes free.
    pub next_slot: Eta,
}

/// Which leases are asked for; all that is given must fit.
#[derive(Debug, Clone, Default)]
pub struct LeaseFilter {
    /// Holds slots of this key.
    pub key: Option<Name>,
    /// Claims this limit, by name or by match.
    pub limit: Option<Name>,
    /// Has this holder.
    pub holder: Option<Name>,
    /// Tokens above this one (a page starts after the last of the page before).
    pub after_token: u64,
    /// At most so many.
    pub page_size: usize,
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Live leases.
    pub leases: u64,
    /// Waiting tickets.
    pub tickets: u64,
    /// Keys that are remembered.
    pub keys: u64,
    /// Limits.
    pub limits: u64,
    /// The arrival of the oldest waiting ticket.
    pub oldest_ticket: Option<Uuid>,
}
