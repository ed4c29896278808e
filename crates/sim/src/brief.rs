//! Commands, outcomes and events in a few words, for whoever reads what led to a broken rule.

use admit_kernel::{Command, Denial, Event, Lease, Limit, Outcome};

/// A command in a few words.
pub(crate) fn command_brief(command: &Command) -> String {
    match command {
        Command::Acquire(acquire) => {
            let claims: Vec<String> = acquire
                .claims
                .iter()
                .map(|claim| match claim.terms.limit() {
                    Some(limit) => format!("{} of {} by {limit}", claim.slots, claim.key),
                    None => format!("{} of {} by {:?}", claim.slots, claim.key, claim.terms),
                })
                .collect();
            format!(
                "Acquire {} {claims:?} ttl {:?} {:?} priority {} {:?} {:?}",
                acquire.id.as_u128(),
                acquire.ttl_ms,
                acquire.patience,
                acquire.priority,
                acquire.group,
                acquire.age
            )
        }
        Command::Renew { id, .. } => format!("Renew {}", id.as_u128()),
        Command::Release { id, part, counts } => format!("Release {} {part:?} {counts}", id.as_u128()),
        Command::Ask { id, for_ms } => format!("Ask {} for {for_ms}", id.as_u128()),
        Command::Withdraw { id } => format!("Withdraw {}", id.as_u128()),
        Command::SetLimit { limit, .. } => limit_brief(limit),
        other => format!("{other:?}"),
    }
}

fn limit_brief(limit: &Limit) -> String {
    format!(
        "limit {} {:?} {:?} {:?} {:?}",
        limit.name, limit.terms, limit.mode, limit.on_full, limit.patterns
    )
}

/// Events in a few words.
pub(crate) fn events_brief(events: &[Event]) -> String {
    let brief = |event: &Event| match event {
        Event::Granted(grant) => format!("Granted {} token {}", grant.id.as_u128(), grant.token),
        Event::TicketGranted { id, token, .. } => format!("TicketGranted {} token {token}", id.as_u128()),
        Event::LeaseEnded { id, how, .. } => format!("LeaseEnded {} {how:?}", id.as_u128()),
        Event::TicketEnded { id, how } => format!("TicketEnded {} {how:?}", id.as_u128()),
        Event::Renewed { id, expires_at, .. } => {
            format!("Renewed {} until {:?}", id.as_u128(), expires_at.map(|at| at.0))
        }
        Event::Queued { ticket, queue } => format!("Queued {} in {queue}", ticket.id.as_u128()),
        Event::Clock(at) => format!("Clock {}", at.0),
        Event::LimitSet(limit) => limit_brief(limit),
        other => format!("{other:?}"),
    };
    events.iter().map(brief).collect::<Vec<_>>().join("; ")
}

/// An outcome in a few words.
pub(crate) fn brief(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Granted(lease) => format!("granted {}", lease_brief(lease)),
        Outcome::Renewed(lease) => format!("renewed {}", lease_brief(lease)),
        Outcome::Denied(denial) => match &**denial {
            Denial::Ended { how, at } => format!("ended: {how:?} at {}", at.0),
            Denial::Full { .. } => "full".to_owned(),
            denial => format!("{denial:?}"),
        },
        Outcome::LimitStored { after, .. } => format!("limit {} stored", after.name),
        outcome => format!("{outcome:?}"),
    }
}

fn lease_brief(lease: &Lease) -> String {
    let until = lease.expires_at.map(|at| at.0);
    format!("{} token {} until {until:?} claim_by {:?}", lease.id.as_u128(), lease.token, lease.claim_by)
}
