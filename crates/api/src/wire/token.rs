//! Access tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A token to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenInput {
    /// What it is called; no two valid tokens have the same name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// How long it is good for, in milliseconds; left out: until it is revoked.
    #[serde(default)]
    pub expires_in_ms: Option<u64>,
}

/// What a token may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Ask for slots, hold them, and read.
    Acquire,
    /// Change limits too.
    Operate,
    /// Make and revoke tokens too.
    Admin,
}

/// A token, never its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TokenBody {
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whether it opens anything now.
    pub valid: bool,
    /// When it was made (RFC 3339).
    pub created_at: String,
    /// How long ago that is, in milliseconds.
    pub created_ago_ms: u64,
    /// When it ends by itself (RFC 3339).
    pub expires_at: Option<String>,
    /// The same, in milliseconds from now.
    pub expires_in_ms: Option<u64>,
    /// When it was revoked (RFC 3339).
    pub revoked_at: Option<String>,
    /// How long ago that is, in milliseconds.
    pub revoked_ago_ms: Option<u64>,
}

/// A token just made, with its secret, which is shown this once.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NewTokenBody {
    /// What is known of it.
    #[serde(flatten)]
    pub about: TokenBody,
    /// The secret: what goes into `Authorization: Bearer`.
    pub token: String,
}
