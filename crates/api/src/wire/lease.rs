//! Asking for slots, and holding them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{OnFull, ProblemBody, WindowBody, object};

/// A request for slots: all of its claims are admitted at once, or none.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcquireInput {
    /// Request id, ticket id and lease id in one; repeating it is safe. Left out: the server makes one.
    #[serde(default)]
    pub id: Option<Uuid>,
    /// What it claims: 1 to 16 claims.
    #[serde(deserialize_with = "object::array")]
    pub claims: Vec<ClaimInput>,
    /// How long the lease lives without renewal, 1 s to 7 days; null: until it is released.
    #[serde(default = "default_ttl_ms")]
    #[schema(default = 60_000)]
    pub ttl_ms: Option<u64>,
    /// How long the answer may take, at most 10 minutes.
    #[serde(default)]
    #[schema(maximum = 600_000)]
    pub wait_ms: u64,
    /// What becomes of the request after that.
    #[serde(default)]
    pub on_timeout: OnTimeout,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i32,
    /// Requests of different groups take turns.
    #[serde(default)]
    pub group: Option<String>,
    /// Goes by this time (RFC 3339, not in the future) instead of its arrival.
    #[serde(default)]
    pub age: Option<String>,
    /// What to do when it cannot be admitted at once; the limits may demand more.
    #[serde(default)]
    pub on_full: OnFull,
    /// How long a grant after waiting may stay unclaimed; left out: the lesser of `ttl_ms` and 30 s.
    #[serde(default)]
    pub claim_ms: Option<u64>,
    /// What a claim by an unknown limit does.
    #[serde(default)]
    pub if_missing: IfMissing,
    /// Who asks, for people.
    #[serde(default)]
    pub holder: Option<String>,
    /// More about who asks.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[allow(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn default_ttl_ms() -> Option<u64> {
    Some(60_000)
}

fn one() -> u64 {
    1
}

/// So many slots: of a limit, of a key under a limit's terms, or of a key under terms given here.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimInput {
    /// The limit whose terms apply. Without it, `key` and `max` are needed.
    #[serde(default)]
    pub limit: Option<String>,
    /// The key whose slots are counted; left out: the limit's name.
    #[serde(default)]
    pub key: Option<String>,
    /// How many.
    #[serde(default = "one")]
    #[schema(default = 1, minimum = 1, maximum = 1_000_000_000)]
    pub slots: u64,
    /// Slots that may be in use, where no limit says it.
    #[serde(default)]
    #[schema(maximum = 1_000_000_000)]
    pub max: Option<u64>,
    /// A span of the past that counts too, where no limit says it.
    #[serde(default, deserialize_with = "object::optional")]
    pub window: Option<WindowBody>,
    /// Slots that come back per second, where no limit says it.
    #[serde(default)]
    pub decay_per_second: Option<f64>,
}

/// What becomes of a request that was not admitted within its `wait_ms`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// It is gone.
    #[default]
    Withdraw,
    /// It waits on as a ticket, as long as somebody asks about it every 5 minutes.
    Keep,
}

/// What a claim by an unknown limit does.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IfMissing {
    /// The request is refused.
    #[default]
    Reject,
    /// The claim neither counts nor blocks.
    Admit,
}

/// Slots that are held.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LeaseBody {
    /// The id of its request.
    pub id: Uuid,
    /// Its fencing token: greater than that of every lease before it, below 2^53.
    pub token: u64,
    /// What it claims.
    pub claims: Vec<ClaimBody>,
    /// How long it lives without renewal; null: until it is released.
    pub ttl_ms: Option<u64>,
    /// When it was granted (RFC 3339).
    pub granted_at: String,
    /// How long ago that is, in milliseconds.
    pub age_ms: u64,
    /// When it ends unless it is renewed (RFC 3339); null: when it is released.
    pub expires_at: Option<String>,
    /// The same, in milliseconds from now.
    pub expires_in_ms: Option<u64>,
    /// How long its request waited.
    pub waited_ms: u64,
    /// The holder is asked to stop.
    pub cancel: bool,
    /// A limit that is only observed would have made it wait.
    pub would_have_waited: bool,
    /// Who holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// More about who holds it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A claim of a lease or ticket.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ClaimBody {
    /// The limit, if the terms are a limit's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The key whose slots are counted.
    pub key: String,
    /// How many.
    pub slots: u32,
    /// Slots that may be in use, if the request said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// The window, if the request said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowBody>,
    /// The decay, if the request said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_per_second: Option<f64>,
}

/// For how long a lease is held further.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewInput {
    /// Its time to live from now on; left out: as before.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

/// A lease that a resource wants to be sure of.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckInput {
    /// The lease.
    pub id: Uuid,
    /// The fencing token that its holder showed.
    pub token: u64,
}

/// Whether a lease is still good.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CheckBody {
    /// It lives, and the token is its own.
    pub valid: bool,
    /// The newest fencing token that was given to anyone.
    pub newest_token: u64,
}

/// Several operations in one request.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchInput {
    /// At most 1,000, carried out in order; none waits.
    #[schema(value_type = Vec<BatchOp>, max_items = 1_000)]
    pub ops: Vec<serde_json::Value>,
}

/// One operation of a batch. Only its schema is used: each operation is taken apart by itself, so that one
/// that is wrong has a status of its own.
#[allow(dead_code, reason = "a schema")]
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum BatchOp {
    /// As `POST /leases`, without `wait_ms` and `on_timeout`.
    Acquire(Box<AcquireInput>),
    /// As `POST /leases/{id}/renew`.
    Renew(RenewOp),
    /// As `DELETE /leases/{id}`.
    Release(ReleaseOp),
}

/// A renewal in a batch.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewOp {
    /// The lease.
    pub id: Uuid,
    /// Its time to live from now on; left out: as before.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

/// A release in a batch.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseOp {
    /// The lease.
    pub id: Uuid,
}

/// What came of the operations of a batch, in their order.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BatchBody {
    /// One for each.
    pub results: Vec<BatchResult>,
}

/// What came of one operation: what it would have been answered alone.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BatchResult {
    /// Its HTTP status.
    pub status: u16,
    /// The lease that was granted or renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseBody>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProblemBody>)]
    pub problem: Option<serde_json::Value>,
}
