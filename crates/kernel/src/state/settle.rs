//! Settling a key: its fronts are tried, one after the other, until none can go on.

use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use super::State;
use super::blocked::Effective;
use super::key::KeyIx;
use super::turn::Turn;
use super::waitlist::Queue;
use crate::{
    Claim, End, Event, HOLD_MS, MAX_HOLD_MS, MAX_TRIES, MOVES_BEFORE_HOLD, Mode, Name, QueueNo, TermsRef,
    Time,
};

/// What is to become of the front of a waitlist.
enum Verdict {
    /// It stays: its key is short.
    Stuck,
    /// All its claims fit, and nobody goes before it.
    Grant,
    /// It waits at this key instead.
    Park(Name, TermsRef),
    /// It asks for more than is allowed: it waits aside, at this key.
    SetAside(Name, TermsRef),
    /// It holds the slots of this key while it waits for the next.
    Hold(Name, TermsRef, u32),
    /// It gives back what it holds: a limit of it admits nothing at all now.
    ReturnHolds,
    /// A limit that it claims is gone.
    Reject,
}

/// What the grant of a queue's head comes to.
struct HeadGrant {
    id: Uuid,
    claims: Arc<[Claim]>,
    would_wait: bool,
    /// The credit of its group afterwards.
    credit: u64,
}

impl Turn<'_> {
    /// Settles every key that got room or another front.
    pub(super) fn settle_dirty(&mut self) {
        while !self.state.dirty.is_empty() {
            let mut dirty = std::mem::take(&mut self.state.dirty);
            // In an order that is the same on every node, whatever its tables look like.
            dirty.sort_unstable();
            dirty.dedup();
            for key in dirty {
                let done = self.settle(&key);
                let left = self.state.unsettled.contains(&key);
                if done == left {
                    self.emit(if done { Event::Settled { key } } else { Event::Unsettled { key } });
                }
            }
        }
    }

    /// Goes on with the work that earlier steps left, with half of the tries: work left at one key does not
    /// keep the keys of this step waiting.
    pub(super) fn settle_left_over(&mut self) {
        let kept = self.tries.min(MAX_TRIES / 2);
        self.tries -= kept;
        while self.tries > 0
            && let Some(key) = self.state.unsettled.first().cloned()
        {
            if self.settle(&key) {
                self.emit(Event::Settled { key });
            }
            self.settle_dirty();
        }
        self.tries += kept;
    }

    /// Tries the fronts of a key's waitlists. False: the step's tries ran out first.
    fn settle(&mut self, key: &Name) -> bool {
        let mut stuck: SmallVec<[TermsRef; 2]> = SmallVec::new();
        while let Some((queue, terms)) = self.state.next_front(key, &stuck) {
            if self.tries == 0 {
                return false;
            }
            self.tries -= 1;
            if !self.try_queue(queue, key, &terms) {
                stuck.push(terms);
            }
        }
        true
    }

    /// Tries one queue. False: it stays where it is.
    fn try_queue(&mut self, queue: QueueNo, key: &Name, terms: &TermsRef) -> bool {
        // Each round either ends or takes one more hold, of which there are as many as claims.
        loop {
            match self.state.verdict(queue, key, terms) {
                Verdict::Stuck => return false,
                Verdict::Grant => {
                    self.grant_head(queue);
                    return true;
                }
                Verdict::Park(to, under) => {
                    self.park(queue, to, under);
                    return true;
                }
                Verdict::SetAside(at, under) => {
                    if (&at, &under) != (key, terms) {
                        self.park(queue, at, under);
                    }
                    self.return_holds(queue, 0);
                    self.emit(Event::SetAside { queue, aside: true });
                    return true;
                }
                Verdict::Hold(key, terms, slots) => {
                    let until = self.state.holds_until(queue);
                    self.emit(Event::HoldTaken { queue, key, terms, slots, until });
                }
                Verdict::ReturnHolds => self.return_holds(queue, 0),
                Verdict::Reject => {
                    let id = self.state.queues.get(&queue).and_then(Queue::head).map(|head| head.id);
                    if let Some(id) = id {
                        self.emit(Event::TicketEnded { id, how: End::LimitRemoved });
                    }
                    return true;
                }
            }
        }
    }

    fn park(&mut self, queue: QueueNo, key: Name, terms: TermsRef) {
        let Some(state) = self.state.queues.get(&queue) else { return };
        let moves = state.moves.saturating_add(1);
        let credit =
            self.state.credit_at(&key, &terms, state.identity.priority, state.identity.group.as_ref());
        self.emit(Event::Parked { queue, key: key.clone(), terms, credit, moves });
        // It was found short there just now, and only who holds on to what fits is to be tried again.
        if moves < MOVES_BEFORE_HOLD && self.state.dirty.last() == Some(&key) {
            self.state.dirty.pop();
        }
    }

    /// Gives back what the head of a queue holds; `more` says whether it held that in vain (1) or not (0).
    pub(super) fn return_holds(&mut self, queue: QueueNo, more: u32) {
        if let Some(state) = self.state.queues.get(&queue).filter(|state| state.hold_until.is_some()) {
            let in_vain = state.held_in_vain.saturating_add(more);
            self.emit(Event::HoldsReturned { queue, in_vain });
        }
    }

    fn grant_head(&mut self, queue: QueueNo) {
        let token = self.next_token();
        let Some(grant) = self.state.grant_of(queue) else { return };
        let HeadGrant { id, claims, would_wait, credit } = grant;
        self.remember_windows(&claims);
        self.emit(Event::TicketGranted { id, token, would_wait, credit });
        self.raise_levels(&claims);
    }
}

impl State {
    /// Until when the head of a queue holds what it holds, or will if it begins now.
    fn holds_until(&self, queue: QueueNo) -> Time {
        let state = self.queues.get(&queue);
        let in_vain = state.map_or(0, |state| state.held_in_vain).min(MAX_HOLD_MS.ilog2());
        let hold_ms = (HOLD_MS << in_vain).min(MAX_HOLD_MS);
        state.and_then(|state| state.hold_until).unwrap_or(self.seen.plus(hold_ms))
    }

    fn grant_of(&self, queue: QueueNo) -> Option<HeadGrant> {
        let head = self.queues.get(&queue)?.head()?;
        let effective = self.effective(&head.claims);
        let slots = effective.iter().map(|claim| claim.slots).max().unwrap_or(1);
        Some(HeadGrant {
            id: head.id,
            claims: head.claims.clone(),
            would_wait: self.would_wait(&self.candidate_of(queue)?, &effective),
            credit: self.credit_of(queue).saturating_add(u64::from(slots)),
        })
    }

    /// The foremost of the fronts at a key, across its waitlists, leaving out those that are stuck.
    fn next_front(&self, key: &Name, stuck: &[TermsRef]) -> Option<(QueueNo, TermsRef)> {
        let key = self.keys.get(key)?;
        let fronts = key.waitlists.iter().filter(|list| !stuck.contains(&list.terms));
        fronts
            .filter_map(|list| {
                list.front().map(|&(priority, _, rank, queue)| (priority, rank, queue, &list.terms))
            })
            .min()
            .map(|(.., queue, terms)| (queue, terms.clone()))
    }

    fn verdict(&self, queue: QueueNo, key: &Name, terms: &TermsRef) -> Verdict {
        let Some(state) = self.queues.get(&queue) else { return Verdict::Stuck };
        let claims = &state.identity.claims;
        if self.missing(claims).is_some() {
            return Verdict::Reject;
        }
        let effective = self.effective(claims);
        let Some(candidate) = self.candidate_of(queue) else { return Verdict::Stuck };
        if let Some((claim, _)) = self.impossible(&effective) {
            return Verdict::SetAside(claim.key.clone(), claim.terms.clone());
        }
        let shut = effective.iter().any(|Effective { rules, .. }| {
            rules.mode == Mode::Enforce && (rules.terms.max == 0 || rules.is_paused(self.seen))
        });
        if shut && !state.holds.is_empty() {
            return Verdict::ReturnHolds;
        }
        if !shut && state.moves >= MOVES_BEFORE_HOLD {
            return self.verdict_of_holding(state, &effective, key, terms);
        }
        let here = effective.iter().find(|claim| claim.key == key && claim.terms == terms);
        if here.is_some_and(|claim| self.shortage(&candidate, claim).is_some()) {
            return Verdict::Stuck;
        }
        match self.first_short(&candidate, &effective) {
            None => Verdict::Grant,
            Some(claim) => Verdict::Park(claim.key.clone(), claim.terms.clone()),
        }
    }

    /// A head that was moved too often takes its keys one by one, in byte order, and keeps each while it
    /// waits for the next: two such heads cannot wait for each other.
    fn verdict_of_holding(
        &self,
        queue: &Queue,
        effective: &[Effective<'_>],
        key: &Name,
        terms: &TermsRef,
    ) -> Verdict {
        let Some(no) = self.queue_of.get(&queue.identity).copied() else { return Verdict::Stuck };
        let Some(candidate) = self.candidate_of(no) else { return Verdict::Stuck };
        let mut in_order: SmallVec<[&Effective<'_>; 4]> =
            effective.iter().filter(|claim| claim.rules.mode == Mode::Enforce).collect();
        in_order.sort_by_key(|claim| claim.key);
        for (n, claim) in in_order.iter().enumerate() {
            let held = self.keys.ix(claim.key).is_some_and(|ix| queue.holds.contains(&ix));
            // What it holds nobody can take before it; it only has to fit still.
            let short = if held {
                !self.has_room(&candidate, claim)
            } else {
                self.shortage(&candidate, claim).is_some() || self.is_held_by_another(no, claim)
            };
            if short {
                let stays = claim.key == key && claim.terms == terms;
                return if stays {
                    Verdict::Stuck
                } else {
                    Verdict::Park(claim.key.clone(), claim.terms.clone())
                };
            }
            // Of several claims on one key all must fit before it is held; the last key needs no hold.
            let key_is_through = in_order.get(n + 1).is_some_and(|next| next.key != claim.key);
            if key_is_through && !held {
                // Its keys changed (a match, a mode): out of order, two heads could wait for each other.
                let larger = |ix: &KeyIx| self.keys.at(*ix).is_some_and(|key| key.name > *claim.key);
                if queue.holds.iter().any(larger) {
                    return Verdict::ReturnHolds;
                }
                return Verdict::Hold(claim.key.clone(), claim.terms.clone(), claim.slots);
            }
        }
        Verdict::Grant
    }

    /// Whether the head of another queue of the same waitlist holds slots there: one at a time may.
    fn is_held_by_another(&self, queue: QueueNo, claim: &Effective<'_>) -> bool {
        let held = self.keys.get(claim.key).map_or(&[][..], |key| &key.held);
        held.iter().any(|held| held.queue != queue && held.terms == *claim.terms)
    }

    /// The rotation credit that a group has, or would start with, at a waitlist.
    pub(super) fn credit_at(&self, key: &Name, terms: &TermsRef, priority: i32, group: Option<&Name>) -> u64 {
        self.keys.get(key).and_then(|key| key.waitlist(terms)).map_or(0, |list| list.credit(priority, group))
    }

    /// The rotation credit of a queue's group where it is parked.
    fn credit_of(&self, queue: QueueNo) -> u64 {
        let parked = self.queues.get(&queue).and_then(|state| Some((state, state.parked.as_ref()?)));
        parked.map_or(0, |(state, (ix, terms))| {
            let list = self.keys.at(*ix).and_then(|key| key.waitlist(terms));
            list.map_or(0, |list| list.credit(state.identity.priority, state.identity.group.as_ref()))
        })
    }
}
