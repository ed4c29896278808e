//! Whether the log's time keeps pace with true time, whichever node says how late it is.

use super::{Rule, Violation, broken};
use crate::clocks::{MAX_DRIFT_PPM, gain_ms};
use crate::disk::Reading;
use crate::plan::LONGEST_STOP_MS;

/// By this the times of two nodes may differ without a word in the log: each by half of it from the wall clock.
const MAX_UNLOGGED_MS: u64 = 42;
/// A node that stopped while it asked for the database's time has its own clock alone to go by, which drifts.
const MAX_STOP_DRIFT_MS: u64 = LONGEST_STOP_MS * MAX_DRIFT_PPM.unsigned_abs() / 1_000_000;
/// One that goes by the database's clock alone takes it to be as late as when that was asked. That harms nobody.
const MAX_LATE_MS: u64 = 1_000;
/// By this the times of two nodes may differ at most, without reason to.
pub(crate) const MAX_APART_MS: u64 = MAX_UNLOGGED_MS + MAX_STOP_DRIFT_MS;

/// What a node that writes a record goes by.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct By {
    /// The database's clock alone: it is new, or follows another node's word on how far that is away.
    pub is_wall: bool,
    /// The log's time has jumped since its last record, or it was misled by a step that another one noticed.
    pub follows_jump: bool,
}

/// How the log's time went on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Step {
    /// For how long the log was silent, at least.
    pub silent_ms: u64,
    pub has_jumped: bool,
    /// The database's clock was set meanwhile.
    pub is_stepped: bool,
}

/// How the log's time and true time went on so far.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The latest record: its time, and when that was read.
    last: Option<(u64, Reading)>,
    /// How much the log's time has jumped ahead so far. Who counts by a clock of its own has to give way by as much.
    pub slip_ms: u64,
    longest_silence_ms: u64,
}

impl Pace {
    /// The next record. A node that goes by the database's clock alone cannot know how often that was set since
    /// the record before; nor can one that knew better before another one did so.
    pub fn record(&mut self, log_ms: u64, reading: Reading, by: By) -> Result<Step, Violation> {
        let Some((last_ms, last)) = self.last.replace((log_ms, reading)) else {
            // Others may remember what the database's clock showed before there was a log.
            return Ok(Step { has_jumped: reading.clock_steps > 0, ..Step::default() });
        };
        let most_ms = reading.to_ms.saturating_sub(last.from_ms);
        let least_ms = reading.from_ms.saturating_sub(last.to_ms);
        let grown_ms = log_ms.saturating_sub(last_ms);
        let ahead_ms = grown_ms.saturating_sub(most_ms + gain_ms(most_ms));
        let behind_ms = least_ms.saturating_sub(gain_ms(least_ms) + grown_ms);
        self.slip_ms += ahead_ms;
        // What nodes approached the wall clock by while none could write, the log does not know.
        self.longest_silence_ms = self.longest_silence_ms.max(most_ms);
        let has_jumped = ahead_ms.max(behind_ms) > MAX_APART_MS + gain_ms(self.longest_silence_ms);
        let is_late = ahead_ms == 0 && behind_ms <= MAX_LATE_MS;
        let is_stepped = reading.clock_steps != last.clock_steps;
        let is_excused = is_late || by.follows_jump || (by.is_wall && is_stepped);
        if has_jumped && !is_excused {
            return broken(
                Rule::Time,
                format!("the log's time went on by {grown_ms} ms, true time by {least_ms} to {most_ms} ms"),
            );
        }
        // Who was misled about the time knows of no silence.
        let known_ms = if has_jumped { grown_ms.min(least_ms) } else { least_ms };
        let silent_ms = known_ms.saturating_sub(gain_ms(known_ms) + MAX_APART_MS);
        Ok(Step { silent_ms, has_jumped, is_stepped })
    }

    /// The log is another one.
    pub fn forget(&mut self) {
        self.last = None;
    }
}
