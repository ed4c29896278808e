//! Limits change, leases begin and end: what of it is remembered.

use std::collections::BTreeSet;

use admit_kernel::{Claim, End, Limit, Mode, Name, Refill, TermsRef};
use uuid::Uuid;

use super::{Mark, Model, PICO, Run};

impl Model {
    pub(super) fn set_limit(&mut self, limit: &Limit) {
        // Levels so far fell at the rate so far.
        let terms = TermsRef::Limit(limit.name.clone());
        let keys: Vec<_> = self.levels.keys().filter(|(_, by)| *by == terms).cloned().collect();
        for level in keys {
            let pico = self.level(&level.0, &terms);
            self.levels.insert(level, (pico, self.now));
        }
        let decays = |limit: &Limit| matches!(limit.terms.refill, Refill::Decay { .. });
        let before = self.limits.insert(limit.name.clone(), limit.clone());
        let went_on = before.is_some_and(|before| decays(&before) && before.patterns == limit.patterns);
        if decays(limit) && !went_on {
            // It begins with what is in use on each key where leases go by it.
            let of = |run: &Run| self.effective(&run.claims).into_iter().filter(|claim| claim.1 == terms);
            let keys: BTreeSet<Name> = self.runs.values().flat_map(of).map(|claim| claim.0).collect();
            for key in keys {
                let pico = self.level(&key, &terms).max(u128::from(self.takes_all(&key)) * PICO);
                self.levels.insert((key, terms.clone()), (pico, self.now));
            }
        }
    }

    pub(super) fn remember(&mut self, key: &Name, ms: u64) {
        let already = self.horizons.contains_key(key);
        assert!(!already, "the schedules use one window length: a longer one is tested apart");
        self.horizons.insert(key.clone(), (ms, self.now));
        let running = self.runs.iter().filter_map(|(id, run)| {
            let slots = self.takes(&run.claims).get(key).copied()?;
            Some(Mark { key: key.clone(), at: run.granted_at, id: *id, slots })
        });
        let running: Vec<_> = running.collect();
        self.starts.extend(running);
    }

    pub(super) fn begin(
        &mut self,
        id: Uuid,
        claims: &[Claim],
        token: u64,
        ttl_ms: Option<u64>,
        rate: bool,
        continues: Option<Uuid>,
    ) {
        assert!(token > self.last_token, "tokens grow");
        assert!(token < 1 << 53);
        self.last_token = token;
        self.grants += 1;
        let claims: Vec<Claim> = claims
            .iter()
            .filter(|claim| claim.terms.limit().is_none_or(|name| self.limits.contains_key(name)))
            .cloned()
            .collect();
        for (key, slots) in self.takes(&claims) {
            if self.horizons.contains_key(&key) {
                self.starts.push(Mark { key: key.clone(), at: self.now, id, slots });
                if let Some((run, at)) = continues.and_then(|run| Some((run, *self.ended.get(&run)?))) {
                    let end = |mark: &Mark| mark.key == key && mark.id == run && mark.at == at;
                    if let Some(index) = self.ends.iter().position(end) {
                        self.ends.remove(index);
                    }
                }
            }
        }
        for (key, terms, numbers, mode, _, slots) in self.effective(&claims) {
            if mode != Mode::Off && matches!(numbers.refill, Refill::Decay { .. }) {
                let pico = self.level(&key, &terms) + u128::from(slots) * PICO;
                self.levels.insert((key, terms), (pico, self.now));
            }
        }
        let run = Run {
            claims,
            ttl_ms,
            granted_at: self.now,
            expires_at: ttl_ms.map(|ttl| self.now + ttl),
            claim_by: None,
            rate,
            token,
        };
        assert!(self.runs.insert(id, run).is_none(), "an id holds once");
    }

    pub(super) fn end(&mut self, id: Uuid, how: End, counts: bool) {
        let run = self.runs.remove(&id).expect("a live lease ends");
        match how {
            End::Expired => assert_eq!(run.expires_at, Some(self.now), "it ends at its own time"),
            End::Lapsed => assert_eq!(run.claim_by, Some(self.now), "it lapses at its own time"),
            _ => {}
        }
        for (key, slots) in self.takes(&run.claims) {
            if self.horizons.contains_key(&key) {
                if counts {
                    self.ends.push(Mark { key, at: self.now, id, slots });
                } else {
                    self.starts.retain(|mark| !(mark.key == key && mark.id == id));
                }
            }
        }
        self.lower(&run, &[]);
        self.ended.insert(id, self.now);
    }

    pub(super) fn shrink(&mut self, id: Uuid, key: &Name, left: u32) {
        let before = self.runs[&id].clone();
        let claims = before.claims.iter().filter_map(|claim| {
            let slots = if claim.key == *key { claim.slots.min(left) } else { claim.slots };
            (slots > 0).then(|| Claim { slots, ..claim.clone() })
        });
        let claims: Vec<Claim> = claims.collect();
        let (had, has) = (self.takes(&before.claims), self.takes(&claims));
        for (key, had) in had {
            let gone = had - has.get(&key).copied().unwrap_or(0);
            if gone > 0 && self.horizons.contains_key(&key) {
                self.ends.push(Mark { key, at: self.now, id: Uuid::nil(), slots: gone });
            }
        }
        self.lower(&before, &claims);
        self.runs.get_mut(&id).expect("it lives").claims = claims;
    }

    /// A release lowers each level by as many slots as the lease no longer takes there.
    pub(super) fn lower(&mut self, run: &Run, left: &[Claim]) {
        if run.rate {
            return;
        }
        let left = self.effective(left);
        for (key, terms, numbers, mode, _, slots) in self.effective(&run.claims) {
            if mode == Mode::Off || !matches!(numbers.refill, Refill::Decay { .. }) {
                continue;
            }
            let stays = left.iter().find(|other| (&other.0, &other.1) == (&key, &terms));
            let gone = slots - stays.map_or(0, |stays| stays.5);
            let pico = self.level(&key, &terms).saturating_sub(u128::from(gone) * PICO);
            self.levels.insert((key, terms), (pico, self.now));
        }
    }
}
