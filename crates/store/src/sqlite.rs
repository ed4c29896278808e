//! SQLite: one node, one folder. WAL, one writer (the engine's thread), readers on connections of their own.

mod backup;
mod check;
mod error;
mod log;
mod migrate;
mod rows;
mod snapshots;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use backup::backup;
pub use check::{SqliteSource, check, check_history};
use rows::SqliteReader;

use crate::{Begin, Error, FolderLock, Head, Keep, Migration, Reader, Record, Snapshot, Store, Write};

/// The database file in the data folder.
const DB_FILE: &str = "admit.db";
/// How long SQLite itself waits for a lock; nobody but a foreign tool should ever hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Size at which the write-ahead log is folded into the database and begun anew. It stays small, so that its file
/// is written over and over: a sync of a file that does not grow needs no journal of the file system's, which
/// is about half of its time. It stays in the page cache, and start-up has little of it to read.
const CHECKPOINT_BYTES: usize = 4 << 20;
/// What a commit, or a row, adds to the write-ahead log besides its payload: the page that it is on.
const PAGE_BYTES: usize = 4 << 10;
/// To what size the write-ahead log's file is cut back once it is folded.
const WAL_FILE_BYTES: u64 = 64 << 20;
/// Prepared statements kept: those of the log and of the busiest writes of other crates.
const CACHED_STATEMENTS: usize = 128;

/// When a commit counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When the disk says so: it survives a power cut.
    #[default]
    Full,
    /// When the operating system has it: it survives a crash of the process, a power cut may take the
    /// last seconds, never consistency.
    Normal,
}

/// The store of one node in a data folder.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    /// What the log ends with; unknown after a commit whose outcome is.
    end: Option<log::End>,
    /// Of the write-ahead log, roughly.
    bytes_since_checkpoint: usize,
    // Last: the folder is free only when the files are closed.
    _lock: FolderLock,
}

impl SqliteStore {
    /// Opens the data folder, makes it if it is not there, locks it, and brings every component's tables
    /// up to date.
    pub fn open(
        folder: &Path,
        durability: Durability,
        migrations: &[Migration],
    ) -> Result<SqliteStore, Error> {
        make_private_folder(folder)?;
        let lock = FolderLock::take(folder)?;
        let path = folder.join(DB_FILE);
        make_private_file(&path)?;
        let mut connection = connect(&path)?;
        let synchronous = match durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = {synchronous};
                 PRAGMA wal_autocheckpoint = 0;
                 PRAGMA journal_size_limit = {WAL_FILE_BYTES};"
            ))
            .map_err(error::opening)?;
        migrate::run(&mut connection, migrations)?;
        Ok(SqliteStore { connection, path, end: None, bytes_since_checkpoint: 0, _lock: lock })
    }

    /// Lets the database file grow no further than this; none: as far as the disk allows.
    pub fn set_max_bytes(&mut self, max_bytes: Option<u64>) -> Result<(), Error> {
        let page: u64 = self
            .connection
            .pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))
            .map_err(error::outside_commit)?
            .unsigned_abs();
        let pages = max_bytes.map_or(u64::from(u32::MAX) - 1, |bytes| (bytes / page).max(1));
        self.connection
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
            .map_err(error::outside_commit)
    }

    fn end(&mut self) -> Result<log::End, Error> {
        match self.end {
            Some(end) => Ok(end),
            None => {
                let end = log::end(&self.connection)?;
                self.end = Some(end);
                Ok(end)
            }
        }
    }
}

impl Store for SqliteStore {
    fn head(&mut self) -> Result<Head, Error> {
        self.end = None;
        Ok(self.end()?.head)
    }

    fn is_copy(&mut self) -> Result<bool, Error> {
        log::is_copy(&self.connection)
    }

    fn latest_snapshot(&mut self) -> Result<Option<Snapshot>, Error> {
        snapshots::latest(&self.connection)
    }

    fn records_after(&mut self, seq: u64, max_bytes: usize) -> Result<Vec<Record>, Error> {
        log::records_after(&self.connection, seq, max_bytes)
    }

    fn begin(&mut self, applied: &Head) -> Result<Begin, Error> {
        // The folder lock keeps others out, so there is nothing to lock here, and nothing is missed but
        // a commit of our own whose outcome was unknown.
        let missed = if self.end()?.head.seq > applied.seq {
            self.records_after(applied.seq, usize::MAX)?
        } else {
            Vec::new()
        };
        Ok(Begin { now_ms: None, missed })
    }

    fn commit(&mut self, record: &Record, writes: &[Write]) -> Result<(), Error> {
        let end = self.end()?;
        // Known again only when this is known to have succeeded or failed.
        self.end = None;
        match log::append(&self.connection, &end, record, writes) {
            Ok(new_end) => {
                self.end = Some(new_end);
                self.bytes_since_checkpoint += record.payload.len() + (1 + writes.len()) * PAGE_BYTES;
                Ok(())
            }
            Err(error) => {
                if !matches!(error, Error::Unknown(_) | Error::Fatal(_)) {
                    self.end = Some(end);
                }
                Err(error)
            }
        }
    }

    fn rollback(&mut self) {}

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        self.bytes_since_checkpoint += snapshot.bytes.len();
        snapshots::save(&mut self.connection, snapshot)
    }

    fn truncate(&mut self, keep: Keep, now_ms: u64) -> Result<bool, Error> {
        let end = self.end()?;
        log::truncate(&mut self.connection, &end, keep, now_ms)
    }

    fn maintain(&mut self) -> Result<(), Error> {
        if self.bytes_since_checkpoint < CHECKPOINT_BYTES {
            return Ok(());
        }
        self.bytes_since_checkpoint = 0;
        // Done here and not by SQLite within a commit, which would hide a failed sync from us.
        self.connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(error::outside_commit)
    }

    fn probe(&mut self, bytes: usize) -> Result<(), Error> {
        log::probe(&mut self.connection, bytes)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(SqliteReader::open(&self.path)?))
    }
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(error::opening)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(error::opening)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}

/// Only its owner may read it: tokens' hashes and payloads are in there.
fn make_private_folder(folder: &Path) -> Result<(), Error> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| Error::file(folder, &error))
}

/// SQLite gives the files beside it the same mode.
fn make_private_file(path: &Path) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|error| Error::file(path, &error))?;
    drop(file);
    // The new name itself must survive a power cut.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| Error::file(folder, &error))?;
    }
    Ok(())
}
