//! A limit: an operator's named definition of terms.

use serde::{Deserialize, Serialize};

use crate::{Name, Terms, Time};

/// A named limit, as an operator defines it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Its name, which is also the key on which it counts unless a claim names another.
    pub name: Name,
    /// How much it allows.
    pub terms: Terms,
    /// Key patterns ([`crate::matches`]): every claim on a matching key also claims this limit's own key.
    pub patterns: Vec<Name>,
    /// Whether it is enforced.
    pub mode: Mode,
    /// What becomes of a request that finds it full.
    pub on_full: OnFull,
    /// How many tickets may wait that claim it, wherever they are parked.
    pub max_len: u32,
    /// How long a ticket may wait for it, in milliseconds; none: as long as its request says.
    pub max_wait_ms: Option<u64>,
    /// For people.
    pub description: String,
    /// Which front end made it: `native`, `prefect`, `file` ...; the owner is asked before another deletes it.
    pub source: Name,
    /// Until when it admits nothing ([`Time`]`(u64::MAX)`: until it is resumed). Set by pausing, not by defining.
    pub paused_until: Option<Time>,
    /// Grows with every change of this limit; 0 before it is stored.
    pub revision: u64,
}

impl Limit {
    /// An enforced, queueing limit of these terms with the default bounds.
    pub fn new(name: impl Into<Name>, terms: Terms) -> Limit {
        Limit {
            name: name.into(),
            terms,
            patterns: Vec::new(),
            mode: Mode::Enforce,
            on_full: OnFull::Queue,
            max_len: crate::DEFAULT_MAX_LEN,
            max_wait_ms: None,
            description: String::new(),
            source: "native".into(),
            paused_until: None,
            revision: 0,
        }
    }

    /// What it is like at `now`, for those who change it only if it is still so.
    #[must_use]
    pub fn version(&self, now: Time) -> Version {
        let paused_until = self.paused_until.filter(|_| self.is_paused(now));
        Version { revision: self.revision, paused_until }
    }

    /// Whether the limit is paused at `now`.
    #[must_use]
    pub fn is_paused(&self, now: Time) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }
}

/// What a limit is like: a pause makes no revision, and is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The revision of its definition.
    pub revision: u64,
    /// Until when it is paused, if it is.
    pub paused_until: Option<Time>,
}

/// Whether a limit is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Mode {
    /// It counts and blocks.
    #[default]
    Enforce,
    /// It counts, never blocks, and the answer says what would have waited.
    Observe,
    /// It neither counts nor blocks.
    Off,
}

/// What becomes of a request that cannot be admitted at once. Decided once, at its arrival; where the
/// limits of one request differ, the greatest in this order wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
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
