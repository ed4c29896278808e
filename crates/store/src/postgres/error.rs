//! What an error of PostgreSQL means for us.

use tokio_postgres::error::{DbError, SqlState};

use crate::Error;

/// What people meet while they set up a connection, by a part of what is said then, and what to do about it.
const WAYS_OUT: [(&str, &str); 6] = [
    (
        "no encryption",
        "the server takes connections with TLS only; say sslmode=require or sslmode=verify-full",
    ),
    (
        "does not support TLS",
        "turn it on at the server (ssl = on), or say sslmode=disable if nobody else can listen",
    ),
    ("UnknownIssuer", UNKNOWN_AUTHORITY),
    // An authority of the same name with another key.
    ("BadSignature", UNKNOWN_AUTHORITY),
    ("not valid for name", "connect by a name that the server's certificate has"),
    (
        "statement pooling mode",
        "a batch needs a transaction of several statements; set pool_mode=transaction or pool_mode=session at the \
         pooler, or connect to the database directly",
    ),
];

const UNKNOWN_AUTHORITY: &str = "the server's certificate is of an authority that is not known here; name the file \
    with that authority's certificate: sslrootcert=FILE";

/// Why a conversation with the database broke off.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database said so, or the connection broke.
    Database(tokio_postgres::Error),
    /// No answer came in time.
    TimedOut,
    /// The connection was gone before anything was sent.
    Lost,
    /// It is for the engine to see to.
    Store(Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Database(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Store(error)
    }
}

impl Failure {
    fn told(&self) -> Option<&DbError> {
        match self {
            Failure::Database(error) => error.as_db_error(),
            _ => None,
        }
    }

    /// Whether the connection cannot be used any more, or another one may be better: one that is read-only stays so
    /// when the database is no more.
    pub fn ends_the_connection(&self) -> bool {
        match self {
            Failure::Database(error) => {
                let fatal = self.told().is_some_and(|told| {
                    told.severity() != "ERROR" || *told.code() == SqlState::READ_ONLY_SQL_TRANSACTION
                });
                fatal || error.is_closed() || is_broken(error)
            }
            Failure::TimedOut | Failure::Lost => true,
            Failure::Store(_) => false,
        }
    }

    /// Whether a transaction is known to have ended without effect, in a way that a second try may survive.
    pub fn is_passing(&self) -> bool {
        let codes = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
        match self {
            Failure::Lost => true,
            _ => self.told().is_some_and(|told| codes.contains(told.code()) || told.severity() != "ERROR"),
        }
    }

    /// Whether our role lacks a right.
    pub fn is_for_want_of_a_right(&self) -> bool {
        self.told().is_some_and(|told| *told.code() == SqlState::INSUFFICIENT_PRIVILEGE)
    }

    /// Before anything is committed.
    pub fn outside_commit(self) -> Error {
        match self {
            Failure::Database(error) => match error.as_db_error() {
                Some(told) => by_code(told),
                None => Error::Unavailable(text(&error)),
            },
            Failure::TimedOut => Error::Unavailable("the database did not answer in time".to_owned()),
            Failure::Lost => Error::Unavailable("the connection to the database was lost".to_owned()),
            Failure::Store(error) => error,
        }
    }

    /// In a statement that another crate gave: what is not the database's fault is the statement's.
    pub fn in_statement(self, blame: impl FnOnce(String) -> Error) -> Error {
        match &self {
            Failure::Database(error) => match error.as_db_error() {
                Some(told) if is_the_statements(told.code()) => blame(message(told)),
                // It was never sent: a value does not fit its parameter.
                None if !error.is_closed() && !is_broken(error) => blame(text(error)),
                _ => self.outside_commit(),
            },
            _ => self.outside_commit(),
        }
    }

    /// At the commit itself: whatever is not certain is unknown.
    pub fn at_commit(self) -> Error {
        if matches!(self, Failure::Lost | Failure::Store(_)) || self.told().is_some_and(was_refused) {
            return self.outside_commit();
        }
        match self {
            Failure::Database(error) => Error::Unknown(text(&error)),
            other => Error::Unknown(other.outside_commit().to_string()),
        }
    }

    /// At opening, what the database says about us stays so until somebody changes it.
    pub fn opening(self) -> Error {
        if let Failure::Database(error) = &self {
            let reason = text(error);
            if let Some((_, way_out)) = WAYS_OUT.iter().find(|(said, _)| reason.contains(said)) {
                return Error::Refused(format!("{reason}: {way_out}"));
            }
        }
        match self.told() {
            // Who we are, what we may do, what is not there or not known.
            Some(told) if matches!(class(told.code()), "28" | "3D" | "3F" | "42" | "0A" | "08") => {
                Error::Fatal(message(told))
            }
            _ => self.outside_commit(),
        }
    }
}

fn is_broken(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// A commit answered with one of these did not happen.
fn was_refused(told: &DbError) -> bool {
    let never = [SqlState::DISK_FULL, SqlState::READ_ONLY_SQL_TRANSACTION];
    let is_serialization =
        class(told.code()) == "40" && *told.code() != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN;
    is_serialization || never.contains(told.code())
}

fn by_code(told: &DbError) -> Error {
    let (code, reason) = (told.code(), message(told));
    if *code == SqlState::DISK_FULL {
        Error::Full(reason)
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        Error::Unavailable(format!("the database is read-only: {reason}"))
    } else if *code == SqlState::LOCK_NOT_AVAILABLE {
        Error::Unavailable(format!(
            "the log is locked for too long, by another node or somebody else: {reason}"
        ))
    } else if [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED].contains(code) {
        Error::Fatal(reason)
    } else {
        Error::Unavailable(reason)
    }
}

/// Whether it is about the statement and its values: syntax, names, types, constraints, limits.
fn is_the_statements(code: &SqlState) -> bool {
    matches!(class(code), "21" | "22" | "23" | "42" | "0A" | "54")
        || [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::PROTOCOL_VIOLATION].contains(code)
}

fn class(code: &SqlState) -> &str {
    code.code().get(..2).unwrap_or_default()
}

fn message(told: &DbError) -> String {
    let detail = told.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
    format!("{}{detail} [{}]", told.message(), told.code().code())
}

/// The error with its causes, which alone say what happened.
fn text(error: &tokio_postgres::Error) -> String {
    if let Some(told) = error.as_db_error() {
        return message(told);
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
