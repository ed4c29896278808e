//! Everything that happens by time alone, in one ordered set.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::State;
use super::key::{Key, KeyIx};
use super::level::PICO;
use super::waitlist::Waitlist;
use crate::{Counts, QueueNo, Refill, TermsRef, Time};

/// What is due. Timers of one time are handled in this order: expiry before window edges before settling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A lease ends unless it is renewed.
    Expiry(Uuid),
    /// A granted ticket lapses unless it is claimed.
    ClaimBy(Uuid),
    /// A ticket has waited as long as it was willing to.
    Deadline(Uuid),
    /// A ticket is withdrawn unless somebody asks about it.
    PollBy(Uuid),
    /// A head gives back the slots that it holds.
    HoldsBack(QueueNo),
    /// The pause of the limit of this key's name ends.
    Resume(KeyIx),
    /// The front of a waitlist of this key can fit, by time alone.
    Edge(KeyIx),
    /// A key has nothing left to remember.
    Forget(KeyIx),
}

/// All timers.
#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeSet<(Time, Timer)>,
}

impl Timers {
    pub(super) fn add(&mut self, at: Option<Time>, timer: Timer) {
        self.set.extend(at.map(|at| (at, timer)));
    }

    pub(super) fn cancel(&mut self, at: Option<Time>, timer: Timer) {
        if let Some(at) = at {
            self.set.remove(&(at, timer));
        }
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.set.first().map(|&(at, _)| at)
    }

    /// Takes out the first timer that is due by `now`.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<(Time, Timer)> {
        if self.next().is_some_and(|at| at <= now) { self.set.pop_first() } else { None }
    }
}

impl Timer {
    fn key(self) -> Option<KeyIx> {
        match self {
            Timer::Resume(ix) | Timer::Edge(ix) | Timer::Forget(ix) => Some(ix),
            _ => None,
        }
    }
}

impl State {
    /// Takes out all timers that are due, in their order. Where a key stands in its table differs between
    /// nodes; its name does not.
    pub(super) fn take_due(&mut self) -> Vec<Timer> {
        let mut due: Vec<Timer> = Vec::new();
        while let Some((_, timer)) = self.timers.pop_due(self.seen) {
            due.push(timer);
        }
        let name = |timer: Timer| timer.key().and_then(|ix| Some(&self.keys.at(ix)?.name));
        due.sort_by(|a, b| {
            let same_kind = std::mem::discriminant(a) == std::mem::discriminant(b);
            if same_kind && a.key().is_some() { name(*a).cmp(&name(*b)) } else { a.cmp(b) }
        });
        due
    }

    /// Sets anew the timers of all keys that were touched, and drops those that are of no more use.
    ///
    /// Depends on nothing but the state, so a node that replays has the same timers as the one that decided.
    pub(super) fn refresh_touched(&mut self) {
        for ix in std::mem::take(&mut self.touched) {
            self.refresh(ix);
        }
    }

    fn refresh(&mut self, ix: KeyIx) {
        let Some(key) = self.keys.at(ix) else { return };
        let idle = key.is_idle();
        let forget = if idle { key.forget_at(|terms| self.decay_rate(terms)) } else { None };
        let edge = key.waitlists.iter().filter_map(|list| self.next_fit(key, list)).min();
        let (old_edge, old_forget) = (key.edge, key.forget);
        if old_edge != edge {
            self.timers.cancel(old_edge, Timer::Edge(ix));
            self.timers.add(edge, Timer::Edge(ix));
        }
        if old_forget != forget {
            self.timers.cancel(old_forget, Timer::Forget(ix));
            self.timers.add(forget, Timer::Forget(ix));
        }
        if let Some(key) = self.keys.at_mut(ix) {
            (key.edge, key.forget) = (edge, forget);
        }
    }

    /// Lets go of a key that nobody uses and that has nothing to remember.
    pub(super) fn drop_if_idle(&mut self, ix: KeyIx) {
        let Some(key) = self.keys.at(ix).filter(|key| key.is_idle()) else { return };
        if key.forget_at(|terms| self.decay_rate(terms)).is_some_and(|at| at <= self.logged) {
            let (edge, forget) = (key.edge, key.forget);
            self.timers.cancel(edge, Timer::Edge(ix));
            self.timers.cancel(forget, Timer::Forget(ix));
            self.keys.remove(ix);
        }
    }

    /// How fast a level under these terms falls; 0 where they no longer decay.
    pub(super) fn decay_rate(&self, by: &TermsRef) -> u64 {
        match self.resolve(by).map(|resolved| resolved.terms.refill) {
            Some(Refill::Decay { nano_per_second }) => nano_per_second,
            // The limit is gone or counts otherwise: the level is nothing any more.
            _ => u64::MAX,
        }
    }

    /// When the front of a waitlist will have room at its key by time alone, if it has none now.
    fn next_fit(&self, key: &Key, list: &Waitlist) -> Option<Time> {
        let &(.., queue) = list.front()?;
        let head = self.queues.get(&queue)?.head()?;
        let effective = self.effective(&head.claims);
        let claim = effective.iter().find(|claim| *claim.key == key.name && *claim.terms == list.terms)?;
        let terms = claim.rules.blocks(self.seen).then_some(claim.rules.terms)?;
        let candidate = self.candidate_of(queue)?;
        let used = self.used_pico(&candidate, claim, key);
        let (asked, max) = (u128::from(claim.slots) * PICO, u128::from(terms.max) * PICO);
        let over = (used + asked).checked_sub(max).filter(|&over| over > 0 && asked <= max)?;
        let past = key.past.as_deref()?;
        let at = match terms.refill {
            Refill::Release => None,
            Refill::Window { ms, counts } => {
                let history = if counts == Counts::Starts { &past.starts } else { &past.ends };
                let slots = u64::try_from(over / PICO).unwrap_or(u64::MAX);
                history.time_of_slot(self.seen.minus(ms), slots).map(|at| at.plus(ms))
            }
            Refill::Decay { nano_per_second } => {
                let level = past.levels.get(&list.terms)?;
                let target = level.pico_at(self.seen, nano_per_second).checked_sub(over)?;
                level.time_of(target, nano_per_second)
            }
        };
        // In the past only where something else than time is in its way, which settles it when it changes.
        at.filter(|&at| at > self.seen)
    }
}
