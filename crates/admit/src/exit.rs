//! Exit codes, and the errors that lead to them.

use std::io;

use admit_client::Error;

/// The limits of what scripts may rely on: these numbers are documented in `admit help`.
pub mod code {
    /// Done.
    pub const OK: u8 = 0;
    /// The server refused, or something failed that has no code of its own.
    pub const FAILED: u8 = 1;
    /// No server, or no database, answered (`EX_UNAVAILABLE`).
    pub const UNREACHABLE: u8 = 69;
    /// No slot came in time (`EX_TEMPFAIL`).
    pub const NO_SLOT: u8 = 75;
    /// The configuration is wrong (`EX_CONFIG`).
    pub const CONFIG: u8 = 78;
    /// `admit run`: the command was found but could not be started.
    pub const NOT_EXECUTABLE: u8 = 126;
    /// `admit run`: there is no such command.
    pub const NOT_FOUND: u8 = 127;
    /// `admit run`: added to the number of the signal that ended the command.
    pub const SIGNAL_BASE: u8 = 128;
}

/// The codes as `admit help` shows them.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    the server refused, or something failed
  2    the command line is wrong
  69   no server, or no database, answered
  75   no slot came in time
  78   the configuration, ADMIT_URL or the trust in its certificate is wrong
  admit run gives the exit code of its command; 126: it could not be started,
  127: there is no such command, 128+n: signal n ended it

Environment:
  ADMIT_URL      the server, http://127.0.0.1:7070 unless said; several that share
                 their data are separated by commas, and any that answers is used
  ADMIT_TOKEN    the access token, where the server wants one
  SSL_CERT_FILE  certificates to trust instead of the system's, for https://
  NO_COLOR       no colours (there are none off a terminal anyway)";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server refused, or is away.
    #[error(transparent)]
    Client(#[from] Error),
    /// The server refused one of several changes, or went away.
    #[error("{what}: {error}; {left}")]
    Within {
        /// What was to be changed.
        what: String,
        /// What is changed nevertheless.
        left: String,
        /// What the server said.
        error: Error,
    },
    /// The configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// The database is away.
    #[error("{0}")]
    Away(String),
    /// No slot came in time.
    #[error("{0}")]
    NoSlot(String),
    /// The standard output is closed, or a file cannot be read or written.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// Anything else, in a sentence.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Wraps an error of the system with what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
        let what = what.into();
        move |error| Failure::Io { what, error }
    }

    /// What the server, or the way to it, has to do with it.
    fn client(&self) -> Option<&Error> {
        match self {
            Failure::Client(error) | Failure::Within { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The exit code it leads to.
    pub fn code(&self) -> u8 {
        match (self, self.client()) {
            (_, Some(error)) if error.is_away() => code::UNREACHABLE,
            (_, Some(error)) if error.is_no_slot() => code::NO_SLOT,
            (_, Some(Error::InvalidUrl { .. } | Error::Setup { .. })) => code::CONFIG,
            (Failure::Away(_), _) => code::UNREACHABLE,
            (Failure::NoSlot(_), _) => code::NO_SLOT,
            (Failure::Config(_), _) => code::CONFIG,
            _ => code::FAILED,
        }
    }

    /// What to do about it, where that is not said yet.
    pub fn hint(&self) -> Option<&'static str> {
        match self.client()? {
            Error::Unreachable { .. } => Some(
                "start one with `admit serve`, or set ADMIT_URL to where it listens (or to several, with commas)",
            ),
            Error::Problem(problem) if problem.status == 401 => {
                Some("set ADMIT_TOKEN to an access token (an admin makes one with `admit token create`)")
            }
            Error::Problem(problem) if problem.slug() == "unknown-limit" => {
                Some("define it with `admit limit set NAME --max N`; `admit limit ls` shows what there is")
            }
            _ => None,
        }
    }

    /// It in a sentence: what the server says of requests is put in the words of the command line.
    pub fn sentence(&self) -> String {
        match self {
            Failure::Client(Error::Problem(problem)) if problem.slug() == "unknown-limit" => {
                let name = problem.more.get("limit").and_then(serde_json::Value::as_str).unwrap_or_default();
                format!("there is no limit '{}'", crate::output::clean(name))
            }
            other => other.to_string(),
        }
    }

    /// It as problem details, for programs: the server's own where it has sent some.
    pub fn problem(&self) -> serde_json::Value {
        let mut problem = match self.client() {
            Some(Error::Problem(problem)) => serde_json::to_value(problem).unwrap_or_default(),
            _ => serde_json::json!({ "type": "about:blank", "title": "The command failed" }),
        };
        if let Some(fields) = problem.as_object_mut() {
            fields.insert("detail".to_owned(), self.sentence().into());
            fields.insert("exit_code".to_owned(), self.code().into());
            if let Some(hint) = self.hint() {
                fields.insert("hint".to_owned(), hint.into());
            }
        }
        problem
    }
}

/// What a command comes to: an exit code, or why it failed.
pub type Outcome = Result<u8, Failure>;
