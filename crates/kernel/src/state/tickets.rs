//! Events that concern those who wait: tickets, their queues, and where these are parked.

use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use super::key::{Held, KeyIx};
use super::ranked::{Rank, Ranked};
use super::timers::Timer;
use super::waitlist::{Counted, Queue, QueueIdentity, Waitlist};
use super::{State, mix_id};
use crate::{Lease, Name, QueueNo, TermsRef, Ticket, Time};

impl State {
    pub(super) fn apply_queued(&mut self, ticket: &Ticket, queue: QueueNo) {
        let rank = (ticket.age, ticket.arrival);
        let id = ticket.id;
        self.arrivals = self.arrivals.max(ticket.arrival);
        self.queues_made = self.queues_made.max(queue);
        self.timers.add(ticket.deadline, Timer::Deadline(id));
        self.timers.add(ticket.poll_by, Timer::PollBy(id));
        self.ids.set_ticket(id, queue, rank);
        self.digest = self.digest.wrapping_add(ticket_digest(ticket));
        self.tickets += 1;
        if !self.queues.contains_key(&queue) {
            self.make_queue(ticket, queue);
        }
        let Some(state) = self.queues.get_mut(&queue) else { return };
        let mut ticket = Box::new(ticket.clone());
        // Every ticket of a queue states the same claims: one copy of them is enough.
        ticket.claims = state.identity.claims.clone();
        let before = state.head_rank();
        state.tickets.insert(rank, ticket);
        let counted = state.counted.clone();
        self.count_waiting(&counted, 1);
        if before.is_some_and(|head| rank < head) {
            self.head_changed(queue, before);
        }
    }

    fn make_queue(&mut self, ticket: &Ticket, queue: QueueNo) {
        let identity = QueueIdentity {
            claims: Arc::clone(&ticket.claims),
            priority: ticket.priority,
            group: ticket.group.clone(),
        };
        let counted = self.counted(&ticket.claims);
        self.queue_of.insert(identity.clone(), queue);
        self.queues.insert(
            queue,
            Queue {
                identity,
                tickets: Ranked::default(),
                parked: None,
                moves: 0,
                holds: SmallVec::new(),
                hold_until: None,
                held_in_vain: 0,
                aside: false,
                counted,
            },
        );
    }

    /// The keys and limits that tickets with these claims are counted among.
    fn counted(&mut self, claims: &[crate::Claim]) -> Counted {
        let mut names: SmallVec<[Name; 2]> = SmallVec::new();
        let mut counted = Counted::default();
        for claim in self.effective(claims) {
            if !names.contains(claim.key) {
                names.push(claim.key.clone());
            }
            if let Some(limit) = claim.terms.limit().filter(|limit| !counted.limits.contains(limit)) {
                counted.limits.push(limit.clone());
            }
        }
        counted.keys = names.iter().map(|name| self.keys.ensure(name)).collect();
        counted
    }

    fn count_waiting(&mut self, counted: &Counted, by: i64) {
        let add = |count: u32| u32::try_from(i64::from(count) + by).unwrap_or(0);
        for &ix in &counted.keys {
            if let Some(key) = self.keys.at_mut(ix) {
                key.waiting = add(key.waiting);
            }
            self.touched.push(ix);
        }
        for name in &counted.limits {
            if let Some(limit) = self.limits.get_mut(name) {
                limit.waiting = add(limit.waiting);
            }
        }
    }

    /// Counts the tickets of a queue anew, after limits were made, removed or matched otherwise.
    pub(super) fn recount_queue(&mut self, queue: QueueNo) {
        let Some(state) = self.queues.get(&queue) else { return };
        let (claims, old) = (Arc::clone(&state.identity.claims), state.counted.clone());
        let len = i64::try_from(state.tickets.len()).unwrap_or(i64::MAX);
        let parked = state.parked.as_ref().map(|(ix, _)| *ix);
        let new = self.counted(&claims);
        self.count_waiting(&new, len);
        self.count_waiting(&old, -len);
        if let Some(state) = self.queues.get_mut(&queue) {
            state.counted = new;
        }
        parked.into_iter().for_each(|ix| self.got_room(ix));
    }

    pub(super) fn apply_polled(&mut self, id: Uuid, poll_by: Time) {
        let Some((queue, rank)) = self.ids.ticket(id) else { return };
        let Some(ticket) = self.queues.get_mut(&queue).and_then(|queue| queue.tickets.get_mut(rank)) else {
            return;
        };
        let before = ticket.poll_by.replace(poll_by);
        self.timers.cancel(before, Timer::PollBy(id));
        self.timers.add(Some(poll_by), Timer::PollBy(id));
    }

    pub(super) fn apply_ticket_granted(&mut self, id: Uuid, token: u64, would_wait: bool, credit: u64) {
        let Some((queue, _)) = self.ids.ticket(id) else { return };
        if let Some(state) = self.queues.get(&queue)
            && let Some((ix, terms)) = state.parked.clone()
        {
            let (priority, group) = (state.identity.priority, state.identity.group.clone());
            if let Some(list) = self.keys.at_mut(ix).and_then(|key| key.waitlist_mut(&terms)) {
                list.set_credit(priority, group.as_ref(), credit);
            }
        }
        let Some(ticket) = self.remove_ticket(id) else { return };
        let lease = Lease {
            id,
            token,
            claims: ticket.claims,
            ttl_ms: ticket.ttl_ms,
            arrived_at: ticket.arrived_at,
            granted_at: self.logged,
            expires_at: ticket.ttl_ms.map(|ttl| self.logged.plus(ttl)),
            claim_by: Some(self.logged.plus(ticket.claim_ms)),
            cancel_asked: false,
            rate: ticket.rate,
            would_wait,
            holder: ticket.holder,
            labels: ticket.labels,
        };
        self.add_lease(lease, ticket.continues, ticket.age);
    }

    /// Takes a ticket out of its queue, and the queue out of everything if it was the last.
    pub(super) fn remove_ticket(&mut self, id: Uuid) -> Option<Ticket> {
        let (queue, rank) = self.ids.ticket(id)?;
        let state = self.queues.get_mut(&queue)?;
        let head = state.head_rank();
        let ticket = state.tickets.remove(rank)?;
        let counted = state.counted.clone();
        self.digest = self.digest.wrapping_sub(ticket_digest(&ticket));
        self.tickets -= 1;
        self.timers.cancel(ticket.deadline, Timer::Deadline(id));
        self.timers.cancel(ticket.poll_by, Timer::PollBy(id));
        self.count_waiting(&counted, -1);
        if head == Some(rank) {
            self.head_changed(queue, head);
        }
        Some(*ticket)
    }

    /// Another ticket is at the head of a queue than the one that stood there by the rank `before`, or none:
    /// what was done for the old head ends, and the queue stands elsewhere in its waitlist.
    fn head_changed(&mut self, queue: QueueNo, before: Option<Rank>) {
        self.drop_holds(queue);
        let Some(state) = self.queues.get_mut(&queue) else { return };
        (state.moves, state.held_in_vain) = (0, 0);
        let (priority, group) = (state.identity.priority, state.identity.group.clone());
        let (after, aside) = (state.head_rank(), state.aside);
        let Some((ix, terms)) = state.parked.clone() else { return };
        if let Some(list) = self.keys.at_mut(ix).and_then(|key| key.waitlist_mut(&terms)) {
            if let Some(before) = before.filter(|_| !aside) {
                let credit = list.credit(priority, group.as_ref());
                list.remove(queue, priority, group.as_ref(), before);
                if let Some(after) = after {
                    list.insert(queue, priority, group.as_ref(), after, credit);
                }
            }
            if after.is_none() {
                list.aside.remove(&queue);
            }
        }
        if after.is_none()
            && let Some(state) = self.queues.remove(&queue)
        {
            self.queue_of.remove(&state.identity);
            self.aside.remove(&queue);
        }
        self.waitlist_changed(ix, &terms);
    }

    /// Looks after a waitlist in which something moved: an empty one goes, a new front is settled.
    fn waitlist_changed(&mut self, ix: KeyIx, terms: &TermsRef) {
        let Some(key) = self.keys.at_mut(ix) else { return };
        let Some(at) = key.waitlists.iter().position(|list| list.terms == *terms) else { return };
        let changed = key.waitlists[at].front_changed();
        if key.waitlists[at].is_empty() {
            key.waitlists.remove(at);
            let name = key.name.clone();
            if let Some(limit) = terms.limit().and_then(|limit| self.limits.get_mut(limit)) {
                limit.waitlists.remove(&name);
            }
        }
        // An emptied waitlist may have been what others of the key waited for.
        if changed {
            self.got_room(ix);
        }
        self.touched.push(ix);
    }

    /// Takes a queue out of the waitlist where it is parked.
    fn unpark(&mut self, queue: QueueNo) {
        let Some(state) = self.queues.get_mut(&queue) else { return };
        let Some((ix, terms)) = state.parked.take() else { return };
        let (priority, group, rank) =
            (state.identity.priority, state.identity.group.clone(), state.head_rank());
        state.aside = false;
        self.aside.remove(&queue);
        if let Some(list) = self.keys.at_mut(ix).and_then(|key| key.waitlist_mut(&terms)) {
            list.aside.remove(&queue);
            if let Some(rank) = rank {
                list.remove(queue, priority, group.as_ref(), rank);
            }
        }
        self.waitlist_changed(ix, &terms);
    }

    pub(super) fn apply_parked(
        &mut self,
        queue: QueueNo,
        key: &Name,
        terms: &TermsRef,
        credit: u64,
        moves: u32,
    ) {
        self.unpark(queue);
        let ix = self.keys.ensure(key);
        let Some(state) = self.queues.get_mut(&queue) else { return };
        state.parked = Some((ix, terms.clone()));
        state.moves = moves;
        let (priority, group, rank) =
            (state.identity.priority, state.identity.group.clone(), state.head_rank());
        if let Some(key) = self.keys.at_mut(ix) {
            if key.waitlist(terms).is_none() {
                key.waitlists.push(Waitlist::new(terms.clone()));
            }
            if let (Some(list), Some(rank)) = (key.waitlist_mut(terms), rank) {
                list.insert(queue, priority, group.as_ref(), rank, credit);
            }
        }
        if let Some(limit) = terms.limit().and_then(|limit| self.limits.get_mut(limit)) {
            limit.waitlists.insert(key.clone());
        }
        self.waitlist_changed(ix, terms);
    }

    pub(super) fn apply_set_aside(&mut self, queue: QueueNo, aside: bool) {
        let Some(state) = self.queues.get_mut(&queue).filter(|state| state.aside != aside) else { return };
        state.aside = aside;
        if aside {
            self.aside.insert(queue);
        } else {
            self.aside.remove(&queue);
        }
        let (priority, group, rank) =
            (state.identity.priority, state.identity.group.clone(), state.head_rank());
        let (Some((ix, terms)), Some(rank)) = (state.parked.clone(), rank) else { return };
        if let Some(list) = self.keys.at_mut(ix).and_then(|key| key.waitlist_mut(&terms)) {
            if aside {
                list.remove(queue, priority, group.as_ref(), rank);
                list.aside.insert(queue);
            } else {
                list.aside.remove(&queue);
                let credit = list.credit(priority, group.as_ref());
                list.insert(queue, priority, group.as_ref(), rank, credit);
            }
        }
        self.waitlist_changed(ix, &terms);
    }

    pub(super) fn apply_hold_taken(
        &mut self,
        queue: QueueNo,
        key: &Name,
        terms: &TermsRef,
        slots: u32,
        until: Time,
    ) {
        let ix = self.keys.ensure(key);
        let Some(state) = self.queues.get_mut(&queue) else { return };
        if state.hold_until.is_none() {
            state.hold_until = Some(until);
            self.timers.add(Some(until), Timer::HoldsBack(queue));
            self.holding.insert(queue);
        }
        state.holds.push(ix);
        if let Some(key) = self.keys.at_mut(ix) {
            key.held.push(Held { queue, terms: terms.clone(), slots });
        }
        self.touched.push(ix);
    }

    pub(super) fn apply_holds_returned(&mut self, queue: QueueNo, in_vain: u32) {
        self.drop_holds(queue);
        if let Some(state) = self.queues.get_mut(&queue) {
            state.held_in_vain = in_vain;
        }
    }

    /// Nothing is held for the head of a queue any more.
    fn drop_holds(&mut self, queue: QueueNo) {
        let Some(state) = self.queues.get_mut(&queue) else { return };
        let Some(until) = state.hold_until.take() else { return };
        state.moves = 0;
        let holds = std::mem::take(&mut state.holds);
        self.timers.cancel(Some(until), Timer::HoldsBack(queue));
        self.holding.remove(&queue);
        for ix in holds {
            if let Some(key) = self.keys.at_mut(ix) {
                key.held.retain(|held| held.queue != queue);
            }
            self.got_room(ix);
        }
    }

    /// Counts a grant that younger than the fronts of other terms on its keys went before them.
    pub(super) fn count_passed(&mut self, lease: &Lease, age: Time) {
        if self.tickets == 0 {
            return;
        }
        let keys: SmallVec<[(Name, TermsRef); 2]> = self
            .effective(&lease.claims)
            .iter()
            .filter(|claim| self.keys.get(claim.key).is_some_and(|key| !key.waitlists.is_empty()))
            .map(|claim| (claim.key.clone(), claim.terms.clone()))
            .collect();
        for (n, (name, _)) in keys.iter().enumerate() {
            if keys[..n].iter().any(|(other, _)| other == name) {
                continue;
            }
            let Some(key) = self.keys.ix(name).and_then(|ix| self.keys.at_mut(ix)) else { continue };
            for list in &mut key.waitlists {
                let own = keys.iter().any(|(key, terms)| key == name && *terms == list.terms);
                let older = list.front().is_some_and(|&(_, _, (front_age, _), _)| front_age <= age);
                if !own && older {
                    list.passed = list.passed.saturating_add(1);
                }
            }
        }
    }

    /// Counts, at each observed limit that a lease went through, whether it would have waited there.
    pub(super) fn count_would_wait(&mut self, lease: &Lease, continues: Option<Uuid>) {
        if !lease.would_wait {
            return;
        }
        let candidate = super::blocked::Candidate {
            queue: None,
            priority: 0,
            group: None,
            rank: (self.logged, u64::MAX),
            continues,
        };
        // A node that replays this may have seen later times than whoever decided it: all have to count the same.
        let seen = std::mem::replace(&mut self.seen, self.logged);
        let limits: SmallVec<[Name; 2]> = self
            .effective(&lease.claims)
            .iter()
            .filter(|claim| self.observed_short(&candidate, claim))
            .filter_map(|claim| claim.terms.limit().cloned())
            .collect();
        self.seen = seen;
        for name in limits {
            if let Some(limit) = self.limits.get_mut(&name) {
                limit.would_wait += 1;
            }
        }
    }
}

fn ticket_digest(ticket: &Ticket) -> u64 {
    mix_id(ticket.id, ticket.arrival, ticket.age.0)
}
