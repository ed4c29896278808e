//! The server itself, and its access tokens.

use serde::{Deserialize, Serialize};

/// What a token may do; each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Acquire, renew, release and look.
    Acquire,
    /// Change limits too.
    Operate,
    /// Change tokens too.
    Admin,
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenRequest {
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// How long it is good for, in milliseconds; none: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
}

/// A token as it is listed: never the secret itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made (RFC 3339).
    #[serde(default)]
    pub created_at: Option<String>,
    /// Whether it opens anything now.
    #[serde(default)]
    pub valid: bool,
    /// When it stops being good (RFC 3339); none: when it is revoked.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// The same, in milliseconds from now.
    #[serde(default)]
    pub expires_in_ms: Option<u64>,
    /// When it was revoked (RFC 3339).
    #[serde(default)]
    pub revoked_at: Option<String>,
}

/// A token just made, with the secret that is shown this once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewToken {
    /// What is listed of it.
    #[serde(flatten)]
    pub about: Token,
    /// The secret.
    pub token: String,
}

/// What the server says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// How long it has been running, in milliseconds.
    #[serde(default)]
    pub uptime_ms: u64,
    /// What it listens on, and what it does not.
    #[serde(default)]
    pub listeners: Vec<ListenerStatus>,
    /// How much there is of everything, by name.
    #[serde(default)]
    pub totals: serde_json::Map<String, serde_json::Value>,
    /// Where the data is and how far it goes, by name.
    #[serde(default)]
    pub store: serde_json::Map<String, serde_json::Value>,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// What it is called.
    pub name: String,
    /// Its address; none: it is off.
    #[serde(default)]
    pub address: Option<String>,
    /// Why it is off, and the way out.
    #[serde(default)]
    pub off_because: Option<String>,
    /// Whether it speaks TLS.
    #[serde(default)]
    pub tls: bool,
    /// Connections that are open now.
    #[serde(default)]
    pub connections: u64,
}

/// A node that uses the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its number, in hexadecimal digits.
    pub id: String,
    /// What it is called; may be empty.
    #[serde(default)]
    pub name: String,
    /// Where its own API was told to listen; may be empty.
    #[serde(default)]
    pub address: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// The newest format of the log that it knows.
    #[serde(default)]
    pub format: u16,
    /// Whether it is the one that answered.
    #[serde(default, rename = "self")]
    pub is_self: bool,
    /// Whether it was seen lately.
    #[serde(default)]
    pub live: bool,
    /// When it was last seen (RFC 3339).
    #[serde(default)]
    pub seen_at: Option<String>,
    /// How long ago that is, in milliseconds.
    #[serde(default)]
    pub seen_ago_ms: u64,
    /// The last record that it had applied by then.
    #[serde(default)]
    pub applied_seq: u64,
    /// How many records it lacked.
    #[serde(default)]
    pub lag_records: u64,
    /// Commands of a batch lately, on average; none: it has written none.
    #[serde(default)]
    pub batch_commands: Option<f64>,
    /// How long a commit took lately, on average, in milliseconds; none: there was none.
    #[serde(default)]
    pub commit_ms: Option<f64>,
}
