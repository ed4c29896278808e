//! What operators ask: limits are defined, removed, paused, reset, and told their usage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::State;
use super::acquire::{check_name, check_terms};
use super::key::KeyIx;
use super::level::PICO;
use super::turn::{Turn, denied};
use crate::{
    Claim, Denial, End, Event, Grant, Limit, MAX_LIMITS, MAX_MATCHERS, MAX_PATTERNS, MAX_SLOTS,
    MAX_TEXT_BYTES, Mode, Name, Outcome, Refill, TermsRef, Time, Version,
};

impl Turn<'_> {
    pub(super) fn set_limit(&mut self, limit: &Limit, if_revision: Option<u64>) -> Outcome {
        let before = self.state.limit(&limit.name).cloned();
        let current = before.as_ref().map(|limit| limit.revision);
        if if_revision.is_some_and(|revision| revision != current.unwrap_or(0)) {
            return Outcome::RevisionMismatch { current };
        }
        if let Some(denial) =
            check_limit(limit).err().or_else(|| self.state.no_more_limits(limit, before.is_none()))
        {
            return denied(denial);
        }
        // Levels so far fell at the rate so far; where nothing decays any more there are none.
        for (key, pico) in self.state.levels_under(&limit.name) {
            let pico = if has_level(limit) { pico } else { 0 };
            self.emit(Event::Level { key, terms: TermsRef::Limit(limit.name.clone()), pico });
        }
        let after = Limit {
            revision: self.state.limits_changed + 1,
            paused_until: before.as_ref().and_then(|limit| limit.paused_until),
            ..limit.clone()
        };
        let goes_on =
            before.as_ref().is_some_and(|before| has_level(before) && before.patterns == after.patterns);
        self.emit(Event::LimitSet(Box::new(after.clone())));
        if has_level(&after) && !goes_on {
            self.start_levels(&after.name);
        }
        self.remember_window_of(&after);
        self.bring_back_aside();
        Outcome::LimitStored { before: before.map(Box::new), after: Box::new(after) }
    }

    /// A limit that begins to decay, or to count others' keys, begins with what is in use: each release will
    /// lower the level again.
    fn start_levels(&mut self, name: &Name) {
        let terms = TermsRef::Limit(name.clone());
        for key in self.state.claiming(name).1 {
            let used = self.state.keys.get(&key).map_or(0, |key| key.holders.slots());
            let pico = u128::from(used) * PICO;
            if pico > self.state.level_pico(&key, &terms) {
                self.emit(Event::Level { key, terms: terms.clone(), pico });
            }
        }
    }

    /// A limit that begins to look back finds what is still running.
    fn remember_window_of(&mut self, limit: &Limit) {
        let ms = limit.terms.horizon_ms();
        let key = self.state.keys.get(&limit.name);
        let known = key.and_then(|key| key.past.as_ref()).map_or(0, |past| past.horizon_ms);
        if ms > known && key.is_some_and(|key| !key.holders.is_empty() || key.waiting > 0) {
            self.emit(Event::Horizon { key: limit.name.clone(), ms });
        }
    }

    /// Queues that asked for more than was allowed stand in line again where that is no longer so.
    fn bring_back_aside(&mut self) {
        let possible = |queue: &u64| {
            let claims = &self.state.queues.get(queue)?.identity.claims;
            let is_back = self.state.impossible(&self.state.effective(claims)).is_none()
                || self.state.missing(claims).is_some();
            is_back.then_some(*queue)
        };
        let back: Vec<u64> = self.state.aside.iter().filter_map(possible).collect();
        for queue in back {
            self.emit(Event::SetAside { queue, aside: false });
        }
    }

    pub(super) fn remove_limit(&mut self, name: &Name, if_revision: Option<u64>) -> Outcome {
        let Some(limit) = self.state.limit(name).cloned() else { return Outcome::UnknownLimit };
        if if_revision.is_some_and(|revision| revision != limit.revision) {
            return Outcome::RevisionMismatch { current: Some(limit.revision) };
        }
        for (key, _) in self.state.levels_under(name) {
            self.emit(Event::Level { key, terms: TermsRef::Limit(name.clone()), pico: 0 });
        }
        self.emit(Event::LimitRemoved { name: name.clone() });
        self.bring_back_aside();
        Outcome::LimitRemoved(Box::new(limit))
    }

    pub(super) fn pause(&mut self, name: &Name, until: Option<Time>, if_version: Option<Version>) -> Outcome {
        let Some(before) = self.state.limit(name).cloned() else { return Outcome::UnknownLimit };
        if let Some(mismatch) = self.is_not(&before, if_version) {
            return mismatch;
        }
        let until = until.filter(|until| *until > self.state.seen);
        if before.paused_until != until {
            self.emit(Event::Paused { name: name.clone(), until });
        }
        let after = Limit { paused_until: until, ..before.clone() };
        Outcome::LimitStored { before: Some(Box::new(before)), after: Box::new(after) }
    }

    /// Why a limit is not to be changed, as it is not like that.
    fn is_not(&self, limit: &Limit, version: Option<Version>) -> Option<Outcome> {
        let differs = version.is_some_and(|version| version != limit.version(self.state.seen));
        differs.then_some(Outcome::RevisionMismatch { current: Some(limit.revision) })
    }

    /// The pause of a limit is over.
    pub(super) fn resume_due(&mut self, ix: KeyIx) {
        if let Some(name) = self.state.keys.at(ix).map(|key| key.name.clone()) {
            self.emit(Event::Paused { name, until: None });
        }
    }

    pub(super) fn reset(&mut self, name: &Name, if_version: Option<Version>) -> Outcome {
        let Some(limit) = self.state.limit(name) else { return Outcome::UnknownLimit };
        if let Some(mismatch) = self.is_not(limit, if_version) {
            return mismatch;
        }
        let (ids, keys) = self.state.claiming(name);
        for &id in &ids {
            self.end_lease(id, End::Reset, false);
        }
        for key in keys {
            self.emit(Event::Cleared { key });
        }
        Outcome::Reset { ended: u32::try_from(ids.len()).unwrap_or(u32::MAX) }
    }

    pub(super) fn set_usage(&mut self, name: &Name, id: Uuid, used: u32) -> Outcome {
        let Some(limit) = self.state.limit(name).cloned() else { return Outcome::UnknownLimit };
        if used > MAX_SLOTS {
            let reason = format!("is {used}; give 0 to {MAX_SLOTS} slots");
            return denied(Denial::Invalid { field: "used", reason });
        }
        if self.state.ids.get(id).is_some() {
            return denied(Denial::IdReused);
        }
        let terms = TermsRef::Limit(name.clone());
        if matches!(limit.terms.refill, Refill::Decay { .. }) {
            self.emit(Event::Level { key: name.clone(), terms, pico: u128::from(used) * PICO });
            return Outcome::Done;
        }
        let slots = |state: &State| state.keys.get(name).map_or(0, |key| key.holders.slots());
        while slots(self.state) > u64::from(used) {
            let Some(oldest) = self.state.oldest_holder(name) else { break };
            self.end_lease(oldest, End::Reset, false);
        }
        let missing = u64::from(used).saturating_sub(slots(self.state));
        if missing > 0 {
            let claims: Arc<[Claim]> =
                [Claim::limit(name.clone(), u32::try_from(missing).unwrap_or(MAX_SLOTS))].into();
            self.remember_windows(&claims);
            self.emit(Event::Granted(Box::new(Grant {
                id,
                token: self.next_token(),
                claims,
                ttl_ms: None,
                rate: false,
                continues: None,
                would_wait: false,
                age: self.state.seen,
                holder: None,
                labels: Arc::new(BTreeMap::from([("set-usage".into(), "true".into())])),
            })));
        }
        Outcome::Done
    }
}

impl State {
    fn no_more_limits(&self, limit: &Limit, is_new: bool) -> Option<Denial> {
        if is_new && self.limits.len() >= MAX_LIMITS as usize {
            return Some(Denial::Overloaded { what: "limits", max: MAX_LIMITS });
        }
        let adds_matcher =
            !limit.patterns.is_empty() && !self.matchers.iter().any(|matcher| matcher.key == limit.name);
        (adds_matcher && self.matchers.len() >= MAX_MATCHERS as usize)
            .then_some(Denial::Overloaded { what: "limits with patterns", max: MAX_MATCHERS })
    }

    /// The levels that stand under a limit, as they are now, by key.
    fn levels_under(&self, name: &Name) -> Vec<(Name, u128)> {
        let decays = self.limit(name).is_some_and(|limit| matches!(limit.terms.refill, Refill::Decay { .. }));
        if !decays {
            return Vec::new();
        }
        let terms = TermsRef::Limit(name.clone());
        let keys = self.keys.iter().map(|(_, key)| key);
        let with = keys.filter(|key| key.past.as_ref().is_some_and(|past| past.levels.contains_key(&terms)));
        let mut levels: Vec<_> =
            with.map(|key| (key.name.clone(), self.level_pico(&key.name, &terms))).collect();
        levels.sort_unstable();
        levels
    }

    /// The leases that claim a limit, oldest first, and the keys on which they and the limit itself count.
    fn claiming(&self, name: &Name) -> (Vec<Uuid>, BTreeSet<Name>) {
        let mut keys = BTreeSet::from([name.clone()]);
        let own = self.keys.ix(name);
        let mut leases: Vec<(u64, Uuid)> = Vec::new();
        for (_, live) in self.leases.iter() {
            let claims = live.lease.claims.iter().filter(|claim| claim.terms.limit() == Some(name));
            let before = keys.len();
            keys.extend(claims.clone().map(|claim| claim.key.clone()));
            let matched = live.takes.iter().any(|&(ix, _)| Some(ix) == own);
            if matched || keys.len() > before || claims.count() > 0 {
                leases.push((live.lease.token, live.lease.id));
            }
        }
        leases.sort_unstable();
        (leases.into_iter().map(|(_, id)| id).collect(), keys)
    }

    fn oldest_holder(&self, key: &Name) -> Option<Uuid> {
        let (ix, _) = self.keys.get(key)?.holders.iter().next()?;
        self.leases.at(ix).map(|live| live.lease.id)
    }
}

/// Whether a limit counts by levels.
fn has_level(limit: &Limit) -> bool {
    limit.mode != Mode::Off && matches!(limit.terms.refill, Refill::Decay { .. })
}

/// Whether a limit is within the bounds of everything.
fn check_limit(limit: &Limit) -> Result<(), Denial> {
    check_name("name", &limit.name)?;
    check_terms(&limit.terms)?;
    check_name("source", &limit.source)?;
    if limit.patterns.len() > MAX_PATTERNS {
        let reason = format!("has {} patterns; give at most {MAX_PATTERNS}", limit.patterns.len());
        return Err(Denial::Invalid { field: "match", reason });
    }
    limit.patterns.iter().try_for_each(|pattern| check_name("match", pattern))?;
    if limit.max_len > crate::MAX_TICKETS {
        let reason = format!("is {}; give 0 to {} tickets", limit.max_len, crate::MAX_TICKETS);
        return Err(Denial::Invalid { field: "queue.max_len", reason });
    }
    if let Some(ms) = limit.max_wait_ms.filter(|ms| !(1..=crate::MAX_WAIT_MS).contains(ms)) {
        let reason = format!("is {ms}; give 1 to {} ms", crate::MAX_WAIT_MS);
        return Err(Denial::Invalid { field: "queue.max_wait_ms", reason });
    }
    if limit.description.len() > MAX_TEXT_BYTES {
        let reason = format!("has {} bytes; give at most {MAX_TEXT_BYTES}", limit.description.len());
        return Err(Denial::Invalid { field: "description", reason });
    }
    Ok(())
}
