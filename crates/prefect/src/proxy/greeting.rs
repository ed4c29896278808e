//! What a client asks before it works, and before it gives slots back. The server behind answers it; while that is
//! not there it is answered here, as whoever only wants slots that are here needs nothing else.

use admit_http::Caller;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use tokio::time::timeout;

use super::Proxy;
use super::bounds::GREETING_TIMEOUT;
use super::upstream::Failure;
use crate::answer::Answer;
use crate::handshake;
use crate::routes::{Call, Route};

impl Proxy {
    /// Answers it from there, or from here.
    pub(super) async fn greet(
        &self,
        caller: Caller,
        route: &Route,
        request: Request,
    ) -> Result<Response, Answer> {
        // What tells whether a server lives is open there too.
        if route.role.is_some() {
            self.may_pass(&caller, request.headers().get(header::AUTHORIZATION)).await?;
        }
        let (head, _) = request.into_parts();
        if !self.link.is_absent() {
            let request = Request::from_parts(head.clone(), Body::empty());
            let asked = timeout(GREETING_TIMEOUT, self.exchange(&caller, request)).await;
            match asked.unwrap_or(Err(Failure::Silent(GREETING_TIMEOUT.as_secs()))) {
                Ok(answer) if !stands_before_nothing(answer.status()) => return Ok(answer),
                Ok(_) | Err(_) => self.link.is_not_reached(),
            }
        }
        if route.call == Call::CsrfToken {
            return Ok(handshake::token_meanwhile(head.uri.query()).into_response());
        }
        let caller = self.let_in(caller, head.headers.get(header::AUTHORIZATION)).await?;
        Ok(self.here(caller, Request::from_parts(head, Body::empty())).await)
    }
}

/// Whether this is what a proxy says for a server that it does not reach.
fn stands_before_nothing(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}
