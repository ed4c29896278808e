//! Which listeners ask for a token.

use std::sync::Arc;

use axum::http::HeaderMap;

use crate::credential::{self, Credentials};
use crate::{Role, Tokens};

/// Who may use a listener.
#[derive(Debug, Clone)]
pub enum Access {
    /// Anyone may do anything that it offers (a public gateway; its own rules decide).
    Public,
    /// On loopback anyone; beyond it, those who have a token.
    TokensBeyondLoopback {
        /// The tokens.
        tokens: Arc<Tokens>,
        /// Whether the listener is on loopback.
        is_loopback: bool,
    },
    /// Those who have a token, on loopback too: what is offered can run code.
    Tokens(Arc<Tokens>),
}

/// What a request proves about its sender.
pub(crate) struct Proof {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) role: Option<Role>,
    pub(crate) is_rejected: bool,
}

impl Access {
    /// Tokens for an address that can be reached from other machines, none on loopback.
    #[must_use]
    pub fn by_address(address: std::net::SocketAddr, tokens: Arc<Tokens>) -> Access {
        Access::TokensBeyondLoopback { tokens, is_loopback: address.ip().is_loopback() }
    }

    /// Whether tokens are asked for and nobody has one.
    pub(crate) fn lacks_tokens(&self) -> bool {
        match self {
            Access::Public => false,
            Access::TokensBeyondLoopback { tokens, .. } | Access::Tokens(tokens) => !tokens.any_valid(),
        }
    }

    pub(crate) fn proof(&self, headers: &HeaderMap) -> Proof {
        let (tokens, is_open) = match self {
            Access::Public => return Proof { name: None, role: Some(Role::Admin), is_rejected: false },
            Access::TokensBeyondLoopback { tokens, is_loopback } => (tokens, *is_loopback),
            Access::Tokens(tokens) => (tokens, false),
        };
        match credential::credentials(headers) {
            Credentials::None => {
                Proof { name: None, role: is_open.then_some(Role::Admin), is_rejected: false }
            }
            Credentials::Candidates(secrets) => match secrets.iter().find_map(|secret| tokens.find(secret)) {
                Some(token) => Proof { name: Some(token.name), role: Some(token.role), is_rejected: false },
                None => Proof { name: None, role: is_open.then_some(Role::Admin), is_rejected: true },
            },
        }
    }
}
