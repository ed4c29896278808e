//! Time as the kernel knows it: a number that it is given, never one that it reads.

use serde::{Deserialize, Serialize};

/// A point of the log's time, in milliseconds since the Unix epoch.
///
/// The log's time never runs backwards; where it comes from is the engine's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// This time and `ms` milliseconds, at most the end of time.
    #[must_use]
    pub fn plus(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }

    /// This time less `ms` milliseconds, at least the epoch.
    #[must_use]
    pub fn minus(self, ms: u64) -> Time {
        Time(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this time, 0 if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
