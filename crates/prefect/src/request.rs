//! Taking a request apart: which version it speaks, what its body is.

use admit_http::{BodyError, read_body};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};

use crate::answer::Answer;
use crate::bounds::MAX_BODY_BYTES;
use crate::json::{Json, ParseError, parse};
use crate::validate::{self, Fault, Form, Refused, Values};

/// The version of the API that is spoken here.
pub(crate) const API_VERSION: &str = "0.8.4";
/// The version of Prefect that speaks it.
pub(crate) const PREFECT_VERSION: &str = "3.8.8";
/// The oldest version that is spoken.
const OLDEST: [i64; 3] = [0, 8, 0];

/// A body that was read: whoever judges what a request is about judges this, and whoever answers it goes by this.
pub(crate) struct Read {
    pub(crate) body: Option<Json>,
    pub(crate) checked: Result<Values, Refused>,
}

impl Read {
    /// What the fields of a body say that passed.
    pub(crate) fn values(&self) -> Option<&Values> {
        self.checked.as_ref().ok()
    }
}

/// The whole body, as it came.
pub(crate) async fn bytes(body: Body) -> Result<Bytes, Answer> {
    read_body(body, MAX_BODY_BYTES).await.map_err(|error| unreadable(&error))
}

/// Reads a body as this form has it; where there is none, it is not looked at.
pub(crate) fn read(form: Option<&Form>, headers: &HeaderMap, bytes: &[u8]) -> Result<Read, Answer> {
    let Some(form) = form else { return Ok(Read { body: None, checked: Ok(Values::default()) }) };
    let body = parsed(headers, bytes)?;
    Ok(Read { checked: validate::check(form, body.as_ref()), body })
}

/// A body's JSON; none: there is no body. A text that claims to be no JSON stays a text.
fn parsed(headers: &HeaderMap, bytes: &[u8]) -> Result<Option<Json>, Answer> {
    if bytes.is_empty() {
        return Ok(None);
    }
    if !is_json(headers) {
        return Ok(Some(Json::Other(String::from_utf8_lossy(bytes).into_owned())));
    }
    let no_json = || Answer::detail(StatusCode::BAD_REQUEST, "There was an error parsing the body");
    let text = std::str::from_utf8(bytes).map_err(|_| no_json())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    parse(text).map(Some).map_err(|error| match error {
        ParseError::Syntax { message, at } => {
            Answer::invalid(&[Fault::broken_json(message, at)], &Json::Text(text.to_owned()))
        }
        ParseError::Unreadable => no_json(),
    })
}

/// What is said of a body that cannot be read.
fn unreadable(error: &BodyError) -> Answer {
    let status = match error {
        BodyError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
        BodyError::Broken => StatusCode::BAD_REQUEST,
    };
    Answer::detail(status, error.to_string())
}

/// Whether the body is JSON: where nothing is said, it is.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return true };
    let kind =
        given.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

/// Refuses clients that are too old to understand what they would be told.
pub(crate) fn check_version(headers: &HeaderMap) -> Result<(), Answer> {
    let Some(given) = headers.get("x-prefect-api-version") else { return Ok(()) };
    let given = String::from_utf8_lossy(given.as_bytes());
    if given.is_empty() {
        return Ok(());
    }
    let parts: Option<Vec<i64>> = given.split('.').map(|part| part.trim().parse().ok()).collect();
    let Some(Ok(version)) = parts.map(<[i64; 3]>::try_from) else {
        let detail = format!(
            "Invalid X-PREFECT-API-VERSION header format.Expected header in format 'x.y.z' but received {given}"
        );
        return Err(Answer::detail(StatusCode::BAD_REQUEST, detail));
    };
    if version < OLDEST {
        let detail = format!(
            "The request specified API version {given} but this server requires version 0.8.0 or higher."
        );
        return Err(Answer::detail(StatusCode::BAD_REQUEST, detail));
    }
    Ok(())
}
