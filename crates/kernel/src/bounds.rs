//! The bounds of the kernel, each with its reason.

/// Bytes of a name or key: room for a path of several segments, small enough to be kept many times.
pub const MAX_NAME_BYTES: usize = 512;
/// Claims of one request: more than any dialect combines, few enough to check them all at once.
pub const MAX_CLAIMS: usize = 16;
/// Labels of one request.
pub const MAX_LABELS: usize = 16;
/// Bytes of one label's value, of a holder's name or of a description.
pub const MAX_TEXT_BYTES: usize = 1_024;
/// Slots of a limit or claim: sums of them over every lease stay far below 2^63.
pub const MAX_SLOTS: u32 = 1_000_000_000;
/// Patterns of one limit.
pub const MAX_PATTERNS: usize = 32;
/// Limits that may match one key: each is a further claim of every request on that key.
pub const MAX_MATCHES: usize = 8;
/// The longest window: a calendar month.
pub const MAX_WINDOW_MS: u64 = 31 * 24 * 3_600_000;
/// The fastest decay, in 10^-9 slots per second: [`MAX_SLOTS`] each second.
pub const MAX_DECAY_NANO: u64 = MAX_SLOTS as u64 * 1_000_000_000;
/// The shortest time to live: a holder needs time to renew over a network.
pub const MIN_TTL_MS: u64 = 1_000;
/// The longest time to live: a week; longer holds renew, or have none.
pub const MAX_TTL_MS: u64 = 7 * 24 * 3_600_000;
/// The longest time that a ticket waits for a single request, also without polls.
pub const MAX_WAIT_MS: u64 = 31 * 24 * 3_600_000;
/// How many tickets may wait for a limit that says nothing of it, or at a key under inline terms.
pub const DEFAULT_MAX_LEN: u32 = 10_000;
/// Tickets in all: about a gigabyte of memory at most.
pub const MAX_TICKETS: u32 = 1_000_000;
/// Leases in all.
pub const MAX_LEASES: u32 = 4_000_000;
/// Limits in all: every pattern of every limit is tried on a new key.
pub const MAX_LIMITS: u32 = 100_000;
/// Limits with patterns: a new key is held against all of them.
pub const MAX_MATCHERS: u32 = 1_000;
/// How long a grant after waiting may stay unclaimed at most, unless its request says otherwise.
pub const DEFAULT_CLAIM_MS: u64 = 30_000;
/// How long a kept ticket waits for a question about it, unless its request says otherwise.
pub const DEFAULT_POLL_TTL_MS: u64 = 300_000;
/// After a silence of this length the log was not merely idle: an idle engine writes a heartbeat sooner.
pub const OUTAGE_AFTER_MS: u64 = 5_000;
/// What a lease that was live before an outage gets at least after it, if its time to live is as long.
pub const OUTAGE_GRACE_MS: u64 = 30_000;
/// Queues that one command may try to move or grant: the work per command is bounded, whatever the backlog.
pub const MAX_TRIES: u32 = 64;
/// Different inline terms that may wait at one key.
pub const MAX_INLINE_TERMS: u32 = 64;
/// Younger grants of other terms on its key after which a head reserves the key.
pub const PASSED_BEFORE_RESERVE: u32 = 64;
/// Moves of a head between keys after which it holds what it finds free.
pub const MOVES_BEFORE_HOLD: u32 = 4;
/// How long a head holds slots that it cannot use yet.
pub const HOLD_MS: u64 = 10_000;
/// How long it holds them at most: each time that it had to give them back in vain it holds them for twice as
/// long, so it gets through however long others keep the slots that it lacks.
pub const MAX_HOLD_MS: u64 = 3_600_000;
/// How long the end of an id is remembered, so that a late repetition is told apart from a new request.
pub const REMEMBER_ENDED_MS: u64 = 24 * 3_600_000;
/// How many ends are remembered.
pub const MAX_ENDED: usize = 1_000_000;
/// Starts or ends that a key remembers one by one; beyond that, neighbours merge into the younger of the
/// two, so a window frees later than it might, never earlier.
pub const MAX_HISTORY: usize = 65_536;
/// Holders that a denial names.
pub const MAX_NAMED_HOLDERS: usize = 5;
/// Measured holds from which a key's median hold is taken: odd, and few enough to sort at every question.
pub const HOLD_SAMPLES: usize = 31;
/// Fencing tokens of one epoch: 2^41 at a million grants a second last 25 days of it, 4,096 epochs fit below 2^53.
pub const TOKENS_PER_EPOCH: u64 = 1 << 41;
