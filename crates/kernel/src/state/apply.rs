//! Events change the state here, and nothing else does. `apply` never chooses: what was chosen is in the event.

use smallvec::SmallVec;
use uuid::Uuid;

use super::history::Run;
use super::key::LeaseIx;
use super::level::Level;
use super::timers::Timer;
use super::{Format, Id, Live, State, mix_id};
use crate::{End, Event, Grant, Lease, Name, OUTAGE_GRACE_MS, TOKENS_PER_EPOCH, TermsRef, Time};

impl State {
    pub(super) fn apply(&mut self, event: &Event) {
        let touched = self.touched.len();
        self.apply_to_parts(event);
        // With each event, not with each step: a log does not tell where its steps began.
        for n in touched..self.touched.len() {
            self.drop_if_idle(self.touched[n]);
        }
    }

    fn apply_to_parts(&mut self, event: &Event) {
        match event {
            Event::Clock(now) => self.apply_clock(*now),
            Event::Outage { .. } => self.apply_outage(),
            Event::Granted(grant) => self.apply_granted(grant),
            Event::TicketGranted { id, token, would_wait, credit } => {
                self.apply_ticket_granted(*id, *token, *would_wait, *credit);
            }
            Event::Renewed { id, ttl_ms, expires_at } => self.apply_renewed(*id, *ttl_ms, *expires_at),
            Event::Claimed { id } => {
                self.with_lease(*id, |lease| lease.claim_by = None);
            }
            Event::Polled { id, poll_by } => self.apply_polled(*id, *poll_by),
            Event::CancelAsked { id } => {
                self.with_lease(*id, |lease| lease.cancel_asked = true);
            }
            Event::LeaseEnded { id, how, counts } => self.apply_lease_ended(*id, *how, *counts),
            Event::Shrunk { id, key, slots } => self.apply_shrunk(*id, key, *slots),
            Event::Queued { ticket, queue } => self.apply_queued(ticket, *queue),
            Event::TicketEnded { id, how } => {
                if self.remove_ticket(*id).is_some() {
                    self.end_id(*id, *how);
                }
            }
            Event::Parked { queue, key, terms, credit, moves } => {
                self.apply_parked(*queue, key, terms, *credit, *moves)
            }
            Event::SetAside { queue, aside } => self.apply_set_aside(*queue, *aside),
            Event::HoldTaken { queue, key, terms, slots, until } => {
                self.apply_hold_taken(*queue, key, terms, *slots, *until);
            }
            Event::HoldsReturned { queue, in_vain } => self.apply_holds_returned(*queue, *in_vain),
            Event::Horizon { key, ms } => self.apply_horizon(key, *ms),
            Event::Level { key, terms, pico } => self.apply_level(key, terms, *pico),
            Event::Cleared { key } => self.apply_cleared(key),
            Event::Forgotten { key } => self.apply_forgotten(key),
            Event::LimitSet(limit) => self.apply_limit_set(limit),
            Event::LimitRemoved { name } => self.apply_limit_removed(name),
            Event::Paused { name, until } => self.apply_paused(name, *until),
            Event::Unsettled { key } => {
                self.unsettled.insert(key.clone());
            }
            Event::Settled { key } => {
                self.unsettled.remove(key);
            }
            Event::EpochRaised { epoch } => {
                self.epoch = *epoch;
                self.tokens = 0;
            }
            Event::ClockOffsetSet { ms } => self.clock_offset_ms = *ms,
            Event::FormatRaised { format } => self.format = Format(*format),
        }
    }

    fn apply_clock(&mut self, now: Time) {
        self.logged = self.logged.max(now);
        self.seen = self.seen.max(now);
        self.ids.forget(self.logged);
    }

    pub(super) fn end_id(&mut self, id: Uuid, how: End) {
        self.ids.end(id, how, self.logged);
    }

    /// While nothing could be written nobody could renew: what was live gets a little more time.
    fn apply_outage(&mut self) {
        let now = self.logged;
        let extended: Vec<Uuid> = self.leases.iter().map(|(_, live)| live.lease.id).collect();
        for id in extended {
            self.with_lease(id, |lease| {
                let grace = lease.ttl_ms.unwrap_or(OUTAGE_GRACE_MS).min(OUTAGE_GRACE_MS);
                lease.expires_at = lease.expires_at.map(|at| at.max(now.plus(grace)));
                lease.claim_by = lease.claim_by.map(|at| at.max(now.plus(grace)));
            });
        }
        let polled: Vec<(Uuid, Time)> = self
            .queues
            .values()
            .flat_map(|queue| queue.tickets.iter())
            .filter_map(|ticket| Some((ticket.id, ticket.poll_by?)))
            .collect();
        for (id, poll_by) in polled {
            self.apply_polled(id, poll_by.max(now.plus(OUTAGE_GRACE_MS)));
        }
    }

    fn apply_granted(&mut self, grant: &Grant) {
        let lease = Lease {
            id: grant.id,
            token: grant.token,
            claims: grant.claims.clone(),
            ttl_ms: grant.ttl_ms,
            arrived_at: self.logged,
            granted_at: self.logged,
            expires_at: grant.ttl_ms.map(|ttl| self.logged.plus(ttl)),
            claim_by: None,
            cancel_asked: false,
            rate: grant.rate,
            would_wait: grant.would_wait,
            holder: grant.holder.clone(),
            labels: grant.labels.clone(),
        };
        self.add_lease(lease, grant.continues, grant.age);
    }

    /// Adds a lease that was admitted. Its claims by limits that do not exist come to nothing.
    pub(super) fn add_lease(&mut self, mut lease: Lease, continues: Option<Uuid>, age: Time) {
        let asked = lease.claims.clone();
        let exists = |terms: &TermsRef| terms.limit().is_none_or(|name| self.limits.contains_key(name));
        if !asked.iter().all(|claim| exists(&claim.terms)) {
            lease.claims = asked.iter().filter(|claim| exists(&claim.terms)).cloned().collect();
        }
        self.count_would_wait(&lease, continues);
        self.count_passed(&lease, age);
        self.tokens = lease.token % TOKENS_PER_EPOCH;
        let takes = self.takes(&lease.claims);
        let (id, token, now) = (lease.id, lease.token, self.logged);
        self.digest = self.digest.wrapping_add(lease_digest(&lease));
        self.timers.add(lease.expires_at, Timer::Expiry(id));
        self.timers.add(lease.claim_by, Timer::ClaimBy(id));
        let ix = self.leases.insert(Box::new(Live { lease, asked, takes: SmallVec::new() }));
        self.ids.set_lease(id, ix);
        let continued = continues.and_then(|run| match self.ids.get(run) {
            Some(Id::Ended { at, .. }) => Some((run, at)),
            _ => None,
        });
        for (name, slots) in &takes {
            let key_ix = self.keys.ensure(name);
            if let Some(key) = self.keys.at_mut(key_ix) {
                key.holders.insert(token, ix, *slots);
                if let Some(past) = key.past.as_mut().filter(|past| past.horizon_ms > 0) {
                    past.starts.push(now, id, *slots);
                    if let Some((run, at)) = continued {
                        past.ends.strike(run, at);
                    }
                }
            }
            match continued {
                // It may take less than what is struck out.
                Some(_) => self.got_room(key_ix),
                None => self.touched.push(key_ix),
            }
            if let Some(live) = self.leases.at_mut(ix) {
                live.takes.push((key_ix, *slots));
            }
        }
    }

    /// Changes a lease, and with it its timers and its digest.
    pub(super) fn with_lease(&mut self, id: Uuid, change: impl FnOnce(&mut Lease)) {
        let Some(ix) = self.ids.lease(id) else { return };
        let Some(live) = self.leases.at_mut(ix) else { return };
        let lease = &mut live.lease;
        let (expires_at, claim_by) = (lease.expires_at, lease.claim_by);
        self.digest = self.digest.wrapping_sub(lease_digest(lease));
        change(lease);
        self.digest = self.digest.wrapping_add(lease_digest(lease));
        self.leases.expiring += usize::from(super::ends_by_time(&live.lease));
        self.leases.expiring -= usize::from(expires_at.is_some() || claim_by.is_some());
        let live = self.leases.at(ix).map(|live| (live.lease.expires_at, live.lease.claim_by));
        let (new_expires_at, new_claim_by) = live.unwrap_or_default();
        if new_expires_at != expires_at {
            self.timers.cancel(expires_at, Timer::Expiry(id));
            self.timers.add(new_expires_at, Timer::Expiry(id));
        }
        if new_claim_by != claim_by {
            self.timers.cancel(claim_by, Timer::ClaimBy(id));
            self.timers.add(new_claim_by, Timer::ClaimBy(id));
        }
    }

    fn apply_renewed(&mut self, id: Uuid, ttl_ms: Option<u64>, expires_at: Option<Time>) {
        self.with_lease(id, |lease| {
            lease.ttl_ms = ttl_ms;
            lease.expires_at = expires_at;
            lease.claim_by = None;
        });
    }

    fn apply_lease_ended(&mut self, id: Uuid, how: End, counts: bool) {
        let Some(ix) = self.ids.lease(id) else { return };
        let Some(live) = self.leases.remove(ix) else { return };
        let lease = &live.lease;
        self.digest = self.digest.wrapping_sub(lease_digest(lease));
        self.timers.cancel(lease.expires_at, Timer::Expiry(id));
        self.timers.cancel(lease.claim_by, Timer::ClaimBy(id));
        for &(key_ix, slots) in &live.takes {
            let Some(key) = self.keys.at_mut(key_ix) else { continue };
            key.holders.remove(lease.token);
            if matches!(how, End::Released | End::Expired) {
                key.samples.push(self.logged.since(lease.granted_at));
            }
            if let Some(past) = key.past.as_mut().filter(|past| past.horizon_ms > 0) {
                if counts {
                    past.ends.push(self.logged, id, slots);
                } else {
                    past.starts.strike(id, lease.granted_at);
                }
                let gone = self.logged.minus(past.horizon_ms);
                past.starts.forget(gone);
                past.ends.forget(gone);
            }
            self.got_room(key_ix);
        }
        self.end_id(id, how);
    }

    fn apply_shrunk(&mut self, id: Uuid, key: &Name, slots: u32) {
        let Some(ix) = self.ids.lease(id) else { return };
        let Some(live) = self.leases.at_mut(ix) else { return };
        let before = live.takes.clone();
        self.digest = self.digest.wrapping_sub(lease_digest(&live.lease));
        let claims = live.lease.claims.iter().filter_map(|claim| {
            let left = if claim.key == *key { claim.slots.min(slots) } else { claim.slots };
            (left > 0).then(|| crate::Claim { slots: left, ..claim.clone() })
        });
        live.lease.claims = claims.collect();
        let (token, now) = (live.lease.token, self.logged);
        self.digest = self.digest.wrapping_add(lease_digest(&live.lease));
        self.recount_lease(ix);
        let after = self.leases.at(ix).map(|live| live.takes.clone()).unwrap_or_default();
        for (key_ix, had) in before {
            let has = after.iter().find(|(other, _)| *other == key_ix).map_or(0, |&(_, slots)| slots);
            let Some(key) = self.keys.at_mut(key_ix).filter(|_| has < had) else { continue };
            if has == 0 {
                key.holders.remove(token);
            }
            if let Some(past) = key.past.as_mut().filter(|past| past.horizon_ms > 0) {
                // Not the end of the run: who continues it looks for that one.
                past.ends.push(now, Uuid::nil(), had - has);
            }
            self.got_room(key_ix);
        }
    }

    /// Counts a lease anew where what it takes of each key may have changed: its claims, or the limits.
    pub(super) fn recount_lease(&mut self, ix: LeaseIx) {
        let Some(live) = self.leases.at(ix) else { return };
        let (token, takes) = (live.lease.token, self.takes(&live.lease.claims));
        let before =
            std::mem::take(&mut self.leases.at_mut(ix).map(|live| live.takes.clone()).unwrap_or_default());
        let mut after = SmallVec::new();
        for (name, slots) in takes {
            let key_ix = self.keys.ensure(&name);
            if let Some(key) = self.keys.at_mut(key_ix) {
                key.holders.insert(token, ix, slots);
            }
            self.touched.push(key_ix);
            after.push((key_ix, slots));
        }
        for (key_ix, _) in before {
            if !after.iter().any(|(other, _)| *other == key_ix)
                && let Some(key) = self.keys.at_mut(key_ix)
            {
                key.holders.remove(token);
                self.got_room(key_ix);
            }
        }
        if let Some(live) = self.leases.at_mut(ix) {
            live.takes = after;
        }
    }

    /// Notes that a key may have room, or another front, so that it is settled and its timers are set anew.
    pub(super) fn got_room(&mut self, key_ix: super::KeyIx) {
        self.touched.push(key_ix);
        if let Some(key) = self.keys.at(key_ix).filter(|key| !key.waitlists.is_empty()) {
            self.dirty.push(key.name.clone());
        }
    }

    fn apply_horizon(&mut self, key: &Name, ms: u64) {
        let ix = self.keys.ensure(key);
        self.touched.push(ix);
        let now = self.logged;
        let Some(key) = self.keys.at_mut(ix) else { return };
        let past = key.past.get_or_insert_default();
        past.known_since = past.known_since.max(now.minus(past.horizon_ms));
        past.horizon_ms = past.horizon_ms.max(ms);
        let first_known = past.starts.runs().next();
        // What began before the key remembered is known as far as it still runs.
        let earlier: Vec<Run> = key
            .holders
            .iter()
            .filter_map(|(lease, slots)| {
                let lease = &self.leases.at(lease)?.lease;
                Some(Run { at: lease.granted_at, id: lease.id, slots })
            })
            .take_while(|run| first_known.is_none_or(|first| run.at < first.at))
            .filter(|run| run.at > now.minus(ms))
            .collect();
        past.starts.prepend(earlier);
    }

    fn apply_level(&mut self, key: &Name, terms: &TermsRef, pico: u128) {
        let ix = self.keys.ensure(key);
        let at = self.logged;
        if let Some(key) = self.keys.at_mut(ix) {
            let levels = &mut key.past_mut().levels;
            let fell = levels.get(terms).is_some_and(|level| pico < level.pico);
            if pico == 0 {
                levels.remove(terms);
            } else {
                levels.insert(terms.clone(), Level { pico, at });
            }
            if fell {
                self.got_room(ix);
            }
        }
        self.touched.push(ix);
    }

    fn apply_cleared(&mut self, key: &Name) {
        let Some(ix) = self.key_ix(key) else { return };
        if let Some(past) = self.keys.at_mut(ix).and_then(|key| key.past.as_mut()) {
            past.starts = super::history::History::default();
            past.ends = super::history::History::default();
            past.levels.clear();
        }
        self.got_room(ix);
    }

    fn apply_forgotten(&mut self, key: &Name) {
        let Some(ix) = self.key_ix(key) else { return };
        if let Some(key) = self.keys.at_mut(ix) {
            key.past = None;
        }
        self.touched.push(ix);
    }
}

pub(super) fn lease_digest(lease: &Lease) -> u64 {
    let expires = lease.expires_at.map_or(u64::MAX, |at| at.0);
    let flags = u64::from(lease.cancel_asked) << 1 | u64::from(lease.claim_by.is_some());
    let slots: u64 = lease.claims.iter().map(|claim| u64::from(claim.slots)).sum();
    mix_id(lease.id, lease.token ^ flags.rotate_left(60), expires.wrapping_add(slots.rotate_left(44)))
}
