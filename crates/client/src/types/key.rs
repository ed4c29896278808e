//! Keys.

use serde::{Deserialize, Serialize};

use super::Holder;

/// A key as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// The key.
    pub key: String,
    /// Slots used under the terms of the limit of the key's name, if there is one.
    #[serde(default)]
    pub used: u64,
    /// Slots of live leases.
    #[serde(default)]
    pub running: u64,
    /// Ended runs that a window still counts.
    #[serde(default)]
    pub cooling: u64,
    /// Slots held for heavy tickets.
    #[serde(default)]
    pub held: u64,
    /// Tickets that claim it.
    #[serde(default)]
    pub waiting: u32,
    /// The oldest who hold its slots.
    #[serde(default)]
    pub holders: Vec<Holder>,
}
