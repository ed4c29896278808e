//! What is counted, from all that is known.

use std::collections::BTreeMap;

use admit_kernel::{Claim, Counts, Limit, Mode, Name, QueueNo, Refill, Terms, TermsRef, matches};
use uuid::Uuid;

use super::{Effective, Mark, Model, PICO};

impl Model {
    pub(super) fn numbers(&self, terms: &TermsRef) -> Terms {
        match terms {
            TermsRef::Inline(terms) => *terms,
            TermsRef::Limit(name) => self.limits[name].terms,
        }
    }

    /// Stated claims and those of limits that match them; what does not exist or is off is left out.
    pub fn effective(&self, claims: &[Claim]) -> Vec<Effective> {
        let mut all: Vec<Effective> = Vec::new();
        for claim in claims {
            match &claim.terms {
                TermsRef::Inline(terms) => all.push((
                    claim.key.clone(),
                    claim.terms.clone(),
                    *terms,
                    Mode::Enforce,
                    false,
                    claim.slots,
                )),
                TermsRef::Limit(name) => {
                    if let Some(limit) = self.limits.get(name) {
                        all.push(self.of_limit(claim.key.clone(), limit, claim.slots));
                    }
                }
            }
        }
        for limit in self.limits.values() {
            let matched = claims.iter().filter(|claim| {
                !self.limits.contains_key(&claim.key)
                    && limit.patterns.iter().any(|pattern| matches(pattern, &claim.key))
            });
            if let Some(slots) = matched.map(|claim| claim.slots).max() {
                all.push(self.of_limit(limit.name.clone(), limit, slots));
            }
        }
        all.retain(|claim| claim.3 != Mode::Off);
        let takes = |key: &Name| all.iter().filter(|other| other.0 == *key).map(|other| other.5).max();
        let most: Vec<_> = all.iter().map(|claim| takes(&claim.0).expect("itself at least")).collect();
        all.iter_mut().zip(most).for_each(|(claim, most)| claim.5 = most);
        all
    }

    pub(super) fn of_limit(&self, key: Name, limit: &Limit, slots: u32) -> Effective {
        let paused = limit.paused_until.is_some_and(|until| self.now < until.0);
        (key, TermsRef::Limit(limit.name.clone()), limit.terms, limit.mode, paused, slots)
    }

    /// What a lease with these claims takes of each key. What it took through a limit that is gone it keeps.
    pub fn takes(&self, claims: &[Claim]) -> BTreeMap<Name, u32> {
        let mut takes: BTreeMap<Name, u32> =
            self.effective(claims).into_iter().map(|claim| (claim.0, claim.5)).collect();
        for claim in claims {
            if claim.terms.limit().is_some_and(|name| !self.limits.contains_key(name)) {
                let slots = takes.entry(claim.key.clone()).or_default();
                *slots = claim.slots.max(*slots);
            }
        }
        takes
    }

    /// Slots of live leases on a key.
    pub fn takes_all(&self, key: &Name) -> u64 {
        self.runs.values().filter_map(|run| self.takes(&run.claims).get(key).copied()).map(u64::from).sum()
    }

    pub(super) fn level(&self, key: &Name, terms: &TermsRef) -> u128 {
        let Refill::Decay { nano_per_second } = self.numbers(terms).refill else { return 0 };
        let (pico, at) = self.levels.get(&(key.clone(), terms.clone())).copied().unwrap_or_default();
        pico.saturating_sub(u128::from(nano_per_second) * u128::from(self.now - at))
    }

    /// Usage of a key under terms, leaving out what the queue `but` holds.
    pub fn used_pico(&self, key: &Name, by: &TermsRef, terms: &Terms, but: Option<QueueNo>) -> u128 {
        let after = |marks: &[Mark], ms: u64| {
            let within = |mark: &&Mark| mark.key == *key && mark.at + ms > self.now;
            marks.iter().filter(within).map(|mark| u64::from(mark.slots)).sum::<u64>()
        };
        let used = match terms.refill {
            Refill::Release => u128::from(self.takes_all(key)) * PICO,
            Refill::Window { ms, counts: Counts::Runs } => {
                u128::from(self.takes_all(key) + after(&self.ends, ms)) * PICO
            }
            Refill::Window { ms, counts: Counts::Starts } => u128::from(after(&self.starts, ms)) * PICO,
            Refill::Decay { .. } => self.level(key, by),
        };
        let holds =
            self.queues.iter().filter(|(no, _)| Some(**no) != but).flat_map(|(_, queue)| &queue.holds);
        let held: u64 = holds.filter(|hold| hold.0 == *key).map(|hold| u64::from(hold.2)).sum();
        used + u128::from(held) * PICO
    }

    /// Whether a claim has room, counted from history.
    pub(super) fn has_room(&self, claim: &Effective, continues: Option<Uuid>, but: Option<QueueNo>) -> bool {
        let (key, by, terms, .., slots) = claim;
        let mut used = self.used_pico(key, by, terms, but);
        if let Refill::Window { ms, counts: Counts::Runs } = terms.refill
            && let Some((run, at)) = continues.and_then(|run| Some((run, *self.ended.get(&run)?)))
            && at + ms > self.now
        {
            let own = self.ends.iter().find(|mark| mark.key == *key && mark.id == run && mark.at == at);
            used -= u128::from(own.map_or(0, |mark| mark.slots)) * PICO;
        }
        used + u128::from(*slots) * PICO <= u128::from(terms.max) * PICO
    }

    pub(super) fn check_grant(
        &self,
        id: Uuid,
        claims: &[Claim],
        continues: Option<Uuid>,
        queue: Option<QueueNo>,
    ) {
        for claim in self.effective(claims).iter().filter(|claim| claim.3 == Mode::Enforce) {
            assert!(!claim.4, "{id} was granted through {:?}, which is paused", claim.1);
            assert!(
                self.has_room(claim, continues, queue),
                "{id} was admitted to {} beyond {:?}: {} slots, {} pico used",
                claim.0,
                claim.2,
                claim.5,
                self.used_pico(&claim.0, &claim.1, &claim.2, queue),
            );
        }
    }
}
