//! What other nodes do: their records are applied before anything is decided, and now and then in between.

use std::time::Duration;

use admit_kernel::{Event, Time};
use admit_store::{Error as StoreError, Record, Store, Wake};
use uuid::Uuid;

use super::Core;
use super::health::RETRY_MS;
use crate::Error;
use crate::batch::{Batch, Committed};
use crate::clock::{Clock, DatabaseTime, MAX_UNCERTAIN_MS};
use crate::recover;

/// A reading of fewer records means that this node is about where the log is.
const CLOSE_RECORDS: usize = 32;
/// How often a batch is begun anew because others were quicker, before its callers are told to come again.
const MAX_BEGINS: usize = 8;

impl<S: Store, C: Clock> Core<S, C> {
    /// Has `wake` called when [`Core::look`] may find something.
    pub fn watch(&mut self, wake: Wake) -> Result<(), Error> {
        let every = self.store.watch(wake)?;
        self.look_every_ms =
            every.map(|every: Duration| u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Whether other nodes may write to the log.
    pub fn is_shared(&self) -> bool {
        self.look_every_ms.is_some()
    }

    /// In how many milliseconds [`Core::look`] is due even if nobody says so; none: nobody else writes.
    pub fn look_in_ms(&mut self) -> Option<u64> {
        let due_ms = self.looked_at_ms.max(self.tried_at_ms) + self.look_every_ms?;
        Some(due_ms.saturating_sub(self.clock.mono_ms()))
    }

    /// How often the end of the log was seen so far.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// For how long, in milliseconds, the end of the log was not seen; 0 where nobody else writes.
    pub fn lag_ms(&mut self) -> u64 {
        if self.is_shared() { self.clock.mono_ms().saturating_sub(self.looked_at_ms) } else { 0 }
    }

    /// Applies what other nodes did, without keeping them from going on. Tickets that somebody here waits for
    /// and they granted are named in the batch, to be asked for.
    pub fn look(
        &mut self,
        is_awaited: &mut dyn FnMut(&Uuid) -> bool,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        batch.clear();
        let mono_ms = self.clock.mono_ms();
        // Reading may be possible where writing is not, but where it is not either, nobody is kept waiting.
        let left_ms = self.no_look_before_ms.saturating_sub(mono_ms);
        if left_ms > 0 {
            let reason = "the log could not be read a moment ago".to_owned();
            return Err(Error::Unavailable { reason, retry_in_ms: left_ms });
        }
        self.tried_at_ms = mono_ms;
        if self.state().is_err() {
            self.ready(batch)?;
        }
        let seen = self.follow(is_awaited, batch);
        match &seen {
            Ok(()) => {
                self.note_look();
                self.serve_again();
            }
            Err(_) => {
                self.blocked_since_ms.get_or_insert(mono_ms);
                self.no_look_before_ms = self.clock.mono_ms() + RETRY_MS;
            }
        }
        seen
    }

    /// Begins the batch that [`Core::run`] is about to decide, where that means waiting for other nodes: what
    /// arrives meanwhile can be part of it. What goes wrong is for `run` to say.
    pub fn prepare(&mut self, is_awaited: &mut dyn FnMut(&Uuid) -> bool, batch: &mut Batch) {
        if self.is_shared() && self.begun.is_none() {
            batch.clear();
            self.begun = self.ready(batch).and_then(|()| self.begin(is_awaited, batch)).ok();
        }
    }

    /// Begins a batch with everything applied that was done before. Gives the database's time; the tickets
    /// awaited here that other nodes granted are named in the batch.
    pub(super) fn begin(
        &mut self,
        is_awaited: &mut dyn FnMut(&Uuid) -> bool,
        batch: &mut Batch,
    ) -> Result<Option<DatabaseTime>, Error> {
        let mut is_again = false;
        for _ in 0..MAX_BEGINS {
            let asked_ms = self.clock.mono_ms();
            self.blocked_since_ms.get_or_insert(asked_ms);
            match self.store.begin(&self.head) {
                Ok(begin) => {
                    let answered_ms = self.clock.mono_ms();
                    self.catch_up(&begin.missed, is_awaited, batch)?;
                    self.note_look();
                    // The time that came with the lock says little by now, and the lock may be lost again.
                    if answered_ms.saturating_sub(asked_ms) > MAX_UNCERTAIN_MS && !is_again {
                        is_again = true;
                        self.store.rollback();
                        continue;
                    }
                    return Ok(begin.now_ms.map(|wall_ms| DatabaseTime { wall_ms, asked_ms, answered_ms }));
                }
                Err(StoreError::Behind) => self.follow(is_awaited, batch)?,
                Err(StoreError::Rewritten(reason)) => self.start_over(&reason, batch)?,
                Err(error) => return Err(self.away(error, false)),
            }
        }
        Err(self.away(StoreError::Behind, false))
    }

    fn follow(&mut self, is_awaited: &mut dyn FnMut(&Uuid) -> bool, batch: &mut Batch) -> Result<(), Error> {
        loop {
            match self.store.missed(&self.head) {
                Ok(missed) => {
                    self.catch_up(&missed, is_awaited, batch)?;
                    if missed.len() < CLOSE_RECORDS {
                        return Ok(());
                    }
                }
                Err(StoreError::Rewritten(reason)) => return self.start_over(&reason, batch),
                Err(error) => return Err(self.away(error, false)),
            }
        }
    }

    /// The log does not go on from what is applied here.
    fn start_over(&mut self, reason: &str, batch: &mut Batch) -> Result<(), Error> {
        tracing::warn!(reason, seq = self.head.seq, "reading the state back");
        self.reload(batch);
        self.state().map(|_| ())
    }

    fn note_look(&mut self) {
        self.looked_at_ms = self.clock.mono_ms();
        self.looks += 1;
    }

    /// Applies what other nodes did, and sees to those who wait here.
    fn catch_up(
        &mut self,
        missed: &[Record],
        is_awaited: &mut dyn FnMut(&Uuid) -> bool,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        if !missed.is_empty() {
            self.blocked_since_ms = None;
            self.written_at_ms = self.clock.mono_ms();
        }
        for record in missed {
            let events = match recover::replay(&mut self.state, &mut self.head, record, self.options.format) {
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
                    Event::TicketGranted { id, .. } if is_awaited(id) => batch.granted_elsewhere.push(*id),
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
        self.clock.follow(self.state.clock_offset_ms());
        Ok(())
    }
}
