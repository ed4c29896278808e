//! The heart of the engine without its threads: decide a batch, append its record, then answer.
//!
//! Everything here is deterministic, given a store and a clock; a simulator drives the same code with
//! models of both.

mod attempt;
mod follow;
mod format;
mod health;

use std::time::Instant;

use admit_kernel::{Command, Event, FORMAT, OUTAGE_AFTER_MS, Outcome, State, Time};
use admit_store::{Head, Keep, Load, Store};
use uuid::Uuid;

use attempt::Failed;
use health::{Health, unavailable};

use crate::batch::{Batch, MAX_BATCH, Op};
use crate::clock::{Clock, DatabaseTime, LogClock};
use crate::recover;
use crate::{Error, Stats};

/// Every so many records one carries a digest of the state.
const DIGEST_EVERY: u64 = 1_000;
/// How often an idle engine writes while somebody's time would be lost by a silence.
const HEARTBEAT_MS: u64 = 2_000;
/// When nobody could write for so long, the first who can says that it was an outage: renewals come every third of
/// a time to live, which is a second at least, so a shorter one ends nobody who renews in time.
const BLOCKED_MS: u64 = 500;
const _: () = assert!(2 * HEARTBEAT_MS < OUTAGE_AFTER_MS);
/// A node that has not seen the end of the log for longer is not one to ask.
const MAX_LAG_MS: u64 = 2_000;
/// Operations of one batch whose rows may be refused one by one; each costs reading the state back.
const MAX_CULPRITS: usize = 8;
/// Bytes of log between snapshots at least.
const SNAPSHOT_BYTES: u64 = 16 << 20;
/// Bytes of log between snapshots, in sizes of the last one: writing them stays a fraction of writing the log.
const SNAPSHOT_FACTOR: u64 = 4;

/// How a [`Core`] works.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// A number that no other engine on the same log has had; batch ids begin with it.
    pub node: u64,
    /// The newest format of the log that is to be known here: at most [`FORMAT`], and less to be like an earlier version.
    pub format: u16,
    /// How much history of the log stays.
    pub keep: Keep,
    /// Bytes of log between snapshots, at least.
    pub snapshot_bytes: u64,
    /// Nobody else writes to this log, so until this engine starts nobody could renew: an outage, however short.
    pub is_alone: bool,
}

impl Options {
    /// The usual options of the node of this number.
    #[must_use]
    pub fn new(node: u64) -> Options {
        Options {
            node,
            format: FORMAT,
            keep: Keep::default(),
            snapshot_bytes: SNAPSHOT_BYTES,
            is_alone: false,
        }
    }
}

/// A state, its log and its clock.
pub struct Core<S, C> {
    store: S,
    clock: LogClock<C>,
    options: Options,
    state: State,
    head: Head,
    health: Health,
    /// Batches begun: the second half of batch ids.
    batches: u64,
    /// When the log was last written to, by the monotonic clock.
    written_at_ms: u64,
    /// When the log's end was last seen and last looked for, by the monotonic clock; how often it was seen, and
    /// how often it has to be when others write too.
    looked_at_ms: u64,
    tried_at_ms: u64,
    no_look_before_ms: u64,
    looks: u64,
    look_every_ms: Option<u64>,
    /// The batch has begun at this time of the database; nobody else appends until it ends.
    begun: Option<Option<DatabaseTime>>,
    /// Since when nobody could write: a batch was to begin then, and none has come about since, here or elsewhere.
    blocked_since_ms: Option<u64>,
    /// When to ask at the earliest whether the format may rise.
    no_format_before_ms: u64,
    /// The epoch has to rise with the next batch.
    is_copy: bool,
    /// Where the log ended when it was opened by its only writer.
    opened_seq: Option<u64>,
    /// The batch concerns tickets that nobody here waits for.
    has_news: bool,
    /// When a tick may next be due, after this many in a row that had nothing to do.
    no_tick_before_ms: u64,
    idle_ticks: u32,
    snapshot_seq: u64,
    snapshot_bytes: u64,
    tail_bytes: u64,
    truncating: bool,
    events: Vec<Event>,
    encoded: Vec<u8>,
    stats: Stats,
}

impl<S: Store, C: Clock> Core<S, C> {
    /// Reads the state back from the store.
    pub fn open(mut store: S, clock: C, options: Options) -> Result<Core<S, C>, Error> {
        let recovered = recover::recover(&mut store, options.format)?;
        let mut core = Core {
            store,
            clock: LogClock::new(clock),
            options,
            state: State::new(),
            head: Head::default(),
            health: Health::Serving,
            batches: 0,
            written_at_ms: 0,
            looked_at_ms: 0,
            tried_at_ms: 0,
            no_look_before_ms: 0,
            looks: 0,
            look_every_ms: None,
            begun: None,
            blocked_since_ms: None,
            no_format_before_ms: 0,
            is_copy: false,
            opened_seq: None,
            has_news: false,
            no_tick_before_ms: 0,
            idle_ticks: 0,
            snapshot_seq: 0,
            snapshot_bytes: 0,
            tail_bytes: 0,
            truncating: true,
            events: Vec::new(),
            encoded: Vec::new(),
            stats: Stats::default(),
        };
        core.adopt(recovered);
        core.written_at_ms = core.clock.mono_ms();
        core.looked_at_ms = core.written_at_ms;
        core.opened_seq = options.is_alone.then_some(core.head.seq);
        if core.is_copy {
            let mut batch = Batch::default();
            core.run(&[Op::new(Command::Tick)], &mut |_| false, &mut batch);
            batch.answers.pop().unwrap_or(Ok(None))?;
        }
        Ok(core)
    }

    /// Decides operations in order, as many as make one batch, commits them, and says what came of each.
    /// `is_awaited` says whether somebody here waits for a ticket: its grant is claimed in the same batch.
    pub fn run(&mut self, ops: &[Op], is_awaited: &mut dyn FnMut(&Uuid) -> bool, batch: &mut Batch) {
        if self.begun.is_none() {
            batch.clear();
        }
        let ops = &ops[..ops.len().min(MAX_BATCH)];
        let mut refused: Vec<(usize, Error)> = Vec::new();
        let started = Instant::now();
        loop {
            if let Err(error) = self.ready(batch) {
                return self.refuse(ops, &error, batch);
            }
            match self.attempt(ops, &refused, is_awaited, batch) {
                Ok(()) => break,
                Err(Failed::Before(error)) => return self.refuse(ops, &error, batch),
                Err(Failed::After(error)) => {
                    let error = self.drop_state(error, batch);
                    return self.refuse(ops, &error, batch);
                }
                Err(Failed::Culprit { op, reason }) => {
                    batch.woken.clear();
                    self.reload(batch);
                    self.stats.rows_refused += 1;
                    refused.push((op, Error::Rows(reason)));
                    if refused.len() == MAX_CULPRITS {
                        let rest = Error::Rows("too many rows of its batch were refused".to_owned());
                        let all = ops.iter().enumerate().filter(|(_, op)| op.rows.is_some());
                        refused.extend(all.map(|(index, _)| (index, rest.clone())));
                    }
                }
            }
        }
        self.stats.batches += 1;
        self.stats.commands += batch.answers.len() as u64;
        self.stats.batch_size.add(batch.answers.len() as u64);
        self.stats.batch_us.add(micros(started));
        for answer in batch.answers.iter().flatten().flatten() {
            if let Outcome::Denied(denial) = answer {
                self.stats.count_denial(denial);
            }
        }
    }

    /// The state, if it is the committed one.
    pub fn state(&self) -> Result<&State, Error> {
        match &self.health {
            Health::Serving | Health::Away { reload: false, .. } => Ok(&self.state),
            Health::Away { reason, .. } => Err(unavailable(reason.clone())),
            Health::Failed(error) => Err(error.clone()),
        }
    }

    /// The number of the last record that the state contains.
    pub fn seq(&self) -> u64 {
        self.head.seq
    }

    /// Why nothing will ever be written again, if that is so.
    pub fn failure(&self) -> Option<&Error> {
        match &self.health {
            Health::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// In how many milliseconds [`Command::Tick`] has something to do; none: nothing waits for time.
    pub fn tick_in_ms(&mut self) -> Option<u64> {
        if self.failure().is_some() {
            return None;
        }
        let mono_ms = self.clock.mono_ms();
        let due = self.state.next_due().map(|due| self.clock.estimate().map_or(0, |now| due.since(now)));
        let due = if self.is_just_opened() && self.state.needs_heartbeat() { Some(0) } else { due };
        let due = due.map(|ms| ms.max(self.no_tick_before_ms.saturating_sub(mono_ms)));
        let beat =
            self.state.needs_heartbeat().then(|| (self.written_at_ms + HEARTBEAT_MS).saturating_sub(mono_ms));
        let next = [due, beat, self.ask_format_in_ms()].into_iter().flatten().min()?;
        Some(match &self.health {
            Health::Away { retry_at_ms, .. } => next.max(retry_at_ms.saturating_sub(mono_ms)),
            _ => next,
        })
    }

    /// Whether the log ends where its only writer opened it, and so does not say yet that nobody could write.
    fn is_just_opened(&self) -> bool {
        self.opened_seq == Some(self.head.seq)
    }

    /// Whether nobody could write for so long that holders may have tried to renew in vain, though the log was not
    /// silent for long.
    fn was_blocked(&mut self) -> bool {
        let mono_ms = self.clock.mono_ms();
        self.blocked_since_ms.is_some_and(|since_ms| mono_ms.saturating_sub(since_ms) >= BLOCKED_MS)
    }

    /// The log's time: to speak of, not to decide by. None: no batch has read it yet.
    pub fn now(&mut self) -> Option<Time> {
        self.clock.estimate().map(|now| now.max(self.state.now()))
    }

    /// The same before the first batch: for that, the database is asked once.
    pub fn first_now(&mut self) -> Time {
        let begun = self.store.begin(&self.head).ok();
        self.store.rollback();
        self.clock.glance(begun.and_then(|begun| begun.now_ms)).max(self.state.now())
    }

    /// Milliseconds of the monotonic clock.
    pub fn mono_ms(&mut self) -> u64 {
        self.clock.mono_ms()
    }

    /// How much history of the log stays from now on.
    pub fn set_keep(&mut self, keep: Keep) {
        self.options.keep = keep;
    }

    /// Work that keeps nobody waiting for its answer; call it between batches. True: there is more.
    pub fn maintain(&mut self) -> bool {
        if !matches!(self.health, Health::Serving) {
            return false;
        }
        let due = self.options.snapshot_bytes.max(SNAPSHOT_FACTOR * self.snapshot_bytes);
        let result = self.store.maintain().map_err(Error::from).and_then(|()| {
            if self.tail_bytes >= due {
                self.snapshot()?;
            }
            if self.truncating
                && let Some(now) = self.clock.estimate()
            {
                self.truncating = self.store.truncate(self.options.keep, now.0)?;
            }
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(Error::Store(error @ admit_store::Error::Fatal(_))) => {
                self.health = Health::Failed(error.into())
            }
            Err(error) => {
                // The log itself goes on; the next batch finds out whether it really can.
                tracing::warn!(%error, "tidying up failed; it is tried again after more of the log");
                self.tail_bytes = 0;
                self.truncating = false;
            }
        }
        self.truncating
    }

    /// Stores a snapshot, so that opening again is quick.
    pub fn snapshot(&mut self) -> Result<(), Error> {
        self.state()?;
        if self.head.seq == self.snapshot_seq {
            return Ok(());
        }
        let snapshot = recover::snapshot(&self.state, self.head)?;
        self.store.save_snapshot(&snapshot)?;
        self.snapshot_seq = self.head.seq;
        self.snapshot_bytes = snapshot.bytes.len() as u64;
        self.tail_bytes = 0;
        self.truncating = true;
        self.stats.snapshots += 1;
        Ok(())
    }

    /// What was counted.
    pub fn stats(&mut self) -> &mut Stats {
        (self.stats.clock_offset_ms, self.stats.clock_steps) = self.clock.offset();
        self.stats.seq = self.head.seq;
        self.stats.format = self.state.format();
        self.stats.snapshot_bytes = self.snapshot_bytes;
        self.stats.lag_ms = self.lag_ms();
        self.stats.serving = matches!(self.health, Health::Serving) && self.stats.lag_ms <= MAX_LAG_MS;
        self.stats.totals = self.state.totals();
        &mut self.stats
    }

    /// The store, for what is beside the log.
    pub fn store(&mut self) -> &mut S {
        &mut self.store
    }

    fn refuse(&mut self, ops: &[Op], error: &Error, batch: &mut Batch) {
        self.stats.unavailable += ops.len() as u64;
        batch.answers.clear();
        // Who was to be woken has to find out anew.
        batch.reloaded |= !batch.woken.is_empty();
        batch.woken.clear();
        batch.answers.extend(ops.iter().map(|_| Err(error.clone())));
    }
}

/// In a moving average the latest counts for one in so many.
const LATELY: f64 = 16.0;

/// How this node has been writing, after a further batch.
fn lately(load: Option<Load>, batch_commands: f64, commit_ms: f64) -> Load {
    let Some(load) = load else { return Load { batch_commands, commit_ms } };
    let average = |old: f64, new: f64| old + (new - old) / LATELY;
    Load {
        batch_commands: average(load.batch_commands, batch_commands),
        commit_ms: average(load.commit_ms, commit_ms),
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
