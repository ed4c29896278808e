//! One try at a batch: catch up, decide, commit. It comes about as a whole or not at all.

use std::time::Instant;

use admit_kernel::{Command, Denial, End, Event, Outcome, Time};
use admit_store::{Record, Store, Write};
use uuid::Uuid;

use super::{Core, DIGEST_EVERY, HEARTBEAT_MS, lately, micros};
use crate::Error;
use crate::batch::{Batch, Committed, MAX_BATCH_BYTES, Op};
use crate::clock::Clock;

/// Ticks in a row that had nothing to do, after which the wait for the next grows no more (16 ms).
const MAX_IDLE_TICKS: u32 = 4;

/// Why a batch did not come about.
pub(super) enum Failed {
    /// The store said no before anything was decided: the state stands.
    Before(Error),
    /// The store said no after: the state has run ahead and must be dropped.
    After(admit_store::Error),
    /// A row of this operation was refused.
    Culprit { op: usize, reason: String },
}

/// What a batch has come to so far.
struct Decided {
    /// Events that were looked through.
    scanned: usize,
    writes: Vec<Write>,
    /// Whose each write is.
    owners: Vec<usize>,
}

impl<S: Store, C: Clock> Core<S, C> {
    pub(super) fn attempt(
        &mut self,
        ops: &[Op],
        refused: &[(usize, Error)],
        is_awaited: &mut dyn FnMut(&Uuid) -> bool,
        batch: &mut Batch,
    ) -> Result<(), Failed> {
        batch.answers.clear();
        self.events.clear();
        self.encoded.clear();
        self.has_news = false;
        let database = match self.begun.take() {
            Some(database) => database,
            None => self.begin(is_awaited, batch).map_err(Failed::Before)?,
        };
        let now = self.clock.now(database, self.state.now().max(Time(self.head.time_ms)));
        batch.time = now;

        let format = self.next_format()?;
        let mut decided = Decided { scanned: 0, writes: Vec::new(), owners: Vec::new() };
        // Before anything that could grant a token which the original may have given, too.
        if self.is_copy {
            self.state.step(now, &Command::RaiseEpoch, &mut self.events);
        }
        // Before anything that could end a lease.
        if self.is_just_opened() || self.was_blocked() {
            self.state.step(now, &Command::Outage, &mut self.events);
        }
        // What is decided from here on may be of that format.
        if let Some(format) = format {
            self.state.step(now, &Command::RaiseFormat { format }, &mut self.events);
        }
        if let Some(ms) = self.clock.unlogged_offset_ms() {
            self.state.step(now, &Command::SetClockOffset { ms }, &mut self.events);
        }
        for id in std::mem::take(&mut batch.granted_elsewhere) {
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
            if let Err(error) = self.store.commit_nothing() {
                return Err(Failed::Before(self.away(error, false)));
            }
            self.blocked_since_ms = None;
            // A clock that goes a little slower for approaching the wall's must not make us spin.
            self.no_tick_before_ms = self.clock.mono_ms() + (1 << self.idle_ticks.min(MAX_IDLE_TICKS));
            self.idle_ticks += 1;
            return Ok(());
        }
        self.idle_ticks = 0;
        self.commit(now, &decided, batch)?;
        self.blocked_since_ms = None;
        Ok(())
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
                    } else {
                        self.has_news = true;
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
                    } else {
                        self.has_news = true;
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

    pub(super) fn ended(&self, id: Uuid, how: End) -> Outcome {
        let (how, at) = self.state.ended(id).unwrap_or((how, self.state.now()));
        Outcome::Denied(Box::new(Denial::Ended { how, at }))
    }

    fn commit(&mut self, now: Time, decided: &Decided, batch: &mut Batch) -> Result<(), Failed> {
        let format = self.state.format();
        if let Some(event) = self.events.iter().find(|event| event.since_format() > format) {
            // Other nodes would stop at it. Here it is undone, and only who asked for it is told.
            let reason = format!("a bug: {event:?} was decided in a log of format {format}");
            return Err(Failed::After(admit_store::Error::Unavailable(reason)));
        }
        let mut payload = Vec::with_capacity(self.encoded.len() + 8);
        payload = postcard::to_extend(&self.events.len(), payload).unwrap_or_default();
        payload.extend_from_slice(&self.encoded);
        self.batches += 1;
        let id = Uuid::from_u64_pair(self.options.node, self.batches);
        let seq = self.head.seq + 1;
        let digest = seq.is_multiple_of(DIGEST_EVERY).then(|| self.state.digest());
        let record = Record::after(&self.head, id, self.head.epoch, format, now.0, digest, payload);
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
        self.clock.logged(self.state.clock_offset_ms());
        self.is_copy = false;
        self.written_at_ms = self.clock.mono_ms();
        if self.has_news {
            self.store.announce();
        }
        self.tail_bytes += record.payload.len() as u64;
        let commit_us = micros(started);
        self.stats.commit_us.add(commit_us);
        #[allow(clippy::cast_precision_loss, reason = "times and counts far below 2^52")]
        let load = lately(self.stats.load, batch.answers.len() as f64, commit_us as f64 / 1_000.0);
        self.stats.load = Some(load);
        self.store.note_load(load);
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
        let begin = self.store.begin(&self.head).map_err(|error| unknown(&error))?;
        self.store.commit_nothing().map_err(|error| unknown(&error))?;
        // Should others have gone on from our record, the next batch reads theirs.
        if begin.missed.first().is_some_and(|first| first.batch == record.batch) {
            return Ok(());
        }
        Err(Failed::After(admit_store::Error::Unavailable(reason)))
    }

    fn heartbeat_is_due(&mut self) -> bool {
        self.state.needs_heartbeat() && self.clock.mono_ms() >= self.written_at_ms + HEARTBEAT_MS
    }
}
