//! Limits.

use serde::{Deserialize, Serialize};

/// A limit as an operator defines it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitSpec {
    /// Its name, which is also the key on which it counts unless a claim names another.
    pub name: String,
    /// Slots that may be in use.
    pub max: u32,
    /// The span of the past that counts too.
    #[serde(default)]
    pub window: Option<Window>,
    /// Slots that come back per second, instead of by release.
    #[serde(default)]
    pub decay_per_second: Option<f64>,
    /// Key patterns: every claim on a matching key also claims this limit.
    #[serde(default, rename = "match")]
    pub patterns: Vec<String>,
    /// Whether it is enforced.
    #[serde(default)]
    pub mode: Mode,
    /// What becomes of a request that finds it full.
    #[serde(default)]
    pub on_full: OnFull,
    /// Who may wait for it.
    #[serde(default)]
    pub queue: QueueSpec,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Which front end made it: `native`, `file`, a dialect.
    #[serde(default)]
    pub source: String,
}

impl LimitSpec {
    /// The most slots that a limit or a claim may have.
    pub const MAX_SLOTS: u32 = 1_000_000_000;

    /// A limit of so many slots that come back by release, with the defaults for the rest.
    #[must_use]
    pub fn new(name: &str, max: u32) -> LimitSpec {
        LimitSpec {
            name: name.to_owned(),
            max,
            window: None,
            decay_per_second: None,
            patterns: Vec::new(),
            mode: Mode::default(),
            on_full: OnFull::default(),
            queue: QueueSpec::default(),
            description: String::new(),
            source: "native".to_owned(),
        }
    }
}

/// A limit as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Its definition.
    #[serde(flatten)]
    pub spec: LimitSpec,
    /// Grows with every change of its definition.
    #[serde(default)]
    pub revision: u64,
    /// What tells it as it is now, definition and pause, from what it is before or after.
    pub etag: String,
    /// Slots in use.
    #[serde(default)]
    pub used: u64,
    /// Tickets that claim it.
    #[serde(default)]
    pub waiting: u32,
    /// Whether it admits nothing now.
    #[serde(default)]
    pub paused: bool,
    /// Until when (RFC 3339); none while paused: until it is resumed.
    #[serde(default)]
    pub paused_until: Option<String>,
    /// The same, in milliseconds from now.
    #[serde(default)]
    pub paused_for_ms: Option<u64>,
    /// Requests that it would have made wait, while it is observed.
    #[serde(default)]
    pub would_have_waited: u64,
}

/// What a limit must be for a change to be made.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// There is none.
    Absent,
    /// It is as it was shown here: definition and pause.
    Is(&'a Limit),
}

/// A span of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its length in milliseconds.
    pub ms: u64,
    /// What it counts.
    pub counts: Counts,
}

/// What a window counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counts {
    /// Starts within it, running or not: a rate.
    #[default]
    Starts,
    /// Running ones, and those that ended within it.
    Runs,
}

/// Whether a limit is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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

/// What becomes of a request that finds a limit full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// It waits its turn.
    #[default]
    Queue,
    /// It takes the place of those that wait for the same.
    KeepNewest,
    /// It waits, and the oldest holder is asked to stop.
    CancelOldest,
    /// It is refused.
    Reject,
}

/// Who may wait for a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSpec {
    /// How many tickets.
    pub max_len: u32,
    /// For how long at most, in milliseconds; none: as long as they like.
    #[serde(default)]
    pub max_wait_ms: Option<u64>,
}

impl Default for QueueSpec {
    fn default() -> QueueSpec {
        QueueSpec { max_len: 10_000, max_wait_ms: None }
    }
}
