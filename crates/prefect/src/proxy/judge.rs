//! Credentials that the server behind knows and this one does not: who is let in there may use what is here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Method, StatusCode, header};

use super::bounds::{JUDGEMENT_LASTS, JUDGEMENT_OUTLIVES, MAX_JUDGEMENTS};
use super::upstream::{Failure, Link};

/// A path that Prefect opens only to those it knows.
const GUARDED: &str = "/api/admin/version";

/// What is known of it, by all workers. No credentials at all are an empty value.
#[derive(Debug, Default)]
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
        let known = self.recall(&key);
        if let Some((_, is_in)) = known.filter(|(age, _)| *age < JUDGEMENT_LASTS || link.is_absent()) {
            return Ok(is_in);
        }
        match self.ask(link, authorization).await {
            Ok(is_in) => {
                self.remember(key, is_in);
                Ok(is_in)
            }
            // It cannot say now, and has said.
            Err(failure) => known.map(|(_, is_in)| is_in).ok_or(failure),
        }
    }

    async fn ask(&self, link: &Link, authorization: Option<&HeaderValue>) -> Result<bool, Failure> {
        let headers = authorization.map(|value| (header::AUTHORIZATION, value.clone())).into_iter().collect();
        match link.ask(Method::GET, GUARDED, headers, None).await?.0 {
            status if status.is_success() => Ok(true),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(false),
            other => Err(Failure::Status(other)),
        }
    }

    fn remember(&self, key: HeaderValue, is_in: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_JUDGEMENTS {
            known.clear();
        }
        known.insert(key, (Instant::now(), is_in));
    }

    /// What it said, and how long ago.
    fn recall(&self, key: &HeaderValue) -> Option<(Duration, bool)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let said = known.get(key).map(|(at, is_in)| (at.elapsed(), *is_in));
        said.filter(|(age, _)| *age < JUDGEMENT_OUTLIVES)
    }
}
