//! Where the log's time comes from: wall time that never runs backwards and does not jump.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use admit_kernel::Time;

/// A step of wall time against monotonic time above this is somebody setting the clock (or a machine that
/// slept): it is absorbed. Below, it is a clock being kept right: it is followed.
const MAX_STEP_MS: i64 = 5_000;

/// The clocks of a machine.
pub trait Clock: Send {
    /// Milliseconds since the Unix epoch; may be set by hand, both ways.
    fn wall_ms(&mut self) -> u64;
    /// Milliseconds since some moment; never runs backwards.
    fn mono_ms(&mut self) -> u64;
}

/// The clocks of this machine.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall_ms(&mut self) -> u64 {
        // A clock before 1970 counts as 1970; the log's time goes on from where it was.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| saturate(since.as_millis()))
    }

    fn mono_ms(&mut self) -> u64 {
        saturate(self.started.elapsed().as_millis())
    }
}

fn saturate(ms: u128) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}

/// The log's clock.
#[derive(Debug)]
pub(crate) struct LogClock<C> {
    clock: C,
    seen: Option<Seen>,
    /// What is added to wall time.
    offset_ms: i64,
    last: Time,
    steps: u64,
}

/// The clocks at the latest reading.
#[derive(Debug, Clone, Copy)]
struct Seen {
    wall_ms: u64,
    mono_ms: u64,
}

impl<C: Clock> LogClock<C> {
    pub fn new(clock: C) -> LogClock<C> {
        LogClock { clock, seen: None, offset_ms: 0, last: Time(0), steps: 0 }
    }

    /// The log goes on from here. A clock that is far behind that stays behind by as much.
    pub fn not_before(&mut self, floor: Time) {
        self.last = self.last.max(floor);
        let wall_ms = self.clock.wall_ms();
        let behind = signed(self.last.0) - (signed(wall_ms) + self.offset_ms);
        if behind > MAX_STEP_MS {
            self.offset_ms += behind;
            self.steps += 1;
        }
    }

    /// The time. `database_ms` is that of the database, where it is the clock of all nodes; the store takes its
    /// steps out, for all of them alike.
    pub fn now(&mut self, database_ms: Option<u64>) -> Time {
        let mono_ms = self.clock.mono_ms();
        if let Some(wall_ms) = database_ms {
            self.seen = Some(Seen { wall_ms, mono_ms });
            (self.offset_ms, self.steps) = (0, 0);
            self.last = Time(wall_ms);
            return self.last;
        }
        let wall_ms = self.clock.wall_ms();
        if let Some(seen) = self.seen {
            let step = (signed(wall_ms) - signed(seen.wall_ms)) - (signed(mono_ms) - signed(seen.mono_ms));
            if step.abs() > MAX_STEP_MS {
                self.offset_ms -= step;
                self.steps += 1;
                tracing::warn!(
                    step_ms = step,
                    "the wall clock was set; the log's time goes on without the step"
                );
            }
        }
        self.seen = Some(Seen { wall_ms, mono_ms });
        let shifted = signed(wall_ms).saturating_add(self.offset_ms);
        self.last = self.last.max(Time(u64::try_from(shifted).unwrap_or(0)));
        self.last
    }

    /// What the time should be, by the monotonic clock alone: to plan with, not to decide by.
    pub fn estimate(&mut self) -> Time {
        match self.seen {
            Some(seen) => self.last.plus(self.clock.mono_ms().saturating_sub(seen.mono_ms)),
            None => self.now(None),
        }
    }

    pub fn mono_ms(&mut self) -> u64 {
        self.clock.mono_ms()
    }

    /// What is added to wall time, in milliseconds, and how many steps made it so.
    pub fn offset(&self) -> (i64, u64) {
        (self.offset_ms, self.steps)
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Hands {
        wall_ms: u64,
        mono_ms: u64,
    }

    impl Clock for Hands {
        fn wall_ms(&mut self) -> u64 {
            self.wall_ms
        }
        fn mono_ms(&mut self) -> u64 {
            self.mono_ms
        }
    }

    /// From 100 s, after 1 s of monotonic time and a wall clock that was moved by `step_ms` meanwhile.
    fn after_step(step_ms: i64) -> (u64, i64) {
        let mut clock = LogClock::new(Hands { wall_ms: 100_000, mono_ms: 0 });
        assert_eq!(clock.now(None), Time(100_000));
        clock.clock.wall_ms = (101_000 + step_ms).unsigned_abs();
        clock.clock.mono_ms = 1_000;
        (clock.now(None).0, clock.offset().0)
    }

    #[test]
    fn a_large_step_is_absorbed_both_ways_and_a_small_one_followed() {
        for (step_ms, time, offset_ms) in [
            (0, 101_000, 0),
            (4_000, 105_000, 0),
            (6_000, 101_000, -6_000),
            (3_600_000, 101_000, -3_600_000),
            (-3_000, 100_000, 0),
            (-90_000, 101_000, 90_000),
        ] {
            assert_eq!(after_step(step_ms), (time, offset_ms), "a step of {step_ms} ms");
        }
    }

    #[test]
    fn the_database_is_the_clock_whatever_this_machine_says() {
        let mut clock = LogClock::new(Hands { wall_ms: 100_000, mono_ms: 0 });
        clock.not_before(Time(900_000));
        assert_eq!(clock.now(Some(900_500)), Time(900_500));
        (clock.clock.wall_ms, clock.clock.mono_ms) = (7_200_000, 250);
        assert_eq!(clock.estimate(), Time(900_750));
        assert_eq!(clock.now(Some(900_800)), Time(900_800));
        assert_eq!(clock.offset(), (0, 0));
    }

    #[test]
    fn the_log_goes_on_from_its_end_when_the_clock_is_behind_it() {
        let mut clock = LogClock::new(Hands { wall_ms: 100_000, mono_ms: 0 });
        clock.not_before(Time(500_000));
        assert_eq!(clock.now(None), Time(500_000));
        clock.clock.wall_ms += 2_000;
        clock.clock.mono_ms += 2_000;
        assert_eq!(clock.now(None), Time(502_000));
        assert_eq!(clock.offset(), (400_000, 1));
    }
}
