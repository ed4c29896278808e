//! The durable log, folded by other code than the kernel's, and every event of it judged.

mod endings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use admit_kernel::{
    Claim, Counts, End, Event, Grant, Mode, Name, OUTAGE_AFTER_MS, OUTAGE_GRACE_MS, Refill, Ticket, Time,
};
use uuid::Uuid;

use super::usage::{Limits, PICO, Past};
use super::{Beliefs, Checked, Rule, broken};
use crate::clocks::at_least_ms;

/// Half of the time without a writer after which the first one may say that there was an outage: clocks are read
/// when the database is asked, which may take its time.
const BLOCKED_MS: u64 = 250;

/// A live lease, as the log has it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub token: u64,
    pub claims: Arc<[Claim]>,
    pub ttl_ms: Option<u64>,
    pub expires_at: Option<u64>,
    pub claim_by: Option<u64>,
    /// How long its grant waits for who asked for it.
    pub claim_ms: u64,
    pub rate: bool,
    /// Until when, in true time, a silence of the log forbids its expiry, and the clock's slip then.
    spared_until: Option<(u64, u64)>,
}

/// When a record was decided.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moment {
    /// Between these, in true time, the engine looked at its clock.
    pub from_ms: u64,
    pub to_ms: u64,
    /// For how long the log was silent before, at least.
    pub silent_ms: u64,
    /// What the log's time may have run ahead by then.
    pub slip_ms: u64,
    /// The true time now.
    pub now_ms: u64,
    /// Whether it is the first since the only process started: until then nobody could renew.
    pub is_first: bool,
}

/// What the log says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub leases: BTreeMap<Uuid, Held>,
    pub tickets: BTreeMap<Uuid, Ticket>,
    pub limits: Limits,
    /// Limits that were removed.
    pub removed: BTreeSet<Name>,
    /// Ids that were ever granted, with their tokens.
    pub granted: BTreeMap<Uuid, u64>,
    /// Ids that ended, and how.
    pub ended: BTreeMap<Uuid, End>,
    /// Ids that somebody asked to release or withdraw.
    pub asked_to_end: BTreeSet<Uuid>,
    /// The most slots of a key that anybody was ever to have; absent: without bound.
    most: BTreeMap<Name, u64>,
    past: Past,
    clock: u64,
    /// How far the log says that its time is from the wall clock's.
    pub clock_offset_ms: i64,
    /// When the log last spoke again after a silence.
    silent_until: u64,
    last_token: u64,
    pub grants: u64,
    pub expiries: u64,
    pub outages: u64,
}

impl Ledger {
    /// The next record of the log.
    pub fn record(&mut self, events: &[Event], moment: Moment, beliefs: &mut Beliefs) -> Checked {
        self.spare_after_silence(moment);
        if moment.is_first {
            self.start_says_so(events)?;
        }
        for (index, event) in events.iter().enumerate() {
            if let Event::Clock(Time(now)) = event {
                let silent_ms = now.saturating_sub(self.clock);
                let is_long = silent_ms > OUTAGE_AFTER_MS;
                let is_outage = self.clock > 0 && is_long && self.has_something_to_lose();
                let said_so = matches!(events.get(index + 1), Some(Event::Outage { .. }));
                let is_start = moment.is_first && index == 0;
                let may_say_so = is_outage || silent_ms.max(moment.silent_ms) >= BLOCKED_MS;
                if (is_outage && !said_so || said_so && !may_say_so) && !is_start {
                    return broken(
                        Rule::Outage,
                        format!("the log was silent for {silent_ms} ms, an outage was logged: {said_so}"),
                    );
                }
                if *now < self.clock {
                    return broken(Rule::Time, format!("time runs backwards: {now} after {}", self.clock));
                }
                self.clock = *now;
            } else {
                self.event(event, moment, beliefs)?;
            }
        }
        self.nothing_is_overdue()
    }

    /// Until a process starts nobody can renew, however short that is by the log.
    fn start_says_so(&self, events: &[Event]) -> Checked {
        let first = events.iter().find(|event| !matches!(event, Event::Clock(_)));
        let said_so = matches!(first, Some(Event::Outage { .. }));
        if said_so == (self.clock > 0 && self.has_something_to_lose()) {
            return Ok(());
        }
        broken(Rule::Outage, format!("a process started, an outage was logged: {said_so}"))
    }

    /// Who held when the log fell silent has some time to come back, counted in true time.
    fn spare_after_silence(&mut self, moment: Moment) {
        if self.clock == 0 || moment.silent_ms <= OUTAGE_AFTER_MS && !moment.is_first {
            return;
        }
        self.outages += 1;
        for held in self.leases.values_mut() {
            let grace_ms = held.ttl_ms.unwrap_or(OUTAGE_GRACE_MS).min(OUTAGE_GRACE_MS);
            held.spared_until = Some((moment.from_ms + at_least_ms(grace_ms), moment.slip_ms));
        }
    }

    fn has_something_to_lose(&self) -> bool {
        let expires = |held: &Held| held.expires_at.is_some() || held.claim_by.is_some();
        !self.tickets.is_empty() || self.leases.values().any(expires)
    }

    fn nothing_is_overdue(&self) -> Checked {
        let due = |at: Option<u64>| at.is_some_and(|at| at <= self.clock);
        if let Some((id, _)) = self.leases.iter().find(|(_, held)| due(held.expires_at) || due(held.claim_by))
        {
            return broken(Rule::Endings, format!("the lease {} should have expired", id.as_u128()));
        }
        let overdue =
            |ticket: &Ticket| due(ticket.deadline.map(|at| at.0)) || due(ticket.poll_by.map(|at| at.0));
        match self.tickets.values().find(|ticket| overdue(ticket)) {
            Some(ticket) => {
                broken(Rule::Endings, format!("the ticket {} should have timed out", ticket.id.as_u128()))
            }
            None => Ok(()),
        }
    }

    fn event(&mut self, event: &Event, moment: Moment, beliefs: &mut Beliefs) -> Checked {
        let clock = self.clock;
        match event {
            Event::Granted(grant) => self.granted_at_once(grant)?,
            Event::TicketGranted { id, token, .. } => self.ticket_granted(*id, *token)?,
            Event::Renewed { id, ttl_ms, expires_at } => {
                let Some(held) = self.leases.get_mut(id) else {
                    return broken(Rule::Endings, format!("{} is renewed but not held", id.as_u128()));
                };
                if expires_at.map(|at| at.0) != ttl_ms.map(|ttl| clock + ttl) {
                    return broken(
                        Rule::Endings,
                        format!("{} is renewed until {expires_at:?}", id.as_u128()),
                    );
                }
                held.ttl_ms = *ttl_ms;
                held.expires_at = expires_at.map(|at| at.0);
                held.claim_by = None;
                held.spared_until = None;
            }
            Event::Claimed { id } => {
                if let Some(held) = self.leases.get_mut(id) {
                    held.claim_by = None;
                }
            }
            Event::LeaseEnded { id, how, counts } => self.lease_ended(*id, *how, *counts, moment, beliefs)?,
            Event::Shrunk { id, key, slots } => self.shrunk(*id, key, *slots),
            Event::Queued { ticket, .. } => {
                if self.granted.contains_key(&ticket.id) || self.ended.contains_key(&ticket.id) {
                    return broken(Rule::GrantedOnce, format!("{} waits again", ticket.id.as_u128()));
                }
                self.tickets.insert(ticket.id, (**ticket).clone());
            }
            Event::TicketEnded { id, how } => self.ticket_ended(*id, *how)?,
            Event::Polled { id, poll_by } => {
                if let Some(ticket) = self.tickets.get_mut(id) {
                    ticket.poll_by = Some(*poll_by);
                }
            }
            Event::Outage { .. } => self.outage(),
            Event::Cleared { key } => self.past.clear(key),
            Event::LimitSet(limit) => {
                let paused_until = self.limits.0.get(&limit.name).and_then(|before| before.paused_until);
                let mut limit = (**limit).clone();
                limit.paused_until = paused_until;
                self.note_most(&limit);
                self.removed.remove(&limit.name);
                self.limits.0.insert(limit.name.clone(), limit);
            }
            Event::LimitRemoved { name } => {
                self.removed.insert(name.clone());
                if self.limits.0.remove(name).is_some_and(|limit| !limit.patterns.is_empty()) {
                    self.most.insert(name.clone(), u64::MAX);
                }
            }
            Event::Paused { name, until } => {
                if let Some(limit) = self.limits.0.get_mut(name) {
                    limit.paused_until = *until;
                }
            }
            Event::Clock(_)
            | Event::CancelAsked { .. }
            | Event::Parked { .. }
            | Event::SetAside { .. }
            | Event::HoldTaken { .. }
            | Event::HoldsReturned { .. }
            | Event::Horizon { .. }
            | Event::Level { .. }
            | Event::Forgotten { .. }
            | Event::Unsettled { .. }
            | Event::Settled { .. }
            | Event::EpochRaised { .. }
            | Event::FormatRaised { .. } => {}
            Event::ClockOffsetSet { ms } => self.clock_offset_ms = *ms,
        }
        Ok(())
    }

    fn note_most(&mut self, limit: &admit_kernel::Limit) {
        // Starts and levels do not bound how many hold at once.
        let bounds_holders =
            matches!(limit.terms.refill, Refill::Release | Refill::Window { counts: Counts::Runs, .. });
        let enforced = limit.mode == Mode::Enforce && bounds_holders;
        let bound = if enforced { u64::from(limit.terms.max) } else { u64::MAX };
        // A match finds those that hold already: they count, and nobody is evicted.
        let patterns = self.limits.0.get(&limit.name).map_or(&[][..], |before| &before.patterns);
        let rematched = patterns != limit.patterns && !self.leases.is_empty();
        let most = self.most.entry(limit.name.clone()).or_default();
        *most = (*most).max(if rematched { u64::MAX } else { bound });
    }

    /// The most slots of a key that anybody was ever to have.
    pub fn most_of(&self, key: &Name) -> u64 {
        self.most.get(key).copied().unwrap_or(u64::MAX)
    }

    /// What a lease takes of each key now.
    pub fn takes_of(&self, id: Uuid) -> Vec<(Name, u32)> {
        self.leases
            .get(&id)
            .map_or_else(Vec::new, |held| self.limits.takes(&held.claims).into_iter().collect())
    }

    fn granted_at_once(&mut self, grant: &Grant) -> Checked {
        let is_usage = grant.labels.contains_key("set-usage");
        let before = self.tickets.values().find(|ticket| {
            ticket.claims == grant.claims
                && ticket.priority == 0
                && ticket.group.is_none()
                && ticket.age <= grant.age
        });
        let plain = !grant.labels.contains_key("ranked");
        if let Some(ticket) = before.filter(|_| plain && !is_usage) {
            return broken(
                Rule::Order,
                format!("{} is granted at once although {} waits", grant.id.as_u128(), ticket.id.as_u128()),
            );
        }
        let held = Held {
            token: grant.token,
            claims: grant.claims.clone(),
            ttl_ms: grant.ttl_ms,
            expires_at: grant.ttl_ms.map(|ttl| self.clock + ttl),
            claim_by: None,
            claim_ms: 0,
            rate: grant.rate,
            spared_until: None,
        };
        self.begin_lease(grant.id, held, !is_usage)
    }

    fn ticket_granted(&mut self, id: Uuid, token: u64) -> Checked {
        let Some(ticket) = self.tickets.remove(&id) else {
            return broken(Rule::GrantedOnce, format!("{} is granted but does not wait", id.as_u128()));
        };
        let same_queue = |other: &&Ticket| {
            other.claims == ticket.claims && other.priority == ticket.priority && other.group == ticket.group
        };
        let first =
            self.tickets.values().filter(same_queue).map(|other| (other.age, other.arrival, other.id)).min();
        if let Some((.., first)) = first.filter(|first| (first.0, first.1) < (ticket.age, ticket.arrival)) {
            return broken(
                Rule::Order,
                format!("{} is granted before {} of the same queue", id.as_u128(), first.as_u128()),
            );
        }
        // Who waits for several keys may hold one in vain until it is their turn, whoever else comes.
        if self.limits.takes(&ticket.claims).len() == 1 {
            self.no_higher_priority_waits(&ticket)?;
        }
        let held = Held {
            token,
            claims: ticket.claims,
            ttl_ms: ticket.ttl_ms,
            expires_at: ticket.ttl_ms.map(|ttl| self.clock + ttl),
            claim_by: Some(self.clock + ticket.claim_ms),
            claim_ms: ticket.claim_ms,
            rate: ticket.rate,
            spared_until: None,
        };
        self.begin_lease(id, held, true)
    }

    fn no_higher_priority_waits(&self, ticket: &Ticket) -> Checked {
        let higher = |other: &&Ticket| other.claims == ticket.claims && other.priority > ticket.priority;
        match self.tickets.values().find(higher) {
            Some(other) => broken(
                Rule::Order,
                format!(
                    "{} is granted before {}, of higher priority",
                    ticket.id.as_u128(),
                    other.id.as_u128()
                ),
            ),
            None => Ok(()),
        }
    }

    fn begin_lease(&mut self, id: Uuid, mut held: Held, judged: bool) -> Checked {
        if held.token <= self.last_token {
            return broken(Rule::Tokens, format!("token {} after {}", held.token, self.last_token));
        }
        self.last_token = held.token;
        if self.granted.insert(id, held.token).is_some() || self.ended.contains_key(&id) {
            return broken(Rule::GrantedOnce, format!("{} is granted again", id.as_u128()));
        }
        self.grants += 1;
        if judged {
            self.fits(id, &held.claims)?;
        }
        let exists = |claim: &&Claim| claim.terms.limit().is_none_or(|name| self.limits.0.contains_key(name));
        held.claims = held.claims.iter().filter(exists).cloned().collect();
        for (key, slots) in self.limits.takes(&held.claims) {
            self.past.started(&key, self.clock, id, slots);
        }
        if judged {
            for claim in self.limits.decaying(&held.claims) {
                self.past.change_level(&self.limits, &claim, self.clock, i64::from(claim.slots));
            }
        }
        self.leases.insert(id, held);
        Ok(())
    }

    /// Whether there is room for the claims under every limit in force.
    fn fits(&self, id: Uuid, claims: &[Claim]) -> Checked {
        for claim in self.limits.effective(claims) {
            let Some(terms) = self.limits.terms(&claim.terms) else { continue };
            if let Some(limit) = claim.terms.limit().and_then(|name| self.limits.0.get(name)) {
                if limit.mode != Mode::Enforce {
                    continue;
                }
                if limit.is_paused(Time(self.clock)) {
                    return broken(
                        Rule::OverMax,
                        format!("{} goes through paused {}", id.as_u128(), limit.name),
                    );
                }
            }
            let live = self.live_slots(&claim.key);
            let used = self.past.used(&claim.key, &claim.terms, &terms, self.clock, live);
            if used + u128::from(claim.slots) * PICO > u128::from(terms.max) * PICO {
                return broken(
                    Rule::OverMax,
                    format!(
                        "{} gets {} of {} where {} of {} are used",
                        id.as_u128(),
                        claim.slots,
                        claim.key,
                        used as f64 / PICO as f64,
                        terms.max
                    ),
                );
            }
        }
        Ok(())
    }

    fn live_slots(&self, key: &Name) -> u64 {
        let takes = self.leases.values().map(|held| self.limits.takes(&held.claims));
        takes.filter_map(|takes| takes.get(key).copied()).map(u64::from).sum()
    }

    /// The log goes on from an older copy; tokens still have to grow, and what was asked for was asked for.
    pub fn go_back_to(&mut self, older: Ledger) {
        let newer = std::mem::replace(self, older);
        self.last_token = newer.last_token;
        self.asked_to_end.extend(newer.asked_to_end);
        for (key, most) in newer.most {
            let known = self.most.entry(key).or_default();
            *known = most.max(*known);
        }
        (self.grants, self.expiries, self.outages) = (newer.grants, newer.expiries, newer.outages);
    }

    /// The log's time.
    pub fn clock(&self) -> u64 {
        self.clock
    }
}
