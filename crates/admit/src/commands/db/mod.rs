//! `admit db`: the data itself, with or without servers on it.

mod backup;
mod check;
mod place;
mod upgrade;

use clap::Subcommand;

use crate::exit::{Failure, Outcome};

/// Back up, check and upgrade the data
#[derive(Debug, Subcommand)]
pub enum Action {
    Backup(backup::Args),
    Check(check::Args),
    Upgrade(upgrade::Args),
}

/// Does it.
///
/// # Errors
/// There is no data, or it cannot be read or written.
pub fn run(action: &Action, json: bool) -> Outcome {
    match action {
        Action::Backup(args) => backup::run(args, json),
        Action::Check(args) => check::run(args, json),
        Action::Upgrade(args) => upgrade::run(args, json),
    }
}

/// A database that is away is told from one that says no.
fn failed(error: admit_engine::Error) -> Failure {
    match error {
        admit_engine::Error::Store(admit_store::Error::Unavailable(_))
        | admit_engine::Error::Unavailable { .. } => Failure::Away(error.to_string()),
        error => Failure::Other(error.to_string()),
    }
}
