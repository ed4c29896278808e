//! Why a request waits.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One claim that is short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// The key.
    pub key: String,
    /// The limit, if the terms are a limit's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Why the claim is short, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Slots in use.
    #[serde(default)]
    pub used: u64,
    /// Slots that the terms allow.
    #[serde(default)]
    pub max: u32,
    /// Tickets that claim the key.
    #[serde(default)]
    pub waiting: u32,
    /// The oldest of those who hold slots of the key.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// When the claim could fit, in milliseconds from now, if that is known.
    #[serde(default)]
    pub retry_in_ms: Option<u64>,
}

/// One who holds slots of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// The lease.
    pub id: Uuid,
    /// Its fencing token.
    #[serde(default)]
    pub token: u64,
    /// Who, if said.
    #[serde(default)]
    pub holder: Option<String>,
    /// Slots of this key.
    #[serde(default)]
    pub slots: u32,
    /// For how long, in milliseconds.
    #[serde(default)]
    pub age_ms: u64,
}

/// How an expectation is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EtaKind {
    /// By the rules alone.
    Exact,
    /// From measured holds.
    Estimate,
    /// Not at all.
    #[default]
    #[serde(other)]
    Unknown,
}
