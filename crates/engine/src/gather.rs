//! Whether a batch should wait a little for the callers whom the one before it answered.
//!
//! Clients that ask, wait for the answer and ask again fall into two groups: while one is being committed the other
//! gathers, so that each batch has half of them and each answer takes two commits. A wait of a fraction of a commit
//! unites them. Where commits are quick nothing waits, and where callers do not come back waits become rare.

use std::time::{Duration, Instant};

/// A batch waits for one part of so many of what the last commit took.
const PART: u32 = 4;
/// Shorter waits are not worth it: the system's timers are as coarse.
const MIN_WAIT: Duration = Duration::from_micros(40);
/// Who takes longer to come back was not about to.
const MAX_WAIT: Duration = Duration::from_millis(1);
/// After waits in vain, at most 2 to the power of this less one batches in a row do not wait.
const MAX_VAIN: u32 = 6;

/// What the last batch left behind.
#[derive(Default)]
pub(crate) struct Gather {
    /// Arrivals when it was committed.
    arrivals: u64,
    /// Callers that it answered since.
    answered: u64,
    /// Until when they are waited for.
    until: Option<Instant>,
    /// Waits in vain in a row.
    vain: u32,
    /// Batches that are not to wait.
    skip: u32,
}

/// Wait until so many have arrived, but not for longer than this.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub arrivals: u64,
    pub at_most: Duration,
}

impl Gather {
    /// A batch was committed in this time and is about to be answered; so many have arrived so far.
    pub fn committed(&mut self, now: Instant, took: Duration, arrivals: u64) {
        let wait = (took / PART).min(MAX_WAIT);
        self.until = (wait >= MIN_WAIT).then(|| now + wait);
        self.arrivals = arrivals;
        self.answered = 0;
    }

    /// A caller of that batch was answered.
    pub fn answered(&mut self) {
        self.answered += 1;
    }

    /// What the next batch should wait for; none: it should go.
    pub fn wait(&mut self, now: Instant, arrivals: u64) -> Option<Wait> {
        let at_most = self.until.take()?.checked_duration_since(now)?;
        let back = self.arrivals + self.answered;
        if arrivals >= back {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        Some(Wait { arrivals: back, at_most })
    }

    /// What came of a wait that began with `before` arrivals and ended with `after`.
    pub fn waited(&mut self, wait: &Wait, before: u64, after: u64) {
        let is_worth_it = 2 * (after - before) >= wait.arrivals - before;
        self.vain = if is_worth_it { 0 } else { (self.vain + 1).min(MAX_VAIN) };
        self.skip = (1 << self.vain) - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Of a commit that took so long, with 4 callers answered, 100 arrivals before; the next batch begins so much
    /// later, with so many arrivals.
    fn check(took: Duration, later: Duration, arrivals: u64, expect: Option<Wait>) {
        let (mut gather, now) = (Gather::default(), Instant::now());
        gather.committed(now, took, 100);
        (0..4).for_each(|_| gather.answered());
        assert_eq!(gather.wait(now + later, arrivals), expect, "{took:?} {later:?} {arrivals}");
    }

    #[test]
    fn waits_for_those_who_were_answered_for_a_fraction_of_a_commit() {
        let wait = |at_most| Some(Wait { arrivals: 104, at_most });
        check(2 * MS, Duration::ZERO, 100, wait(MS / 2));
        check(2 * MS, MS / 4, 103, wait(MS / 4));
        check(100 * MS, Duration::ZERO, 100, wait(MAX_WAIT));
        // All are back.
        check(2 * MS, Duration::ZERO, 104, None);
        // Too late for them, and too quick to wait for them.
        check(2 * MS, MS, 101, None);
        check(MS / 10, Duration::ZERO, 100, None);
    }

    /// How many of 1,000 batches wait, when so many of the 4 who were answered come back while they do.
    fn waits(back: u64) -> u64 {
        let (mut gather, now, mut arrivals, mut waits) = (Gather::default(), Instant::now(), 0, 0);
        for _ in 0..1_000 {
            gather.committed(now, 2 * MS, arrivals);
            (0..4).for_each(|_| gather.answered());
            if let Some(wait) = gather.wait(now, arrivals) {
                gather.waited(&wait, arrivals, arrivals + back);
                waits += 1;
            }
            arrivals += 4;
        }
        waits
    }

    #[test]
    fn waits_in_vain_become_rare() {
        assert_eq!([waits(4), waits(2)], [1_000, 1_000]);
        // The 1st, 3rd, 7th ... 127th batch, then one in 64.
        assert_eq!([waits(1), waits(0)], [20, 20]);
    }
}
