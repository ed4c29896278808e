//! The model of time: true time, which nobody but the simulator sees, and the clocks of a node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use admit_engine::Clock;

/// True time begins here, in milliseconds since the Unix epoch; what the node's clocks say is relative to it.
const BEGINNING_MS: u64 = 1_800_000_000_000;
/// The engine's time goes on by itself, and approaches the wall clock by a millisecond in so many: its contract.
const SLEW_EVERY_MS: u64 = 1_000;
/// A wall clock that is further away than this is not approached.
const MAX_SLEW_MS: i64 = 5_000;
/// What the log says of the offset may be wrong by this.
const MAX_UNLOGGED_MS: u64 = 20;
/// Clocks that hide silences ([`Fake::HidesSilence`]) go right for so long after a record, then as much slower.
const HIDDEN_AFTER_MS: u64 = 3_000;
const HIDDEN_FACTOR: u64 = 100;

/// Monotonic clocks go wrong by this at most, in parts of a million: what clocks kept right by NTP may.
pub(crate) const MAX_DRIFT_PPM: i64 = 500;

/// So long at least does it take, in true time, until so many milliseconds have passed by the engine's clock.
pub(crate) fn at_least_ms(ms: u64) -> u64 {
    ms.saturating_sub(gain_ms(ms) + 1)
}

/// What the engine's time may gain on true time in so many milliseconds: it approaches the wall clock, and drifts.
pub(crate) fn gain_ms(ms: u64) -> u64 {
    ms / SLEW_EVERY_MS + ms * MAX_DRIFT_PPM.unsigned_abs() / 1_000_000 + 1
}

/// True time; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct TrueTime(Arc<AtomicU64>);

impl TrueTime {
    pub fn new() -> TrueTime {
        TrueTime(Arc::new(AtomicU64::new(BEGINNING_MS)))
    }

    pub fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on to this, if it is not there yet.
    pub fn advance_to(&self, at_ms: u64) {
        self.0.fetch_max(at_ms, Ordering::Relaxed);
    }

    /// Goes on by this.
    pub fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

/// The clocks of one node; clones are the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Clocks(Arc<Mutex<Hands>>);

/// How a clock may be wrong so that the checks can be seen to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fake {
    /// Silences of the log hardly seem to last, so nobody's lease is spared after one.
    HidesSilence,
    /// Monotonic time steps with the wall clock, so steps look like time passing.
    MonotonicSteps,
}

#[derive(Debug)]
struct Hands {
    time: TrueTime,
    /// The monotonic clock is too fast by this, in parts of a million.
    drift_ppm: i64,
    /// What the wall clock shows beyond true time.
    wall_ahead_ms: i64,
    /// A process has opened a log that ends then and says this of its offset; its first reading goes by it.
    opened: Option<(u64, i64)>,
    /// What the engine's time should be at the latest reading, what of it beyond the wall's, and when that was.
    expected_ms: u64,
    offset_ms: i64,
    read_at_ms: u64,
    /// Up to when the wall clock was approached.
    slewed_at_ms: u64,
    /// How much the engine's time was ahead so far of what it would have been had no process ended.
    slip_ms: u64,
    fake: Option<Fake>,
    /// When the last record was written, for the fake that hides silences.
    logged_at_ms: u64,
}

impl Clocks {
    pub fn new(time: TrueTime, drift_ppm: i64, fake: Option<Fake>) -> Clocks {
        Clocks(Arc::new(Mutex::new(Hands {
            time,
            drift_ppm,
            wall_ahead_ms: 0,
            opened: None,
            expected_ms: BEGINNING_MS,
            offset_ms: 0,
            read_at_ms: BEGINNING_MS,
            slewed_at_ms: BEGINNING_MS,
            slip_ms: 0,
            fake,
            logged_at_ms: BEGINNING_MS,
        })))
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody sets the wall clock.
    pub fn step(&self, by_ms: i64) {
        self.hands().wall_ahead_ms += by_ms;
    }

    /// A process has opened a log that ends at this time, and says this of its offset.
    pub fn opened(&self, end_ms: u64, offset_ms: i64) {
        self.hands().opened = Some((end_ms, offset_ms));
    }

    /// What the engine's time should have been when it last looked, and when, in true time, that was.
    pub fn expected(&self) -> (u64, u64) {
        let hands = self.hands();
        (hands.expected_ms, hands.read_at_ms)
    }

    /// Whether the log may say this of the offset: a process that goes on with it is wrong by little.
    pub fn may_log(&self, offset_ms: i64) -> bool {
        self.hands().offset_ms.abs_diff(offset_ms) <= MAX_UNLOGGED_MS
    }

    /// How much the engine's time has jumped ahead at starts of a process so far: by what the log may be wrong
    /// about its offset, and by steps of the wall clock that nobody was there to notice. Who counts by a clock of
    /// its own has to give way by as much.
    pub fn slip_ms(&self) -> u64 {
        self.hands().slip_ms
    }

    /// The log has a new record.
    pub fn logged(&self) {
        let mut hands = self.hands();
        hands.logged_at_ms = hands.time.now_ms();
    }
}

impl Hands {
    /// The engine reads the wall clock: where its own time should be follows from that.
    fn read(&mut self) {
        let now_ms = self.time.now_ms();
        let wall_ms = shifted(now_ms, self.wall_ahead_ms);
        let mut by_itself_ms = self.expected_ms + (now_ms - self.read_at_ms);
        if let Some((end_ms, offset_ms)) = self.opened.take() {
            let by_wall_ms = shifted(wall_ms, offset_ms).max(end_ms);
            self.slip_ms += by_wall_ms.saturating_sub(by_itself_ms);
            by_itself_ms = by_wall_ms;
            self.slewed_at_ms = now_ms;
        }
        let slews = (now_ms - self.slewed_at_ms) / SLEW_EVERY_MS;
        self.slewed_at_ms += slews * SLEW_EVERY_MS;
        let ahead_ms = difference(by_itself_ms, wall_ms);
        if ahead_ms.abs() <= MAX_SLEW_MS {
            by_itself_ms = shifted(by_itself_ms, -ahead_ms.clamp(-slews.cast_signed(), slews.cast_signed()));
        }
        (self.expected_ms, self.read_at_ms) = (by_itself_ms, now_ms);
        self.offset_ms = difference(by_itself_ms, wall_ms);
    }

    /// What the engine is shown of true time.
    fn shown_ms(&self) -> u64 {
        let now_ms = self.time.now_ms();
        let silent_ms = now_ms - self.logged_at_ms;
        match self.fake {
            Some(Fake::HidesSilence) if silent_ms > HIDDEN_AFTER_MS => {
                self.logged_at_ms + HIDDEN_AFTER_MS + (silent_ms - HIDDEN_AFTER_MS) / HIDDEN_FACTOR
            }
            _ => now_ms,
        }
    }
}

impl Clock for Clocks {
    fn wall_ms(&mut self) -> u64 {
        let mut hands = self.hands();
        hands.read();
        shifted(hands.shown_ms(), hands.wall_ahead_ms)
    }

    fn mono_ms(&mut self) -> u64 {
        let hands = self.hands();
        match hands.fake {
            Some(Fake::MonotonicSteps) => shifted(hands.time.now_ms(), hands.wall_ahead_ms),
            _ => {
                let passed_ms = hands.shown_ms() - BEGINNING_MS;
                shifted(passed_ms, passed_ms.cast_signed() * hands.drift_ppm / 1_000_000)
            }
        }
    }
}

pub(crate) fn shifted(ms: u64, by_ms: i64) -> u64 {
    ms.saturating_add_signed(by_ms)
}

fn difference(a_ms: u64, b_ms: u64) -> i64 {
    a_ms.cast_signed() - b_ms.cast_signed()
}
