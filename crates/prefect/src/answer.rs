//! Answers, as Prefect's server gives them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::json::Json;
use crate::validate::Fault;

/// An answer; an `Err` of one is a request that was refused.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    body: Option<String>,
    headers: Vec<(HeaderName, String)>,
}

/// What comes of a request.
pub(crate) type Answered = Result<Answer, Answer>;

impl Answer {
    /// A body of JSON.
    pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
        // What is serialized here are our own structures, which JSON can carry.
        let body = serde_json::to_string(body).unwrap_or_else(|_| "null".to_owned());
        Answer { status, body: Some(body), headers: Vec::new() }
    }

    /// 200 and a body that is JSON already.
    pub(crate) fn raw(body: String) -> Answer {
        Answer { status: StatusCode::OK, body: Some(body), headers: Vec::new() }
    }

    /// 200 and a body.
    pub(crate) fn ok(body: &impl Serialize) -> Answer {
        Answer::json(StatusCode::OK, body)
    }

    /// No body at all.
    pub(crate) fn empty(status: StatusCode) -> Answer {
        Answer { status, body: None, headers: Vec::new() }
    }

    /// A refusal in words.
    pub(crate) fn detail(status: StatusCode, detail: impl Into<String>) -> Answer {
        Answer::json(status, &serde_json::json!({ "detail": detail.into() }))
    }

    /// A refusal of ours, which Prefect's own server does not have: its command line shows `exception_detail` alone.
    pub(crate) fn refused(status: StatusCode, message: &str, detail: &str) -> Answer {
        let body = serde_json::json!({
            "exception_message": message,
            "exception_detail": [{ "type": "refused", "loc": [], "msg": detail }],
            "detail": detail,
        });
        Answer::json(status, &body)
    }

    /// A body that does not pass: as the real server says it, and as its published document promises
    /// (`detail`).
    pub(crate) fn invalid(faults: &[Fault], body: &Json) -> Answer {
        let faults = Json::List(faults.iter().map(Fault::to_json).collect());
        let whole = Json::object([
            ("exception_message", "Invalid request received.".into()),
            ("exception_detail", faults.clone()),
            ("request_body", body.clone()),
            ("detail", faults),
        ]);
        let mut text = String::new();
        whole.write(&mut text);
        Answer { status: StatusCode::UNPROCESSABLE_ENTITY, body: Some(text), headers: Vec::new() }
    }

    /// The same with a header.
    pub(crate) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with `Retry-After`, as the client reads it: seconds with a fraction.
    pub(crate) fn retry_after(self, after: Duration) -> Answer {
        self.with(header::RETRY_AFTER, format!("{:?}", after.as_secs_f64()))
    }

    /// 503: the client tries again by itself.
    pub(crate) fn unavailable() -> Answer {
        let body = serde_json::json!({ "exception_message": "Service Unavailable" });
        Answer::json(StatusCode::SERVICE_UNAVAILABLE, &body).with(header::RETRY_AFTER, "1")
    }

    /// 500: a bug of ours.
    pub(crate) fn bug(what: impl std::fmt::Debug) -> Answer {
        tracing::error!(?what, "an outcome that cannot be");
        let body = serde_json::json!({ "exception_message": "Internal Server Error" });
        Answer::json(StatusCode::INTERNAL_SERVER_ERROR, &body)
    }

    /// What goes over the wire.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(self.body.clone().map_or_else(Body::empty, Body::from));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if self.body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

impl From<admit_engine::Error> for Answer {
    /// Every failure of the engine is temporary, as a client sees it.
    fn from(error: admit_engine::Error) -> Answer {
        tracing::warn!(%error, "the engine could not do what a client asked");
        Answer::unavailable()
    }
}
