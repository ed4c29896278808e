//! How much of a key is in use, counted anew from leases, starts, ends and levels, by the rules of terms.

use std::collections::BTreeMap;

use admit_kernel::{Claim, Counts, Limit, Mode, Name, Refill, Terms, TermsRef, matches};
use uuid::Uuid;

/// Parts of a slot in which levels are counted.
pub(super) const PICO: u128 = 1_000_000_000_000;

/// A claim as it counts: stated, or added by a limit whose pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    pub key: Name,
    pub terms: TermsRef,
    pub slots: u32,
}

/// The limits in force.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits(pub BTreeMap<Name, Limit>);

impl Limits {
    /// The claims with those that matching limits add, each with the most slots that any asks of its key.
    pub(super) fn effective(&self, claims: &[Claim]) -> Vec<Counted> {
        let mut all: Vec<Counted> = Vec::new();
        let mut add = |key: &Name, terms: TermsRef, slots: u32| {
            all.push(Counted { key: key.clone(), terms, slots });
        };
        for claim in claims {
            add(&claim.key, claim.terms.clone(), claim.slots);
        }
        for claim in claims.iter().filter(|claim| !self.0.contains_key(&claim.key)) {
            for limit in self.0.values() {
                if limit.patterns.iter().any(|pattern| matches(pattern, &claim.key)) {
                    add(&limit.name, TermsRef::Limit(limit.name.clone()), claim.slots);
                }
            }
        }
        for index in 0..all.len() {
            let key = all[index].key.clone();
            let most = all.iter().filter(|other| other.key == key).map(|other| other.slots).max();
            all[index].slots = most.unwrap_or(0);
        }
        all
    }

    /// What a lease with these claims takes of each key.
    pub(super) fn takes(&self, claims: &[Claim]) -> BTreeMap<Name, u32> {
        let effective = self.effective(claims).into_iter();
        effective.filter(|claim| !self.is_off(&claim.terms)).map(|claim| (claim.key, claim.slots)).collect()
    }

    fn is_off(&self, terms: &TermsRef) -> bool {
        terms.limit().and_then(|name| self.0.get(name)).is_some_and(|limit| limit.mode == Mode::Off)
    }

    /// The claims that raise and lower levels.
    pub(super) fn decaying(&self, claims: &[Claim]) -> Vec<Counted> {
        let decays = |claim: &Counted| {
            let terms = self.terms(&claim.terms);
            !self.is_off(&claim.terms)
                && terms.is_some_and(|terms| matches!(terms.refill, Refill::Decay { .. }))
        };
        self.effective(claims).into_iter().filter(decays).collect()
    }

    pub(super) fn terms(&self, terms: &TermsRef) -> Option<Terms> {
        match terms {
            TermsRef::Inline(terms) => Some(*terms),
            TermsRef::Limit(name) => self.0.get(name).map(|limit| limit.terms),
        }
    }
}

/// The starts, ends and levels of all keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    keys: BTreeMap<Name, KeyPast>,
}

#[derive(Debug, Clone, Default)]
struct KeyPast {
    starts: Vec<(u64, Uuid, u32)>,
    ends: Vec<(u64, u32)>,
    levels: BTreeMap<TermsRef, (u128, u64)>,
}

/// Longer than any window in use here, in milliseconds.
const LONGEST_WINDOW_MS: u64 = 60_000;

impl Past {
    pub(super) fn started(&mut self, key: &Name, at: u64, id: Uuid, slots: u32) {
        let past = self.keys.entry(key.clone()).or_default();
        past.starts.retain(|(other, ..)| other + LONGEST_WINDOW_MS > at);
        past.starts.push((at, id, slots));
    }

    pub(super) fn ended(&mut self, key: &Name, at: u64, slots: u32) {
        let past = self.keys.entry(key.clone()).or_default();
        past.ends.retain(|(other, _)| other + LONGEST_WINDOW_MS > at);
        past.ends.push((at, slots));
    }

    /// A run that does not count after all.
    pub(super) fn strike(&mut self, key: &Name, id: Uuid) {
        if let Some(past) = self.keys.get_mut(key) {
            past.starts.retain(|(_, other, _)| *other != id);
        }
    }

    pub(super) fn clear(&mut self, key: &Name) {
        self.keys.remove(key);
    }

    fn level(&self, key: &Name, terms: &TermsRef, now: u64, nano_per_second: u64) -> u128 {
        let level = self.keys.get(key).and_then(|past| past.levels.get(terms));
        level.map_or(0, |&(pico, at)| {
            pico.saturating_sub(u128::from(nano_per_second) * u128::from(now.saturating_sub(at)))
        })
    }

    /// Changes the level of a key by so many slots, after what has fallen by now.
    pub(super) fn change_level(&mut self, limits: &Limits, claim: &Counted, now: u64, slots: i64) {
        let rate = match limits.terms(&claim.terms).map(|terms| terms.refill) {
            Some(Refill::Decay { nano_per_second }) => nano_per_second,
            _ => return,
        };
        let by = u128::from(slots.unsigned_abs()) * PICO;
        let level = self.level(&claim.key, &claim.terms, now, rate);
        let level = if slots < 0 { level.saturating_sub(by) } else { level + by };
        let past = self.keys.entry(claim.key.clone()).or_default();
        past.levels.insert(claim.terms.clone(), (level, now));
    }

    /// Usage of a key under these terms, in parts of slots; `live` are the slots of its leases.
    pub(super) fn used(&self, key: &Name, by: &TermsRef, terms: &Terms, now: u64, live: u64) -> u128 {
        let past = self.keys.get(key);
        let slots = match terms.refill {
            Refill::Release => live,
            Refill::Window { ms, counts: Counts::Runs } => {
                let ends = past.into_iter().flat_map(|past| &past.ends);
                live + ends.filter(|(at, _)| at + ms > now).map(|(_, slots)| u64::from(*slots)).sum::<u64>()
            }
            Refill::Window { ms, counts: Counts::Starts } => {
                let starts = past.into_iter().flat_map(|past| &past.starts);
                starts.filter(|(at, ..)| at + ms > now).map(|(.., slots)| u64::from(*slots)).sum()
            }
            Refill::Decay { nano_per_second } => return self.level(key, by, now, nano_per_second),
        };
        u128::from(slots) * PICO
    }
}
