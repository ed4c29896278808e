//! What can go wrong with a store, and what did.

/// What can go wrong, in cases of a thousand commits where nothing else is said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// The process dies before the append, or in the middle of it; what is torn is undone.
    pub crash_before: u64,
    /// The process dies after the append, before it knows.
    pub crash_after: u64,
    /// The append happened, the answer is lost.
    pub unknown_done: u64,
    /// The append did not happen, the answer is lost.
    pub unknown_lost: u64,
    /// The database refuses, for a while.
    pub away: u64,
    /// The disk is full, for a while.
    pub full: u64,
    /// The commit takes long.
    pub slow: u64,
    /// The process dies at any other call, before or after its effect (in a thousand calls).
    pub crash_elsewhere: u64,
    /// Reading or tidying fails (in a thousand calls).
    pub errors_elsewhere: u64,
    /// How long the disk is away or full at most, in milliseconds.
    pub longest_ms: u64,
}

/// How a store may be wrong so that the checks can be seen to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// A commit is acknowledged when it is in memory; a crash loses the last of them.
    NoSync,
    /// Every so often a commit is acknowledged and dropped.
    LosesCommit,
    /// More of the log is dropped than the last but one snapshot allows.
    TruncatesTooMuch,
    /// A node that lost the log's lock appends all the same, in the place of what others appended.
    Conflicts,
    /// That the log has other records than those that were read goes unsaid.
    HidesRewrites,
    /// A commit of one of several nodes is acknowledged when the others can see it, before it is on disk.
    AcknowledgesBeforeFlush,
    /// A batch that wrote nothing ends before what it saw of others is on disk.
    AnswersBeforeFlush,
    /// That the database is a copy goes unsaid.
    HidesCopies,
    /// Who only looks is not given what others wrote.
    StaleReads,
}

/// What has been done to the processes and to the disk so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Injected {
    pub crashes: u64,
    pub unknown: u64,
    pub away: u64,
    pub full: u64,
    pub damaged_snapshots: u64,
    /// Commits that came too late, since others had appended or might have.
    pub conflicts: u64,
    /// Of those, the ones that were made up for, because nobody had.
    pub retried: u64,
    /// Begins that had to wait for another node's lock, and those that waited in vain.
    pub lock_waits: u64,
    pub lock_timeouts: u64,
    /// Begins of nodes that were too far behind, and of those whose log was not the one that they knew.
    pub behind: u64,
    pub rewritten: u64,
    /// Crashes of the database, and the records that were lost because nobody had waited for them.
    pub database_crashes: u64,
    pub lost_records: u64,
    /// Times that another database took over, without a loss and with one.
    pub failovers: u64,
    pub restores: u64,
}
