//! Limits.

use std::sync::atomic::Ordering::Relaxed;

use admit_http::{AuditEntry, Caller, Problem};
use admit_kernel::{Command, Limit, Name, Outcome, Time, Version};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::{Shared, precondition};
use crate::app::App;
use crate::convert;
use crate::extract::{Acquirer, Json, Operator, PathName, Query, page_size};
use crate::problems::{self, invalid};
use crate::wire::{EmptyInput, LimitBody, LimitInput, Page, PageQuery, PauseInput, ProblemBody, ResetBody};

/// Lists limits by name.
#[utoipa::path(get, path = "/limits", tag = "limits", params(PageQuery),
    responses((status = 200, body = Page<LimitBody>)))]
pub(super) async fn list(
    _: Acquirer,
    State(app): Shared,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<LimitBody>>, Problem> {
    let size = page_size(query.page_size)?;
    let page = app.look(move |state, now| {
        let limits = state.limits(query.cursor.as_deref(), size + 1);
        let next = (limits.len() > size).then(|| limits[size - 1].name.to_string());
        Page {
            items: limits.iter().take(size).map(|limit| convert::limit_body(limit, state, now)).collect(),
            next,
        }
    });
    page.await.map(axum::Json)
}

/// Reads a limit.
#[utoipa::path(get, path = "/limits/{name}", tag = "limits", params(("name" = String, Path)),
    responses((status = 200, body = LimitBody), (status = 404, body = ProblemBody)))]
pub(super) async fn get(
    _: Acquirer,
    State(app): Shared,
    PathName(name): PathName,
) -> Result<Response, Problem> {
    let limit = app.look({
        let name = name.clone();
        move |state, now| state.limit(&name).map(|limit| convert::limit_body(limit, state, now))
    });
    let limit = limit.await?.ok_or_else(|| problems::unknown_limit(&name))?;
    Ok(answer(StatusCode::OK, limit))
}

/// Defines a limit, or replaces its definition.
///
/// `If-Match: ETAG` changes it only if it is as it was when it was answered with that, `If-Match: *` only if it
/// exists, `If-None-Match: *` only if it does not. An answer can be sent back: what it says of the present is
/// ignored, and a pause goes on. What is at work keeps its slots; the new numbers count at once.
#[utoipa::path(put, path = "/limits/{name}", tag = "limits",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    request_body = LimitInput,
    responses((status = 200, body = LimitBody), (status = 201, body = LimitBody),
        (status = 412, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(super) async fn put(
    Operator(caller): Operator,
    State(app): Shared,
    PathName(name): PathName,
    headers: HeaderMap,
    Json(input): Json<LimitInput>,
) -> Result<Response, Problem> {
    let (version, source) = app
        .look({
            let name = name.clone();
            move |state, now| {
                state.limit(&name).map(|limit| (limit.version(now), limit.source.clone())).unzip()
            }
        })
        .await?;
    // A new definition leaves the pause as it is.
    let if_revision = precondition::check(&headers, version)?.map(|version| version.revision);
    let limit = Box::new(convert::limit(input, &name, source)?);
    let command = Command::SetLimit { limit, if_revision };
    match change(&app, &caller, "limit.set", &name, command).await? {
        Outcome::LimitStored { before, after } => {
            let status = if before.is_some() { StatusCode::OK } else { StatusCode::CREATED };
            show(&app, status, *after).await
        }
        Outcome::RevisionMismatch { current } => Err(problems::revision_mismatch(current)),
        Outcome::Denied(denial) => Err(problems::denial(*denial, app.now())),
        other => Err(problems::unexpected(&other)),
    }
}

/// Removes a limit. Leases keep what they hold on its key.
#[utoipa::path(delete, path = "/limits/{name}", tag = "limits",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 404, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub(super) async fn delete(
    Operator(caller): Operator,
    State(app): Shared,
    PathName(name): PathName,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let if_revision = expected(&app, &headers, &name).await?.map(|version| version.revision);
    let command = Command::RemoveLimit { name: name.clone(), if_revision };
    match change(&app, &caller, "limit.remove", &name, command).await? {
        Outcome::LimitRemoved(_) => Ok(StatusCode::NO_CONTENT),
        Outcome::UnknownLimit => Err(problems::unknown_limit(&name)),
        Outcome::RevisionMismatch { current } => Err(problems::revision_mismatch(current)),
        Outcome::Denied(denial) => Err(problems::denial(*denial, app.now())),
        other => Err(problems::unexpected(&other)),
    }
}

/// Admits nothing through a limit for some time, or until it is resumed.
#[utoipa::path(post, path = "/limits/{name}/pause", tag = "limits",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body = PauseInput,
    responses((status = 200, body = LimitBody), (status = 404, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub(super) async fn pause(
    Operator(caller): Operator,
    State(app): Shared,
    PathName(name): PathName,
    headers: HeaderMap,
    Json(input): Json<PauseInput>,
) -> Result<Response, Problem> {
    let if_version = expected(&app, &headers, &name).await?;
    let now = app.look(|_, now| now).await?;
    let until = match (input.for_ms, input.until) {
        (Some(ms), None) => now.plus(convert::within("for_ms", ms, 1, MAX_PAUSE_MS)?),
        (None, Some(text)) => convert::in_future("until", &text, now)?,
        (None, None) => Time(u64::MAX),
        (Some(_), Some(text)) => return Err(invalid("until", text, "give `for_ms` or `until`, not both")),
    };
    let command = Command::Pause { name: name.clone(), until: Some(until), if_version };
    set_pause(&app, &caller, "limit.pause", &name, command).await
}

/// The longest pause that is given in milliseconds: a year. Longer ones end by hand.
const MAX_PAUSE_MS: u64 = 366 * 24 * 3_600_000;

/// Ends a pause.
#[utoipa::path(post, path = "/limits/{name}/resume", tag = "limits",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body = EmptyInput,
    responses((status = 200, body = LimitBody), (status = 404, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub(super) async fn resume(
    Operator(caller): Operator,
    State(app): Shared,
    PathName(name): PathName,
    headers: HeaderMap,
    Json(EmptyInput {}): Json<EmptyInput>,
) -> Result<Response, Problem> {
    let if_version = expected(&app, &headers, &name).await?;
    let command = Command::Pause { name: name.clone(), until: None, if_version };
    set_pause(&app, &caller, "limit.resume", &name, command).await
}

/// What the request demands that an existing limit be like when it is changed.
async fn expected(app: &App, headers: &HeaderMap, name: &Name) -> Result<Option<Version>, Problem> {
    let version = app.look({
        let name = name.clone();
        move |state, now| state.limit(&name).map(|limit| limit.version(now))
    });
    let version = version.await?.ok_or_else(|| problems::unknown_limit(name))?;
    precondition::check_existing(headers, version)
}

async fn set_pause(
    app: &App,
    caller: &Caller,
    action: &'static str,
    name: &Name,
    command: Command,
) -> Result<Response, Problem> {
    match change(app, caller, action, name, command).await? {
        Outcome::LimitStored { after, .. } => show(app, StatusCode::OK, *after).await,
        Outcome::UnknownLimit => Err(problems::unknown_limit(name)),
        Outcome::RevisionMismatch { current } => Err(problems::revision_mismatch(current)),
        Outcome::Denied(denial) => Err(problems::denial(*denial, app.now())),
        other => Err(problems::unexpected(&other)),
    }
}

/// Ends every lease that claims a limit, and forgets what its key remembers.
#[utoipa::path(post, path = "/limits/{name}/reset", tag = "limits",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body = EmptyInput,
    responses((status = 200, body = ResetBody), (status = 404, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub(super) async fn reset(
    Operator(caller): Operator,
    State(app): Shared,
    PathName(name): PathName,
    headers: HeaderMap,
    Json(EmptyInput {}): Json<EmptyInput>,
) -> Result<axum::Json<ResetBody>, Problem> {
    let if_version = expected(&app, &headers, &name).await?;
    let command = Command::Reset { name: name.clone(), if_version };
    match change(&app, &caller, "limit.reset", &name, command).await? {
        Outcome::Reset { ended } => Ok(axum::Json(ResetBody { ended })),
        Outcome::UnknownLimit => Err(problems::unknown_limit(&name)),
        Outcome::RevisionMismatch { current } => Err(problems::revision_mismatch(current)),
        Outcome::Denied(denial) => Err(problems::denial(*denial, app.now())),
        other => Err(problems::unexpected(&other)),
    }
}

/// Changes between two looks at whether the audit has grown too long.
const PRUNE_EVERY: u64 = 256;

/// Executes a change of a limit, and the row of the audit with it.
async fn change(
    app: &App,
    caller: &Caller,
    action: &'static str,
    name: &Name,
    command: Command,
) -> Result<Outcome, Problem> {
    let entry = AuditEntry::of_caller(caller);
    let name = name.clone();
    let id = uuid::Uuid::now_v7();
    let prunes = app.about.changes.fetch_add(1, Relaxed).is_multiple_of(PRUNE_EVERY);
    let outcome = app.engine.execute_with(Some(command), move |outcome, now| {
        let (before, after) = match outcome {
            Some(Outcome::LimitStored { before, after }) => {
                (before.as_deref().map(describe), Some(describe(after)))
            }
            Some(Outcome::LimitRemoved(limit)) => (Some(describe(limit)), None),
            Some(Outcome::Reset { ended }) => (None, Some(serde_json::json!({ "ended": ended }))),
            // Nothing was changed.
            _ => return Vec::new(),
        };
        let row = entry.clone().of(action, &name, before, after).with_id(id).write(now);
        std::iter::once(row).chain(prunes.then(|| admit_http::prune_audit(now))).collect()
    });
    let outcome = outcome.await.map_err(problems::engine)?;
    outcome.ok_or_else(|| problems::unexpected(&"no outcome"))
}

/// A limit as the audit keeps it.
fn describe(limit: &Limit) -> Value {
    serde_json::to_value(limit).unwrap_or_default()
}

/// Answers with a limit as a change left it.
async fn show(app: &App, status: StatusCode, limit: Limit) -> Result<Response, Problem> {
    let body = app.look(move |state, now| convert::limit_body(&limit, state, now)).await?;
    Ok(answer(status, body))
}

fn answer(status: StatusCode, limit: LimitBody) -> Response {
    let etag = HeaderValue::from_str(&limit.etag);
    let mut response = (status, axum::Json(limit)).into_response();
    if let Ok(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}
