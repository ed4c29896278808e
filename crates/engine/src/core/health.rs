//! Whether the store can be written, and what is done when it cannot.

use admit_store::Store;

use super::Core;
use crate::Error;
use crate::batch::{Batch, MAX_BATCH_BYTES};
use crate::clock::Clock;
use crate::recover::{self, Recovered};

/// How long after a failure of the store it is tried again.
pub(super) const RETRY_MS: u64 = 1_000;
/// Room that must be there before a full disk counts as having some: a batch and its index pages.
const PROBE_BYTES: usize = 2 * MAX_BATCH_BYTES;

/// Whether the store can be written.
#[derive(Debug)]
pub(super) enum Health {
    Serving,
    /// Not until a try after this time (monotonic) succeeds.
    Away {
        retry_at_ms: u64,
        reason: String,
        full: bool,
        reload: bool,
    },
    /// Never again.
    Failed(Error),
}

impl<S: Store, C: Clock> Core<S, C> {
    /// Whether a batch may be tried; after a failure this is where the next try is made.
    pub(super) fn ready(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let (full, reload) = match &self.health {
            Health::Serving => return Ok(()),
            Health::Failed(error) => return Err(error.clone()),
            Health::Away { retry_at_ms, reason, full, reload } => {
                let left_ms = retry_at_ms.saturating_sub(self.clock.mono_ms());
                if left_ms > 0 {
                    return Err(Error::Unavailable { reason: reason.clone(), retry_in_ms: left_ms });
                }
                (*full, *reload)
            }
        };
        if full && let Err(error) = self.store.probe(PROBE_BYTES) {
            return Err(self.away(error, reload));
        }
        if reload {
            self.reload(batch);
            self.state()?;
        }
        self.health = Health::Serving;
        Ok(())
    }

    /// The store can be read: then it is worth trying to write, once the time for that has come.
    pub(super) fn serve_again(&mut self) {
        if let Health::Away { retry_at_ms, full: false, reload: false, .. } = self.health
            && self.clock.mono_ms() >= retry_at_ms
        {
            self.health = Health::Serving;
        }
    }

    /// The state has run ahead of a log that did not follow: back to what is stored.
    pub(super) fn drop_state(&mut self, error: admit_store::Error, batch: &mut Batch) -> Error {
        let error = self.away(error, true);
        if self.failure().is_none() {
            self.reload(batch);
        }
        error
    }

    /// Notes that the store fails, and how the caller is to be told.
    pub(super) fn away(&mut self, error: admit_store::Error, reload: bool) -> Error {
        use admit_store::Error as E;
        match error {
            E::Full(_)
            | E::Unavailable(_)
            | E::Unknown(_)
            | E::Behind
            | E::Rewritten(_)
            | E::Query(_)
            | E::Row { .. }
            | E::File { .. } => {
                tracing::error!(%error, "the store cannot be written; commands are refused until it can");
                let reason = error.to_string();
                let full = matches!(error, E::Full(_));
                let retry_at_ms = self.clock.mono_ms() + RETRY_MS;
                self.health = Health::Away { retry_at_ms, reason: reason.clone(), full, reload };
                unavailable(reason)
            }
            E::Locked { .. } | E::Corrupt { .. } | E::TooNew { .. } | E::Refused(_) | E::Fatal(_) => {
                tracing::error!(%error, "the store failed for good");
                self.health = Health::Failed(error.clone().into());
                error.into()
            }
        }
    }

    /// Reads the state back. If that fails, the health says so.
    pub(super) fn reload(&mut self, batch: &mut Batch) {
        batch.reloaded = true;
        self.stats.reloads += 1;
        match recover::recover(&mut self.store, self.options.format) {
            Ok(recovered) => {
                self.adopt(recovered);
                if let Health::Away { reload, .. } = &mut self.health {
                    *reload = false;
                }
            }
            Err(Error::Store(error)) => {
                self.away(error, true);
            }
            Err(error) => self.health = Health::Failed(error),
        }
    }

    pub(super) fn adopt(&mut self, recovered: Recovered) {
        self.state = recovered.state;
        self.clock.follow(self.state.clock_offset_ms());
        if recovered.head != self.head {
            self.blocked_since_ms = None;
        }
        self.head = recovered.head;
        self.snapshot_seq = recovered.snapshot_seq;
        self.snapshot_bytes = recovered.snapshot_bytes;
        self.tail_bytes = recovered.tail_bytes;
        self.is_copy = recovered.is_copy;
    }
}

pub(super) fn unavailable(reason: String) -> Error {
    Error::Unavailable { reason, retry_in_ms: RETRY_MS }
}
