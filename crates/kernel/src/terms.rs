//! Terms: how many slots a claim allows on a key, and when a slot comes back.

use serde::{Deserialize, Serialize};

use crate::Name;

/// How much a claim allows on a key. Usage belongs to the key: two users of one key each compare the
/// same usage with their own terms (Windmill and Inngest both mean it so).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// Slots that may be in use at once. 0 is closed: requests queue, none is refused for it.
    pub max: u32,
    /// When a used slot comes back.
    pub refill: Refill,
}

impl Terms {
    /// At most `max` live slots; each comes back when its lease ends.
    #[must_use]
    pub fn concurrent(max: u32) -> Terms {
        Terms { max, refill: Refill::Release }
    }

    /// The span of the past that these terms look at, in milliseconds; 0 where only the present counts.
    #[must_use]
    pub fn horizon_ms(&self) -> u64 {
        match self.refill {
            Refill::Window { ms, .. } => ms,
            Refill::Release | Refill::Decay { .. } => 0,
        }
    }
}

/// When a used slot comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refill {
    /// When its lease ends.
    Release,
    /// When it has left a window of the past.
    Window {
        /// The window's length in milliseconds, 1 to [`crate::MAX_WINDOW_MS`].
        ms: u64,
        /// What the window counts.
        counts: Counts,
    },
    /// Continuously: a level that falls at this rate (a leaky bucket; fractions are kept).
    Decay {
        /// The rate, in billionths of a slot per second.
        nano_per_second: u64,
    },
}

/// What a window counts at time t.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Counts {
    /// Starts in (t - window, t], running or not: a sliding-window rate.
    Starts,
    /// Live leases and those that ended in (t - window, t] (Windmill's rule).
    Runs,
}

/// Whose terms a claim goes by; also the identity under which requests wait together: a limit by
/// reference (never its numbers), or the inline numbers themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TermsRef {
    /// The terms of the limit of this name, looked up at the moment of each decision.
    Limit(Name),
    /// These terms, fixed when the request was made.
    Inline(Terms),
}

impl TermsRef {
    /// The limit's name, if these are a limit's terms.
    #[must_use]
    pub fn limit(&self) -> Option<&Name> {
        match self {
            TermsRef::Limit(name) => Some(name),
            TermsRef::Inline(_) => None,
        }
    }
}
