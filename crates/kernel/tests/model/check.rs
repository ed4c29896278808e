//! What every state between steps has to be.

use std::collections::{BTreeMap, BTreeSet};

use admit_kernel::{Mode, Name, PASSED_BEFORE_RESERVE, QueueNo, State, TermsRef, Ticket};

use super::{Effective, Model, PICO, Queue};

impl Model {
    /// What every state between steps has to be: no lost wake-up, nothing overdue, the views tell the truth.
    pub fn check(&self, state: &State) {
        let now = self.now;
        for (id, run) in &self.runs {
            let takes: BTreeMap<Name, u32> = state.takes_of(*id).into_iter().collect();
            assert_eq!(takes, self.takes(&run.claims), "what {id} takes");
            assert!(run.expires_at.is_none_or(|at| at > now), "{id} outlives its lease");
            assert!(run.claim_by.is_none_or(|at| at > now), "{id} outlives its claim");
        }
        assert_eq!(state.totals().leases, self.runs.len() as u64);
        let tickets: usize = self.queues.values().map(|queue| queue.tickets.len()).sum();
        assert_eq!(state.totals().tickets, tickets as u64);
        for ticket in self.queues.values().flat_map(|queue| &queue.tickets) {
            assert!(ticket.deadline.is_none_or(|at| at.0 > now), "{} overstays", ticket.id);
            assert!(ticket.poll_by.is_none_or(|at| at.0 > now), "{} overstays", ticket.id);
            assert_eq!(state.ticket(ticket.id), Some(ticket));
        }
        if self.unsettled.is_empty() {
            self.queues.iter().for_each(|(no, queue)| self.check_reason(state, *no, queue));
        }
        self.check_usage(state);
    }

    /// Every queue has a reason to wait: its key is short, or another goes before it there.
    pub(super) fn check_reason(&self, state: &State, no: QueueNo, queue: &Queue) {
        let head = queue.head();
        let (key, terms) = queue.at.as_ref().expect("it is parked");
        let effective = self.effective(&head.claims);
        let enforced: Vec<_> = effective.iter().filter(|claim| claim.3 == Mode::Enforce).collect();
        let impossible = enforced.iter().any(|claim| claim.2.max > 0 && claim.5 > claim.2.max);
        assert!(!queue.aside || impossible, "{} waits aside though it could be admitted", head.id);
        if queue.aside || self.front(key, terms).is_some_and(|(front, _)| front != no) {
            return;
        }
        assert!(!impossible, "{} reserves though it can never be admitted", head.id);
        let here = enforced.iter().find(|claim| (&claim.0, &claim.1) == (key, terms));
        let here = here.unwrap_or_else(|| panic!("{} waits at {key}, which it does not claim", head.id));
        let shut = |claim: &Effective| claim.4 || claim.2.max == 0;
        let short = shut(here)
            || !self.has_room(here, head.continues, Some(no))
            || self.is_reserved(state, here, head)
            || self.is_held_by_another(here, no, queue);
        assert!(short, "{} waits at {key} without a reason: {queue:#?}", head.id);
    }

    pub(super) fn is_reserved(&self, state: &State, claim: &Effective, head: &Ticket) -> bool {
        let lists: BTreeSet<_> = self.queues.values().filter_map(|queue| queue.at.clone()).collect();
        let others = lists.iter().filter(|(key, terms)| *key == claim.0 && *terms != claim.1);
        others.filter_map(|(key, terms)| self.front(key, terms)).any(|(_, front)| {
            let front = front.head();
            let view = state.ticket_view(front.id).expect("it waits");
            view.passed_by_looser_terms >= PASSED_BEFORE_RESERVE
                && (-front.priority, front.age, front.arrival) < (-head.priority, head.age, head.arrival)
        })
    }

    pub(super) fn is_held_by_another(&self, claim: &Effective, no: QueueNo, queue: &Queue) -> bool {
        let holds = |other: &Queue| other.holds.iter().any(|hold| hold.0 == claim.0 && hold.1 == claim.1);
        queue.moves >= admit_kernel::MOVES_BEFORE_HOLD
            && self.queues.iter().any(|(other, queue)| *other != no && holds(queue))
    }

    /// The key's own usage as its view tells it.
    pub(super) fn check_usage(&self, state: &State) {
        for (name, limit) in &self.limits {
            let terms = TermsRef::Limit(name.clone());
            let used = self.used_pico(name, &terms, &limit.terms, None).div_ceil(PICO);
            assert_eq!(u128::from(state.key_view(name, 0).used), used, "used of {name}");
        }
    }
}
