//! Leaky buckets: a level that falls continuously, without losing fractions.

use serde::{Deserialize, Serialize};

use crate::Time;

/// Parts of a slot in which levels are kept: rates are whole 10^-9 slots per second and times whole
/// milliseconds, so every product is whole.
pub(super) const PICO: u128 = 1_000_000_000_000;

/// The level of a key under one user's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Level {
    /// 10^-12 slots at `at`.
    pub(super) pico: u128,
    pub(super) at: Time,
}

impl Level {
    /// The level at `now`.
    pub(super) fn pico_at(self, now: Time, nano_per_second: u64) -> u128 {
        self.pico.saturating_sub(u128::from(nano_per_second) * u128::from(now.since(self.at)))
    }

    /// When the level will have fallen to `pico`.
    pub(super) fn time_of(self, pico: u128, nano_per_second: u64) -> Option<Time> {
        let falls = self.pico.saturating_sub(pico);
        let ms = falls.div_ceil(u128::from(nano_per_second).max(1));
        (nano_per_second > 0 || falls == 0).then(|| self.at.plus(u64::try_from(ms).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_falls_to_the_millisecond_and_not_below_nothing() {
        let level = Level { pico: 2 * PICO, at: Time(1_000) };
        let check = |now, expect| assert_eq!(level.pico_at(Time(now), 1_000_000_000), expect, "at {now}");
        check(1_000, 2 * PICO);
        check(1_001, 2 * PICO - PICO / 1_000);
        check(2_500, PICO / 2);
        check(9_000, 0);
        assert_eq!(level.time_of(PICO, 1_000_000_000), Some(Time(2_000)));
        assert_eq!(level.time_of(PICO, 3_000_000_000), Some(Time(1_334)));
        assert_eq!(level.time_of(PICO, 0), None);
    }
}
