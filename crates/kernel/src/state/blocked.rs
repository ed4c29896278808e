//! The one judgement of newcomers, of those who are woken and of those who are parked anew: does it fit, and
//! does nobody go before it?

use smallvec::SmallVec;
use uuid::Uuid;

use super::key::{Key, KeyIx};
use super::level::PICO;
use super::ranked::Rank;
use super::{Id, State};
use crate::{Claim, Counts, IfMissing, Mode, Name, QueueNo, Refill, Terms, TermsRef, Time, Why};

/// A claim as it is judged: stated, or added by a limit that matches the stated key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effective<'a> {
    pub(super) key: &'a Name,
    pub(super) terms: &'a TermsRef,
    /// The terms in force.
    pub(super) rules: Resolved,
    /// The most that any claim of the request asks of this key: that is what the lease would take.
    pub(super) slots: u32,
}

pub(super) type EffectiveClaims<'a> = SmallVec<[Effective<'a>; 2]>;

/// Terms as they are in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolved {
    pub(super) terms: Terms,
    pub(super) mode: Mode,
    pub(super) paused_until: Option<Time>,
}

impl Resolved {
    pub(super) fn is_paused(&self, now: Time) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// Whether it is the lack of room that keeps requests out, not that it admits nothing at all.
    pub(super) fn blocks(&self, now: Time) -> bool {
        self.mode == Mode::Enforce && self.terms.max > 0 && !self.is_paused(now)
    }
}

/// A request that is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Its queue, if it waits; none: a newcomer.
    pub(super) queue: Option<QueueNo>,
    pub(super) priority: i32,
    pub(super) group: Option<&'a Name>,
    pub(super) rank: Rank,
    pub(super) continues: Option<Uuid>,
}

impl State {
    /// The terms in force; none if there is no such limit.
    pub(super) fn resolve(&self, terms: &TermsRef) -> Option<Resolved> {
        match terms {
            TermsRef::Inline(terms) => {
                Some(Resolved { terms: *terms, mode: Mode::Enforce, paused_until: None })
            }
            TermsRef::Limit(name) => self.limits.get(name).map(|state| Resolved {
                terms: state.limit.terms,
                mode: state.limit.mode,
                paused_until: state.limit.paused_until,
            }),
        }
    }

    /// The limits that match a key, by name. A limit's own key is never matched.
    pub(super) fn matching(&self, key: &Name) -> impl Iterator<Item = (&Name, &TermsRef)> {
        let own = self.matchers.is_empty() || self.limits.contains_key(key);
        let matchers = if own { &[][..] } else { &self.matchers[..] };
        matchers
            .iter()
            .filter(|matcher| matcher.patterns.iter().any(|pattern| crate::matches(pattern, key)))
            .map(|matcher| (&matcher.key, &matcher.terms))
    }

    /// Stated claims in the order of the request, then those of matching limits by name. Claims through
    /// limits that do not exist or are off neither count nor block, so they are left out.
    pub(super) fn effective<'a>(&'a self, claims: &'a [Claim]) -> EffectiveClaims<'a> {
        let in_force = |key: &'a Name, terms: &'a TermsRef, slots: u32| {
            let rules = self.resolve(terms).filter(|rules| rules.mode != Mode::Off)?;
            Some(Effective { key, terms, rules, slots })
        };
        let mut all: EffectiveClaims<'a> =
            claims.iter().filter_map(|claim| in_force(&claim.key, &claim.terms, claim.slots)).collect();
        if !self.matchers.is_empty() {
            let stated = all.len();
            for claim in claims {
                let matching = self.matching(&claim.key);
                all.extend(matching.filter_map(|(key, terms)| in_force(key, terms, claim.slots)));
            }
            all[stated..].sort_by(|a, b| a.key.cmp(b.key).then(b.slots.cmp(&a.slots)));
            let mut n = stated;
            while n + 1 < all.len() {
                if all[n].key == all[n + 1].key {
                    all.remove(n + 1);
                } else {
                    n += 1;
                }
            }
        }
        if all.len() > 1 {
            for n in 0..all.len() {
                let most = all.iter().filter(|other| other.key == all[n].key).map(|other| other.slots).max();
                all[n].slots = most.unwrap_or(all[n].slots);
            }
        }
        all
    }

    /// What a lease with these claims takes of each key. What it took through a limit that is gone it keeps.
    pub(super) fn takes(&self, claims: &[Claim]) -> SmallVec<[(Name, u32); 2]> {
        let mut takes: SmallVec<[(Name, u32); 2]> = SmallVec::new();
        let effective = self.effective(claims);
        // Usually every claim is in force; only then there is nothing to look for.
        let all_in_force = self.matchers.is_empty() && effective.len() == claims.len();
        let looked_at = if all_in_force { &[][..] } else { claims };
        let orphans = looked_at.iter().filter(|claim| self.resolve(&claim.terms).is_none());
        let all = effective.iter().map(|claim| (claim.key, claim.slots));
        for (key, slots) in all.chain(orphans.map(|claim| (&claim.key, claim.slots))) {
            match takes.iter_mut().find(|(other, _)| other == key) {
                Some((_, most)) => *most = slots.max(*most),
                None => takes.push((key.clone(), slots)),
            }
        }
        takes
    }

    /// The head of a waiting queue as a candidate.
    pub(super) fn candidate_of(&self, queue: QueueNo) -> Option<Candidate<'_>> {
        let state = self.queues.get(&queue)?;
        let head = state.head()?;
        Some(Candidate {
            queue: Some(queue),
            priority: head.priority,
            group: head.group.as_ref(),
            rank: (head.age, head.arrival),
            continues: head.continues,
        })
    }

    /// Usage as it is held against a candidate: without what its own queue holds, and without the end of the
    /// run that it continues.
    pub(super) fn used_pico(&self, candidate: &Candidate<'_>, claim: &Effective<'_>, key: &Key) -> u128 {
        let terms = &claim.rules.terms;
        let used = key.used_pico(terms, claim.terms, self.seen, candidate.queue, &self.leases);
        let own = match (candidate.continues, terms.refill) {
            (Some(id), Refill::Window { ms, counts: Counts::Runs }) => match self.ids.get(id) {
                Some(Id::Ended { at, .. }) => key.ended_slots(id, at, self.seen, ms),
                _ => 0,
            },
            _ => 0,
        };
        used.saturating_sub(u128::from(own) * PICO)
    }

    /// Whether a claim has room, whoever else waits.
    pub(super) fn has_room(&self, candidate: &Candidate<'_>, claim: &Effective<'_>) -> bool {
        let used = self.keys.get(claim.key).map_or(0, |key| self.used_pico(candidate, claim, key));
        used + u128::from(claim.slots) * PICO <= u128::from(claim.rules.terms.max) * PICO
    }

    /// Why a claim keeps a candidate waiting; none: it does not.
    pub(super) fn shortage(&self, candidate: &Candidate<'_>, claim: &Effective<'_>) -> Option<Why> {
        let rules = &claim.rules;
        if rules.mode != Mode::Enforce {
            return None;
        }
        if rules.is_paused(self.seen) {
            return Some(Why::Paused);
        }
        if rules.terms.max == 0 {
            return Some(Why::Closed);
        }
        if claim.slots > rules.terms.max {
            return Some(Why::Impossible);
        }
        let key = self.keys.get(claim.key)?;
        let used = self.used_pico(candidate, claim, key);
        if used + u128::from(claim.slots) * PICO > u128::from(rules.terms.max) * PICO {
            return Some(Why::NoRoom);
        }
        self.queue_before(candidate, claim, key)
    }

    /// Whether others who wait at a key go before a candidate.
    fn queue_before(&self, candidate: &Candidate<'_>, claim: &Effective<'_>, key: &Key) -> Option<Why> {
        // Work was left at this key: who waits there comes before any newcomer.
        if candidate.queue.is_none() && !key.waitlists.is_empty() && self.unsettled.contains(&key.name) {
            return Some(Why::Behind);
        }
        for list in &key.waitlists {
            if list.terms == *claim.terms {
                if list.goes_before(candidate.queue, candidate.priority, candidate.group, candidate.rank) {
                    return Some(Why::Behind);
                }
            } else if self.reserves(list, candidate) {
                return Some(Why::Reserved);
            }
        }
        None
    }

    /// Whether the front of a waitlist of other terms was passed so often that it reserves the key now.
    fn reserves(&self, list: &super::waitlist::Waitlist, candidate: &Candidate<'_>) -> bool {
        list.passed >= crate::PASSED_BEFORE_RESERVE
            && list.front().is_some_and(|&(priority, _, rank, queue)| {
                Some(queue) != candidate.queue
                    && (priority, rank) < (std::cmp::Reverse(candidate.priority), candidate.rank)
            })
            && self.resolve(&list.terms).is_some_and(|resolved| resolved.blocks(self.seen))
    }

    /// The first claim that keeps a candidate waiting: there it parks.
    pub(super) fn first_short<'a>(
        &self,
        candidate: &Candidate<'_>,
        claims: &EffectiveClaims<'a>,
    ) -> Option<Effective<'a>> {
        claims.iter().find(|claim| self.shortage(candidate, claim).is_some()).copied()
    }

    /// A claim that refuses the request for good: more slots than its limit will allow at all.
    pub(super) fn impossible<'a>(&self, claims: &EffectiveClaims<'a>) -> Option<(Effective<'a>, u32)> {
        claims.iter().find_map(|claim| {
            let max = claim.rules.terms.max;
            let is_enforced = claim.rules.mode == Mode::Enforce;
            (is_enforced && max > 0 && claim.slots > max).then_some((*claim, max))
        })
    }

    /// A claim by a limit that does not exist, where that is not to be passed over.
    pub(super) fn missing<'a>(&self, claims: &'a [Claim]) -> Option<&'a Name> {
        claims.iter().find_map(|claim| {
            let name = claim.terms.limit()?;
            (claim.if_missing == IfMissing::Reject && !self.limits.contains_key(name)).then_some(name)
        })
    }

    /// Whether a claim that is only observed would have kept the request waiting.
    pub(super) fn would_wait(&self, candidate: &Candidate<'_>, claims: &EffectiveClaims<'_>) -> bool {
        claims.iter().any(|claim| self.observed_short(candidate, claim))
    }

    pub(super) fn observed_short(&self, candidate: &Candidate<'_>, claim: &Effective<'_>) -> bool {
        let rules = &claim.rules;
        rules.mode == Mode::Observe && (rules.is_paused(self.seen) || !self.has_room(candidate, claim))
    }

    /// Where a key stands, if it is known.
    pub(super) fn key_ix(&self, key: &Name) -> Option<KeyIx> {
        self.keys.ix(key)
    }
}
