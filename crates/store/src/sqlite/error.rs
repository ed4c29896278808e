//! What an error of SQLite means for us.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::Error;

/// Errors that can only mean that there is no room: growing the file, its index or its quota.
const NO_ROOM: [i32; 3] = [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_WRITE];
/// What was written before may be lost: nothing that this process believes about the disk holds any more.
const SYNC_FAILED: [i32; 4] =
    [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC, ffi::SQLITE_IOERR_CLOSE, ffi::SQLITE_IOERR_DATA];

/// At the commit itself: whatever is not certain is unknown.
pub(super) fn at_commit(error: rusqlite::Error) -> Error {
    match outside_commit(error) {
        known @ (Error::Full(_) | Error::Fatal(_)) => known,
        other => Error::Unknown(other.to_string()),
    }
}

/// Where nothing is committed yet.
pub(super) fn outside_commit(error: rusqlite::Error) -> Error {
    match classify(&error) {
        Some(known) => known,
        None => Error::Unavailable(error.to_string()),
    }
}

/// In a statement that another crate gave: what is not the storage's fault is the statement's.
pub(super) fn in_statement(error: rusqlite::Error, blame: impl FnOnce(String) -> Error) -> Error {
    match classify(&error) {
        Some(known) => known,
        None if is_transient(&error) => Error::Unavailable(error.to_string()),
        None => blame(error.to_string()),
    }
}

/// At opening there is nothing to go on with.
pub(super) fn opening(error: rusqlite::Error) -> Error {
    match classify(&error) {
        Some(known) => known,
        None if is_transient(&error) => Error::Unavailable(error.to_string()),
        None => Error::Fatal(error.to_string()),
    }
}

fn classify(error: &rusqlite::Error) -> Option<Error> {
    let rusqlite::Error::SqliteFailure(code, _) = error else { return None };
    if NO_ROOM.contains(&code.extended_code) {
        return Some(Error::Full(error.to_string()));
    }
    let broken = SYNC_FAILED.contains(&code.extended_code)
        || matches!(code.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase);
    broken.then(|| Error::Fatal(error.to_string()))
}

fn is_transient(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::SystemIoFailure
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted
                | ErrorCode::CannotOpen
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(extended_code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(extended_code), None)
    }

    #[test]
    fn errors_mean_what_has_to_be_done() {
        type Check = fn(&Error) -> bool;
        let table: [(i32, Check, Check); 7] = [
            (ffi::SQLITE_FULL, |e| matches!(e, Error::Full(_)), |e| matches!(e, Error::Full(_))),
            (ffi::SQLITE_IOERR_WRITE, |e| matches!(e, Error::Full(_)), |e| matches!(e, Error::Full(_))),
            (ffi::SQLITE_IOERR_FSYNC, |e| matches!(e, Error::Fatal(_)), |e| matches!(e, Error::Fatal(_))),
            (ffi::SQLITE_CORRUPT, |e| matches!(e, Error::Fatal(_)), |e| matches!(e, Error::Fatal(_))),
            (ffi::SQLITE_BUSY, |e| matches!(e, Error::Unavailable(_)), |e| matches!(e, Error::Unknown(_))),
            (
                ffi::SQLITE_IOERR_READ,
                |e| matches!(e, Error::Unavailable(_)),
                |e| matches!(e, Error::Unknown(_)),
            ),
            (
                ffi::SQLITE_CONSTRAINT,
                |e| matches!(e, Error::Unavailable(_)),
                |e| matches!(e, Error::Unknown(_)),
            ),
        ];
        for (code, outside, commit) in table {
            assert!(outside(&outside_commit(failure(code))), "{code} outside a commit");
            assert!(commit(&at_commit(failure(code))), "{code} at a commit");
        }
        let blamed = in_statement(failure(ffi::SQLITE_CONSTRAINT), |reason| Error::Row { write: 3, reason });
        assert!(matches!(blamed, Error::Row { write: 3, .. }));
    }
}
