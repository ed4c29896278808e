//! A data folder that is checked, whether or not a server uses it.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::rows::SqliteReader;
use super::{DB_FILE, connect, error, log, migrate, snapshots};
use crate::check::{check_log, check_records};
use crate::{Error, Head, Listed, Reader, Record, Report, Source};

/// What is stored in a data folder.
#[derive(Debug)]
pub struct SqliteSource {
    connection: Connection,
    path: PathBuf,
}

impl SqliteSource {
    /// Opens the folder for reading alone.
    pub fn open(folder: &Path) -> Result<SqliteSource, Error> {
        let path = folder.join(DB_FILE);
        if !path.is_file() {
            return Err(Error::File { path, reason: "there is no database here".into() });
        }
        let connection = connect(&path)?;
        connection.pragma_update(None, "query_only", true).map_err(error::opening)?;
        Ok(SqliteSource { connection, path })
    }
}

/// Checks the data folder: the file itself, the chain of checksums from the oldest record to the newest, the
/// snapshots' hashes.
pub fn check(folder: &Path) -> Result<Report, Error> {
    check_log(&mut SqliteSource::open(folder)?)
}

/// Checks the records and snapshots of a folder that a server uses, which itself reads no more of them than it
/// needs. After every few megabytes it rests as long as `rest` takes.
pub fn check_history(folder: &Path, rest: &mut dyn FnMut()) -> Result<Report, Error> {
    check_records(&mut SqliteSource::open(folder)?, rest)
}

impl Source for SqliteSource {
    fn storage_problems(&mut self) -> Result<Vec<String>, Error> {
        let verdict: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(error::opening)?;
        Ok(if verdict == "ok" { Vec::new() } else { vec![format!("the database file: {verdict}")] })
    }

    fn versions(&mut self) -> Result<Vec<(String, u32)>, Error> {
        migrate::versions(&self.connection)
    }

    fn own_version(&self) -> u32 {
        migrate::OWN.len() as u32
    }

    fn head(&mut self) -> Result<Head, Error> {
        Ok(log::end(&self.connection)?.head)
    }

    fn oldest(&mut self) -> Result<Option<u64>, Error> {
        log::oldest(&self.connection)
    }

    fn records_after(&mut self, seq: u64, max_bytes: usize) -> Result<Vec<Record>, Error> {
        log::records_after(&self.connection, seq, max_bytes)
    }

    fn snapshots(&mut self) -> Result<Vec<Listed>, Error> {
        snapshots::list(&self.connection).map_err(error::outside_commit)
    }

    fn snapshot_bytes(&mut self, seq: u64) -> Result<Vec<u8>, Error> {
        snapshots::bytes(&self.connection, seq).map_err(error::outside_commit)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(SqliteReader::open(&self.path)?))
    }
}
