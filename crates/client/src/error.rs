//! What can go wrong with a call.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Block;

/// Why a call has no answer, or what the server refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's address is not one.
    #[error(
        "'{url}' is not an address of a server: {reason}; give one as http://HOST:PORT or https://HOST:PORT"
    )]
    InvalidUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The way to the server is set up wrong, and trying again changes nothing: a certificate that is not
    /// trusted, TLS spoken to a server without it or the other way round.
    #[error("{url} cannot be talked to: {reason}")]
    Setup {
        /// The server's address.
        url: String,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// No answer came: nobody listens there, the network is down, the server went away in between; of several
    /// servers, none answered. Whether the call took effect is not known; those about leases and tickets may be
    /// repeated with the same id.
    #[error("no answer from {url}: {reason}")]
    Unreachable {
        /// The server's address.
        url: String,
        /// What the network said.
        reason: String,
        /// Whether there was a connection that worked, so that the server may have got the request.
        connected: bool,
    },
    /// The server said no, and why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// An answer came that is none of Admit's.
    #[error("{url} answered {status}, but not as Admit does: {reason}; is it another server?")]
    Unexpected {
        /// The server's address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl Error {
    /// The HTTP status of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Problem(problem) => Some(problem.status),
            Error::Unexpected { status, .. } => Some(*status),
            Error::InvalidUrl { .. } | Error::Setup { .. } | Error::Unreachable { .. } => None,
        }
    }

    /// What is said where neither of two servers could do it: what comes nearest to an answer.
    pub(crate) fn nor(self, later: Error) -> Error {
        use Error::{Setup, Unreachable};
        match (self, later) {
            (
                Unreachable { url, reason, connected },
                Unreachable { url: other, reason: why, connected: too },
            ) => Unreachable {
                url,
                reason: format!("{reason}; nor from {other}: {why}"),
                connected: connected || too,
            },
            (Unreachable { url, reason, connected }, Setup { url: other, reason: why })
            | (Setup { url: other, reason: why }, Unreachable { url, reason, connected }) => {
                Unreachable { url, reason: format!("{reason}; nor from {other}: {why}"), connected }
            }
            (answer, Unreachable { .. } | Setup { .. }) => answer,
            (_, later) => later,
        }
    }

    /// Whether no slot came in time: the line is full, the patience of the request or of the limit is over, or
    /// a newer request took its place.
    #[must_use]
    pub fn is_no_slot(&self) -> bool {
        match self {
            Error::Problem(problem) => {
                problem.status == 429 || matches!(problem.how(), Some("timed-out" | "replaced"))
            }
            _ => false,
        }
    }

    /// Whether the same call may well succeed in a moment: the server is away, or has too much to do.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Error::Unreachable { .. }) || matches!(self.status(), Some(502..=504))
    }
}

/// A refusal: RFC 9457 problem details, with what Admit adds to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The stable identity of this kind of problem.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The kind of problem, for people.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What happened this time: the field, the value and the way out.
    #[serde(default)]
    pub detail: String,
    /// The claims that were short, where that is why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<Block>,
    /// Everything else that the server said.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// The last part of the kind, e.g. `queue-full`, whatever its prefix is.
    #[must_use]
    pub fn slug(&self) -> &str {
        self.kind.rsplit(['/', ':', '#']).next().unwrap_or_default()
    }

    /// How the request or lease has ended, in a word, where that is the problem.
    #[must_use]
    pub fn how(&self) -> Option<&str> {
        match (self.slug(), self.more.get("how")) {
            (_, Some(how)) => how.as_str(),
            ("replaced", None) => Some("replaced"),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.title.as_str(), self.detail.as_str()) {
            ("", "") => write!(f, "the server answered {}", self.status),
            (title, "") => write!(f, "{title} ({})", self.status),
            (_, detail) => write!(f, "{detail} ({})", self.status),
        }
    }
}
