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
}

/// A node, as the log's database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it says of itself.
    pub info: NodeInfo,
    /// The newest format of records that it knows.
    pub format: u16,
    /// The last record that it has applied.
    pub applied_seq: u64,
    /// How many records it lacked when it was last seen.
    pub behind: u64,
    /// How long ago that was, in milliseconds.
    pub seen_ms_ago: u64,
}
