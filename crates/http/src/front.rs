//! What every request passes before a router sees it, and every answer after: request id, Host and Origin,
//! who asks, the access log.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, Response};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use tower::Service;
use tracing::Level;

use crate::problem::Cause;
use crate::{Access, Caller, Hosts, MAX_REQUEST_ID_BYTES};

/// The request's id, in requests and answers.
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(crate) struct Front {
    listener: &'static str,
    hosts: Option<Hosts>,
    access: Access,
    router: Router,
    /// Ids made here are this and a running number: unlike those of other workers, and cheap.
    id_prefix: String,
    id_next: AtomicU64,
}

impl Front {
    pub(crate) fn new(listener: &'static str, hosts: Option<Hosts>, access: Access, router: Router) -> Front {
        let random = uuid::Uuid::new_v4().simple().to_string();
        Front {
            listener,
            hosts,
            access,
            router,
            id_prefix: random[..12].to_owned(),
            id_next: AtomicU64::new(1),
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, peer: SocketAddr, request: Request<Incoming>) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let request_id = self.request_id(head.headers.get(&X_REQUEST_ID));
        let log = tracing::enabled!(Level::DEBUG).then(Instant::now);
        let asked = (head.method.clone(), head.uri.clone());
        let mut response = match self.hosts.as_ref().map_or(Ok(()), |hosts| hosts.check(&head)) {
            Err(problem) => problem.into_response(),
            Ok(()) => {
                let proof = self.access.proof(&head.headers);
                head.extensions.insert(Caller {
                    name: proof.name,
                    role: proof.role,
                    is_rejected: proof.is_rejected,
                    peer,
                    listener: self.listener,
                    request_id: request_id.clone(),
                });
                let Ok(response) = self.router.clone().call(Request::from_parts(head, Body::new(body))).await;
                response
            }
        };
        self.log(&response, &asked, peer, &request_id, log);
        response.headers_mut().insert(X_REQUEST_ID.clone(), request_id);
        response
    }

    fn log(
        &self,
        response: &Response<Body>,
        (method, uri): &(axum::http::Method, axum::http::Uri),
        peer: SocketAddr,
        request_id: &HeaderValue,
        began: Option<Instant>,
    ) {
        let (listener, status, path) = (self.listener, response.status().as_u16(), uri.path());
        let request_id = request_id.to_str().unwrap_or_default();
        let cause = response.extensions().get::<Cause>().map_or("", |cause| cause.0.as_str());
        if response.status().is_server_error() {
            tracing::warn!(listener, %peer, request_id, %method, path, status, cause, "request failed");
        } else if let Some(began) = began {
            let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            tracing::debug!(listener, %peer, request_id, %method, path, status, cause, micros, "request");
        }
    }

    fn request_id(&self, given: Option<&HeaderValue>) -> HeaderValue {
        let is_sane = |value: &&HeaderValue| {
            (1..=MAX_REQUEST_ID_BYTES).contains(&value.len())
                && value
                    .as_bytes()
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
        };
        match given.filter(is_sane) {
            Some(given) => given.clone(),
            None => {
                let id = format!("{}-{}", self.id_prefix, self.id_next.fetch_add(1, Relaxed));
                HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
            }
        }
    }
}
