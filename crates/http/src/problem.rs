//! RFC 9457 problem details: what an error looks like on the wire.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

/// An error as a client sees it. Its `kind` is stable: programs go by it, people by the rest.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of the type `/problems/{kind}`.
    #[must_use]
    pub fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem { status, kind, title, detail: detail.into(), members: Map::new(), headers: Vec::new() }
    }

    /// Adds a member of its own to the body; a value that JSON cannot carry is left out.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Serialize) -> Problem {
        if let Ok(value) = serde_json::to_value(value) {
            self.members.insert(member.to_owned(), value);
        }
        self
    }

    /// Adds a header; a value that a header cannot carry is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Problem {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Says after how many milliseconds to try again: `Retry-After` in whole seconds, up, at least 1.
    #[must_use]
    pub fn retry_in_ms(self, ms: u64) -> Problem {
        let seconds = ms.div_ceil(1_000).max(1).to_string();
        self.header(header::RETRY_AFTER, &seconds)
    }

    /// Its HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The last part of its type.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// What happened, for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Its body as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_map(None)?;
        body.serialize_entry("type", &format_args!("/problems/{}", self.kind))?;
        body.serialize_entry("title", self.title)?;
        body.serialize_entry("status", &self.status.as_u16())?;
        body.serialize_entry("detail", &self.detail)?;
        for (member, value) in &self.members {
            body.serialize_entry(member, value)?;
        }
        body.end()
    }
}

/// What the access log says of a response that is a problem.
#[derive(Debug, Clone)]
pub(crate) struct Cause(pub(crate) String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(serde_json::to_vec(&self).unwrap_or_default()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response.extensions_mut().insert(Cause(self.detail));
        response
    }
}
