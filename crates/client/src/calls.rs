//! The calls, each a method of [`Client`]. All return [`Error`] when no answer came or the server refused.

use serde_json::{Value, json};
use ureq::http::Method;
use uuid::Uuid;

use crate::client::Repeat;
use crate::server::{Answer, Call, segment};
use crate::{
    Acquire, Acquired, Client, Error, Expected, Key, Lease, Limit, LimitSpec, NewToken, Node, Page, Renewed,
    Status, Ticket, Token, TokenRequest,
};

/// Rows of a page: as many as the server gives at once.
const PAGE_SIZE: usize = 1_000;
/// Pages of one list that are read at most: a million rows.
const MAX_PAGES: usize = 1_000;

/// Leases and tickets.
impl Client {
    /// Asks for slots, and waits for them as long as the request says. Safe to repeat with the same id.
    ///
    /// # Errors
    /// A request that is not admitted is an [`Error::Problem`] with status 429 that names who holds.
    pub fn acquire(&self, request: &Acquire) -> Result<Acquired, Error> {
        let answer = self.call(request.wait_ms, Repeat::UnlessPending, |wait_ms| {
            Call::new(Method::POST, "/api/v1/leases").body(&Acquire { wait_ms, ..request.clone() })
        })?;
        match answer.status {
            202 => Ok(Acquired::Waiting(answer.json()?)),
            _ => Ok(Acquired::Granted(answer.json()?)),
        }
    }

    /// The lease of this id.
    ///
    /// # Errors
    /// Status 404 or 410 when there is none (any more).
    pub fn lease(&self, id: Uuid) -> Result<Lease, Error> {
        self.get(&format!("/api/v1/leases/{id}"))
    }

    /// All leases, or those on a key.
    ///
    /// # Errors
    /// See the type.
    pub fn leases(&self, key: Option<&str>) -> Result<Vec<Lease>, Error> {
        self.list("/api/v1/leases", &key.map(|key| format!("&key={}", segment(key))).unwrap_or_default())
    }

    /// Holds a lease for longer; none: for its time to live once more.
    ///
    /// # Errors
    /// Status 410 when it is lost.
    pub fn renew(&self, id: Uuid, ttl_ms: Option<u64>) -> Result<Renewed, Error> {
        let body = ttl_ms.map_or_else(|| json!({}), |ttl_ms| json!({ "ttl_ms": ttl_ms }));
        let path = format!("/api/v1/leases/{id}/renew");
        self.call(0, Repeat::Safe, |_| Call::new(Method::POST, &*path).body(&body))?.json()
    }

    /// Gives a lease back; also fine when it is gone.
    ///
    /// # Errors
    /// See the type.
    pub fn release(&self, id: Uuid) -> Result<(), Error> {
        let path = format!("/api/v1/leases/{id}");
        self.call(0, Repeat::Safe, |_| Call::new(Method::DELETE, &*path)).map(drop)
    }

    /// Asks about a ticket, and waits up to `wait_ms` for its grant, which it claims.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub fn ticket(&self, id: Uuid, wait_ms: u64) -> Result<Ticket, Error> {
        let call = |wait_ms| Call::new(Method::GET, format!("/api/v1/tickets/{id}?wait_ms={wait_ms}"));
        self.call(wait_ms, Repeat::Safe, call)?.json()
    }

    /// Takes a ticket out of its queue; also fine when it is gone.
    ///
    /// # Errors
    /// See the type.
    pub fn withdraw(&self, id: Uuid) -> Result<(), Error> {
        let path = format!("/api/v1/tickets/{id}");
        self.call(0, Repeat::Safe, |_| Call::new(Method::DELETE, &*path)).map(drop)
    }

    /// Why a ticket or lease is where it is, as the server puts it.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub fn explain(&self, id: Uuid) -> Result<Value, Error> {
        self.get(&format!("/api/v1/explain/{id}"))
    }
}

/// Limits and keys.
impl Client {
    /// Defines a limit, or changes it; only if it still is as expected, where that is said.
    ///
    /// # Errors
    /// Status 412 when it is not as expected, 422 when a field is wrong.
    pub fn set_limit(&self, limit: &LimitSpec, expected: Option<Expected<'_>>) -> Result<Limit, Error> {
        let path = limit_path(&limit.name, "");
        self.change(|| Call::new(Method::PUT, &*path).body(limit).expecting(expected))?.json()
    }

    /// The limit of this name.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub fn limit(&self, name: &str) -> Result<Limit, Error> {
        self.get(&limit_path(name, ""))
    }

    /// All limits, by name.
    ///
    /// # Errors
    /// See the type.
    pub fn limits(&self) -> Result<Vec<Limit>, Error> {
        self.list("/api/v1/limits", "")
    }

    /// Removes a limit; only if it still is as expected, where that is said. Leases keep what they hold.
    ///
    /// # Errors
    /// Status 404 when there is none, 409 when it is another's, 412 when it is not as expected.
    pub fn remove_limit(&self, name: &str, expected: Option<Expected<'_>>) -> Result<(), Error> {
        let path = limit_path(name, "");
        self.change(|| Call::new(Method::DELETE, &*path).expecting(expected)).map(drop)
    }

    /// Admits nothing through a limit for so many milliseconds; none: until it is resumed.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub fn pause_limit(&self, name: &str, for_ms: Option<u64>) -> Result<(), Error> {
        let body = for_ms.map_or_else(|| json!({}), |for_ms| json!({ "for_ms": for_ms }));
        let path = limit_path(name, "/pause");
        self.change(|| Call::new(Method::POST, &*path).body(&body)).map(drop)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// Status 404 when there is no such limit.
    pub fn resume_limit(&self, name: &str) -> Result<(), Error> {
        let path = limit_path(name, "/resume");
        self.change(|| Call::new(Method::POST, &*path).body(&json!({}))).map(drop)
    }

    /// All keys in use that start with `prefix`.
    ///
    /// # Errors
    /// See the type.
    pub fn keys(&self, prefix: &str) -> Result<Vec<Key>, Error> {
        self.list("/api/v1/keys", &format!("&prefix={}", segment(prefix)))
    }
}

/// The server itself.
impl Client {
    /// What the server says of itself.
    ///
    /// # Errors
    /// See the type.
    pub fn status(&self) -> Result<Status, Error> {
        self.get("/api/v1/status")
    }

    /// The nodes that use the log, those included that were seen within the last hour.
    ///
    /// # Errors
    /// See the type.
    pub fn nodes(&self) -> Result<Vec<Node>, Error> {
        Ok(self.get::<Page<Node>>("/api/v1/nodes")?.items)
    }

    /// Makes an access token.
    ///
    /// # Errors
    /// Status 409 when there is one of this name.
    pub fn create_token(&self, request: &TokenRequest) -> Result<NewToken, Error> {
        self.change(|| Call::new(Method::POST, "/api/v1/tokens").body(request))?.json()
    }

    /// All access tokens, without their secrets.
    ///
    /// # Errors
    /// See the type.
    pub fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.list("/api/v1/tokens", "")
    }

    /// Makes a token worthless, at once.
    ///
    /// # Errors
    /// Status 404 when there is none of this name.
    pub fn revoke_token(&self, name: &str) -> Result<(), Error> {
        let path = format!("/api/v1/tokens/{}", segment(name));
        self.change(|| Call::new(Method::DELETE, &*path)).map(drop)
    }
}

impl Client {
    fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.call(0, Repeat::Safe, |_| Call::new(Method::GET, path))?.json()
    }

    /// Makes a change whose second time would be told something else, or undo what others did in between.
    fn change<'a>(&self, call: impl Fn() -> Call<'a>) -> Result<Answer, Error> {
        self.call(0, Repeat::Never, |_| call())
    }

    /// All pages of a list; a query begins with `&`.
    fn list<T: serde::de::DeserializeOwned>(&self, path: &str, query: &str) -> Result<Vec<T>, Error> {
        let mut rows = Vec::new();
        let mut after = String::new();
        for _ in 0..MAX_PAGES {
            let page: Page<T> = self.get(&format!("{path}?page_size={PAGE_SIZE}{query}{after}"))?;
            rows.extend(page.items);
            match page.next {
                Some(next) => after = format!("&cursor={}", segment(&next)),
                None => break,
            }
        }
        Ok(rows)
    }
}

fn limit_path(name: &str, action: &str) -> String {
    format!("/api/v1/limits/{}{action}", segment(name))
}
