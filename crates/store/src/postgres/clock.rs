//! The clock that all nodes share: the database's, without its steps.

use std::time::Instant;

/// A step of the database's clock against monotonic time above this is somebody setting it: it is absorbed.
const MAX_STEP_MS: i64 = 5_000;

/// What one node knows of the shared clock. The offset itself lies beside the log, for all.
#[derive(Debug, Default)]
pub(super) struct SharedClock {
    seen: Option<(i64, Instant)>,
}

/// A reading of the shared clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// The log's time.
    pub now_ms: i64,
    /// What is to be added to the database's clock from now on.
    pub offset_ms: i64,
}

impl SharedClock {
    /// The log's time: the database's clock says `database_ms`, the offset beside the log is `offset_ms`, and
    /// its last record is of `logged_ms`.
    pub fn read(&mut self, database_ms: i64, offset_ms: i64, logged_ms: i64, mono: Instant) -> Reading {
        let mut now_ms = database_ms.saturating_add(offset_ms);
        if logged_ms.saturating_sub(now_ms) > MAX_STEP_MS {
            // Set back: whoever sees it first goes on from the log's end.
            now_ms = logged_ms;
        } else if let Some((seen_ms, at)) = self.seen {
            let passed_ms = i64::try_from(mono.saturating_duration_since(at).as_millis()).unwrap_or(i64::MAX);
            let expected_ms = seen_ms.saturating_add(passed_ms);
            // Set forward, unless the log bears the clock out: then it was this machine that slept.
            let is_borne_out = now_ms.saturating_sub(logged_ms) <= MAX_STEP_MS;
            if now_ms.saturating_sub(expected_ms) > MAX_STEP_MS && !is_borne_out {
                now_ms = expected_ms.max(logged_ms);
            }
        }
        self.seen = Some((now_ms, mono));
        Reading { now_ms, offset_ms: now_ms.saturating_sub(database_ms) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    /// A reading at 100 s, then one a second later with these clocks; `logged_ms`: the log's end by then.
    fn read_after(database_ms: i64, offset_ms: i64, logged_ms: i64) -> Reading {
        let (mut clock, start) = (SharedClock::default(), Instant::now());
        assert_eq!(clock.read(100_000, 0, 99_000, start), Reading { now_ms: 100_000, offset_ms: 0 });
        clock.read(database_ms, offset_ms, logged_ms, start + Duration::from_secs(1))
    }

    #[test]
    fn steps_are_absorbed_once_and_for_all_nodes() {
        for (what, (database_ms, offset_ms, logged_ms), (now_ms, offset_after_ms)) in [
            ("no step", (101_000, 0, 100_000), (101_000, 0)),
            ("a small one is followed", (105_000, 0, 100_000), (105_000, 0)),
            ("an hour forward", (101_000 + HOUR_MS, 0, 100_000), (101_000, -HOUR_MS)),
            ("another node saw it first", (101_000 + HOUR_MS, -HOUR_MS, 100_500), (101_000, -HOUR_MS)),
            ("an hour back", (101_000 - HOUR_MS, 0, 100_000), (100_000, HOUR_MS - 1_000)),
            ("back, seen by another", (101_000 - HOUR_MS, HOUR_MS, 100_500), (101_000, HOUR_MS)),
            (
                "this machine slept, the others did not",
                (101_000 + HOUR_MS, 0, 100_000 + HOUR_MS),
                (101_000 + HOUR_MS, 0),
            ),
        ] {
            let reading = read_after(database_ms, offset_ms, logged_ms);
            assert_eq!(reading, Reading { now_ms, offset_ms: offset_after_ms }, "{what}");
        }
    }

    #[test]
    fn a_node_that_just_started_goes_on_from_the_log_if_the_clock_is_behind_it() {
        let reading = SharedClock::default().read(100_000, 0, 100_000 + HOUR_MS, Instant::now());
        assert_eq!(reading, Reading { now_ms: 100_000 + HOUR_MS, offset_ms: HOUR_MS });
    }
}
