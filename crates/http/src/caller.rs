//! Who sent a request, from where, and what they may.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::HeaderValue;

use crate::Role;

/// The sender of a request; every request that reaches a router carries it in its extensions.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name of the access token; none: nobody in particular.
    pub name: Option<Arc<str>>,
    /// What they may; none: nothing that needs a role.
    pub role: Option<Role>,
    /// They sent credentials that are not known, have expired, or were revoked.
    pub is_rejected: bool,
    /// Where the connection comes from.
    pub peer: SocketAddr,
    /// The listener that they reached.
    pub listener: &'static str,
    /// The id of the request, as the answer's `x-request-id` and the log say it.
    pub request_id: HeaderValue,
}

/// Why a caller may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It takes a token, and there was none, or none that is valid.
    #[error(
        "this needs a valid access token: send `Authorization: Bearer TOKEN`; `admit token create` makes one"
    )]
    Unauthenticated,
    /// The token's role is too small.
    #[error("this needs the role `{needed}`, and the token's role is `{role}`")]
    Forbidden {
        /// What they have.
        role: Role,
        /// What it takes.
        needed: Role,
    },
}

impl Caller {
    /// Whether they may do what takes `needed`.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn require(&self, needed: Role) -> Result<(), Refusal> {
        match self.role {
            _ if self.is_rejected => Err(Refusal::Unauthenticated),
            None => Err(Refusal::Unauthenticated),
            Some(role) if role < needed => Err(Refusal::Forbidden { role, needed }),
            Some(_) => Ok(()),
        }
    }

    /// Who they are, in one word.
    #[must_use]
    pub fn who(&self) -> &str {
        self.name.as_deref().unwrap_or("anonymous")
    }

    /// The id of the request as text.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }
}
