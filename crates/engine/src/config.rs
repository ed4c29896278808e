//! What an engine needs to know.

use std::path::PathBuf;

use admit_kernel::FORMAT;
use admit_store::{Durability, Keep, Migration, PostgresConfig};

/// Where the log lives.
#[derive(Debug, Clone)]
pub enum Home {
    /// In a folder, for this engine alone; it is made if it is not there.
    Folder(PathBuf),
    /// In a PostgreSQL database, which engines of other nodes may share.
    Postgres(PostgresConfig),
}

/// What an engine needs to know to open.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the log lives.
    pub home: Home,
    /// What people call this node; may be empty.
    pub name: String,
    /// Where this node's API is reached; may be empty.
    pub address: String,
    /// When a commit counts as durable. PostgreSQL decides that for itself.
    pub durability: Durability,
    /// How much history of the log stays.
    pub keep: Keep,
    /// The tables of other crates.
    pub migrations: Vec<Migration>,
    /// How much may be waiting for the engine.
    pub bounds: Bounds,
    /// As in [`crate::Options::format`].
    pub format: u16,
}

impl Config {
    /// A durable engine in this folder, with the usual bounds.
    pub fn new(folder: impl Into<PathBuf>) -> Config {
        Config::at(Home::Folder(folder.into()))
    }

    /// A durable engine there, with the usual bounds.
    #[must_use]
    pub fn at(home: Home) -> Config {
        Config {
            home,
            name: String::new(),
            address: String::new(),
            durability: Durability::default(),
            keep: Keep::default(),
            migrations: Vec::new(),
            bounds: Bounds::default(),
            format: FORMAT,
        }
    }
}

/// How much may be waiting for the engine. What is above is refused, not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Commands that wait to be decided; renewals and releases have as much again for themselves.
    pub queue: usize,
    /// Callers that wait for a ticket.
    pub waiters: usize,
    /// Queries that wait for the database.
    pub queries: usize,
    /// Subscribers to the log.
    pub subscribers: usize,
    /// Records that a subscriber may be behind before it misses some.
    pub subscriber_lag: usize,
}

impl Default for Bounds {
    /// The queue is a fraction of a second of work; waiters cost some 100 bytes each.
    fn default() -> Bounds {
        Bounds { queue: 16_384, waiters: 262_144, queries: 1_024, subscribers: 1_024, subscriber_lag: 4_096 }
    }
}
