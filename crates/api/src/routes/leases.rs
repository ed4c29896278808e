//! Leases: asking for slots and holding them.

use std::time::Instant;

use admit_http::Problem;
use admit_kernel::{
    Claim, Command, DEFAULT_POLL_TTL_MS, Denial, End, LeaseFilter, Outcome, Part, Patience, State as Kernel,
    Time,
};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::Shared;
use crate::app::App;
use crate::convert;
use crate::extract::{Acquirer, Json, PathId, Query, filter, page_size};
use crate::problems;
use crate::wire::{
    AcquireInput, CheckBody, CheckInput, LeaseBody, LeaseQuery, OnTimeout, Page, ProblemBody, RenewInput,
    TicketBody,
};

/// The longest that one request is kept waiting; proxies and clients give up on longer ones.
pub(super) const MAX_REQUEST_WAIT_MS: u64 = 600_000;

/// Asks for slots: all claims are admitted at once, or none.
///
/// 201 is the lease. After `wait_ms` without it: 429 with `on_timeout: withdraw` (nothing is left behind),
/// 202 and a ticket with `keep`. Repeating a request with its id gives the same lease or ticket. A client
/// that goes away while it waits withdraws, unless it said `keep`.
#[utoipa::path(post, path = "/leases", tag = "leases", request_body = AcquireInput,
    responses((status = 201, body = LeaseBody), (status = 202, body = TicketBody),
        (status = 409, body = ProblemBody, description = "The id's request has ended"),
        (status = 422, body = ProblemBody, description = "Wrong, impossible, or by an unknown limit"),
        (status = 429, body = ProblemBody, description = "No slot came free in time, the line is full, or a newer request took the place",
            headers(("Retry-After" = u64), ("RateLimit" = String), ("RateLimit-Policy" = String))),
        (status = 503, body = ProblemBody, description = "Too much to do, or nothing can be written",
            headers(("Retry-After" = u64)))))]
pub(super) async fn acquire(
    _: Acquirer,
    State(app): Shared,
    Json(input): Json<AcquireInput>,
) -> Result<Response, Problem> {
    let wait_ms = convert::within("wait_ms", input.wait_ms, 0, MAX_REQUEST_WAIT_MS)?;
    let patience = match input.on_timeout {
        OnTimeout::Keep => Patience::Polled { poll_ttl_ms: DEFAULT_POLL_TTL_MS },
        OnTimeout::Withdraw if wait_ms == 0 => Patience::None,
        OnTimeout::Withdraw => Patience::For { wait_ms },
    };
    let acquire = convert::acquire(input, "", patience, app.now())?;
    // Only a request that waits can be ended meanwhile, and then says what was short.
    let claims = (wait_ms > 0).then(|| acquire.claims.clone());
    let asked = Instant::now();
    match app.engine.acquire(acquire, wait_ms).await.map_err(problems::engine)? {
        Outcome::Granted(lease) => {
            let body = convert::lease(&lease, app.now().max(lease.granted_at));
            Ok((StatusCode::CREATED, location("leases", lease.id), axum::Json(body)).into_response())
        }
        Outcome::Waiting { id } => waiting(&app, id).await,
        Outcome::Denied(denial) => match (*denial, claims) {
            (Denial::Ended { how: how @ (End::TimedOut | End::Replaced), at }, Some(claims)) => {
                Err(ended_while_asked(&app, how, at, claims, asked).await?)
            }
            (denial, _) => Err(problems::denial(denial, app.now())),
        },
        other => Err(problems::unexpected(&other)),
    }
}

/// What is said of a ticket that ended while this request waited for it: by its own patience, by that of a
/// limit, or because a newer one took its place. One that had ended before belongs to an earlier request
/// with the same id.
async fn ended_while_asked(
    app: &App,
    how: End,
    at: Time,
    claims: Vec<Claim>,
    asked: Instant,
) -> Result<Problem, Problem> {
    /// The log's clock and this one need not agree to the last.
    const TOLERANCE_MS: u64 = 50;
    let waited_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
    let problem = app.look(move |state, now| {
        if now.since(at) > waited_ms + TOLERANCE_MS {
            return problems::denial(Denial::Ended { how, at }, now);
        }
        let blocked_by = state.blocked_by(&claims);
        match how {
            End::Replaced => problems::replaced(&blocked_by, waited_ms, now),
            _ => problems::full(&blocked_by, waited_ms, now),
        }
    });
    problem.await
}

async fn waiting(app: &App, id: Uuid) -> Result<Response, Problem> {
    let body = app.look(move |state, now| super::tickets::standing(state, id, now)).await?;
    let body = body.ok_or_else(|| problems::unknown_id(id))?;
    Ok((StatusCode::ACCEPTED, location("tickets", id), axum::Json(body)).into_response())
}

fn location(of: &str, id: Uuid) -> [(header::HeaderName, String); 1] {
    [(header::LOCATION, format!("/api/v1/{of}/{id}"))]
}

/// Lists leases, the oldest first.
#[utoipa::path(get, path = "/leases", tag = "leases", params(LeaseQuery),
    responses((status = 200, body = Page<LeaseBody>)))]
pub(super) async fn list(
    _: Acquirer,
    State(app): Shared,
    Query(query): Query<LeaseQuery>,
) -> Result<axum::Json<Page<LeaseBody>>, Problem> {
    let size = page_size(query.page_size)?;
    let after_token = match &query.cursor {
        None => 0,
        Some(cursor) => cursor
            .parse()
            .map_err(|_| problems::invalid("cursor", cursor.as_str(), "the `next` of the page before"))?,
    };
    let wanted = LeaseFilter {
        key: filter("key", query.key.as_deref())?,
        limit: filter("limit", query.limit.as_deref())?,
        holder: filter("holder", query.holder.as_deref())?,
        after_token,
        page_size: size + 1,
    };
    let page = app.look(move |state, now| {
        let leases = state.leases(&wanted);
        let next = (leases.len() > size).then(|| leases[size - 1].token.to_string());
        Page { items: leases.into_iter().take(size).map(|lease| convert::lease(lease, now)).collect(), next }
    });
    page.await.map(axum::Json)
}

/// Reads a lease.
#[utoipa::path(get, path = "/leases/{id}", tag = "leases", params(("id" = Uuid, Path)),
    responses((status = 200, body = LeaseBody), (status = 404, body = ProblemBody), (status = 410, body = ProblemBody)))]
pub(super) async fn get(
    _: Acquirer,
    State(app): Shared,
    PathId(id): PathId,
) -> Result<axum::Json<LeaseBody>, Problem> {
    let found = app.look(move |state, now| match (state.lease(id), state.ended(id)) {
        (Some(lease), _) => Ok(convert::lease(lease, now)),
        (None, Some((how, at))) => Err(problems::gone(how, at, now)),
        (None, None) => Err(no_lease(state, id)),
    });
    found.await?.map(axum::Json)
}

/// Holds a lease for longer. `cancel` in the answer asks the holder to stop.
#[utoipa::path(post, path = "/leases/{id}/renew", tag = "leases", params(("id" = Uuid, Path)),
    request_body = RenewInput,
    responses((status = 200, body = LeaseBody), (status = 404, body = ProblemBody),
        (status = 410, body = ProblemBody, description = "The lease is lost: stop")))]
pub(super) async fn renew(
    _: Acquirer,
    State(app): Shared,
    PathId(id): PathId,
    Json(input): Json<RenewInput>,
) -> Result<axum::Json<LeaseBody>, Problem> {
    let ttl_ms = input.ttl_ms.map(|ms| convert::ttl("ttl_ms", ms)).transpose()?;
    let outcome = app.engine.execute(Command::Renew { id, ttl_ms }).await.map_err(problems::engine)?;
    renewed(&app, id, outcome).await.map(axum::Json)
}

/// There is no lease of this id, nor was there; perhaps there will be.
fn no_lease(state: &Kernel, id: Uuid) -> Problem {
    if state.ticket(id).is_some() { problems::still_waits(id) } else { problems::unknown_id(id) }
}

/// What a renewal came to.
pub(super) async fn renewed(app: &App, id: Uuid, outcome: Outcome) -> Result<LeaseBody, Problem> {
    match outcome {
        Outcome::Renewed(lease) => Ok(convert::lease(&lease, app.now().max(lease.granted_at))),
        Outcome::UnknownId => Err(app.look(move |state, _| no_lease(state, id)).await?),
        Outcome::Denied(denial) => match *denial {
            Denial::Ended { how, at } => Err(problems::gone(how, at, app.now())),
            denial => Err(problems::denial(denial, app.now())),
        },
        other => Err(problems::unexpected(&other)),
    }
}

/// Gives a lease back. Also fine when it has ended already or never was, so that it can be repeated without
/// knowing what became of the first; withdraws the ticket of this id if it still waits.
#[utoipa::path(delete, path = "/leases/{id}", tag = "leases", params(("id" = Uuid, Path)),
    responses((status = 204)))]
pub(super) async fn release(
    _: Acquirer,
    State(app): Shared,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    let command = Command::Release { id, part: Part::All, counts: true };
    let outcome = app.engine.execute(command).await.map_err(problems::engine)?;
    released(&app, outcome)
}

/// What a release came to.
pub(super) fn released(app: &App, outcome: Outcome) -> Result<StatusCode, Problem> {
    match outcome {
        Outcome::Released { .. } | Outcome::Withdrawn { .. } | Outcome::UnknownId => {
            Ok(StatusCode::NO_CONTENT)
        }
        Outcome::Denied(denial) if matches!(*denial, Denial::Ended { .. }) => Ok(StatusCode::NO_CONTENT),
        Outcome::Denied(denial) => Err(problems::denial(*denial, app.now())),
        other => Err(problems::unexpected(&other)),
    }
}

/// Says whether a lease lives and a fencing token is its own: for resources that refuse late holders.
#[utoipa::path(post, path = "/leases/check", tag = "leases", request_body = CheckInput,
    responses((status = 200, body = CheckBody)))]
pub(super) async fn check(
    _: Acquirer,
    State(app): Shared,
    Json(input): Json<CheckInput>,
) -> Result<axum::Json<CheckBody>, Problem> {
    let answer = app.look(move |state, now| {
        let lease = state.lease(input.id).filter(|lease| lease.token == input.token);
        CheckBody {
            valid: lease.is_some_and(|lease| lease.expires_at.is_none_or(|expires| now < expires)),
            newest_token: state.newest_token(),
        }
    });
    answer.await.map(axum::Json)
}
