//! What the engine counts, for metrics and people.

use std::array;

use admit_kernel::{Denial, Totals};
use admit_store::Load;

/// Buckets of a histogram: the last one holds everything from 2^30 on.
const BUCKETS: usize = 32;

/// How often values of each magnitude occurred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [0; BUCKETS], count: 0, sum: 0 }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, value: u64) {
        let magnitude = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[magnitude.min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Pairs of an upper bound and how many values were at most that: 0, 1, 3, 7, 15 ... The last bound is
    /// none: all values.
    #[must_use]
    pub fn cumulative(&self) -> [(Option<u64>, u64); BUCKETS] {
        let mut sum = 0;
        array::from_fn(|index| {
            sum += self.buckets[index];
            ((index < BUCKETS - 1).then(|| (1 << index) - 1), sum)
        })
    }

    /// The upper bound of the bucket in which this fraction of the values (0 to 1) is reached.
    #[must_use]
    pub fn quantile(&self, fraction: f64) -> Option<u64> {
        #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let reached = |sum: u64| sum as f64 >= fraction * self.count as f64;
        self.cumulative().into_iter().find(|&(_, sum)| sum > 0 && reached(sum)).and_then(|(bound, _)| bound)
    }
}

/// The kinds of [`Denial`], as they are counted.
pub const DENIALS: [&str; 9] = [
    "full",
    "impossible",
    "unknown-limit",
    "queue-full",
    "id-reused",
    "ended",
    "too-many-terms",
    "too-many-matches",
    "other",
];

/// What happened since the engine was opened, and how things stand.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stats {
    /// Batches that were decided.
    pub batches: u64,
    /// Commands that were decided.
    pub commands: u64,
    /// Records that were appended.
    pub records: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of them.
    pub log_bytes: u64,
    /// The number of the last record.
    pub seq: u64,
    /// The format that the log is in.
    pub format: u16,
    /// How this node has been writing lately; none: it has not.
    pub load: Option<Load>,
    /// Commands per batch.
    pub batch_size: Histogram,
    /// Microseconds from the first decision of a batch to its answer.
    pub batch_us: Histogram,
    /// Microseconds per commit.
    pub commit_us: Histogram,
    /// Milliseconds that granted tickets had waited.
    pub wait_ms: Histogram,
    /// Leases granted at once.
    pub granted_at_once: u64,
    /// Leases granted after waiting.
    pub granted_after_wait: u64,
    /// Requests that began to wait.
    pub queued: u64,
    /// Leases that ended by release.
    pub released: u64,
    /// Leases that ended because nobody renewed or claimed them.
    pub expired: u64,
    /// Tickets that ended without a lease.
    pub tickets_ended: u64,
    /// Denials, in the order of [`DENIALS`].
    pub denied: [u64; DENIALS.len()],
    /// Requests refused because too much was queued.
    pub overloaded: u64,
    /// Commands refused because nothing could be written.
    pub unavailable: u64,
    /// Commands whose rows were refused.
    pub rows_refused: u64,
    /// How often the state was read back after a failure.
    pub reloads: u64,
    /// Outages that were logged: silences in which nobody could renew.
    pub outages: u64,
    /// Snapshots that were stored.
    pub snapshots: u64,
    /// Bytes of the latest.
    pub snapshot_bytes: u64,
    /// What is added to wall time to make the log's, in milliseconds.
    pub clock_offset_ms: i64,
    /// Steps of the wall clock that were absorbed.
    pub clock_steps: u64,
    /// Commands that wait to be decided.
    pub queue_len: u64,
    /// Callers that wait for a ticket.
    pub waiters: u64,
    /// Subscribers to the log.
    pub subscribers: u64,
    /// For how long, in milliseconds, this node has not seen what others write; 0 where it is alone.
    pub lag_ms: u64,
    /// Whether commands are being served: the log can be written, and its end was seen within 2 s.
    pub serving: bool,
    /// What there is in the state.
    pub totals: Totals,
}

impl Stats {
    pub(crate) fn count_denial(&mut self, denial: &Denial) {
        let kind = match denial {
            Denial::Full { .. } => 0,
            Denial::Impossible { .. } => 1,
            Denial::UnknownLimit { .. } => 2,
            Denial::QueueFull { .. } => 3,
            Denial::IdReused => 4,
            Denial::Ended { .. } => 5,
            Denial::TooManyTerms { .. } => 6,
            Denial::TooManyMatches { .. } => 7,
            Denial::Overloaded { .. } | Denial::Invalid { .. } => 8,
        };
        self.denied[kind] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_by_magnitude() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 100, u64::MAX] {
            histogram.add(value);
        }
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative[..4], [(Some(0), 1), (Some(1), 2), (Some(3), 4), (Some(7), 5)]);
        assert_eq!(cumulative[31], (None, 7));
        assert_eq!(histogram.quantile(0.5), Some(3));
    }
}
