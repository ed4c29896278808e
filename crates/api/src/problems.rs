//! Every error of this API, as the problem that a client sees.

use admit_engine::Error;
use admit_http::{BodyError, Problem, Refusal, TokenError};
use admit_kernel::{Block, Denial, Time};
use axum::http::{StatusCode, header};
use serde_json::Value;
use uuid::Uuid;

use crate::{convert, rate_limit};

/// Characters of an offending value that are repeated to its sender.
const MAX_VALUE_CHARS: usize = 120;

/// A field that is wrong: which, what it was, and what would be right.
pub(crate) fn invalid(field: impl Into<String>, value: impl Into<Value>, right: &str) -> Problem {
    let (field, value) = (field.into(), shorten(value.into()));
    let detail = match &value {
        Value::Null => format!("`{field}`: {right}"),
        value => format!("`{field}` is {value}: {right}"),
    };
    let problem = Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid-request",
        "A field of the request is wrong",
        detail,
    );
    problem.with("field", field).with("value", value)
}

fn shorten(value: Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > MAX_VALUE_CHARS => {
            let start: String = text.chars().take(MAX_VALUE_CHARS).collect();
            format!("{start}... ({} bytes)", text.len()).into()
        }
        Value::Array(_) | Value::Object(_) if value.to_string().len() > MAX_VALUE_CHARS => Value::Null,
        other => other,
    }
}

pub(crate) fn malformed_json(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed-json", "The body is not JSON", detail)
}

pub(crate) fn wrong_content_type(given: &str) -> Problem {
    let detail = format!("the content-type is `{given}`; send `application/json`");
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Problem::new(status, "wrong-content-type", "The body is of another type", detail)
        .with("field", "content-type")
        .with("value", given)
}

pub(crate) fn body(error: BodyError) -> Problem {
    let (status, kind, title) = match error {
        BodyError::TooLong { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-long", "The body is too long"),
        BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "body-too-slow", "The body did not end in time"),
        BodyError::Broken => (StatusCode::BAD_REQUEST, "body-broken", "The body broke off"),
    };
    // What is left of the body cannot be told from a next request.
    Problem::new(status, kind, title, error.to_string()).header(header::CONNECTION, "close")
}

pub(crate) fn no_route(path: &str) -> Problem {
    let mut detail = format!("there is nothing at `{path}`; /openapi.json lists what there is");
    if path.starts_with("/api/v1/") && path.ends_with('/') {
        detail += " (after the last slash a name or id is missing; none is empty)";
    }
    Problem::new(StatusCode::NOT_FOUND, "no-route", "There is nothing here", detail)
}

pub(crate) fn wrong_method(method: &str) -> Problem {
    let detail = format!("this path does not take {method}; the Allow header says what it takes");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "The path does not take this method", detail)
}

pub(crate) fn refusal(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Unauthenticated => {
            let problem = Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "An access token is needed",
                refusal.to_string(),
            );
            problem.header(header::WWW_AUTHENTICATE, "Bearer realm=\"admit\"")
        }
        Refusal::Forbidden { .. } => Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "The access token may not do this",
            refusal.to_string(),
        ),
    }
}

pub(crate) fn unknown_limit(name: &str) -> Problem {
    let detail = format!("there is no limit `{name}`; `PUT /api/v1/limits/{{name}}` makes one");
    Problem::new(StatusCode::NOT_FOUND, "unknown-limit", "There is no such limit", detail).with("limit", name)
}

pub(crate) fn unknown_id(id: Uuid) -> Problem {
    let detail = format!("no lease or ticket `{id}` is known; ends are remembered for 24 hours");
    Problem::new(StatusCode::NOT_FOUND, "unknown-id", "No lease or ticket has this id", detail).with("id", id)
}

/// There is no lease of this id, as its request waits for it.
pub(crate) fn still_waits(id: Uuid) -> Problem {
    let detail = format!("the request `{id}` still waits for its lease; ask at /api/v1/tickets/{id}");
    Problem::new(StatusCode::NOT_FOUND, "not-granted", "There is no lease of this id yet", detail)
        .with("id", id)
}

/// The id of a request that does not wait belongs to one that waits already.
pub(crate) fn waits_already(id: Uuid) -> Problem {
    let detail = format!("the request of this id waits as a ticket; ask at /api/v1/tickets/{id}");
    Problem::new(StatusCode::CONFLICT, "still-waiting", "The request waits already", detail).with("id", id)
}

/// A ticket that is a lease by now is not withdrawn.
pub(crate) fn is_a_lease(id: Uuid) -> Problem {
    let detail =
        format!("the ticket was granted and its lease lives; DELETE /api/v1/leases/{id} gives it back");
    Problem::new(StatusCode::CONFLICT, "already-granted", "The ticket is a lease", detail).with("id", id)
}

pub(crate) fn revision_mismatch(current: Option<u64>) -> Problem {
    let detail = match current {
        Some(revision) => {
            format!("the limit is at revision {revision} now, or was paused or resumed; read it again")
        }
        None => "there is no such limit (any more)".to_owned(),
    };
    let status = StatusCode::PRECONDITION_FAILED;
    Problem::new(status, "revision-mismatch", "The limit was changed meanwhile", detail)
        .with("revision", current)
}

/// An outcome that the command cannot have; says so instead of pretending.
pub(crate) fn unexpected(outcome: &impl std::fmt::Debug) -> Problem {
    let detail = format!("the engine gave an answer that does not belong to the question: {outcome:?}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "This is a fault of the server", detail)
}

pub(crate) fn engine(error: Error) -> Problem {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let detail = error.to_string();
    match error {
        Error::Overloaded { .. } => {
            Problem::new(status, "overloaded", "The server has too much to do", detail).retry_in_ms(1_000)
        }
        Error::Stopping => {
            Problem::new(status, "stopping", "The server is stopping", detail).retry_in_ms(1_000)
        }
        Error::Unavailable { retry_in_ms, .. } => {
            Problem::new(status, "unavailable", "The store cannot be used just now", detail)
                .retry_in_ms(retry_in_ms)
        }
        other => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "This is a fault of the server",
            other.to_string(),
        ),
    }
}

pub(crate) fn token(error: TokenError) -> Problem {
    let detail = error.to_string();
    match error {
        TokenError::BadName => {
            invalid("name", Value::Null, &format!("1 to {} bytes", admit_http::MAX_TOKEN_NAME_BYTES))
        }
        TokenError::Expired => invalid("expires_in_ms", 0, "at least 1"),
        TokenError::NameTaken(name) => {
            Problem::new(StatusCode::CONFLICT, "name-taken", "A token of this name exists", detail)
                .with("name", name)
        }
        TokenError::Unknown(name) => {
            Problem::new(StatusCode::NOT_FOUND, "unknown-token", "There is no such token", detail)
                .with("name", name)
        }
        TokenError::TooMany => {
            Problem::new(StatusCode::CONFLICT, "too-many-tokens", "There are too many tokens", detail)
        }
        TokenError::Engine(error) => engine(error),
        TokenError::Random(_) | TokenError::Table(_) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "This is a fault of the server",
            detail,
        ),
    }
}

/// A request that found no room, or did not within the time that it was willing to wait.
pub(crate) fn full(blocked_by: &[Block], waited_ms: u64, now: Time) -> Problem {
    let sentences = blocked_by.iter().map(convert::block_sentence).collect::<Vec<_>>().join("; ");
    let detail = match (sentences.as_str(), waited_ms) {
        ("", _) => format!("no slot came free in {waited_ms} ms"),
        (sentences, 0) => sentences.to_owned(),
        (sentences, waited_ms) => format!("no slot came free in {waited_ms} ms: {sentences}"),
    };
    short("full", "No slot is free", detail, blocked_by, now)
}

/// A request that waited until a newer one took its place, as its limit wants it.
pub(crate) fn replaced(blocked_by: &[Block], waited_ms: u64, now: Time) -> Problem {
    let detail = format!("a newer request took its place after {waited_ms} ms; the limit keeps the newest");
    short("replaced", "A newer request took the place", detail, blocked_by, now)
}

/// 429, with what was short.
fn short(
    kind: &'static str,
    title: &'static str,
    detail: String,
    blocked_by: &[Block],
    now: Time,
) -> Problem {
    let bodies: Vec<_> = blocked_by.iter().map(|block| convert::block(block, now)).collect();
    let status = StatusCode::TOO_MANY_REQUESTS;
    let problem = Problem::new(status, kind, title, detail).with("blocked_by", bodies);
    let retry_in_ms = blocked_by.iter().filter_map(|block| block.retry_in_ms).max().unwrap_or(1_000);
    rate_limit::headers(blocked_by)
        .into_iter()
        .fold(problem.retry_in_ms(retry_in_ms), |problem, (name, value)| problem.header(name, &value))
}

/// A denial as a problem. `now` is the log's time.
pub(crate) fn denial(denial: Denial, now: Time) -> Problem {
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    match denial {
        Denial::Full { blocked_by } => full(&blocked_by, 0, now),
        Denial::Impossible { key, limit, max, asked } => {
            let whose =
                limit.as_ref().map_or_else(|| format!("key `{key}`"), |limit| format!("limit `{limit}`"));
            let detail = format!("asks {asked} slots where {whose} never allows more than {max}");
            Problem::new(unprocessable, "impossible", "This can never be admitted", detail)
                .with("key", &*key)
                .with("limit", limit.as_deref())
                .with("max", max)
                .with("asked", asked)
        }
        Denial::UnknownLimit { name } => {
            let detail = format!("there is no limit `{name}`; make it, or send \"if_missing\": \"admit\"");
            Problem::new(unprocessable, "unknown-limit", "There is no such limit", detail)
                .with("limit", &*name)
        }
        Denial::QueueFull { key, limit, waiting, max_len } => {
            let whose =
                limit.as_ref().map_or_else(|| format!("key `{key}`"), |limit| format!("limit `{limit}`"));
            let detail = format!("{waiting} wait for {whose} already, and no more than {max_len} may");
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "queue-full", "The line is full", detail)
                .with("key", &*key)
                .with("limit", limit.as_deref())
                .with("waiting", waiting)
                .with("max_len", max_len)
                .retry_in_ms(1_000)
        }
        Denial::IdReused => {
            invalid_id("id-reused", "the id belongs to a request with other claims; use a new one")
        }
        Denial::Ended { how, at } => {
            let kind = if how.is_of_ticket() { "ticket-ended" } else { "lease-ended" };
            let detail = format!("the request of this id has ended ({}); use a new id", how.as_str());
            Problem::new(StatusCode::CONFLICT, kind, "The id's request has ended", detail)
                .with("how", how.as_str())
                .with("ended_at", convert::at(at))
                .with("ended_ago_ms", now.since(at))
        }
        Denial::TooManyTerms { key, max } => {
            let detail =
                format!("requests of {max} different terms wait at key `{key}` already; use a limit instead");
            Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-terms",
                "Too many different terms wait",
                detail,
            )
            .with("key", &*key)
            .retry_in_ms(1_000)
        }
        Denial::TooManyMatches { key, max } => {
            let detail = format!("more than {max} limits match key `{key}`; narrow their patterns");
            Problem::new(unprocessable, "too-many-matches", "Too many limits match", detail)
                .with("key", &*key)
        }
        Denial::Overloaded { what, max } => {
            let detail = format!("there are {max} {what} already");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Problem::new(status, "overloaded", "The server has too much to do", detail).retry_in_ms(1_000)
        }
        Denial::Invalid { field, reason } => invalid(field, Value::Null, &reason),
    }
}

fn invalid_id(kind: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, kind, "The id is taken", detail).with("field", "id")
}

/// The lease of a renewal or question is gone: its holder must stop.
pub(crate) fn gone(how: admit_kernel::End, at: Time, now: Time) -> Problem {
    let kind = if how.is_of_ticket() { "ticket-ended" } else { "lease-ended" };
    let detail = format!(
        "it has ended ({}), {} ms ago; what it protected may be another's now",
        how.as_str(),
        now.since(at)
    );
    Problem::new(StatusCode::GONE, kind, "The lease or ticket has ended", detail)
        .with("how", how.as_str())
        .with("ended_at", convert::at(at))
        .with("ended_ago_ms", now.since(at))
}

pub(crate) fn too_many_streams() -> Problem {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let detail = "as many event streams are open as may be";
    Problem::new(status, "too-many-streams", "Too many event streams", detail).retry_in_ms(5_000)
}
