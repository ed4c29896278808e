//! What can go wrong with a store, by what has to be done about it.

use std::path::PathBuf;

/// What went wrong, by what has to be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another process has the data folder.
    #[error(
        "the data folder {} is in use by process {}; stop it, or give another folder",
        folder.display(),
        pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The process that has it, as far as it said so.
        pid: Option<u32>,
    },
    /// There is no room; nothing of the batch was written.
    #[error("no room to write: {0}")]
    Full(String),
    /// The database cannot be used just now; nothing of the batch was written.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The batch may have been committed or not; only the log can tell.
    #[error("unknown whether the batch was committed: {0}")]
    Unknown(String),
    /// One of the rows of a batch was refused; nothing of the batch was written.
    #[error("the database refused a row: {reason}")]
    Row {
        /// Its place among the writes of the batch.
        write: usize,
        /// Why.
        reason: String,
    },
    /// A query that the database does not understand or that asks for too much.
    #[error("the query failed: {0}")]
    Query(String),
    /// What is stored is not what was written.
    #[error("the log is damaged at record {seq}: {reason}; restore a backup, or see `admit db check`")]
    Corrupt {
        /// The record.
        seq: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The data was written by a newer version of this program.
    #[error(
        "the data is of a newer version: {what} is {found}, this program knows up to {known}; upgrade it"
    )]
    TooNew {
        /// What is newer.
        what: String,
        /// Its version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// So many records were added that they are not read while others wait for the log: read them with
    /// [`crate::Store::missed`], then begin again.
    #[error("the log has gone on by more than is read at once")]
    Behind,
    /// The log does not go on from what was applied: it was restored, or its older part is gone. The state has
    /// to be read back.
    #[error("the log is not the one that was read: {0}")]
    Rewritten(String),
    /// What was asked for is not possible here; the reason says what is.
    #[error("{0}")]
    Refused(String),
    /// The storage cannot be trusted any more (a failed sync, a damaged file): the process has to end.
    #[error("the storage failed: {0}")]
    Fatal(String),
    /// A file or folder cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>, error: &std::io::Error) -> Error {
        Error::File { path: path.into(), reason: error.to_string() }
    }
}
