//! The log's time, for those who speak of it but decide nothing by it.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Instant;

use admit_kernel::Time;

/// The log's time as the engine last knew it; from there it goes on by this machine's monotonic clock. What somebody
/// sets a wall clock to is nothing to it: with PostgreSQL this machine's wall clock is not even the log's.
#[derive(Debug)]
pub(crate) struct Now {
    opened: Instant,
    /// The log's time in milliseconds when this was opened.
    then_ms: AtomicI64,
}

impl Now {
    pub fn new(now: Time) -> Now {
        let new = Now { opened: Instant::now(), then_ms: AtomicI64::new(0) };
        new.set(now);
        new
    }

    pub fn set(&self, now: Time) {
        let now_ms = i64::try_from(now.0).unwrap_or(i64::MAX);
        self.then_ms.store(now_ms.saturating_sub(self.passed_ms()), Relaxed);
    }

    pub fn get(&self) -> Time {
        let now_ms = self.then_ms.load(Relaxed).saturating_add(self.passed_ms());
        Time(u64::try_from(now_ms).unwrap_or(0))
    }

    fn passed_ms(&self) -> i64 {
        i64::try_from(self.opened.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}
