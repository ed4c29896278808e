//! Events of the log, as they are told.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use admit_kernel::{Claim, Event, Name, Time};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{at, until};

/// What an event is about, as far as it says so itself.
#[derive(Debug, Default)]
pub(crate) struct About<'a> {
    id: Option<Uuid>,
    key: Option<&'a Name>,
    limit: Option<&'a Name>,
    claims: Option<&'a Arc<[Claim]>>,
}

/// An event's name and what is told of it; none: it is the kernel's own bookkeeping.
pub(crate) fn event(event: &Event, now: Time) -> Option<(&'static str, Value)> {
    let claims = |claims: &[Claim]| -> Value {
        claims
            .iter()
            .map(|claim| json!({"limit": claim.terms.limit(), "key": claim.key, "slots": claim.slots}))
            .collect()
    };
    Some(match event {
        Event::Outage { since } => {
            ("outage", json!({"since": at(*since), "since_ago_ms": now.since(*since)}))
        }
        Event::Granted(grant) => (
            "granted",
            json!({"id": grant.id, "token": grant.token, "claims": claims(&grant.claims), "ttl_ms": grant.ttl_ms,
                   "holder": grant.holder, "would_have_waited": grant.would_wait}),
        ),
        Event::TicketGranted { id, token, would_wait, .. } => {
            ("ticket-granted", json!({"id": id, "token": token, "would_have_waited": would_wait}))
        }
        Event::Renewed { id, ttl_ms, expires_at } => {
            let (expires_at, expires_in_ms) = until(*expires_at, now);
            (
                "renewed",
                json!({"id": id, "ttl_ms": ttl_ms, "expires_at": expires_at, "expires_in_ms": expires_in_ms}),
            )
        }
        Event::Claimed { id } => ("claimed", json!({"id": id})),
        Event::CancelAsked { id } => ("cancel-asked", json!({"id": id})),
        Event::LeaseEnded { id, how, counts } => {
            ("lease-ended", json!({"id": id, "how": how.as_str(), "counts": counts}))
        }
        Event::Shrunk { id, key, slots } => ("shrunk", json!({"id": id, "key": key, "slots": slots})),
        Event::Queued { ticket, .. } => (
            "queued",
            json!({"id": ticket.id, "claims": claims(&ticket.claims), "priority": ticket.priority,
                   "group": ticket.group, "holder": ticket.holder}),
        ),
        Event::TicketEnded { id, how } => ("ticket-ended", json!({"id": id, "how": how.as_str()})),
        Event::LimitSet(limit) => (
            "limit-set",
            json!({"limit": limit.name, "max": limit.terms.max, "revision": limit.revision, "source": limit.source}),
        ),
        Event::LimitRemoved { name } => ("limit-removed", json!({"limit": name})),
        Event::Paused { name, until: end } => {
            let (paused_until, paused_for_ms) = until(*end, now);
            let json = json!({"limit": name, "paused_until": paused_until, "paused_for_ms": paused_for_ms});
            (if end.is_some() { "limit-paused" } else { "limit-resumed" }, json)
        }
        Event::Cleared { key } => ("key-cleared", json!({"key": key})),
        Event::HoldTaken { key, slots, .. } => ("hold-taken", json!({"key": key, "slots": slots})),
        Event::EpochRaised { epoch } => ("epoch-raised", json!({"epoch": epoch})),
        Event::ClockOffsetSet { ms } => ("clock-offset-set", json!({"ms": ms})),
        Event::FormatRaised { format } => ("format-raised", json!({"format": format})),
        _ => return None,
    })
}

fn about(event: &Event) -> About<'_> {
    let none = About::default;
    match event {
        Event::Granted(grant) => About { id: Some(grant.id), claims: Some(&grant.claims), ..none() },
        Event::Queued { ticket, .. } => About { id: Some(ticket.id), claims: Some(&ticket.claims), ..none() },
        Event::Shrunk { id, key, .. } => About { id: Some(*id), key: Some(key), ..none() },
        Event::TicketGranted { id, .. }
        | Event::Renewed { id, .. }
        | Event::Claimed { id }
        | Event::CancelAsked { id }
        | Event::LeaseEnded { id, .. }
        | Event::TicketEnded { id, .. } => About { id: Some(*id), ..none() },
        Event::HoldTaken { key, .. } | Event::Cleared { key } => About { key: Some(key), ..none() },
        Event::LimitSet(limit) => About { limit: Some(&limit.name), ..none() },
        Event::LimitRemoved { name } | Event::Paused { name, .. } => About { limit: Some(name), ..none() },
        _ => none(),
    }
}

/// Leases and tickets that a filtered stream remembers; what is older is forgotten, and told no more.
const MAX_REMEMBERED: usize = 65_536;

/// What a stream of events is about: all, or what concerns a key or a limit.
#[derive(Debug, Default)]
pub(crate) struct Subjects {
    key: Option<Name>,
    limit: Option<Name>,
    /// Ids whose claims concern it: most events name nothing else.
    known: HashSet<Uuid>,
    order: VecDeque<Uuid>,
    /// Whether the ends of ids of which it cannot be known any more are told: somebody may wait for them.
    pub(crate) tells_unknown_ends: bool,
}

impl Subjects {
    /// With neither a key nor a limit: everything.
    pub(crate) fn new(key: Option<Name>, limit: Option<Name>) -> Subjects {
        Subjects { key, limit, ..Subjects::default() }
    }

    /// Whether there is anything to leave out.
    pub(crate) fn is_all(&self) -> bool {
        self.key.is_none() && self.limit.is_none()
    }

    /// Whether an event concerns it; `claims_of` says what an id claims that was not seen before.
    pub(crate) fn takes(&mut self, event: &Event, claims_of: impl Fn(Uuid) -> Option<Arc<[Claim]>>) -> bool {
        if self.is_all() {
            return true;
        }
        let about = about(event);
        let named =
            |wanted: &Option<Name>, given: Option<&Name>| wanted.is_some() && wanted.as_ref() == given;
        if named(&self.key, about.key) || named(&self.limit, about.limit) {
            return true;
        }
        let Some(id) = about.id else { return false };
        if self.known.contains(&id) {
            return true;
        }
        if self.tells_unknown_ends && matches!(event, Event::LeaseEnded { .. } | Event::TicketEnded { .. }) {
            return true;
        }
        let claims = about.claims.cloned().or_else(|| claims_of(id));
        let concerned = claims.is_some_and(|claims| claims.iter().any(|claim| self.concerns(claim)));
        if concerned {
            self.remember(id);
        }
        concerned
    }

    fn concerns(&self, claim: &Claim) -> bool {
        self.key.as_ref().is_none_or(|key| claim.key == *key)
            && self
                .limit
                .as_ref()
                .is_none_or(|limit| claim.terms.limit() == Some(limit) || claim.key == *limit)
    }

    /// Remembers an id that is known to concern it.
    pub(crate) fn remember(&mut self, id: Uuid) {
        if self.known.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}
