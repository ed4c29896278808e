//! The log of Admit, its snapshots, and the tables that other crates keep beside it.
//!
//! This is the only crate that knows which database it is. Everything above it sees a [`Store`]: append
//! one [`Record`] per batch together with the rows that belong to it, read records back, keep snapshots.
//! Whoever wants rows reads them through a [`Reader`], from any thread.
//!
//! SQL is written once for every database: parameters are `$1`, `$2` ..., each used at least once;
//! `INSERT ... ON CONFLICT ... DO UPDATE`, `RETURNING`; columns are `BIGINT`, `DOUBLE PRECISION`, `TEXT`
//! or `BLOB` (which a migration writes in capitals); a truth is a `BIGINT` 0 or 1, a time is a `BIGINT` of
//! milliseconds.

mod check;
mod error;
mod lock;
mod migration;
mod node;
mod postgres;
mod record;
mod sqlite;
mod store;
mod value;

pub use check::{Listed, Report, Source, TableCheck, check_log};
pub use error::Error;
pub use lock::FolderLock;
pub use migration::Migration;
pub use node::{Load, Node, NodeInfo};
pub use postgres::{PostgresConfig, PostgresSource, PostgresStore};
pub use record::{Head, Record, Snapshot};
pub use sqlite::{Durability, SqliteSource, SqliteStore, backup, check, check_history};
pub use store::{Begin, Entry, Keep, Reader, Store, Wake};
pub use value::{Row, Value, Write};
