//! Events that concern limits.

use super::timers::Timer;
use super::waitlist::Queue;
use super::{LimitState, Matcher, State, mix};
use crate::{Limit, Mode, Name, Refill, TermsRef, Time};

impl State {
    pub(super) fn apply_limit_set(&mut self, limit: &Limit) {
        let name = limit.name.clone();
        self.limits_changed = self.limits_changed.max(limit.revision);
        let before = self.limits.get(&name).map(|state| state.limit.clone());
        let known_key = self.keys.ix(&name).is_some();
        let ix = self.keys.ensure(&name);
        if let Some(key) = self.keys.at_mut(ix) {
            key.pinned = true;
        }
        self.touched.push(ix);
        match self.limits.get_mut(&name) {
            Some(state) => {
                self.digest = self.digest.wrapping_sub(limit_digest(&state.limit));
                state.limit = limit.clone();
            }
            None => {
                let waitlists = self.waitlists_under(&name);
                let state = LimitState { limit: limit.clone(), waiting: 0, would_wait: 0, waitlists };
                self.limits.insert(name.clone(), state);
            }
        }
        self.digest = self.digest.wrapping_add(limit_digest(limit));
        let patterns = before.as_ref().map_or(&[][..], |before| &before.patterns);
        let off = |limit: &Limit| limit.mode == Mode::Off;
        let rematched = patterns != &limit.patterns[..];
        if rematched {
            self.set_matcher(&name, &limit.patterns);
        }
        // A new limit's own key is not matched any more, and a limit that is off counts nothing.
        let unmatched = before.is_none() && known_key && !self.matchers.is_empty();
        if rematched || unmatched || before.as_ref().is_some_and(off) != off(limit) {
            self.recount();
        }
        // What became impossible reserves nothing any more, wherever it is parked.
        let stricter = before.is_none_or(|before| {
            let was_closed = before.terms.max == 0;
            was_closed || limit.terms.max < before.terms.max || before.mode != limit.mode
        });
        if stricter {
            self.recount_queues_of(&name);
        }
        self.limit_moved(&name);
    }

    pub(super) fn apply_limit_removed(&mut self, name: &Name) {
        let Some(state) = self.limits.remove(name) else { return };
        self.digest = self.digest.wrapping_sub(limit_digest(&state.limit));
        if let Some(ix) = self.keys.ix(name) {
            self.timers.cancel(state.limit.paused_until, Timer::Resume(ix));
            if let Some(key) = self.keys.at_mut(ix) {
                key.pinned = false;
            }
            self.touched.push(ix);
        }
        let matched = !state.limit.patterns.is_empty();
        if matched {
            self.set_matcher(name, &[]);
        }
        if matched || state.limit.mode == Mode::Off || !self.matchers.is_empty() {
            self.recount();
        }
        for key in &state.waitlists {
            if let Some(ix) = self.keys.ix(key) {
                self.got_room(ix);
            }
        }
        self.recount_queues_of(name);
    }

    pub(super) fn apply_paused(&mut self, name: &Name, until: Option<Time>) {
        let Some(state) = self.limits.get_mut(name) else { return };
        self.digest = self.digest.wrapping_sub(limit_digest(&state.limit));
        let before = std::mem::replace(&mut state.limit.paused_until, until);
        self.digest = self.digest.wrapping_add(limit_digest(&state.limit));
        if let Some(ix) = self.keys.ix(name) {
            self.timers.cancel(before, Timer::Resume(ix));
            self.timers.add(until.filter(|until| *until < Time(u64::MAX)), Timer::Resume(ix));
        }
        self.limit_moved(name);
    }

    /// Whoever waits for a limit is looked at again.
    pub(super) fn limit_moved(&mut self, name: &Name) {
        let Some(state) = self.limits.get(name) else { return };
        let keys: Vec<_> = state.waitlists.iter().filter_map(|key| self.keys.ix(key)).collect();
        for ix in keys {
            self.got_room(ix);
        }
        // Heads that hold slots give them back when one of their limits is paused or closed.
        let parked = self.holding.iter().filter_map(|queue| self.queues.get(queue)?.parked.as_ref());
        let holding: Vec<_> = parked.map(|(ix, _)| *ix).collect();
        holding.into_iter().for_each(|ix| self.got_room(ix));
    }

    fn set_matcher(&mut self, name: &Name, patterns: &[Name]) {
        self.matchers.retain(|matcher| matcher.key != *name);
        if !patterns.is_empty() {
            let at = self.matchers.partition_point(|matcher| matcher.key < *name);
            let terms = TermsRef::Limit(name.clone());
            self.matchers.insert(at, Matcher { key: name.clone(), terms, patterns: patterns.to_vec() });
        }
    }

    /// Counts every lease and every queue anew: which limits match which keys, or count at all, has changed.
    /// This is the one change that costs as much as there is; an operator makes it, no request does.
    fn recount(&mut self) {
        let leases: Vec<_> = self.leases.iter().map(|(ix, _)| ix).collect();
        leases.into_iter().for_each(|ix| self.recount_lease(ix));
        let mut queues: Vec<_> = self.queues.keys().copied().collect();
        queues.sort_unstable();
        queues.into_iter().for_each(|queue| self.recount_queue(queue));
    }

    /// Keys at which queues are parked under a limit that did not exist until now.
    fn waitlists_under(&self, name: &Name) -> std::collections::BTreeSet<Name> {
        let parked = self.queues.values().filter_map(|queue| queue.parked.as_ref());
        parked
            .filter(|(_, terms)| terms.limit() == Some(name))
            .filter_map(|(ix, _)| self.keys.at(*ix).map(|key| key.name.clone()))
            .collect()
    }

    /// Looks again at every queue that claims a limit, stated or by its match, wherever it is parked.
    fn recount_queues_of(&mut self, name: &Name) {
        let claims = |queue: &Queue| {
            queue.counted.limits.contains(name)
                || queue.identity.claims.iter().any(|claim| claim.terms.limit() == Some(name))
        };
        let mut queues: Vec<_> =
            self.queues.iter().filter(|(_, queue)| claims(queue)).map(|(no, _)| *no).collect();
        queues.sort_unstable();
        queues.into_iter().for_each(|queue| self.recount_queue(queue));
    }
}

fn limit_digest(limit: &Limit) -> u64 {
    let refill = match limit.terms.refill {
        Refill::Release => 1,
        Refill::Window { ms, counts } => ms << 2 | 2 | (counts as u64),
        Refill::Decay { nano_per_second } => nano_per_second.rotate_left(7),
    };
    let name = limit.name.bytes().fold(0, |sum, byte| mix(sum, u64::from(byte)));
    let paused = limit.paused_until.map_or(0, |until| until.0);
    let rules = u64::from(limit.terms.max) << 8 | (limit.mode as u64) << 4 | limit.on_full as u64;
    mix(mix(name, limit.revision), mix(mix(rules, refill), paused))
}
