//! Access tokens.

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
    /// When it stops being good (RFC 3339).
    #[serde(default)]
    pub expires_at: Option<String>,
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
