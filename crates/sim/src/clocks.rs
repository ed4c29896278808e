//! The model of time: true time, which nobody but the simulator sees, and the clocks of the node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use admit_engine::Clock;

/// True time begins here, in milliseconds since the Unix epoch; what the node's clocks say is relative to it.
const BEGINNING_MS: u64 = 1_800_000_000_000;
/// Steps of wall time up to this are followed by the engine, larger ones are absorbed: its contract.
const FOLLOWED_MS: u64 = 5_000;
/// What a clock that hides silences ([`Fake::HidesSilence`]) admits to have passed since the last record.
const HIDDEN_MS: u64 = 4_900;

/// The clocks; clones are the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Clocks(Arc<Mutex<Hands>>);

/// How a clock may be wrong so that the checks can be seen to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fake {
    /// Silences of the log never seem to last, so nobody's lease is spared after one.
    HidesSilence,
    /// Monotonic time steps with the wall clock, so steps look like time passing.
    MonotonicSteps,
}

#[derive(Debug)]
struct Hands {
    now_ms: u64,
    /// What the wall clock shows beyond true time.
    wall_ahead_ms: i64,
    /// What the engine's time should be beyond true time, by its contract.
    log_ahead_ms: i64,
    /// The wall clock at the latest reading.
    read_ahead_ms: Option<i64>,
    /// What the engine's time should be at the latest reading, and when that was.
    expected_ms: u64,
    read_at_ms: u64,
    /// How much faster than true time the engine's time may have gone so far.
    slip_ms: u64,
    fake: Option<Fake>,
    /// The time of the last record, for the fake that hides silences.
    head_ms: u64,
}

impl Clocks {
    pub fn new(fake: Option<Fake>) -> Clocks {
        Clocks(Arc::new(Mutex::new(Hands {
            now_ms: BEGINNING_MS,
            wall_ahead_ms: 0,
            log_ahead_ms: 0,
            read_ahead_ms: None,
            expected_ms: 0,
            read_at_ms: BEGINNING_MS,
            slip_ms: 0,
            fake,
            head_ms: 0,
        })))
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True time.
    pub fn now_ms(&self) -> u64 {
        self.hands().now_ms
    }

    /// True time goes on to this, if it is not there yet.
    pub fn advance_to(&self, at_ms: u64) {
        let mut hands = self.hands();
        hands.now_ms = hands.now_ms.max(at_ms);
    }

    /// True time goes on by this.
    pub fn pass(&self, ms: u64) {
        self.hands().now_ms += ms;
    }

    /// Somebody sets the wall clock.
    pub fn step(&self, by_ms: i64) {
        self.hands().wall_ahead_ms += by_ms;
    }

    /// A process has opened a log that ends at `floor_ms`: its time goes on from there or from the wall's.
    pub fn opened(&self, floor_ms: u64) {
        let mut hands = self.hands();
        let behind = floor_ms.saturating_sub(shifted(hands.now_ms, hands.wall_ahead_ms));
        let ahead =
            if behind > FOLLOWED_MS { difference(floor_ms, hands.now_ms) } else { hands.wall_ahead_ms };
        hands.slip(ahead);
        hands.read_ahead_ms = None;
        hands.expected_ms = floor_ms;
    }

    /// What the engine's time should have been when it last looked, and when, in true time, that was.
    pub fn expected(&self) -> (u64, u64) {
        let hands = self.hands();
        (hands.expected_ms, hands.read_at_ms)
    }

    /// How much faster than true time the engine's time may have gone so far, by steps that it follows or that
    /// happened while nobody was there to notice. Who counts by a clock of its own has to give way by as much.
    pub fn slip_ms(&self) -> u64 {
        self.hands().slip_ms
    }

    /// Whether a fake is at work, so that the engine cannot be held to its contract.
    pub fn is_fake(&self) -> bool {
        self.hands().fake.is_some()
    }

    /// The log has a record of this time.
    pub fn logged(&self, at_ms: u64) {
        self.hands().head_ms = at_ms;
    }
}

impl Hands {
    fn slip(&mut self, ahead_ms: i64) {
        self.slip_ms += u64::try_from(ahead_ms - self.log_ahead_ms).unwrap_or(0);
        self.log_ahead_ms = ahead_ms;
    }

    /// The engine reads the wall clock: where its own time should be follows from that.
    fn read(&mut self) -> u64 {
        let step = self.wall_ahead_ms - self.read_ahead_ms.unwrap_or(self.wall_ahead_ms);
        if step.unsigned_abs() <= FOLLOWED_MS {
            self.slip(self.log_ahead_ms + step);
        }
        self.read_ahead_ms = Some(self.wall_ahead_ms);
        self.read_at_ms = self.now_ms;
        self.expected_ms = self.expected_ms.max(shifted(self.now_ms, self.log_ahead_ms));
        shifted(self.now_ms, self.wall_ahead_ms)
    }
}

impl Clock for Clocks {
    fn wall_ms(&mut self) -> u64 {
        let mut hands = self.hands();
        let wall_ms = hands.read();
        match hands.fake {
            Some(Fake::HidesSilence) if hands.head_ms > 0 => wall_ms.min(hands.head_ms + HIDDEN_MS),
            _ => wall_ms,
        }
    }

    fn mono_ms(&mut self) -> u64 {
        let hands = self.hands();
        match hands.fake {
            Some(Fake::MonotonicSteps) => shifted(hands.now_ms, hands.wall_ahead_ms),
            _ => hands.now_ms - BEGINNING_MS,
        }
    }
}

fn shifted(ms: u64, by_ms: i64) -> u64 {
    ms.saturating_add_signed(by_ms)
}

fn difference(a_ms: u64, b_ms: u64) -> i64 {
    a_ms.cast_signed() - b_ms.cast_signed()
}
