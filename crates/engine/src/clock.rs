//! Where the log's time comes from: monotonic time, which approaches the wall clock and follows none of its steps.
//!
//! A holder counts its lease by a monotonic clock of its own. Were the log's time to follow a wall clock that
//! somebody sets, leases would end while their holders still count.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use admit_kernel::Time;

/// The log's time approaches the wall clock by a millisecond in so many: 0.1 %, twice the drift that clocks kept
/// right by NTP may have (0.05 %), so that it always gets there, and little enough to be lost in any holder's margin.
const SLEW_EVERY_MS: u64 = 1_000;
/// A wall clock that is further away than this was set by somebody (or the machine slept): it is not approached,
/// the log's time stays away from it by as much until it is set back.
const MAX_SLEW_MS: i64 = 5_000;
/// An offset that differs from the logged one by more than this is logged anew: what whoever goes on with the log
/// may be wrong by. Readings of clocks differ by less, on a local network too.
const MAX_UNLOGGED_MS: u64 = 20;

/// A time that was so long on its way says nothing: by how much the wall clock was set cannot be told by it.
pub(crate) const MAX_UNCERTAIN_MS: u64 = 250;

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

/// The wall clock of all nodes, as the database told it, and when that was by this node's monotonic clock: between
/// asking and having the answer. A node that was paused meanwhile must not take that for a step of the wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DatabaseTime {
    pub wall_ms: u64,
    pub asked_ms: u64,
    pub answered_ms: u64,
}

/// The log's clock.
#[derive(Debug)]
pub(crate) struct LogClock<C> {
    clock: C,
    read: Option<Read>,
    last: Time,
    /// What was added to wall time at the latest reading, or is to be at the next.
    offset_ms: i64,
    /// What the log says of it.
    logged_offset_ms: i64,
    /// The next reading goes by the wall clock and the offset: what passed since the last one is not known here.
    is_by_wall: bool,
    steps: u64,
}

/// The latest reading, by the monotonic clock.
#[derive(Debug, Clone, Copy)]
struct Read {
    mono_ms: u64,
    /// Up to when the wall clock was approached.
    slewed_ms: u64,
}

impl<C: Clock> LogClock<C> {
    pub fn new(clock: C) -> LogClock<C> {
        let (last, offset_ms) = (Time(0), 0);
        LogClock { clock, read: None, last, offset_ms, logged_offset_ms: 0, is_by_wall: true, steps: 0 }
    }

    /// The log was read, and says how far its time is from the wall clock. If that is news, it is from somebody
    /// else, who had reason to say so: this clock goes on from there.
    pub fn follow(&mut self, offset_ms: i64) {
        if offset_ms != self.logged_offset_ms && offset_ms != self.offset_ms {
            (self.offset_ms, self.is_by_wall) = (offset_ms, true);
        }
        self.logged_offset_ms = offset_ms;
    }

    /// A record of the latest reading is in the log, which says this of the offset: time goes on from there.
    pub fn logged(&mut self, offset_ms: i64) {
        (self.logged_offset_ms, self.is_by_wall) = (offset_ms, false);
    }

    /// The time, not before `floor`, the log's end. `database` is the wall clock of all nodes, if there is one.
    pub fn now(&mut self, database: Option<DatabaseTime>, floor: Time) -> Time {
        let mono_ms = self.clock.mono_ms();
        // The wall clock shows something from the first of these to the second.
        let walls = match database {
            None => [self.clock.wall_ms(); 2],
            Some(DatabaseTime { wall_ms, asked_ms, answered_ms }) => {
                [answered_ms, asked_ms].map(|since_ms| wall_ms + mono_ms.saturating_sub(since_ms))
            }
        };
        let [least_ms, most_ms] = walls.map(signed);
        let own = self.read.map(|read| self.last.plus(mono_ms.saturating_sub(read.mono_ms)));
        let by_itself = match own {
            Some(own) if !self.is_by_wall => own,
            // As late as the wall clock and the offset allow; where that is uncertain, this clock may know better.
            own => own.unwrap_or_default().clamp(self.by_wall(least_ms), self.by_wall(most_ms)),
        };
        // Whose offset is followed has approached the wall clock with it: that must not be done a second time.
        let read = self.read.filter(|_| !self.is_by_wall).unwrap_or(Read { mono_ms, slewed_ms: mono_ms });
        // Before the floor: that the log is ahead is news, that the answer took its time is none.
        let expected_ms = signed(by_itself.0).saturating_sub(self.offset_ms);
        let is_uncertain = most_ms - least_ms > signed(MAX_UNCERTAIN_MS);
        let wall_ms =
            if is_uncertain && !self.is_by_wall { expected_ms } else { expected_ms.clamp(least_ms, most_ms) };
        // Who follows another node gives up what it took the time to be and nobody logged.
        let floor = if self.is_by_wall { floor } else { floor.max(self.last) };
        let by_itself = by_itself.max(floor);
        let slews = mono_ms.saturating_sub(read.slewed_ms) / SLEW_EVERY_MS;
        let ahead_ms = signed(by_itself.0).saturating_sub(wall_ms);
        let slew_ms =
            if ahead_ms.abs() <= MAX_SLEW_MS { ahead_ms.clamp(-signed(slews), signed(slews)) } else { 0 };
        self.last = Time(by_itself.0.saturating_add_signed(-slew_ms)).max(floor);
        self.read = Some(Read { mono_ms, slewed_ms: read.slewed_ms + slews * SLEW_EVERY_MS });
        // A wall clock that is known badly must not pass for this clock's own knowledge, unless somebody relies on it.
        self.is_by_wall &= is_uncertain;
        self.note_offset(signed(self.last.0).saturating_sub(wall_ms));
        self.last
    }

    fn by_wall(&self, wall_ms: i64) -> Time {
        Time(u64::try_from(wall_ms.saturating_add(self.offset_ms)).unwrap_or(0))
    }

    /// What the first reading will be about, before it is made.
    pub fn glance(&mut self, database_ms: Option<u64>) -> Time {
        let wall_ms = signed(database_ms.unwrap_or_else(|| self.clock.wall_ms()));
        self.by_wall(wall_ms)
    }

    fn note_offset(&mut self, offset_ms: i64) {
        let step_ms = self.offset_ms.saturating_sub(offset_ms);
        if step_ms.abs() > MAX_SLEW_MS {
            self.steps += 1;
            tracing::warn!(
                step_ms,
                offset_ms,
                "the wall clock was set; the log's time goes on without the step"
            );
        }
        self.offset_ms = offset_ms;
    }

    /// What the time should be, by the monotonic clock alone: to plan with, not to decide by. None: not read yet.
    pub fn estimate(&mut self) -> Option<Time> {
        let read = self.read?;
        Some(self.last.plus(self.clock.mono_ms().saturating_sub(read.mono_ms)))
    }

    pub fn mono_ms(&mut self) -> u64 {
        self.clock.mono_ms()
    }

    /// What the log should say of the offset, if it says something else.
    pub fn unlogged_offset_ms(&self) -> Option<i64> {
        let is_off = self.offset_ms.abs_diff(self.logged_offset_ms) > MAX_UNLOGGED_MS;
        is_off.then_some(self.offset_ms)
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

    const HOUR_MS: i64 = 3_600_000;

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

    /// Opened when the wall clock says 100 s, with a log that says this of its offset.
    fn opened(offset_ms: i64) -> LogClock<Hands> {
        let mut clock = LogClock::new(Hands { wall_ms: 100_000, mono_ms: 0 });
        clock.follow(offset_ms);
        clock
    }

    /// What the database says to a node that asks at some moment, and hears it some time later.
    fn database(wall_ms: u64, asked_ms: u64, answered_ms: u64) -> Option<DatabaseTime> {
        Some(DatabaseTime { wall_ms, asked_ms, answered_ms })
    }

    impl LogClock<Hands> {
        /// The time after so many more milliseconds, in which the wall clock is also set by so many.
        fn after(&mut self, ms: u64, step_ms: i64) -> u64 {
            self.clock.mono_ms += ms;
            self.clock.wall_ms = (self.clock.wall_ms + ms).saturating_add_signed(step_ms);
            self.now(None, Time(0)).0
        }
    }

    #[test]
    fn a_small_step_is_approached_slowly_and_a_large_one_not_at_all() {
        // After the second of the step, and after another hundred.
        for (step_ms, at_once, later, offset_ms) in [
            (0, 101_000, 201_000, 0),
            (4_000, 101_001, 201_101, -3_899),
            (50, 101_001, 201_050, 0),
            (-3_000, 100_999, 200_899, 2_899),
            (6_000, 101_000, 201_000, -6_000),
            (HOUR_MS, 101_000, 201_000, -HOUR_MS),
            (-90_000, 101_000, 201_000, 90_000),
        ] {
            let mut clock = opened(0);
            clock.now(None, Time(0));
            let found = (clock.after(1_000, step_ms), clock.after(100_000, 0), clock.offset().0);
            assert_eq!(found, (at_once, later, offset_ms), "a step of {step_ms} ms");
        }
    }

    #[test]
    fn however_often_it_is_read_it_approaches_no_faster() {
        let mut clock = opened(0);
        clock.now(None, Time(0));
        clock.after(0, 4_000);
        for _ in 0..40_000 {
            clock.after(3, 0);
        }
        assert_eq!(clock.after(0, 0), 220_120);
    }

    #[test]
    fn a_clock_that_is_set_back_right_leaves_nothing_behind() {
        let mut clock = opened(0);
        clock.now(None, Time(0));
        assert_eq!((clock.after(10, HOUR_MS), clock.after(10, -HOUR_MS)), (100_010, 100_020));
        assert_eq!(clock.offset(), (0, 2));
    }

    #[test]
    fn a_restart_goes_on_by_the_logged_offset() {
        for offset_ms in [0, -90_000, 2_000] {
            let mut clock = opened(offset_ms);
            let expect = 100_000_u64.saturating_add_signed(offset_ms);
            assert_eq!((clock.now(None, Time(0)).0, clock.offset()), (expect, (offset_ms, 0)), "{offset_ms}");
            assert_eq!(clock.unlogged_offset_ms(), None);
        }
    }

    #[test]
    fn the_log_goes_on_from_its_end_when_the_clock_is_behind_it() {
        let mut clock = opened(0);
        assert_eq!(clock.now(None, Time(500_000)), Time(500_000));
        assert_eq!(clock.after(2_000, 0), 502_000);
        assert_eq!(clock.offset(), (400_000, 1));
        assert_eq!(clock.unlogged_offset_ms(), Some(400_000));
    }

    #[test]
    fn the_database_is_the_clock_whatever_this_machine_says() {
        let mut clock = opened(0);
        assert_eq!(clock.now(database(900_500, 0, 0), Time(900_000)), Time(900_500));
        (clock.clock.wall_ms, clock.clock.mono_ms) = (7_200_000, 250);
        assert_eq!(clock.estimate(), Some(Time(900_750)));
        assert_eq!(clock.now(database(900_750, 250, 250), Time(0)), Time(900_750));
        clock.clock.mono_ms = 500;
        assert_eq!(clock.now(database(7_000_000, 500, 500), Time(0)), Time(901_000));
    }

    #[test]
    fn a_node_that_was_paused_after_it_asked_the_database_knows_how_late_it_is() {
        // It asked at 1,000 and was paused until 61,000: before it had the answer, or before it used it. What a late
        // answer says of the wall clock is not to be trusted.
        for (wall_ms, answered_ms) in [(901_000, 61_000), (901_000, 1_001), (961_000, 61_000), (1, 61_000)] {
            let mut clock = opened(0);
            clock.now(database(900_000, 0, 0), Time(0));
            clock.clock.mono_ms = 61_000;
            let now = clock.now(database(wall_ms, 1_000, answered_ms), Time(0));
            assert_eq!((now, clock.offset()), (Time(961_000), (0, 0)), "{wall_ms} at {answered_ms}");
        }
        let mut following = opened(0);
        following.now(database(900_000, 0, 0), Time(0));
        following.follow(-30);
        following.clock.mono_ms = 61_000;
        assert_eq!(following.now(database(901_000, 1_000, 61_000), Time(0)), Time(960_970));
        let mut starting = opened(0);
        starting.clock.mono_ms = 61_000;
        assert_eq!(starting.now(database(901_000, 1_000, 1_001), Time(0)), Time(960_999));
    }

    #[test]
    fn a_late_answer_makes_the_time_late_only_if_that_is_logged() {
        for (is_logged, expect) in [(false, (Time(960_500), 0)), (true, (Time(900_500), -60_000))] {
            let mut starting = opened(0);
            starting.clock.mono_ms = 60_000;
            assert_eq!(starting.now(database(900_000, 0, 60_000), Time(0)), Time(900_000));
            if is_logged {
                starting.logged(0);
            }
            starting.clock.mono_ms = 60_500;
            let now = starting.now(database(960_500, 60_500, 60_500), Time(0));
            assert_eq!((now, starting.offset().0), expect, "logged: {is_logged}");
        }
    }

    #[test]
    fn what_another_node_has_approached_is_not_approached_again() {
        let mut clock = opened(-4_000);
        assert_eq!(clock.now(database(104_000, 0, 0), Time(0)), Time(100_000));
        // It was idle for 1,000 s; the other one approached by 1 s and said so.
        clock.clock.mono_ms = 1_000_000;
        clock.follow(-3_000);
        assert_eq!(clock.now(database(1_104_000, 1_000_000, 1_000_000), Time(0)), Time(1_101_000));
    }

    #[test]
    fn another_node_that_is_behind_takes_all_with_it() {
        let mut clock = opened(0);
        assert_eq!(clock.now(database(900_000, 0, 0), Time(0)), Time(900_000));
        clock.clock.mono_ms = 20_000;
        // It slept for 10 s, so its time stayed behind the database's; it granted leases by that time.
        clock.follow(-10_000);
        assert_eq!(clock.now(database(920_000, 20_000, 20_000), Time(909_000)), Time(910_000));
        assert_eq!(clock.unlogged_offset_ms(), None);
    }
}
