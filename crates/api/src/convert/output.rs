//! From the kernel to the wire.

use admit_http::Token;
use admit_kernel::{
    Block, Claim, Counts, End, Eta, EtaKind, HolderView, KeyView, Lease, Limit, Mode, OnFull, Refill, State,
    TermsRef, TicketView, Time, Version, Why,
};
use uuid::Uuid;

use super::{ago, at, until};
use crate::wire;

pub(crate) fn lease(lease: &Lease, now: Time) -> wire::LeaseBody {
    let (expires_at, expires_in_ms) = until(lease.expires_at, now);
    wire::LeaseBody {
        id: lease.id,
        token: lease.token,
        claims: lease.claims.iter().map(claim).collect(),
        ttl_ms: lease.ttl_ms,
        granted_at: at(lease.granted_at),
        age_ms: now.since(lease.granted_at),
        expires_at,
        expires_in_ms,
        waited_ms: lease.waited_ms(),
        cancel: lease.cancel_asked,
        would_have_waited: lease.would_wait,
        holder: lease.holder.as_ref().map(ToString::to_string),
        labels: lease.labels.iter().map(|(label, value)| (label.to_string(), value.to_string())).collect(),
    }
}

fn claim(claim: &Claim) -> wire::ClaimBody {
    let inline = match &claim.terms {
        TermsRef::Limit(_) => None,
        TermsRef::Inline(terms) => Some(terms),
    };
    wire::ClaimBody {
        limit: claim.terms.limit().map(ToString::to_string),
        key: claim.key.to_string(),
        slots: claim.slots,
        max: inline.map(|terms| terms.max),
        window: inline.and_then(|terms| window(terms.refill)),
        decay_per_second: inline.and_then(|terms| decay(terms.refill)),
    }
}

fn window(refill: Refill) -> Option<wire::WindowBody> {
    let Refill::Window { ms, counts } = refill else { return None };
    let counts = match counts {
        Counts::Starts => wire::Counts::Starts,
        Counts::Runs => wire::Counts::Runs,
    };
    Some(wire::WindowBody { ms, counts })
}

fn decay(refill: Refill) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "nine digits are shown")]
    match refill {
        Refill::Decay { nano_per_second } => Some(nano_per_second as f64 / 1e9),
        Refill::Release | Refill::Window { .. } => None,
    }
}

pub(crate) fn block(block: &Block, now: Time) -> wire::BlockBody {
    wire::BlockBody {
        key: block.key.to_string(),
        limit: block.limit.as_ref().map(ToString::to_string),
        why: why(block.why),
        used: block.used,
        max: block.max,
        asked: block.asked,
        waiting: block.waiting,
        holders: block.holders.iter().map(|view| holder(view, now)).collect(),
        retry_in_ms: block.retry_in_ms,
    }
}

fn why(why: Why) -> &'static str {
    match why {
        Why::NoRoom => "no-room",
        Why::Behind => "behind",
        Why::Reserved => "reserved",
        Why::Paused => "paused",
        Why::Closed => "closed",
        Why::Impossible => "impossible",
    }
}

/// One claim that is short, in a sentence for people.
pub(crate) fn block_sentence(block: &Block) -> String {
    let whose = match &block.limit {
        Some(limit) if *limit == block.key => format!("limit `{limit}`"),
        Some(limit) => format!("key `{}` (limit `{limit}`)", block.key),
        None => format!("key `{}`", block.key),
    };
    match block.why {
        Why::NoRoom => format!("{whose} has {} of {} slots in use", block.used, block.max),
        Why::Behind => format!("{} wait at {whose} already", block.waiting),
        Why::Reserved => format!("{whose} is reserved for a request that looser terms passed too often"),
        Why::Paused => format!("{whose} is paused"),
        Why::Closed => format!("{whose} is closed (max 0)"),
        Why::Impossible => format!("impossible now at {whose}: max {}, asks {}", block.max, block.asked),
    }
}

fn holder(view: &HolderView, now: Time) -> wire::HolderBody {
    let (expires_at, expires_in_ms) = until(view.expires_at, now);
    wire::HolderBody {
        id: view.id,
        token: view.token,
        holder: view.holder.as_ref().map(ToString::to_string),
        slots: view.slots,
        age_ms: view.age_ms,
        expires_at,
        expires_in_ms,
    }
}

fn eta_kind(eta: &Eta) -> wire::EtaKindBody {
    match eta.kind {
        EtaKind::Exact => wire::EtaKindBody::Exact,
        EtaKind::Estimate => wire::EtaKindBody::Estimate,
        EtaKind::Unknown => wire::EtaKindBody::Unknown,
    }
}

pub(crate) fn ticket_waiting(view: &TicketView, now: Time) -> wire::TicketBody {
    let ticket = &view.ticket;
    let (deadline, deadline_in_ms) = until(ticket.deadline, now);
    let waiting = wire::WaitingBody {
        position: view.position,
        eta_ms: view.eta.in_ms,
        eta_kind: eta_kind(&view.eta),
        eta_reason: view.eta.reason,
        blocked_by: view.blocked_by.iter().map(|one| block(one, now)).collect(),
        parked_at: view.parked_at.to_string(),
        holding: view.holding.iter().map(|(key, slots)| (key.to_string(), *slots)).collect(),
        passed_by_looser_terms: view.passed_by_looser_terms,
        claims: ticket.claims.iter().map(claim).collect(),
        arrived_at: at(ticket.arrived_at),
        waited_ms: now.since(ticket.arrived_at),
        deadline,
        deadline_in_ms,
        priority: ticket.priority,
        group: ticket.group.as_ref().map(ToString::to_string),
        holder: ticket.holder.as_ref().map(ToString::to_string),
        labels: ticket.labels.iter().map(|(label, value)| (label.to_string(), value.to_string())).collect(),
    };
    wire::TicketBody { waiting: Some(waiting), ..bare(ticket.id, wire::TicketState::Waiting) }
}

pub(crate) fn ticket_granted(granted: &Lease, now: Time) -> wire::TicketBody {
    wire::TicketBody { lease: Some(lease(granted, now)), ..bare(granted.id, wire::TicketState::Granted) }
}

/// A ticket that ended without a lease that lives; none: it was a lease, and that has ended.
pub(crate) fn ticket_ended(id: Uuid, how: End, ended_at: Time, now: Time) -> Option<wire::TicketBody> {
    let state = match how {
        End::Withdrawn | End::TimedOut | End::Unattended => wire::TicketState::Withdrawn,
        End::Replaced | End::LimitRemoved => wire::TicketState::Rejected,
        End::Lapsed => wire::TicketState::Lapsed,
        End::Released | End::Expired | End::Reset => return None,
    };
    let (ended_at, ended_ago_ms) = ago(Some(ended_at), now);
    Some(wire::TicketBody { reason: Some(how.as_str()), ended_at, ended_ago_ms, ..bare(id, state) })
}

fn bare(id: Uuid, state: wire::TicketState) -> wire::TicketBody {
    wire::TicketBody {
        id,
        state,
        reason: None,
        ended_at: None,
        ended_ago_ms: None,
        waiting: None,
        lease: None,
    }
}

pub(crate) fn ended(how: End, ended_at: Time, now: Time) -> wire::EndedBody {
    wire::EndedBody { how: how.as_str(), at: at(ended_at), ago_ms: now.since(ended_at) }
}

/// A limit with its usage.
pub(crate) fn limit_body(limit: &Limit, state: &State, now: Time) -> wire::LimitBody {
    let (waiting, would_have_waited) = state.limit_counts(&limit.name);
    let paused = limit.paused_until.filter(|_| limit.is_paused(now));
    let (paused_until, paused_for_ms) = until(paused, now);
    wire::LimitBody {
        name: limit.name.to_string(),
        max: limit.terms.max,
        window: window(limit.terms.refill),
        decay_per_second: decay(limit.terms.refill),
        patterns: limit.patterns.iter().map(ToString::to_string).collect(),
        mode: match limit.mode {
            Mode::Enforce => wire::Mode::Enforce,
            Mode::Observe => wire::Mode::Observe,
            Mode::Off => wire::Mode::Off,
        },
        on_full: match limit.on_full {
            OnFull::Queue => wire::OnFull::Queue,
            OnFull::KeepNewest => wire::OnFull::KeepNewest,
            OnFull::CancelOldest => wire::OnFull::CancelOldest,
            OnFull::Reject => wire::OnFull::Reject,
        },
        queue: wire::QueueBody { max_len: u64::from(limit.max_len), max_wait_ms: limit.max_wait_ms },
        description: limit.description.clone(),
        source: limit.source.to_string(),
        revision: limit.revision,
        etag: etag(limit.version(now)),
        paused: paused.is_some(),
        paused_until,
        paused_for_ms,
        used: state.key_view(&limit.name, 0).used,
        waiting,
        would_have_waited,
    }
}

/// The tag of a limit: its revision, and its pause, which does not make a revision.
pub(crate) fn etag(version: Version) -> String {
    let Version { revision, paused_until } = version;
    match paused_until {
        Some(Time(u64::MAX)) => format!("\"{revision}-paused\""),
        Some(until) => format!("\"{revision}-paused-{}\"", at(until)),
        None => format!("\"{revision}\""),
    }
}

pub(crate) fn key(view: &KeyView, now: Time) -> wire::KeyBody {
    let (window_known_since, window_known_for_ms) = ago(view.window_known_since, now);
    wire::KeyBody {
        key: view.key.to_string(),
        used: view.used,
        running: view.running,
        cooling: view.cooling,
        held: view.held,
        waiting: view.waiting,
        limits: view.limits.iter().map(ToString::to_string).collect(),
        holders: view.holders.iter().map(|one| holder(one, now)).collect(),
        holder_count: view.holder_count,
        next_slot_in_ms: view.next_slot.in_ms,
        next_slot_kind: eta_kind(&view.next_slot),
        next_slot_reason: view.next_slot.reason,
        median_hold_ms: view.median_hold_ms,
        window_known_since,
        window_known_for_ms,
    }
}

pub(crate) fn token(token: &Token, now: Time) -> wire::TokenBody {
    let (expires_at, expires_in_ms) = until(token.expires_at_ms.map(Time), now);
    let (revoked_at, revoked_ago_ms) = ago(token.revoked_at_ms.map(Time), now);
    wire::TokenBody {
        name: token.name.to_string(),
        role: match token.role {
            admit_http::Role::Acquire => wire::Role::Acquire,
            admit_http::Role::Operate => wire::Role::Operate,
            admit_http::Role::Admin => wire::Role::Admin,
        },
        valid: token.is_valid(now.0),
        created_at: at(Time(token.created_at_ms)),
        created_ago_ms: now.0.saturating_sub(token.created_at_ms),
        expires_at,
        expires_in_ms,
        revoked_at,
        revoked_ago_ms,
    }
}
