//! The nodes that share the log.

use serde::Serialize;
use utoipa::ToSchema;

/// A node: a server that uses the log.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NodeBody {
    /// Its number, in hexadecimal digits: another one each time that it is started.
    pub id: String,
    /// What it is called; may be empty.
    pub name: String,
    /// Where its own API was told to listen; may be empty.
    pub address: String,
    /// Its version.
    pub version: String,
    /// The newest format of the log that it knows.
    pub format: u16,
    /// Whether it is the one that answers.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// Whether it was seen lately. One that was not is listed for an hour.
    pub live: bool,
    /// When it was last seen (RFC 3339).
    pub seen_at: String,
    /// How long ago that is, in milliseconds.
    pub seen_ago_ms: u64,
    /// The last record that it had applied by then.
    pub applied_seq: u64,
    /// How many records it lacked.
    pub lag_records: u64,
    /// Commands of a batch lately, on average; null: it has written none.
    pub batch_commands: Option<f64>,
    /// How long a commit took lately, on average, in milliseconds; null: there was none.
    pub commit_ms: Option<f64>,
}
