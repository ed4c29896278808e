//! Why something is where it is.

use admit_http::Problem;
use admit_kernel::{EtaKind, Lease, State as Kernel, TicketView, Time};
use axum::extract::State;
use uuid::Uuid;

use super::Shared;
use crate::convert;
use crate::extract::{Acquirer, PathId};
use crate::problems;
use crate::wire::{ExplainBody, ExplainKind, ProblemBody};

/// Explains a ticket or lease.
#[utoipa::path(get, path = "/explain/{id}", tag = "keys", params(("id" = Uuid, Path)),
    responses((status = 200, body = ExplainBody), (status = 404, body = ProblemBody)))]
pub(super) async fn explain(
    _: Acquirer,
    State(app): Shared,
    PathId(id): PathId,
) -> Result<axum::Json<ExplainBody>, Problem> {
    let body = app.look(move |state, now| find(state, id, now)).await?;
    body.map(axum::Json).ok_or_else(|| problems::unknown_id(id))
}

fn find(state: &Kernel, id: Uuid, now: Time) -> Option<ExplainBody> {
    let body = |kind, summary| ExplainBody { id, kind, summary, ticket: None, lease: None, ended: None };
    if let Some(view) = state.ticket_view(id) {
        let ticket = Some(convert::ticket_waiting(&view, now));
        return Some(ExplainBody { ticket, ..body(ExplainKind::Ticket, of_ticket(&view, now)) });
    }
    if let Some(lease) = state.lease(id) {
        let summary = of_lease(lease, now);
        return Some(ExplainBody {
            lease: Some(convert::lease(lease, now)),
            ..body(ExplainKind::Lease, summary)
        });
    }
    let (how, at) = state.ended(id)?;
    let summary = format!("ended {} ago: {}", seconds(now.since(at)), how.as_str());
    Some(ExplainBody { ended: Some(convert::ended(how, at, now)), ..body(ExplainKind::Ended, summary) })
}

fn of_ticket(view: &TicketView, now: Time) -> String {
    let eta = match (view.eta.kind, view.eta.in_ms) {
        (EtaKind::Exact, Some(ms)) => format!("expected in {}", seconds(ms)),
        (EtaKind::Estimate, Some(ms)) => format!("expected in about {} ({})", seconds(ms), view.eta.reason),
        _ => format!("not known when ({})", view.eta.reason),
    };
    let waited = seconds(now.since(view.ticket.arrived_at));
    let mut parts =
        vec![format!("waiting for {waited} at key `{}`, position {}, {eta}", view.parked_at, view.position)];
    parts.extend(view.blocked_by.iter().map(convert::block_sentence));
    if view.passed_by_looser_terms > 0 {
        parts.push(format!("passed by looser terms: {}", view.passed_by_looser_terms));
    }
    if !view.holding.is_empty() {
        let held: Vec<_> = view.holding.iter().map(|(key, slots)| format!("{slots} of `{key}`")).collect();
        parts.push(format!("holding {} meanwhile", held.join(", ")));
    }
    parts.join("; ")
}

fn of_lease(lease: &Lease, now: Time) -> String {
    let slots: Vec<_> =
        lease.claims.iter().map(|claim| format!("{} of `{}`", claim.slots, claim.key)).collect();
    let end = match lease.expires_at {
        Some(expires) => format!("expires in {} unless renewed", seconds(expires.since(now))),
        None => "until it is released".to_owned(),
    };
    let asked = if lease.cancel_asked { "; its holder is asked to stop" } else { "" };
    let held = seconds(now.since(lease.granted_at));
    format!("holds {} for {held} now, {end}{asked}", slots.join(" and "))
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}
