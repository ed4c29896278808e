//! Limits.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::object;

/// A limit to be stored. What is left out has its default; the whole definition is replaced.
#[allow(dead_code, reason = "some fields are taken to be ignored")]
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitInput {
    /// Its name; may be left out, else it is the one in the path.
    #[serde(default)]
    pub name: Option<String>,
    /// Slots that may be in use at once, or the capacity of the window or bucket. 0 is closed: requests queue.
    #[schema(maximum = 1_000_000_000)]
    pub max: u64,
    /// A span of the past that counts too.
    #[serde(default, deserialize_with = "object::optional")]
    pub window: Option<WindowBody>,
    /// Slots that come back per second, as from a leaky bucket, instead of by release.
    #[serde(default)]
    pub decay_per_second: Option<f64>,
    /// Key patterns (`*` within a segment, `**` across): a claim on a matching key claims this limit too.
    #[serde(default, rename = "match")]
    pub patterns: Vec<String>,
    /// Whether it is enforced.
    #[serde(default)]
    pub mode: Mode,
    /// What becomes of a request that finds it full.
    #[serde(default)]
    pub on_full: OnFull,
    /// Who may wait for it.
    #[serde(default, deserialize_with = "object::object")]
    pub queue: QueueBody,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Whose it is, such as `native` or `file`; left out: as before, or `native`. A dialect's name is for what
    /// its own clients make.
    #[serde(default)]
    pub source: Option<String>,
    /// Said by answers; ignored here, as are the following, so that an answer can be edited and sent back.
    #[serde(default)]
    #[schema(read_only, value_type = u64, required = false)]
    pub revision: IgnoredAny,
    /// Ignored: see `If-Match`.
    #[serde(default)]
    #[schema(read_only, value_type = String, required = false)]
    pub etag: IgnoredAny,
    /// Ignored: see `pause` and `resume`.
    #[serde(default)]
    #[schema(read_only, value_type = bool, required = false)]
    pub paused: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(read_only, value_type = Option<String>)]
    pub paused_until: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(read_only, value_type = Option<u64>)]
    pub paused_for_ms: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(read_only, value_type = u64, required = false)]
    pub used: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(read_only, value_type = u32, required = false)]
    pub waiting: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(read_only, value_type = u64, required = false)]
    pub would_have_waited: IgnoredAny,
}

/// A limit as it is now.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LimitBody {
    /// Its name, which is also the key on which it counts unless a claim names another.
    pub name: String,
    /// Slots that may be in use at once, or the capacity of the window or bucket.
    pub max: u32,
    /// A span of the past that counts too.
    pub window: Option<WindowBody>,
    /// Slots that come back per second instead of by release.
    pub decay_per_second: Option<f64>,
    /// Key patterns: a claim on a matching key claims this limit too.
    #[serde(rename = "match")]
    pub patterns: Vec<String>,
    /// Whether it is enforced.
    pub mode: Mode,
    /// What becomes of a request that finds it full.
    pub on_full: OnFull,
    /// Who may wait for it.
    pub queue: QueueBody,
    /// For people.
    pub description: String,
    /// Which front end it belongs to.
    pub source: String,
    /// Grows with every change of its definition.
    pub revision: u64,
    /// What `If-Match` takes to change it only if it still is like this, paused or not; the `ETag` of an answer.
    pub etag: String,
    /// Whether it admits nothing now.
    pub paused: bool,
    /// Until when (RFC 3339); null while paused: until it is resumed.
    pub paused_until: Option<String>,
    /// The same, in milliseconds from now.
    pub paused_for_ms: Option<u64>,
    /// Slots in use on the key of its name.
    pub used: u64,
    /// Tickets that claim it, wherever they wait.
    pub waiting: u32,
    /// Requests that it would have made wait, while it is observed.
    pub would_have_waited: u64,
}

/// A span of the past.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowBody {
    /// Its length in milliseconds, 1 to 31 days.
    #[schema(minimum = 1, maximum = 2_678_400_000_u64)]
    pub ms: u64,
    /// What it counts.
    #[serde(default)]
    pub counts: Counts,
}

/// What a window counts.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Counts {
    /// Starts within it, running or not: a sliding-window rate.
    #[default]
    Starts,
    /// Running ones, and those that ended within it.
    Runs,
}

/// Whether a limit is enforced.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It counts and blocks.
    #[default]
    Enforce,
    /// It counts, never blocks, and says what would have waited.
    Observe,
    /// It neither counts nor blocks.
    Off,
}

/// What becomes of a request that cannot be admitted at once.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// It waits its turn.
    #[default]
    Queue,
    /// It takes the place of those that wait for the same claims.
    KeepNewest,
    /// It waits, and the oldest holder is asked to stop.
    CancelOldest,
    /// It is refused.
    Reject,
}

/// Who may wait for a limit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueBody {
    /// How many tickets.
    #[schema(maximum = 1_000_000)]
    pub max_len: u64,
    /// For how long at most, in milliseconds; null: as long as the request says.
    pub max_wait_ms: Option<u64>,
}

impl Default for QueueBody {
    fn default() -> QueueBody {
        QueueBody { max_len: u64::from(admit_kernel::DEFAULT_MAX_LEN), max_wait_ms: None }
    }
}

/// For how long a limit admits nothing; neither field: until it is resumed.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseInput {
    /// Milliseconds from now.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// A time (RFC 3339).
    #[serde(default)]
    pub until: Option<String>,
}

/// Nothing: what is asked is said by the path.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmptyInput {}

/// What a reset did.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResetBody {
    /// Leases that it ended.
    pub ended: u32,
}
