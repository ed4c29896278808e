//! The state of the kernel, and how a step changes it.
//!
//! - `turn` handles one command: what is due first, then the command, then whoever can go on now;
//! - `settle` tries the fronts of waitlists; `blocked` is the one judgement of newcomers and of those who wait;
//! - `apply` changes the state, by events alone; `tickets` and `limits` are its larger halves;
//! - `key`, `waitlist`, `history`, `level`, `ranked`, `timers` are the parts that it is made of.

mod acquire;
mod apply;
mod blocked;
mod check;
mod eta;
mod history;
mod ids;
mod key;
mod level;
mod limits;
mod operate;
mod ranked;
mod read;
mod settle;
mod snapshot;
mod tickets;
mod timers;
mod turn;
mod waitlist;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::{Claim, Command, Event, Lease, Limit, Name, OLDEST_FORMAT, Outcome, QueueNo, TermsRef, Time};
use ids::{Id, Ids};
use key::{KeyIx, Keys, LeaseIx};
use timers::Timers;
use waitlist::{Queue, QueueIdentity};

pub use snapshot::Snapshot;

/// Everything that the kernel knows.
#[derive(Debug, Default)]
pub struct State {
    format: Format,
    /// The time of the latest event.
    logged: Time,
    /// The latest time that a step was given: what is not logged, nobody else relies on.
    seen: Time,
    clock_offset_ms: i64,
    epoch: u32,
    /// Tokens given in this epoch.
    tokens: u64,
    arrivals: u64,
    queues_made: QueueNo,
    limits_changed: u64,
    ids: Ids,
    leases: Leases,
    keys: Keys,
    limits: HashMap<Name, LimitState, RandomState>,
    /// Limits with patterns, by name.
    matchers: Vec<Matcher>,
    queues: HashMap<QueueNo, Queue, RandomState>,
    queue_of: HashMap<QueueIdentity, QueueNo, RandomState>,
    /// Queues whose heads hold slots.
    holding: BTreeSet<QueueNo>,
    /// Queues that ask for more than is allowed now.
    aside: BTreeSet<QueueNo>,
    tickets: u32,
    timers: Timers,
    /// Keys at which work was left for the next command.
    unsettled: BTreeSet<Name>,
    /// The sum of the digests of all leases, tickets and limits.
    digest: u64,
    /// Keys that got room or another front since they were last settled. Empty between steps.
    dirty: Vec<Name>,
    /// Keys whose timers may have to move. Empty between steps.
    touched: Vec<KeyIx>,
}

/// The format that the log is in from here on.
#[derive(Debug, Clone, Copy)]
struct Format(u16);

impl Default for Format {
    fn default() -> Format {
        Format(OLDEST_FORMAT)
    }
}

/// A live lease and what it takes.
#[derive(Debug)]
struct Live {
    lease: Lease,
    /// The claims of its request, which may name limits that did not exist.
    asked: Arc<[Claim]>,
    takes: SmallVec<[(KeyIx, u32); 2]>,
}

/// All live leases.
#[derive(Debug, Default)]
struct Leases {
    table: Vec<Option<Box<Live>>>,
    free: Vec<LeaseIx>,
    live: usize,
    /// Those that end by the passing of time.
    expiring: usize,
}

impl Leases {
    fn at(&self, ix: LeaseIx) -> Option<&Live> {
        self.table.get(ix as usize)?.as_deref()
    }

    fn at_mut(&mut self, ix: LeaseIx) -> Option<&mut Live> {
        self.table.get_mut(ix as usize)?.as_deref_mut()
    }

    fn insert(&mut self, live: Box<Live>) -> LeaseIx {
        self.live += 1;
        self.expiring += usize::from(ends_by_time(&live.lease));
        match self.free.pop() {
            Some(ix) => {
                self.table[ix as usize] = Some(live);
                ix
            }
            None => {
                self.table.push(Some(live));
                LeaseIx::try_from(self.table.len() - 1).unwrap_or(LeaseIx::MAX)
            }
        }
    }

    fn remove(&mut self, ix: LeaseIx) -> Option<Box<Live>> {
        let live = self.table.get_mut(ix as usize)?.take()?;
        self.free.push(ix);
        self.live -= 1;
        self.expiring -= usize::from(ends_by_time(&live.lease));
        Some(live)
    }

    fn iter(&self) -> impl Iterator<Item = (LeaseIx, &Live)> {
        self.table.iter().enumerate().filter_map(|(ix, live)| Some((ix as LeaseIx, live.as_deref()?)))
    }
}

/// Whether a lease ends by the passing of time: it expires, or lapses unless somebody claims it.
fn ends_by_time(lease: &Lease) -> bool {
    lease.expires_at.is_some() || lease.claim_by.is_some()
}

/// A limit and what is counted about it.
#[derive(Debug)]
struct LimitState {
    limit: Limit,
    /// Tickets that claim it, wherever they are parked.
    waiting: u32,
    /// Requests that it would have made wait in mode observe.
    would_wait: u64,
    /// Keys at which queues are parked under it.
    waitlists: BTreeSet<Name>,
}

/// A limit with patterns.
#[derive(Debug)]
struct Matcher {
    /// The claim that it adds: on its own key, under its own terms.
    key: Name,
    terms: TermsRef,
    patterns: Vec<Name>,
}

impl State {
    /// A state in which nothing has happened.
    #[must_use]
    pub fn new() -> State {
        State::default()
    }

    /// Handles what is due by `now`, then `command`. What happened is appended to `events`, and applied already.
    ///
    /// A `now` before that of an earlier step counts as that one: time never runs backwards.
    pub fn step(&mut self, now: Time, command: &Command, events: &mut Vec<Event>) -> Outcome {
        if matches!(command, Command::RaiseEpoch) {
            // Before anything that is due, however late it is: no grant may have a token of the old epoch any more.
            let event = Event::EpochRaised { epoch: self.epoch + 1 };
            self.apply(&event);
            events.push(event);
            return Outcome::Done;
        }
        turn::Turn::begin(self, now, command, events).run(command)
    }

    /// Applies the events of one record that was decided elsewhere, or before.
    pub fn replay(&mut self, events: &[Event]) {
        for event in events {
            self.apply(event);
        }
        // Whom these events let go on was decided by whoever made them.
        self.dirty.clear();
        self.refresh_touched();
    }

    /// The latest time that the state knows of.
    #[must_use]
    pub fn now(&self) -> Time {
        self.seen
    }

    /// The format that the log is in from here on: events that are newer must not be decided.
    #[must_use]
    pub fn format(&self) -> u16 {
        self.format.0
    }

    /// What is added to wall time to make the log's, in milliseconds, as it was last noted.
    #[must_use]
    pub fn clock_offset_ms(&self) -> i64 {
        self.clock_offset_ms
    }

    /// When [`Command::Tick`] has something to do at the latest; none: nothing waits for time.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        if self.unsettled.is_empty() { self.timers.next() } else { Some(self.seen) }
    }

    /// Whether a step left work for the next, because it had tried as many queues as a step may.
    #[must_use]
    pub fn has_work_left(&self) -> bool {
        !self.unsettled.is_empty()
    }

    /// Whether an outage would take something from someone: there are leases that end by time, or tickets
    /// that are polled. Only then an idle engine has to write heartbeats.
    #[must_use]
    pub fn needs_heartbeat(&self) -> bool {
        self.leases.expiring > 0 || self.tickets > 0
    }

    /// A number that differs, but for one chance in 2^64, between states that differ in leases, tickets or limits.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.wrapping_add(mix(self.token(), self.arrivals))
    }

    /// The latest fencing token given.
    fn token(&self) -> u64 {
        u64::from(self.epoch) * crate::TOKENS_PER_EPOCH + self.tokens
    }
}

/// Mixes two numbers into one that looks random.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd6e8_feb8_6659_fd93 | 1);
    let folded = (product as u64) ^ ((product >> 64) as u64);
    folded.wrapping_mul(0xa076_1d64_78bd_642f) ^ a.rotate_left(32)
}

fn mix_id(id: Uuid, a: u64, b: u64) -> u64 {
    let (high, low) = id.as_u64_pair();
    mix(mix(high, low), mix(a, b))
}
