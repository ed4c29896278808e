//! Taking requests apart: every mistake becomes a problem that names the field, its value and what is right.

use admit_http::{Caller, MAX_BODY_BYTES, Problem, Role, read_body};
use admit_kernel::{MAX_NAME_BYTES, Name};
use axum::extract::{FromRequest, FromRequestParts, Path, Query as AxumQuery, Request};
use axum::http::header;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::problems;
use crate::wire::Object;

/// Rows of a page, unless the request says otherwise.
const PAGE_SIZE: usize = 200;
/// Rows of a page at most: an answer of some hundred kilobytes.
const MAX_PAGE_SIZE: usize = 1_000;

/// A JSON body. No body at all counts as `{}`, so that what has only optional fields needs none.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Json<T>, Problem> {
        let (head, body) = request.into_parts();
        check_content_type(&head)?;
        let bytes = read_body(body, MAX_BODY_BYTES).await.map_err(problems::body)?;
        parse(if bytes.is_empty() { b"{}" } else { &bytes }).map(Json)
    }
}

/// A form or a text could come from a page of another site without its browser asking; JSON could not.
fn check_content_type(head: &Parts) -> Result<(), Problem> {
    let Some(given) = head.headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let given = given.to_str().unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    let is_json = kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json");
    if is_json { Ok(()) } else { Err(problems::wrong_content_type(given)) }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Paths are only worked out for what is wrong: that costs several times as much.
    let parsed = serde_json::from_slice::<Object<T>>(bytes).map(|Object(body)| body);
    parsed.map_err(|error| {
        let whole: Value = match serde_json::from_slice(bytes) {
            Ok(whole) => whole,
            Err(error) => return problems::malformed_json(error.to_string()),
        };
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        match serde_path_to_error::deserialize::<_, Object<T>>(&mut reader) {
            Ok(_) => problems::malformed_json(error.to_string()),
            Err(error) => wrong_field("", &error, &whole),
        }
    })
}

/// A value of the body that was taken apart before: `at` is its path.
pub(crate) fn parse_value<T: DeserializeOwned>(at: &str, value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize::<_, T>(value.clone()).map_err(|error| wrong_field(at, &error, &value))
}

fn wrong_field(at: &str, error: &serde_path_to_error::Error<serde_json::Error>, whole: &Value) -> Problem {
    let path = error.path().to_string();
    let message = for_people(&error.inner().to_string());
    let mut field = path.clone();
    let mut value = lookup(whole, &path);
    for prefix in ["missing field `", "unknown field `", "duplicate field `"] {
        let Some(name) = message.strip_prefix(prefix).and_then(|rest| rest.split('`').next()) else {
            continue;
        };
        if field.rsplit('.').next() != Some(name) {
            field = if path == "." { name.to_owned() } else { format!("{path}.{name}") };
        }
        value = lookup(whole, &field);
    }
    let field = match (at, field.as_str()) {
        ("", ".") => "body".to_owned(),
        (at, ".") => at.to_owned(),
        ("", field) => field.to_owned(),
        (at, field) => format!("{at}.{field}"),
    };
    problems::invalid(field, value, &message)
}

/// What the decoder says, without what only its programmer understands.
fn for_people(message: &str) -> String {
    // The place in the text means nothing to whoever sent it from a program.
    let message = message.rfind(" at line ").map_or(message, |place| &message[..place]);
    let Some((wrong, expected)) = message.split_once("expected ") else { return message.to_owned() };
    let expected = match expected {
        "u32" => "a whole number from 0 to 4294967295",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "u64" | "usize" => "a whole number from 0 up, below 2^64",
        "f64" => "a number",
        "a sequence" => "an array",
        "a map" => "an object",
        named if named.starts_with("struct ") => "an object",
        other => other,
    };
    // The value itself is named anyway.
    if expected.starts_with("a whole number") {
        return expected.to_owned();
    }
    format!("{wrong}expected {expected}")
}

/// The value at a path such as `claims[0].slots`; null where there is none.
fn lookup(whole: &Value, path: &str) -> Value {
    let mut value = whole;
    for part in path.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
        let next = match value {
            Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            other => other.get(part),
        };
        let Some(next) = next else { return Value::Null };
        value = next;
    }
    if value.is_object() { Value::Null } else { value.clone() }
}

/// What follows the `?`.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Query<T>, Problem> {
        AxumQuery::<T>::try_from_uri(&head.uri).map(|AxumQuery(query)| Query(query)).map_err(|error| {
            let text =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            problems::invalid("query", head.uri.query(), &text)
        })
    }
}

/// The one name in the path, decoded: slashes in it are sent as `%2F`.
pub(crate) struct PathName(pub(crate) Name);

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<PathName, Problem> {
        let Path(text) = Path::<String>::from_request_parts(head, state).await.map_err(|_| {
            problems::invalid("path", head.uri.path(), "the name is not percent-encoded UTF-8")
        })?;
        name("name", &text).map(PathName)
    }
}

/// The one id in the path.
pub(crate) struct PathId(pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<PathId, Problem> {
        let text = Path::<String>::from_request_parts(head, state)
            .await
            .map_or_else(|_| String::new(), |path| path.0);
        match Uuid::try_parse(&text) {
            Ok(id) => Ok(PathId(id)),
            Err(_) => Err(problems::invalid("id", text, "not a UUID")),
        }
    }
}

/// A name or key: not empty, not long, nothing that a terminal would obey.
pub(crate) fn name(field: &str, text: &str) -> Result<Name, Problem> {
    if text.is_empty() || text.len() > MAX_NAME_BYTES {
        return Err(problems::invalid(field, text, &format!("a name has 1 to {MAX_NAME_BYTES} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(problems::invalid(field, text, "a name has no control characters"));
    }
    Ok(text.into())
}

/// The name or key that a list or stream is narrowed to.
pub(crate) fn filter(field: &str, text: Option<&str>) -> Result<Option<Name>, Problem> {
    text.map(|text| name(field, text)).transpose()
}

/// How many rows a page should have.
pub(crate) fn page_size(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(PAGE_SIZE),
        Some(size @ 1..=MAX_PAGE_SIZE) => Ok(size),
        Some(size) => Err(problems::invalid("page_size", size, &format!("1 to {MAX_PAGE_SIZE}"))),
    }
}

macro_rules! guards {
    ($($(#[$doc:meta])* $guard:ident => $role:expr;)*) => {
        $($(#[$doc])*
        pub(crate) struct $guard(pub(crate) Caller);

        impl<S: Sync> FromRequestParts<S> for $guard {
            type Rejection = Problem;

            async fn from_request_parts(head: &mut Parts, _: &S) -> Result<$guard, Problem> {
                let Some(caller) = head.extensions.get::<Caller>() else {
                    return Err(problems::unexpected(&"the router is served without admit-http's front"));
                };
                caller.require($role).map_err(problems::refusal)?;
                Ok($guard(caller.clone()))
            }
        })*
    };
}

guards! {
    /// Lets only those pass who may change limits.
    Operator => Role::Operate;
    /// Lets only those pass who may change tokens.
    Administrator => Role::Admin;
}

/// Lets only those pass who may ask for slots and read.
pub(crate) struct Acquirer;

impl<S: Sync> FromRequestParts<S> for Acquirer {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Acquirer, Problem> {
        let Some(caller) = head.extensions.get::<Caller>() else {
            return Err(problems::unexpected(&"the router is served without admit-http's front"));
        };
        caller.require(Role::Acquire).map_err(problems::refusal).map(|()| Acquirer)
    }
}
