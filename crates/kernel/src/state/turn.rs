//! One step: what is due by now, work that was left, the command, and whoever can go on because of it.

use std::sync::Arc;

use uuid::Uuid;

use super::level::PICO;
use super::timers::Timer;
use super::{Id, State};
use crate::{
    Claim, Command, Denial, End, Event, MAX_TRIES, Name, OUTAGE_AFTER_MS, Outcome, Part, Refill,
    TOKENS_PER_EPOCH, TermsRef, Time,
};

/// The state, and the events that a step makes of it.
pub(super) struct Turn<'a> {
    pub(super) state: &'a mut State,
    events: &'a mut Vec<Event>,
    /// Queues that this step may still try.
    pub(super) tries: u32,
}

/// An idle log says at least this often that it is alive; outages are measured from the last word.
const HEARTBEAT_MS: u64 = 1_000;

impl<'a> Turn<'a> {
    pub(super) fn begin(
        state: &'a mut State,
        now: Time,
        command: &Command,
        events: &'a mut Vec<Event>,
    ) -> Turn<'a> {
        let mut turn = Turn { state, events, tries: MAX_TRIES };
        let silent_ms = now.since(turn.state.logged);
        let is_outage = silent_ms > OUTAGE_AFTER_MS || matches!(command, Command::Outage);
        if is_outage && turn.state.needs_heartbeat() && turn.state.logged > Time(0) {
            let since = turn.state.logged;
            turn.state.seen = turn.state.seen.max(now);
            turn.emit(Event::Outage { since });
        }
        turn.handle_due(now);
        turn
    }

    pub(super) fn run(mut self, command: &Command) -> Outcome {
        self.settle_left_over();
        let outcome = match command {
            Command::Acquire(acquire) => self.acquire(acquire),
            Command::Renew { id, ttl_ms } => self.renew(*id, *ttl_ms),
            Command::Release { id, part, counts } => self.release(*id, part, *counts),
            Command::Ask { id, for_ms } => self.ask(*id, *for_ms),
            Command::Withdraw { id } => self.withdraw(*id),
            Command::SetLimit { limit, if_revision } => self.set_limit(limit, *if_revision),
            Command::RemoveLimit { name, if_revision } => self.remove_limit(name, *if_revision),
            Command::Pause { name, until, if_version } => self.pause(name, *until, *if_version),
            Command::Reset { name, if_version } => self.reset(name, *if_version),
            Command::SetUsage { name, id, used } => self.set_usage(name, *id, *used),
            Command::SetClockOffset { ms } => {
                self.emit(Event::ClockOffsetSet { ms: *ms });
                Outcome::Done
            }
            Command::RaiseFormat { format } => {
                if *format > self.state.format() {
                    self.emit(Event::FormatRaised { format: *format });
                }
                Outcome::Done
            }
            // Said before all else.
            Command::Outage | Command::RaiseEpoch => Outcome::Done,
            Command::Tick => self.tick(),
        };
        self.settle_dirty();
        self.state.refresh_touched();
        outcome
    }

    /// Makes an event happen: the state changes, and the log will say so.
    pub(super) fn emit(&mut self, event: Event) {
        if self.state.logged < self.state.seen {
            let clock = Event::Clock(self.state.seen);
            self.state.apply(&clock);
            self.events.push(clock);
        }
        self.state.apply(&event);
        debug_assert!(event.since_format() <= self.state.format(), "{event:?} is newer than the log");
        self.events.push(event);
    }

    /// Every timer that is due by `now`, each at its own time.
    fn handle_due(&mut self, now: Time) {
        while let Some(at) = self.state.timers.next().filter(|at| *at <= now) {
            self.state.seen = self.state.seen.max(at);
            // All that ends at one time ends before anybody is tried: who needs two keys finds both. After an
            // outage that is all that came due in it.
            for timer in self.state.take_due() {
                self.fire(timer);
            }
            self.settle_dirty();
            self.state.refresh_touched();
        }
        self.state.seen = self.state.seen.max(now);
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Expiry(id) => self.end_lease(id, End::Expired, true),
            Timer::ClaimBy(id) => self.end_lease(id, End::Lapsed, false),
            Timer::Deadline(id) => self.emit(Event::TicketEnded { id, how: End::TimedOut }),
            Timer::PollBy(id) => self.emit(Event::TicketEnded { id, how: End::Unattended }),
            Timer::HoldsBack(queue) => self.return_holds(queue, 1),
            Timer::Resume(ix) => self.resume_due(ix),
            Timer::Edge(ix) => {
                if let Some(key) = self.state.keys.at_mut(ix) {
                    key.edge = None;
                }
                self.state.got_room(ix);
            }
            Timer::Forget(ix) => {
                let name = self.state.keys.at_mut(ix).map(|key| {
                    key.forget = None;
                    key.name.clone()
                });
                if let Some(key) = name {
                    self.emit(Event::Forgotten { key });
                }
            }
        }
    }

    fn tick(&mut self) -> Outcome {
        // The log has to say that it is alive where silence would be taken for an outage.
        if self.state.needs_heartbeat() && self.state.seen.since(self.state.logged) >= HEARTBEAT_MS {
            let clock = Event::Clock(self.state.seen);
            self.state.apply(&clock);
            self.events.push(clock);
        }
        Outcome::Done
    }

    fn renew(&mut self, id: Uuid, ttl_ms: Option<u64>) -> Outcome {
        let live = match self.state.ids.get(id) {
            Some(Id::Lease(ix)) => self.state.leases.at(ix),
            Some(Id::Ended { how, at }) => return denied(Denial::Ended { how, at }),
            _ => return Outcome::UnknownId,
        };
        if let Some(reason) = ttl_ms.and_then(super::acquire::wrong_ttl) {
            return denied(Denial::Invalid { field: "ttl_ms", reason });
        }
        let Some(live) = live else { return Outcome::UnknownId };
        let ttl_ms = ttl_ms.or(live.lease.ttl_ms);
        let expires_at = ttl_ms.map(|ttl| self.state.seen.plus(ttl));
        self.emit(Event::Renewed { id, ttl_ms, expires_at });
        self.state.lease(id).map_or(Outcome::UnknownId, |lease| Outcome::Renewed(Box::new(lease.clone())))
    }

    fn release(&mut self, id: Uuid, part: &Part, counts: bool) -> Outcome {
        let ix = match self.state.ids.get(id) {
            Some(Id::Lease(ix)) => ix,
            Some(Id::Ticket { .. }) => return self.withdraw(id),
            Some(Id::Ended { .. }) => return Outcome::Released { changed: false },
            None => return Outcome::UnknownId,
        };
        let Some(live) = self.state.leases.at(ix) else { return Outcome::UnknownId };
        let has = |key: &Name| {
            live.lease.claims.iter().filter(|claim| claim.key == *key).map(|claim| claim.slots).max()
        };
        let (key, left) = match part {
            Part::All => {
                self.end_lease(id, End::Released, counts);
                return Outcome::Released { changed: true };
            }
            Part::Key(key) => (key, has(key).map(|_| 0)),
            Part::Slots { key, slots } => (key, has(key).map(|has| has.saturating_sub(*slots))),
        };
        let Some(left) = left else { return Outcome::Released { changed: false } };
        let all_gone = left == 0 && live.lease.claims.iter().all(|claim| claim.key == *key);
        if all_gone {
            self.end_lease(id, End::Released, counts);
        } else {
            let raised = self.state.raised_by(id);
            self.emit(Event::Shrunk { id, key: key.clone(), slots: left });
            self.lower_levels(&raised, &self.state.raised_by(id));
        }
        Outcome::Released { changed: true }
    }

    /// Ends a lease, and lowers the levels that it had raised.
    pub(super) fn end_lease(&mut self, id: Uuid, how: End, counts: bool) {
        if self.state.ids.lease(id).is_none() {
            return;
        }
        let raised = self.state.raised_by(id);
        self.emit(Event::LeaseEnded { id, how, counts });
        self.lower_levels(&raised, &[]);
    }

    /// Lowers levels by what of a lease's slots is no longer there.
    fn lower_levels(&mut self, raised: &[(Name, TermsRef, u32)], still: &[(Name, TermsRef, u32)]) {
        for (key, terms, slots) in raised {
            let left = still.iter().find(|(other, by, _)| (other, by) == (key, terms));
            let gone = slots - left.map_or(0, |(.., left)| *left).min(*slots);
            let level = self.state.level_pico(key, terms);
            if gone > 0 && level > 0 {
                let pico = level.saturating_sub(u128::from(gone) * PICO);
                self.emit(Event::Level { key: key.clone(), terms: terms.clone(), pico });
            }
        }
    }

    pub(super) fn raise_levels(&mut self, claims: &Arc<[Claim]>) {
        for (key, terms, slots) in self.state.decaying(claims) {
            let pico = self.state.level_pico(&key, &terms) + u128::from(slots) * PICO;
            self.emit(Event::Level { key, terms, pico });
        }
    }

    pub(super) fn ask(&mut self, id: Uuid, for_ms: u64) -> Outcome {
        match self.state.ids.get(id) {
            Some(Id::Lease(_)) => self.claim_grant(id),
            Some(Id::Ticket { queue, rank }) => {
                let ticket = self.state.queues.get(&queue).and_then(|queue| queue.tickets.get(rank));
                if let Some(crate::Patience::Polled { poll_ttl_ms }) = ticket.map(|ticket| ticket.patience) {
                    let poll_by = self.state.seen.plus(for_ms.min(crate::MAX_WAIT_MS)).plus(poll_ttl_ms);
                    self.emit(Event::Polled { id, poll_by });
                }
                Outcome::Waiting { id }
            }
            Some(Id::Ended { how, at }) => denied(Denial::Ended { how, at }),
            None => Outcome::UnknownId,
        }
    }

    /// The lease of an id, claimed if it was granted after waiting.
    pub(super) fn claim_grant(&mut self, id: Uuid) -> Outcome {
        if self.state.lease(id).is_some_and(|lease| lease.claim_by.is_some()) {
            self.emit(Event::Claimed { id });
        }
        self.state.lease(id).map_or(Outcome::UnknownId, |lease| Outcome::Granted(Box::new(lease.clone())))
    }

    fn withdraw(&mut self, id: Uuid) -> Outcome {
        match self.state.ids.get(id) {
            Some(Id::Ticket { .. }) => {
                self.emit(Event::TicketEnded { id, how: End::Withdrawn });
                Outcome::Withdrawn { changed: true }
            }
            Some(Id::Lease(_)) if self.state.lease(id).is_some_and(|lease| lease.claim_by.is_some()) => {
                self.end_lease(id, End::Released, false);
                Outcome::Withdrawn { changed: true }
            }
            Some(_) => Outcome::Withdrawn { changed: false },
            None => Outcome::UnknownId,
        }
    }

    /// The token of the next lease.
    pub(super) fn next_token(&self) -> u64 {
        debug_assert!(self.state.tokens + 1 < TOKENS_PER_EPOCH);
        self.state.token() + 1
    }
}

impl State {
    /// What a lease has raised levels by, where its release lowers them again.
    fn raised_by(&self, id: Uuid) -> Vec<(Name, TermsRef, u32)> {
        let live = self.ids.lease(id).and_then(|ix| self.leases.at(ix)).filter(|live| !live.lease.rate);
        let has_level = |ix| {
            let past = self.keys.at(ix).and_then(|key| key.past.as_ref());
            past.is_some_and(|past| !past.levels.is_empty())
        };
        let with_levels = live.filter(|live| live.takes.iter().any(|&(ix, _)| has_level(ix)));
        with_levels.map_or_else(Vec::new, |live| self.decaying(&live.lease.claims))
    }

    /// The claims that go by a level: key, terms and slots.
    pub(super) fn decaying(&self, claims: &[Claim]) -> Vec<(Name, TermsRef, u32)> {
        let effective = self.effective(claims);
        let decays =
            effective.iter().filter(|claim| matches!(claim.rules.terms.refill, Refill::Decay { .. }));
        decays.map(|claim| (claim.key.clone(), claim.terms.clone(), claim.slots)).collect()
    }

    /// The level of a key under decaying terms, now, in 10^-12 slots.
    pub(super) fn level_pico(&self, key: &Name, terms: &TermsRef) -> u128 {
        let level = self.keys.get(key).and_then(|key| key.past.as_ref()?.levels.get(terms));
        level.map_or(0, |level| level.pico_at(self.seen, self.decay_rate(terms)))
    }
}

pub(super) fn denied(denial: Denial) -> Outcome {
    Outcome::Denied(Box::new(denial))
}
