//! What can go wrong besides a denial, which is an outcome.

use admit_kernel::OLDEST_FORMAT;

/// What can go wrong besides a denial, which is an outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More is being asked than can be queued; nothing was done. Ask again a little later.
    #[error("overloaded: there are {max} {what} already")]
    Overloaded {
        /// Of what there is too much.
        what: &'static str,
        /// How much there may be.
        max: usize,
    },
    /// The engine is shutting down, or has.
    #[error("the engine is stopping")]
    Stopping,
    /// The store cannot be written, or rows of it not be read, just now. What was asked may have been done where
    /// the reason says "unknown": asking again with the same id is always safe.
    #[error("not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// When it makes sense to ask again, in milliseconds.
        retry_in_ms: u64,
    },
    /// The database refused the rows that were to be written with a command; neither was done.
    #[error("the rows of the command were refused: {0}")]
    Rows(String),
    /// Replaying the log did not give the state that was recorded: this program and the one that wrote the
    /// log disagree.
    #[error(
        "the state after record {seq} is not the one that was recorded ({found:016x}, not {recorded:016x}): \
         this version disagrees with the one that wrote the log; go back to that one, and report this"
    )]
    Diverged {
        /// The record.
        seq: u64,
        /// The digest that was recorded.
        recorded: u64,
        /// The digest that replaying gave.
        found: u64,
    },
    /// The log has gone on in a format that is not known here.
    #[error(
        "{what} is in format {found}, and this version knows formats {OLDEST_FORMAT} to {newest}: \
         run the version here that the other nodes run, or a newer one"
    )]
    Format {
        /// What of the log.
        what: String,
        /// Its format.
        found: u16,
        /// The newest format known here.
        newest: u16,
    },
    /// A record is whole and in a known format, and yet there is something in it that is not known here.
    #[error(
        "record {seq} of the log (format {format}) cannot be understood by this version ({reason}): \
         run the version here that wrote it, and report this"
    )]
    Unknown {
        /// The record.
        seq: u64,
        /// Its format.
        format: u16,
        /// Where reading it ended.
        reason: String,
    },
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] admit_store::Error),
}
