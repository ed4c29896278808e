//! Exit codes, and the errors that lead to them.

use std::io;

/// The limits of what scripts may rely on: these numbers are documented in `admit help`.
pub mod code {
    /// Done.
    pub const OK: u8 = 0;
    /// The server refused, or something failed that has no code of its own.
    pub const FAILED: u8 = 1;
    /// No server answered (`EX_UNAVAILABLE`).
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
  69   no server answered
  75   no slot came in time
  78   the configuration is wrong
  admit run gives the exit code of its command; 126: it could not be started,
  127: there is no such command, 128+n: signal n ended it

Environment:
  ADMIT_URL    the server, http://127.0.0.1:7070 unless said
  ADMIT_TOKEN  the access token, where the server wants one
  NO_COLOR     no colours (there are none off a terminal anyway)";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server refused, or is away.
    #[error(transparent)]
    Client(#[from] admit_client::Error),
    /// The configuration is wrong.
    #[error("{0}")]
    Config(String),
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

    /// The exit code it leads to.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Client(error) if error.is_away() => code::UNREACHABLE,
            Failure::Client(error) if error.status() == Some(429) => code::NO_SLOT,
            Failure::NoSlot(_) => code::NO_SLOT,
            Failure::Config(_) => code::CONFIG,
            Failure::Client(_) | Failure::Io { .. } | Failure::Other(_) => code::FAILED,
        }
    }

    /// What to do about it, where that is not said yet.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Failure::Client(admit_client::Error::Unreachable { .. }) => {
                Some("start one with `admit serve`, or set ADMIT_URL to where it listens")
            }
            Failure::Client(error) if error.status() == Some(401) => {
                Some("set ADMIT_TOKEN to an access token (an admin makes one with `admit token create`)")
            }
            Failure::Client(admit_client::Error::Problem(problem)) if problem.slug() == "unknown-limit" => {
                Some("define it with `admit limit set NAME --max N`; `admit limit ls` shows what there is")
            }
            _ => None,
        }
    }
}

/// What a command comes to: an exit code, or why it failed.
pub type Outcome = Result<u8, Failure>;
