//! A request for slots: admitted, queued or denied.

use std::sync::Arc;

use uuid::Uuid;

use super::blocked::Candidate;
use super::turn::{Turn, denied};
use super::waitlist::QueueIdentity;
use super::{Id, State};
use crate::{
    Acquire, Claim, DEFAULT_CLAIM_MS, DEFAULT_MAX_LEN, Denial, End, Event, Grant, MAX_CLAIMS, MAX_DECAY_NANO,
    MAX_INLINE_TERMS, MAX_LABELS, MAX_LEASES, MAX_MATCHES, MAX_NAME_BYTES, MAX_SLOTS, MAX_TEXT_BYTES,
    MAX_TICKETS, MAX_TTL_MS, MAX_WAIT_MS, MAX_WINDOW_MS, MIN_TTL_MS, Name, OnFull, Outcome, Patience,
    QueueNo, Refill, TermsRef, Ticket, Time,
};

/// How a newcomer is admitted.
struct Fit {
    /// An observed limit would have made it wait.
    would_wait: bool,
    /// Only the present counts: there is no window to remember and no level to raise.
    is_plain: bool,
}

impl Turn<'_> {
    pub(super) fn acquire(&mut self, acquire: &Acquire) -> Outcome {
        if let Some(known) = self.repeated(acquire) {
            return known;
        }
        if let Some(denial) = check(acquire).err().or_else(|| self.state.refused(&acquire.claims)) {
            return denied(denial);
        }
        let age = acquire.age.map_or(self.state.seen, |age| age.min(self.state.seen));
        let rank = (age, self.state.arrivals + 1);
        let claims: Arc<[Claim]> = acquire.claims.as_slice().into();
        let identity = QueueIdentity { claims, priority: acquire.priority, group: acquire.group.clone() };
        // Who states the same claims waits behind those who wait for them already, or before by age.
        let waits_at = |claim: &Claim| self.state.keys.get(&claim.key).is_some_and(|key| key.waiting > 0);
        let somebody_waits = self.state.tickets > 0 && acquire.claims.iter().any(waits_at);
        let queue = somebody_waits.then(|| self.state.queue_of.get(&identity).copied()).flatten();
        let candidate = Candidate {
            queue: None,
            priority: acquire.priority,
            group: acquire.group.as_ref(),
            rank,
            continues: acquire.continues,
        };
        let park = match self.state.judge(&candidate, &acquire.claims, queue) {
            Ok(fit) => return self.grant_newcomer(acquire, identity.claims, age, fit),
            Err(park) => park,
        };
        let on_full = self.state.on_full(acquire, &candidate);
        if acquire.patience == Patience::None || on_full == OnFull::Reject {
            return denied(Denial::Full { blocked_by: self.state.blocks(&candidate, &acquire.claims) });
        }
        // Who takes the place of others adds nobody to those who wait.
        let replaces = on_full == OnFull::KeepNewest && queue.is_some();
        if let Some(denial) = self.state.no_place(&acquire.claims, &park, replaces) {
            return denied(denial);
        }
        match on_full {
            OnFull::KeepNewest => queue.into_iter().for_each(|queue| self.replace_waiting(queue)),
            OnFull::CancelOldest => self.ask_oldest_to_stop(acquire, &candidate),
            OnFull::Queue | OnFull::Reject => {}
        }
        self.enqueue(acquire, identity, rank, park);
        // An older age may put it in front of those that cannot go on yet.
        self.settle_dirty();
        match self.state.ids.get(acquire.id) {
            Some(Id::Lease(_)) => self.claim_grant(acquire.id),
            _ => Outcome::Waiting { id: acquire.id },
        }
    }

    /// What a repeated id stands for.
    fn repeated(&mut self, acquire: &Acquire) -> Option<Outcome> {
        match self.state.ids.get(acquire.id)? {
            Id::Ended { how, at } => Some(denied(Denial::Ended { how, at })),
            Id::Lease(ix) => {
                let same = self.state.leases.at(ix).is_some_and(|live| *live.asked == *acquire.claims);
                Some(if same { self.claim_grant(acquire.id) } else { denied(Denial::IdReused) })
            }
            Id::Ticket { queue, .. } => {
                let same = self
                    .state
                    .queues
                    .get(&queue)
                    .is_some_and(|queue| *queue.identity.claims == *acquire.claims);
                Some(if same { self.ask(acquire.id, 0) } else { denied(Denial::IdReused) })
            }
        }
    }

    fn grant_newcomer(&mut self, acquire: &Acquire, claims: Arc<[Claim]>, age: Time, fit: Fit) -> Outcome {
        if self.state.leases.live >= MAX_LEASES as usize {
            return denied(Denial::Overloaded { what: "leases", max: MAX_LEASES });
        }
        if !fit.is_plain {
            self.remember_windows(&claims);
        }
        let grant = Grant {
            id: acquire.id,
            token: self.next_token(),
            claims: claims.clone(),
            ttl_ms: acquire.ttl_ms,
            rate: acquire.rate,
            continues: acquire.continues,
            would_wait: fit.would_wait,
            age,
            holder: acquire.holder.clone(),
            labels: Arc::new(acquire.labels.clone()),
        };
        self.emit(Event::Granted(Box::new(grant)));
        if !fit.is_plain {
            self.raise_levels(&claims);
        }
        self.state.lease(acquire.id).map_or(Outcome::Done, |lease| Outcome::Granted(Box::new(lease.clone())))
    }

    fn enqueue(
        &mut self,
        acquire: &Acquire,
        identity: QueueIdentity,
        rank: (Time, u64),
        park: (Name, TermsRef),
    ) {
        let now = self.state.seen;
        let known = self.state.queue_of.get(&identity).copied();
        let limit_wait = self.state.max_wait_ms(&identity.claims);
        let own_wait = match acquire.patience {
            Patience::For { wait_ms } => Some(wait_ms),
            Patience::None | Patience::Polled { .. } | Patience::Forever => None,
        };
        let wait_ms = [own_wait, limit_wait].into_iter().flatten().min();
        let poll_by = match acquire.patience {
            Patience::Polled { poll_ttl_ms } => Some(now.plus(poll_ttl_ms)),
            _ => None,
        };
        let claim_ms = acquire.ttl_ms.unwrap_or(DEFAULT_CLAIM_MS).min(DEFAULT_CLAIM_MS);
        self.remember_windows(&identity.claims);
        let (priority, group) = (identity.priority, identity.group.clone());
        let ticket = Ticket {
            id: acquire.id,
            claims: identity.claims,
            priority,
            group: identity.group,
            age: rank.0,
            arrival: rank.1,
            arrived_at: now,
            patience: acquire.patience,
            deadline: wait_ms.map(|wait| now.plus(wait)),
            poll_by,
            ttl_ms: acquire.ttl_ms,
            claim_ms: acquire.claim_ms.unwrap_or(claim_ms),
            rate: acquire.rate,
            continues: acquire.continues,
            holder: acquire.holder.clone(),
            labels: Arc::new(acquire.labels.clone()),
        };
        let queue = known.unwrap_or(self.state.queues_made + 1);
        self.emit(Event::Queued { ticket: Box::new(ticket), queue });
        if known.is_none() {
            let (key, terms) = park;
            let credit = self.state.credit_at(&key, &terms, priority, group.as_ref());
            self.emit(Event::Parked { queue, key, terms, credit, moves: 0 });
        }
    }

    /// Keys remember starts and ends for as long as the longest window in use on them looks back.
    pub(super) fn remember_windows(&mut self, claims: &[Claim]) {
        let state = &*self.state;
        let mut longer: Vec<(Name, u64)> = Vec::new();
        for claim in state.effective(claims) {
            let ms = claim.rules.terms.horizon_ms();
            if ms == 0 {
                continue;
            }
            let known =
                state.keys.get(claim.key).and_then(|key| key.past.as_ref()).map_or(0, |past| past.horizon_ms);
            if ms > known && !longer.iter().any(|(key, longer)| key == claim.key && *longer >= ms) {
                longer.push((claim.key.clone(), ms));
            }
        }
        for (key, ms) in longer {
            self.emit(Event::Horizon { key, ms });
        }
    }

    /// The newest takes the place of those that wait for the same.
    fn replace_waiting(&mut self, queue: QueueNo) {
        let tickets = self.state.queues.get(&queue).map(|queue| &queue.tickets);
        let ids: Vec<Uuid> = tickets
            .into_iter()
            .flat_map(|tickets| tickets.iter())
            .take(crate::MAX_TRIES as usize)
            .map(|t| t.id)
            .collect();
        for id in ids {
            self.emit(Event::TicketEnded { id, how: End::Replaced });
        }
    }

    /// One holder per waiting slot is asked to stop, the oldest first, wherever the request is short and it or
    /// the limit wants that.
    fn ask_oldest_to_stop(&mut self, acquire: &Acquire, candidate: &Candidate<'_>) {
        let state = &*self.state;
        let mut ids: Vec<Uuid> = Vec::new();
        for claim in state.effective(&acquire.claims) {
            let limit = claim.terms.limit().and_then(|name| state.limits.get(name));
            let wanted = limit.map_or(OnFull::Queue, |state| state.limit.on_full).max(acquire.on_full);
            if wanted != OnFull::CancelOldest || state.shortage(candidate, &claim).is_none() {
                continue;
            }
            let holders = state.keys.get(claim.key).into_iter().flat_map(|key| key.holders.iter());
            let oldest =
                holders.filter_map(|(ix, _)| state.leases.at(ix)).filter(|live| !live.lease.cancel_asked);
            ids.extend(oldest.take(claim.slots.min(crate::MAX_TRIES) as usize).map(|live| live.lease.id));
        }
        for id in ids {
            self.emit(Event::CancelAsked { id });
        }
    }
}

impl State {
    /// How a newcomer is admitted, else where it parks. `queue` is that of those who wait for the same claims.
    fn judge(
        &self,
        candidate: &Candidate<'_>,
        claims: &[Claim],
        queue: Option<QueueNo>,
    ) -> Result<Fit, (Name, TermsRef)> {
        let effective = self.effective(claims);
        let behind = || effective.first().filter(|_| queue.is_some()).copied();
        match self.first_short(candidate, &effective).or_else(behind) {
            Some(claim) => Err((claim.key.clone(), claim.terms.clone())),
            None => Ok(Fit {
                would_wait: self.would_wait(candidate, &effective),
                is_plain: effective.iter().all(|claim| claim.rules.terms.refill == Refill::Release),
            }),
        }
    }

    /// Why a request can never be admitted as it is.
    fn refused(&self, claims: &[Claim]) -> Option<Denial> {
        if let Some(name) = self.missing(claims) {
            return Some(Denial::UnknownLimit { name: name.clone() });
        }
        if !self.matchers.is_empty()
            && let Some(claim) = claims.iter().find(|claim| self.matching(&claim.key).count() > MAX_MATCHES)
        {
            return Some(Denial::TooManyMatches { key: claim.key.clone(), max: MAX_MATCHES as u32 });
        }
        let effective = self.effective(claims);
        self.impossible(&effective).map(|(claim, max)| Denial::Impossible {
            key: claim.key.clone(),
            limit: claim.terms.limit().cloned(),
            max,
            asked: claim.slots,
        })
    }

    /// What the request and the limits that keep it waiting want done with it.
    fn on_full(&self, acquire: &Acquire, candidate: &Candidate<'_>) -> OnFull {
        let effective = self.effective(&acquire.claims);
        let short = effective.iter().filter(|claim| self.shortage(candidate, claim).is_some());
        let limits = short.filter_map(|claim| self.limits.get(claim.terms.limit()?));
        limits.map(|state| state.limit.on_full).chain([acquire.on_full]).max().unwrap_or_default()
    }

    /// Why a request cannot join those who wait.
    fn no_place(&self, claims: &[Claim], park: &(Name, TermsRef), replaces: bool) -> Option<Denial> {
        if self.tickets >= MAX_TICKETS {
            return Some(Denial::Overloaded { what: "tickets", max: MAX_TICKETS });
        }
        for claim in self.effective(claims).iter().filter(|_| !replaces) {
            let (waiting, max_len, limit) = match claim.terms.limit().and_then(|name| self.limits.get(name)) {
                Some(state) => (state.waiting, state.limit.max_len, Some(state.limit.name.clone())),
                None => (self.keys.get(claim.key).map_or(0, |key| key.waiting), DEFAULT_MAX_LEN, None),
            };
            if waiting >= max_len && (limit.is_some() || claim.terms.limit().is_none()) {
                return Some(Denial::QueueFull { key: claim.key.clone(), limit, waiting, max_len });
            }
        }
        let (key, terms) = park;
        let lists = self.keys.get(key).map_or(&[][..], |key| &key.waitlists);
        let inline = lists.iter().filter(|list| list.terms.limit().is_none()).count();
        let new_terms = terms.limit().is_none() && !lists.iter().any(|list| list.terms == *terms);
        (new_terms && inline >= MAX_INLINE_TERMS as usize)
            .then(|| Denial::TooManyTerms { key: key.clone(), max: MAX_INLINE_TERMS })
    }

    /// The shortest time that any limit of a request lets a ticket wait.
    fn max_wait_ms(&self, claims: &[Claim]) -> Option<u64> {
        let effective = self.effective(claims);
        effective.iter().filter_map(|claim| self.limits.get(claim.terms.limit()?)?.limit.max_wait_ms).min()
    }
}

/// Whether a request is within the bounds of everything.
fn check(acquire: &Acquire) -> Result<(), Denial> {
    let invalid = |field, reason: String| Err(Denial::Invalid { field, reason });
    if acquire.claims.is_empty() || acquire.claims.len() > MAX_CLAIMS {
        return invalid("claims", format!("has {} entries; give 1 to {MAX_CLAIMS}", acquire.claims.len()));
    }
    for claim in &acquire.claims {
        check_name("claims.key", &claim.key)?;
        claim.terms.limit().map_or(Ok(()), |name| check_name("claims.limit", name))?;
        if claim.slots == 0 || claim.slots > MAX_SLOTS {
            return invalid("claims.slots", format!("is {}; give 1 to {MAX_SLOTS} slots", claim.slots));
        }
        if let TermsRef::Inline(terms) = &claim.terms {
            check_terms(terms)?;
        }
    }
    if let Some(reason) = acquire.ttl_ms.and_then(wrong_ttl) {
        return invalid("ttl_ms", reason);
    }
    match acquire.patience {
        Patience::For { wait_ms: ms } | Patience::Polled { poll_ttl_ms: ms }
            if ms == 0 || ms > MAX_WAIT_MS =>
        {
            return invalid("wait_ms", format!("is {ms}; give 1 to {MAX_WAIT_MS} ms"));
        }
        _ => {}
    }
    if let Some(ms) = acquire.claim_ms.filter(|ms| !(1..=MAX_TTL_MS).contains(ms)) {
        return invalid("claim_ms", format!("is {ms}; give 1 to {MAX_TTL_MS} ms"));
    }
    acquire.group.as_ref().map_or(Ok(()), |group| check_name("group", group))?;
    let texts = acquire.labels.iter().flat_map(|(name, value)| [name, value]).chain(&acquire.holder);
    if acquire.labels.len() > MAX_LABELS || texts.into_iter().any(|text| text.len() > MAX_TEXT_BYTES) {
        let reason =
            format!("too many or too long; at most {MAX_LABELS} labels, {MAX_TEXT_BYTES} bytes each");
        return invalid("labels", reason);
    }
    Ok(())
}

/// What is wrong with a time to live, if anything.
pub(super) fn wrong_ttl(ms: u64) -> Option<String> {
    let fits = (MIN_TTL_MS..=MAX_TTL_MS).contains(&ms);
    (!fits).then(|| {
        format!("is {ms}; give {MIN_TTL_MS} to {MAX_TTL_MS} ms, or null for a lease that does not expire")
    })
}

/// Whether a name or key can be one: not empty, not too long, no control characters.
pub(super) fn check_name(field: &'static str, name: &str) -> Result<(), Denial> {
    let reason = if name.is_empty() {
        "is empty; give a name".to_owned()
    } else if name.len() > MAX_NAME_BYTES {
        format!("has {} bytes; give at most {MAX_NAME_BYTES}", name.len())
    } else if name.chars().any(char::is_control) {
        "has control characters; leave them out".to_owned()
    } else {
        return Ok(());
    };
    Err(Denial::Invalid { field, reason })
}

/// Whether terms are within their bounds.
pub(super) fn check_terms(terms: &crate::Terms) -> Result<(), Denial> {
    if terms.max > MAX_SLOTS {
        let reason = format!("is {}; give 0 to {MAX_SLOTS} slots", terms.max);
        return Err(Denial::Invalid { field: "max", reason });
    }
    match terms.refill {
        Refill::Window { ms, .. } if ms == 0 || ms > MAX_WINDOW_MS => Err(Denial::Invalid {
            field: "window.ms",
            reason: format!("is {ms}; give 1 to {MAX_WINDOW_MS} ms"),
        }),
        Refill::Decay { nano_per_second } if nano_per_second == 0 || nano_per_second > MAX_DECAY_NANO => {
            let reason = format!(
                "is {nano_per_second} billionths of a slot per second; give 1 (a slot in 31.7 years) to {MAX_DECAY_NANO}"
            );
            Err(Denial::Invalid { field: "decay_per_second", reason })
        }
        _ => Ok(()),
    }
}
