//! Asking for slots, and holding them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Block, EtaKind, Window};

/// A request for slots. All of its claims are admitted at once, or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Acquire {
    /// Request id, ticket id and lease id in one: repeating it gives the same lease or ticket.
    pub id: Uuid,
    /// What it claims.
    pub claims: Vec<Claim>,
    /// How long the lease lives without renewal, in milliseconds; none: until it is released.
    pub ttl_ms: Option<u64>,
    /// How long the server may take to answer, in milliseconds, at most [`Acquire::MAX_WAIT_MS`].
    pub wait_ms: u64,
    /// What becomes of the request after that.
    pub on_timeout: OnTimeout,
    /// Goes by this age (RFC 3339) instead of its arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<String>,
    /// Who asks, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// More about who asks, for people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Acquire {
    /// The longest that one request may wait, in milliseconds.
    pub const MAX_WAIT_MS: u64 = 600_000;

    /// A request with an id of its own, a time to live of a minute and no patience.
    #[must_use]
    pub fn new(claims: Vec<Claim>) -> Acquire {
        Acquire {
            id: Uuid::now_v7(),
            claims,
            ttl_ms: Some(60_000),
            wait_ms: 0,
            on_timeout: OnTimeout::Withdraw,
            age: None,
            holder: None,
            labels: BTreeMap::new(),
        }
    }
}

/// One claim: slots of a key, under a limit's terms or under its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The limit whose terms apply; none: `max` and `window` do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The key whose slots are counted; none: the limit's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How many slots.
    #[serde(default = "one")]
    pub slots: u32,
    /// Slots that are allowed, where no limit says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// The window, where no limit says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

fn one() -> u32 {
    1
}

impl Claim {
    /// Slots of the limit `name`.
    #[must_use]
    pub fn limit(name: &str, slots: u32) -> Claim {
        Claim { limit: Some(name.to_owned()), key: None, slots, max: None, window: None }
    }

    /// The same claim on another key: each key has the limit for itself.
    #[must_use]
    pub fn on_key(self, key: &str) -> Claim {
        Claim { key: Some(key.to_owned()), ..self }
    }

    /// Slots of `key`, of which `max` are allowed.
    #[must_use]
    pub fn inline(key: &str, max: u32, slots: u32) -> Claim {
        Claim { limit: None, key: Some(key.to_owned()), slots, max: Some(max), window: None }
    }

    /// The key whose slots are counted.
    #[must_use]
    pub fn key_name(&self) -> &str {
        self.key.as_deref().or(self.limit.as_deref()).unwrap_or_default()
    }
}

/// What becomes of a request that was not admitted within its `wait_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// It is gone.
    #[default]
    Withdraw,
    /// It waits on as a ticket.
    Keep,
}

/// What came of a request that was not refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Acquired {
    /// The slots are held.
    Granted(Lease),
    /// The request waits as a ticket.
    Waiting(Ticket),
}

/// Slots that are held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// The id of its request.
    pub id: Uuid,
    /// Its fencing token: greater than that of every lease before it.
    pub token: u64,
    /// What it claims.
    #[serde(default)]
    pub claims: Vec<Claim>,
    /// How long it lives without renewal, in milliseconds, where the server says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// When it was granted (RFC 3339).
    #[serde(default)]
    pub granted_at: Option<String>,
    /// For how long it is held already, in milliseconds, where the server says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// When it ends unless it is renewed (RFC 3339); none: when it is released.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// The same, in milliseconds from now.
    #[serde(default)]
    pub expires_in_ms: Option<u64>,
    /// How long its request waited, in milliseconds.
    #[serde(default)]
    pub waited_ms: u64,
    /// Who holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// More about who holds it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The holder is asked to stop.
    #[serde(default)]
    pub cancel: bool,
    /// A limit that is only observed would have made it wait.
    #[serde(default)]
    pub would_have_waited: bool,
}

/// What a renewal says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Renewed {
    /// When the lease ends now unless it is renewed again (RFC 3339).
    #[serde(default)]
    pub expires_at: Option<String>,
    /// The same, in milliseconds from now.
    #[serde(default)]
    pub expires_in_ms: Option<u64>,
    /// The holder is asked to stop.
    #[serde(default)]
    pub cancel: bool,
}

/// Where a ticket stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// The id of its request.
    #[serde(default)]
    pub id: Option<Uuid>,
    /// `waiting`, `granted`, `rejected`, `withdrawn` or `lapsed`.
    pub state: String,
    /// Tickets that go before it, plus one.
    #[serde(default)]
    pub position: Option<u64>,
    /// When it is expected to be granted, in milliseconds from now.
    #[serde(default)]
    pub eta_ms: Option<u64>,
    /// How that is known.
    #[serde(default)]
    pub eta_kind: EtaKind,
    /// Why it is not known better, or what it rests on.
    #[serde(default)]
    pub eta_reason: Option<String>,
    /// What keeps it waiting.
    #[serde(default)]
    pub blocked_by: Vec<Block>,
    /// When its request arrived (RFC 3339), by the server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived_at: Option<String>,
    /// Its lease, once it is granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}
