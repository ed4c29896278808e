//! That the server behind could not be reached: remembered for a moment, so that those who can do without it do not
//! wait for it one after the other.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::bounds::ABSENCE_LASTS;
use super::upstream::Upstream;

/// What is known of it, by all workers.
#[derive(Debug, Default)]
pub(super) struct Absence {
    /// When it was not reached last; none: it was reached since.
    seen: Mutex<Option<Instant>>,
}

impl Absence {
    /// Whether it was not reached a moment ago, nor since.
    pub(super) fn is_recent(&self) -> bool {
        self.lock().is_some_and(|seen| seen.elapsed() < ABSENCE_LASTS)
    }

    /// It was not reached.
    pub(super) fn begins(&self, upstream: &Upstream) {
        if self.lock().replace(Instant::now()).is_none() {
            tracing::warn!(%upstream, "the Prefect server behind is not reached; limits that are here go on");
        }
    }

    /// It was reached.
    pub(super) fn ends(&self, upstream: &Upstream) {
        if self.lock().take().is_some() {
            tracing::info!(%upstream, "the Prefect server behind is reached again");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
