//! Who waits here for which ticket.

use std::collections::{BTreeSet, HashMap};

use admit_kernel::Outcome;
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::Error;
use crate::inbox::{Answer, Reply};

/// One caller that waits.
pub(crate) struct Waiter {
    pub no: u64,
    pub reply: Reply<Answer>,
    /// When it is answered at the latest, by the monotonic clock.
    pub answer_at_ms: Option<u64>,
    /// Whether the ticket, or an undelivered grant, goes with its caller.
    pub leaves_nothing: bool,
    /// Whether its time was over before, and what should have ended its ticket had not come about.
    pub is_late: bool,
}

/// All callers that wait, by ticket.
#[derive(Default)]
pub(crate) struct Waiters {
    by_ticket: HashMap<Uuid, SmallVec<[Waiter; 1]>, RandomState>,
    by_time: BTreeSet<(u64, u64, Uuid)>,
    len: usize,
}

impl Waiters {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn contains(&self, id: &Uuid) -> bool {
        self.by_ticket.contains_key(id)
    }

    pub fn tickets(&self) -> impl Iterator<Item = Uuid> {
        self.by_ticket.keys().copied()
    }

    pub fn add(&mut self, id: Uuid, waiter: Waiter) {
        if let Some(at_ms) = waiter.answer_at_ms {
            self.by_time.insert((at_ms, waiter.no, id));
        }
        self.len += 1;
        self.by_ticket.entry(id).or_default().push(waiter);
    }

    pub fn remove(&mut self, id: Uuid, no: u64) -> Option<Waiter> {
        let waiters = self.by_ticket.get_mut(&id)?;
        let waiter = waiters.swap_remove(waiters.iter().position(|waiter| waiter.no == no)?);
        if waiters.is_empty() {
            self.by_ticket.remove(&id);
        }
        self.forget(id, &waiter);
        Some(waiter)
    }

    /// Answers all who wait for a ticket. False: nobody was there any more to take note of a fresh lease,
    /// and it should go with them.
    #[must_use]
    pub fn wake(&mut self, id: Uuid, outcome: &Outcome) -> bool {
        let Some(waiters) = self.by_ticket.remove(&id) else { return true };
        let (mut delivered, mut leaves_nothing) = (false, true);
        for waiter in waiters {
            self.forget(id, &waiter);
            leaves_nothing &= waiter.leaves_nothing;
            delivered |= waiter.reply.send(Ok(Answer { outcome: outcome.clone(), fresh: true })).is_ok();
        }
        delivered || !leaves_nothing || !matches!(outcome, Outcome::Granted(_))
    }

    /// When the next one is to be told that it still waits.
    pub fn next_ms(&self) -> Option<u64> {
        self.by_time.first().map(|(at_ms, ..)| *at_ms)
    }

    /// Takes out one whose time is over.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<(Uuid, Waiter)> {
        let &(at_ms, no, id) = self.by_time.first().filter(|(at_ms, ..)| *at_ms <= now_ms)?;
        let waiter = self.remove(id, no);
        debug_assert!(waiter.is_some(), "the two orders of waiters agree");
        self.by_time.remove(&(at_ms, no, id));
        waiter.map(|waiter| (id, waiter))
    }

    /// Ends all waiting.
    pub fn fail_all(&mut self, error: &Error) {
        self.by_time.clear();
        self.len = 0;
        for waiter in self.by_ticket.drain().flat_map(|(_, waiters)| waiters) {
            let _ = waiter.reply.send(Err(error.clone()));
        }
    }

    fn forget(&mut self, id: Uuid, waiter: &Waiter) {
        self.len -= 1;
        if let Some(at_ms) = waiter.answer_at_ms {
            self.by_time.remove(&(at_ms, waiter.no, id));
        }
    }
}
