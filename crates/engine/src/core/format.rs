//! The format of the log: it rises by itself once every live node knows a newer one.

use admit_store::Store;

use super::Core;
use super::attempt::Failed;
use crate::clock::Clock;

/// How often a node asks whether the format may rise: an upgrade takes minutes, and asking takes a round trip while
/// the log is locked.
const ASK_EVERY_MS: u64 = 1_000;

impl<S: Store, C: Clock> Core<S, C> {
    /// In how many milliseconds to ask whether the format may rise; none: it is the newest that is known here.
    pub(super) fn ask_format_in_ms(&mut self) -> Option<u64> {
        let is_newest = self.state.format() >= self.options.format;
        (!is_newest).then(|| self.no_format_before_ms.saturating_sub(self.clock.mono_ms()))
    }

    /// The format that the batch that has begun is to raise, if it is time to ask and every live node knows a
    /// newer one.
    pub(super) fn next_format(&mut self) -> Result<Option<u16>, Failed> {
        if self.ask_format_in_ms() != Some(0) {
            return Ok(None);
        }
        self.no_format_before_ms = self.clock.mono_ms() + ASK_EVERY_MS;
        let common = self.store.common_format();
        let common = common.map_err(|error| Failed::Before(self.away(error, false)))?;
        let (format, before) = (common.unwrap_or(0).min(self.options.format), self.state.format());
        if format <= before {
            return Ok(None);
        }
        tracing::info!(before, format, "every live node knows a newer format of the log: it rises");
        Ok(Some(format))
    }
}
