//! The state.
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Command, End, Event, KeyView, Lease, LeaseFilter, Limit, Name, Outcome, Ticket, TicketView, Time, Totals};

/// Everything that the kernel knows.
#[derive(Debug, Default)]
pub struct State {}

/// A state as plain data, in a fixed order: equal states have equal snapshots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {}

impl State {
    /// A state in which nothing has happened.
    #[must_use]
    pub fn new() -> State {
        State::default()
    }
    /// Handles what is due by `now`, then `command`. Appends what happened to `events`; already applied.
    /// `now` before [`State::now`] counts as [`State::now`].
    pub fn step(&mut self, _now: Time, _command: &Command, _events: &mut Vec<Event>) -> Outcome {
        Outcome::UnknownId
    }
    /// Applies the events of one record that was decided elsewhere or before.
    pub fn replay(&mut self, _events: &[Event]) {}
    /// The time of the latest event.
    #[must_use]
    pub fn now(&self) -> Time {
        Time(0)
    }
    /// When [`Command::Tick`] has something to do at the latest; none: nothing waits for time.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        None
    }
    /// Whether an outage would take something from someone: there are leases that expire or tickets that are polled.
    /// Only then an idle engine has to write heartbeats.
    #[must_use]
    pub fn needs_heartbeat(&self) -> bool {
        false
    }
    /// A number that differs (but for one chance in 2^64) between states that differ in leases, tickets or limits.
    #[must_use]
    pub fn digest(&self) -> u64 {
        0
    }
    /// The whole state as plain data.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {}
    }
    /// The state that a snapshot was taken of.
    #[must_use]
    pub fn restore(_snapshot: Snapshot) -> State {
        State {}
    }
    /// The live lease of this id.
    #[must_use]
    pub fn lease(&self, _id: Uuid) -> Option<&Lease> {
        None
    }
    /// The waiting ticket of this id.
    #[must_use]
    pub fn ticket(&self, _id: Uuid) -> Option<&Ticket> {
        None
    }
    /// Where the waiting ticket of this id stands.
    #[must_use]
    pub fn ticket_view(&self, _id: Uuid) -> Option<TicketView> {
        None
    }
    /// How and when the lease or ticket of this id ended, while that is remembered.
    #[must_use]
    pub fn ended(&self, _id: Uuid) -> Option<(End, Time)> {
        None
    }
    /// Leases by token, ascending, that fit the filter.
    #[must_use]
    pub fn leases(&self, _filter: &LeaseFilter) -> Vec<&Lease> {
        Vec::new()
    }
    /// The limit of this name.
    #[must_use]
    pub fn limit(&self, _name: &str) -> Option<&Limit> {
        None
    }
    /// Up to `page_size` limits by name, those after `after`.
    #[must_use]
    pub fn limits(&self, _after: Option<&str>, _page_size: usize) -> Vec<&Limit> {
        Vec::new()
    }
    /// Tickets that claim a limit, wherever they are parked, and how many requests it would have made wait in
    /// mode observe.
    #[must_use]
    pub fn limit_counts(&self, _name: &str) -> (u32, u64) {
        (0, 0)
    }
    /// A key as it is now, with up to `holders` of its holders; of an unknown key: nothing used.
    #[must_use]
    pub fn key_view(&self, _key: &str, _holders: usize) -> KeyView {
        unreachable!()
    }
    /// Up to `page_size` known keys by name that start with `prefix`, those after `after`.
    #[must_use]
    pub fn keys(&self, _prefix: &str, _after: Option<&str>, _page_size: usize) -> Vec<Name> {
        Vec::new()
    }
    /// How much there is of everything.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::default()
    }
    /// The latest fencing token given.
    #[must_use]
    pub fn newest_token(&self) -> u64 {
        0
    }
}
