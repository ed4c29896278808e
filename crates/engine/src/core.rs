//! The heart of the engine without its threads: decide a batch, append its record, then answer.
//!
//! Everything here is deterministic, given a store and a clock; a simulator drives the same code with
//! models of both.

use std::time::Instant;

use admit_kernel::{Command, Denial, End, Event, OUTAGE_AFTER_MS, Outcome, State, Time};
use admit_store::{Head, Keep, Record, Store, Write};
use uuid::Uuid;

use crate::batch::{Batch, Committed, MAX_BATCH, MAX_BATCH_BYTES, Op};
use crate::clock::{Clock, LogClock};
use crate::recover::{self, Recovered};
use crate::{Error, Stats};

/// Every so many records one carries a digest of the state.
const DIGEST_EVERY: u64 = 1_000;
/// How often an idle engine writes while somebody's time would be lost by a silence.
const HEARTBEAT_MS: u64 = 2_000;
const _: () = assert!(2 * HEARTBEAT_MS < OUTAGE_AFTER_MS);
/// How long after a failure of the store it is tried again.
const RETRY_MS: u64 = 1_000;
/// Room that must be there before a full disk counts as having some: a batch and its index pages.
const PROBE_BYTES: usize = 2 * MAX_BATCH_BYTES;
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
    /// How much history of the log stays.
    pub keep: Keep,
    /// Bytes of log between snapshots, at least.
    pub snapshot_bytes: u64,
}

impl Options {
    /// The usual options of the node of this number.
    #[must_use]
    pub fn new(node: u64) -> Options {
        Options { node, keep: Keep::default(), snapshot_bytes: SNAPSHOT_BYTES }
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
    /// When a tick may next be due, after one that had nothing to do.
    no_tick_before_ms: u64,
    snapshot_seq: u64,
    snapshot_bytes: u64,
    tail_bytes: u64,
    truncating: bool,
    events: Vec<Event>,
    encoded: Vec<u8>,
    stats: Stats,
}

#[derive(Debug)]
enum Health {
    Serving,
    /// Nothing can be written until a try after this time (monotonic) succeeds.
    Away {
        retry_at_ms: u64,
        reason: String,
        full: bool,
        reload: bool,
    },
    /// For good.
    Failed(Error),
}

/// Why a batch did not come about.
enum Failed {
    /// The store said no before anything was decided: the state stands.
    Before(Error),
    /// The store said no after: the state has run ahead and must be dropped.
    After(admit_store::Error),
    /// A row of this operation was refused.
    Culprit { op: usize, reason: String },
}

impl<S: Store, C: Clock> Core<S, C> {
    /// Reads the state back from the store.
    pub fn open(mut store: S, clock: C, options: Options) -> Result<Core<S, C>, Error> {
        let recovered = recover::recover(&mut store)?;
        let mut core = Core {
            store,
            clock: LogClock::new(clock),
            options,
            state: State::new(),
            head: Head::default(),
            health: Health::Serving,
            batches: 0,
            written_at_ms: 0,
            no_tick_before_ms: 0,
            snapshot_seq: 0,
            snapshot_bytes: 0,
            tail_bytes: 0,
            truncating: true,
            events: Vec::new(),
            encoded: Vec::new(),
            stats: Stats::default(),
        };
        core.adopt(recovered);
        core.clock.not_before(core.state.now().max(Time(core.head.time_ms)));
        core.written_at_ms = core.clock.mono_ms();
        if core.store.is_copy()? {
            // Leases given after the copy was made are unknown here; their tokens must stay behind.
            let mut batch = Batch::default();
            core.run(&[Op::new(Command::RaiseEpoch)], &mut |_| false, &mut batch);
            batch.answers.pop().unwrap_or(Ok(None))?;
        }
        Ok(core)
    }

    /// Decides operations in order, as many as make one batch, commits them, and says what came of each.
    /// `is_awaited` says whether somebody here waits for a ticket: its grant is claimed in the same batch.
    pub fn run(&mut self, ops: &[Op], is_awaited: &mut dyn FnMut(&Uuid) -> bool, batch: &mut Batch) {
        batch.clear();
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
        let due = self.state.next_due().map(|due| due.since(self.clock.now(None)));
        let due = due.map(|ms| ms.max(self.no_tick_before_ms.saturating_sub(mono_ms)));
        let beat =
            self.state.needs_heartbeat().then(|| (self.written_at_ms + HEARTBEAT_MS).saturating_sub(mono_ms));
        let next = match (due, beat) {
            (Some(due), Some(beat)) => due.min(beat),
            (due, beat) => due.or(beat)?,
        };
        Some(match &self.health {
            Health::Away { retry_at_ms, .. } => next.max(retry_at_ms.saturating_sub(mono_ms)),
            _ => next,
        })
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
            if self.truncating {
                let now_ms = self.clock.now(None).0;
                self.truncating = self.store.truncate(self.options.keep, now_ms)?;
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
        self.stats.snapshot_bytes = self.snapshot_bytes;
        self.stats.serving = matches!(self.health, Health::Serving);
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
        batch.woken.clear();
        batch.answers.extend(ops.iter().map(|_| Err(error.clone())));
    }

    /// Whether a batch may be tried; after a failure this is where the next try is made.
    fn ready(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let (full, reload) = match &self.health {
            Health::Serving => return Ok(()),
            Health::Failed(error) => return Err(error.clone()),
            Health::Away { retry_at_ms, reason, full, reload } => {
                let left_ms = retry_at_ms.saturating_sub(self.clock.mono_ms());
                if left_ms > 0 {
                    return Err(Error::Unavailable { reason: reason.clone(), retry_in_ms: left_ms });
                }
                (*full, *reload)
            }
        };
        if full && let Err(error) = self.store.probe(PROBE_BYTES) {
            return Err(self.away(error, reload));
        }
        if reload {
            self.reload(batch);
            self.state()?;
        }
        self.health = Health::Serving;
        Ok(())
    }

    fn attempt(
        &mut self,
        ops: &[Op],
        refused: &[(usize, Error)],
        is_awaited: &mut dyn FnMut(&Uuid) -> bool,
        batch: &mut Batch,
    ) -> Result<(), Failed> {
        batch.answers.clear();
        batch.woken.clear();
        self.events.clear();
        self.encoded.clear();
        let begin =
            self.store.begin(self.head.seq).map_err(|error| Failed::Before(self.away(error, false)))?;
        let granted_elsewhere = self.catch_up(&begin.missed, is_awaited, batch).map_err(Failed::Before)?;
        let now = self.clock.now(begin.now_ms).max(self.state.now());
        batch.time = now;

        let mut decided = Decided { scanned: 0, writes: Vec::new(), owners: Vec::new() };
        for id in granted_elsewhere {
            self.claim(now, id, batch);
        }
        self.scan(now, &mut decided.scanned, is_awaited, batch);
        for (index, op) in ops.iter().enumerate() {
            if self.encoded.len() >= MAX_BATCH_BYTES {
                break;
            }
            if let Some((_, error)) = refused.iter().find(|(culprit, _)| *culprit == index) {
                batch.answers.push(Err(error.clone()));
                continue;
            }
            let outcome = op.command.as_ref().map(|command| self.state.step(now, command, &mut self.events));
            if let Some(rows) = &op.rows {
                decided.writes.extend(rows(outcome.as_ref(), now));
                decided.owners.resize(decided.writes.len(), index);
            }
            batch.answers.push(Ok(outcome));
            self.scan(now, &mut decided.scanned, is_awaited, batch);
        }
        if self.events.is_empty() && decided.writes.is_empty() && self.heartbeat_is_due() {
            self.state.replay(&[Event::Clock(now)]);
            self.events.push(Event::Clock(now));
            self.scan(now, &mut decided.scanned, is_awaited, batch);
        }
        if self.events.is_empty() && decided.writes.is_empty() {
            self.store.rollback();
            self.no_tick_before_ms = self.clock.mono_ms() + 1;
            return Ok(());
        }
        self.commit(now, &decided, batch)
    }

    /// Applies what other nodes did; gives the tickets awaited here that they granted.
    fn catch_up(
        &mut self,
        missed: &[Record],
        is_awaited: &mut dyn FnMut(&Uuid) -> bool,
        batch: &mut Batch,
    ) -> Result<Vec<Uuid>, Error> {
        let mut granted = Vec::new();
        for record in missed {
            let events = match recover::replay(&mut self.state, &mut self.head, record) {
                Ok(events) => events,
                Err(error) => {
                    self.store.rollback();
                    self.reload(batch);
                    return Err(error);
                }
            };
            self.tail_bytes += record.payload.len() as u64;
            for event in &events {
                match event {
                    Event::TicketGranted { id, .. } if is_awaited(id) => granted.push(*id),
                    Event::TicketEnded { id, how } if is_awaited(id) => {
                        batch.woken.push((*id, self.ended(*id, *how)));
                    }
                    _ => {}
                }
            }
            if batch.wants_records {
                let time = Time(record.time_ms);
                batch.records.push(Committed { seq: record.seq, time, events: events.into() });
            }
        }
        Ok(granted)
    }

    /// Looks through the new events: encodes them, counts them, and sees to those who wait.
    fn scan(
        &mut self,
        now: Time,
        scanned: &mut usize,
        is_awaited: &mut dyn FnMut(&Uuid) -> bool,
        batch: &mut Batch,
    ) {
        while let Some(event) = self.events.get(*scanned) {
            *scanned += 1;
            // Encoding into memory cannot fail; were it to, the record would be refused when it is read.
            if let Ok(encoded) = postcard::to_extend(event, std::mem::take(&mut self.encoded)) {
                self.encoded = encoded;
            }
            match event {
                Event::Granted(_) => self.stats.granted_at_once += 1,
                Event::Queued { .. } => self.stats.queued += 1,
                Event::Outage { .. } => self.stats.outages += 1,
                Event::LeaseEnded { how: End::Released, .. } => self.stats.released += 1,
                Event::LeaseEnded { how: End::Expired | End::Lapsed, .. } => self.stats.expired += 1,
                Event::EpochRaised { epoch } => self.head.epoch = *epoch,
                Event::TicketEnded { id, how } => {
                    let (id, how) = (*id, *how);
                    self.stats.tickets_ended += 1;
                    if is_awaited(&id) {
                        batch.woken.push((id, self.ended(id, how)));
                    }
                }
                Event::TicketGranted { id, .. } => {
                    let id = *id;
                    self.stats.granted_after_wait += 1;
                    if let Some(lease) = self.state.lease(id) {
                        self.stats.wait_ms.add(lease.waited_ms());
                    }
                    if is_awaited(&id) {
                        self.claim(now, id, batch);
                    }
                }
                _ => {}
            }
        }
    }

    /// Claims a grant for the one who waits for it here.
    fn claim(&mut self, now: Time, id: Uuid, batch: &mut Batch) {
        let outcome = self.state.step(now, &Command::Ask { id, for_ms: 0 }, &mut self.events);
        batch.woken.push((id, outcome));
    }

    fn ended(&self, id: Uuid, how: End) -> Outcome {
        let (how, at) = self.state.ended(id).unwrap_or((how, self.state.now()));
        Outcome::Denied(Box::new(Denial::Ended { how, at }))
    }

    fn commit(&mut self, now: Time, decided: &Decided, batch: &mut Batch) -> Result<(), Failed> {
        let mut payload = Vec::with_capacity(self.encoded.len() + 8);
        payload = postcard::to_extend(&self.events.len(), payload).unwrap_or_default();
        payload.extend_from_slice(&self.encoded);
        self.batches += 1;
        let id = Uuid::from_u64_pair(self.options.node, self.batches);
        let seq = self.head.seq + 1;
        let digest = seq.is_multiple_of(DIGEST_EVERY).then(|| self.state.digest());
        let record = Record::after(&self.head, id, self.head.epoch, now.0, digest, payload);
        let started = Instant::now();
        match self.store.commit(&record, &decided.writes) {
            Ok(()) => {}
            Err(admit_store::Error::Row { write, reason }) => {
                let op = decided.owners.get(write).copied().unwrap_or_default();
                return Err(Failed::Culprit { op, reason });
            }
            Err(admit_store::Error::Unknown(reason)) => self.find_out(&record, reason)?,
            Err(error) => return Err(Failed::After(error)),
        }
        self.head = record.head();
        self.written_at_ms = self.clock.mono_ms();
        self.tail_bytes += record.payload.len() as u64;
        self.stats.commit_us.add(micros(started));
        self.stats.records += 1;
        self.stats.events += self.events.len() as u64;
        self.stats.log_bytes += record.payload.len() as u64;
        if batch.wants_records {
            batch.records.push(Committed { seq, time: now, events: self.events.as_slice().into() });
        }
        Ok(())
    }

    /// After a commit whose outcome is unknown: only the log knows.
    fn find_out(&mut self, record: &Record, reason: String) -> Result<(), Failed> {
        tracing::warn!(
            reason,
            seq = record.seq,
            "the outcome of a commit is unknown; looking for it in the log"
        );
        let unknown = |error: &admit_store::Error| {
            Failed::After(admit_store::Error::Unknown(format!("{reason}; then: {error}")))
        };
        let begin = self.store.begin(record.seq - 1).map_err(|error| unknown(&error))?;
        self.store.rollback();
        // Should others have gone on from our record, the next batch reads theirs.
        if begin.missed.first().is_some_and(|first| first.batch == record.batch) {
            return Ok(());
        }
        Err(Failed::After(admit_store::Error::Unavailable(reason)))
    }

    /// The state has run ahead of a log that did not follow: back to what is stored.
    fn drop_state(&mut self, error: admit_store::Error, batch: &mut Batch) -> Error {
        let error = self.away(error, true);
        if self.failure().is_none() {
            self.reload(batch);
        }
        error
    }

    /// Notes that the store fails, and how the caller is to be told.
    fn away(&mut self, error: admit_store::Error, reload: bool) -> Error {
        use admit_store::Error as E;
        match error {
            E::Full(_) | E::Unavailable(_) | E::Unknown(_) | E::Query(_) | E::Row { .. } | E::File { .. } => {
                tracing::error!(%error, "the store cannot be written; commands are refused until it can");
                let reason = error.to_string();
                let full = matches!(error, E::Full(_));
                let retry_at_ms = self.clock.mono_ms() + RETRY_MS;
                self.health = Health::Away { retry_at_ms, reason: reason.clone(), full, reload };
                unavailable(reason)
            }
            E::Locked { .. } | E::Corrupt { .. } | E::TooNew { .. } | E::Fatal(_) => {
                tracing::error!(%error, "the store failed for good");
                self.health = Health::Failed(error.clone().into());
                error.into()
            }
        }
    }

    /// Reads the state back. If that fails, the health says so.
    fn reload(&mut self, batch: &mut Batch) {
        batch.reloaded = true;
        self.stats.reloads += 1;
        match recover::recover(&mut self.store) {
            Ok(recovered) => {
                self.adopt(recovered);
                if let Health::Away { reload, .. } = &mut self.health {
                    *reload = false;
                }
            }
            Err(Error::Store(error)) => {
                self.away(error, true);
            }
            Err(error) => self.health = Health::Failed(error),
        }
    }

    fn adopt(&mut self, recovered: Recovered) {
        self.state = recovered.state;
        self.head = recovered.head;
        self.snapshot_seq = recovered.snapshot_seq;
        self.snapshot_bytes = recovered.snapshot_bytes;
        self.tail_bytes = recovered.tail_bytes;
    }

    fn heartbeat_is_due(&mut self) -> bool {
        self.state.needs_heartbeat() && self.clock.mono_ms() >= self.written_at_ms + HEARTBEAT_MS
    }
}

/// What a batch has come to so far.
struct Decided {
    /// Events that were looked through.
    scanned: usize,
    writes: Vec<Write>,
    /// Whose each write is.
    owners: Vec<usize>,
}

fn unavailable(reason: String) -> Error {
    Error::Unavailable { reason, retry_in_ms: RETRY_MS }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
