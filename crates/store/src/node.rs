//! Those who share a log.

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// A number that no other node has or had.
    pub number: u64,
    /// What people call it.
    pub name: String,
    /// Where its API is reached; may be empty.
    pub address: String,
    /// The version of its program.
    pub version: String,
    /// The newest format of records and snapshots that it knows.
    pub format: u16,
}

/// How a node has been writing lately.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Commands of a batch, on average.
    pub batch_commands: f64,
    /// Milliseconds of a commit, on average.
    pub commit_ms: f64,
}

/// A node, as the log's database knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it says of itself.
    pub info: NodeInfo,
    /// The last record that it has applied.
    pub applied_seq: u64,
    /// How many records it lacked when it was last seen.
    pub behind: u64,
    /// How long ago that was, in milliseconds.
    pub seen_ms_ago: u64,
    /// Whether that is lately enough for others to count on it.
    pub is_live: bool,
    /// How it has been writing; none: it has not.
    pub load: Option<Load>,
}
