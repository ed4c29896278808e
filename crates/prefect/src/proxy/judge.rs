//! Credentials that the server behind knows and this one does not: who is let in there may use what is here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderValue, Method, StatusCode, header};

use super::bounds::{JUDGEMENT_LASTS, MAX_JUDGEMENTS};
use super::upstream::{Failure, Link};

/// A path that Prefect opens only to those it knows.
const GUARDED: &str = "/api/admin/version";

/// What one worker knows of it. No credentials at all are an empty value.
#[derive(Default)]
pub(super) struct Judge {
    known: Mutex<HashMap<HeaderValue, (Instant, bool)>>,
}

impl Judge {
    /// Whether the server behind asks who its clients are.
    pub(super) async fn asks(&self, link: &Link) -> Result<bool, Failure> {
        Ok(!self.lets_in(link, None).await?)
    }

    /// Whether it knows these credentials. Where it lets in everybody, it knows nobody.
    pub(super) async fn knows(&self, link: &Link, authorization: &HeaderValue) -> Result<bool, Failure> {
        Ok(self.asks(link).await? && self.lets_in(link, Some(authorization)).await?)
    }

    /// Whether it lets in who comes with these, or with none.
    pub(super) async fn lets_in(
        &self,
        link: &Link,
        authorization: Option<&HeaderValue>,
    ) -> Result<bool, Failure> {
        let key = authorization.cloned().unwrap_or_else(|| HeaderValue::from_static(""));
        if let Some(known) = self.recall(&key) {
            return Ok(known);
        }
        let headers = authorization.map(|value| (header::AUTHORIZATION, value.clone())).into_iter().collect();
        let is_in = match link.ask(Method::GET, GUARDED, headers, None).await?.0 {
            status if status.is_success() => true,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => false,
            other => return Err(Failure::Status(other)),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_JUDGEMENTS {
            known.clear();
        }
        known.insert(key, (Instant::now(), is_in));
        Ok(is_in)
    }

    fn recall(&self, key: &HeaderValue) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(at, _)| at.elapsed() < JUDGEMENT_LASTS).map(|(_, is_in)| *is_in)
    }
}
