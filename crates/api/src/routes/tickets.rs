//! Tickets: waiting for slots.

use admit_http::Problem;
use admit_kernel::{Command, Denial, Outcome, State as Kernel, Time};
use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;

use super::Shared;
use super::leases::MAX_REQUEST_WAIT_MS;
use crate::convert;
use crate::extract::{Acquirer, PathId, Query};
use crate::problems;
use crate::wire::{ProblemBody, TicketBody, TicketQuery};

/// Asks about a ticket, and waits up to `wait_ms` for its grant, which it claims.
///
/// A ticket that was kept is withdrawn when nobody asks about it for 5 minutes.
#[utoipa::path(get, path = "/tickets/{id}", tag = "tickets", params(("id" = Uuid, Path), TicketQuery),
    responses((status = 200, body = TicketBody), (status = 404, body = ProblemBody),
        (status = 410, body = ProblemBody, description = "Its lease has ended")))]
pub(super) async fn get(
    _: Acquirer,
    State(app): Shared,
    PathId(id): PathId,
    Query(query): Query<TicketQuery>,
) -> Result<axum::Json<TicketBody>, Problem> {
    let wait_ms = convert::within("wait_ms", query.wait_ms.unwrap_or(0), 0, MAX_REQUEST_WAIT_MS)?;
    match app.engine.ask(id, wait_ms).await.map_err(problems::engine)? {
        Outcome::Granted(lease) => Ok(convert::ticket_granted(&lease, app.now().max(lease.granted_at))),
        Outcome::Waiting { id } => {
            let standing = app.look(move |state, now| standing(state, id, now)).await?;
            standing.ok_or_else(|| problems::unknown_id(id))
        }
        Outcome::UnknownId => Err(problems::unknown_id(id)),
        Outcome::Denied(denial) => match *denial {
            Denial::Ended { how, at } => {
                let now = app.now().max(at);
                convert::ticket_ended(id, how, at, now).ok_or_else(|| problems::gone(how, at, now))
            }
            denial => Err(problems::denial(denial, app.now())),
        },
        other => Err(problems::unexpected(&other)),
    }
    .map(axum::Json)
}

/// Where an id stands now: as a ticket that waits, as a lease, or as a ticket that ended.
pub(super) fn standing(state: &Kernel, id: Uuid, now: Time) -> Option<TicketBody> {
    if let Some(view) = state.ticket_view(id) {
        return Some(convert::ticket_waiting(&view, now));
    }
    if let Some(lease) = state.lease(id) {
        return Some(convert::ticket_granted(lease, now));
    }
    state.ended(id).and_then(|(how, at)| convert::ticket_ended(id, how, at, now))
}

/// Takes a ticket out of its queue. Also fine when it has ended; a grant that nobody claimed is given back, one
/// that was claimed is not: that is a lease.
#[utoipa::path(delete, path = "/tickets/{id}", tag = "tickets", params(("id" = Uuid, Path)),
    responses((status = 204), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody, description = "It was granted and claimed, and its lease lives")))]
pub(super) async fn withdraw(
    _: Acquirer,
    State(app): Shared,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    match app.engine.execute(Command::Withdraw { id }).await.map_err(problems::engine)? {
        Outcome::Withdrawn { changed: false } => {
            let is_held = app.look(move |state, _| state.lease(id).is_some()).await?;
            if is_held { Err(problems::is_a_lease(id)) } else { Ok(StatusCode::NO_CONTENT) }
        }
        Outcome::Withdrawn { .. } | Outcome::Released { .. } => Ok(StatusCode::NO_CONTENT),
        Outcome::UnknownId => Err(problems::unknown_id(id)),
        Outcome::Denied(denial) if matches!(*denial, Denial::Ended { .. }) => Ok(StatusCode::NO_CONTENT),
        Outcome::Denied(denial) => Err(problems::denial(*denial, app.now())),
        other => Err(problems::unexpected(&other)),
    }
}
