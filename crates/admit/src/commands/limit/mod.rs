//! `admit limit`: define, show and stop limits.

mod apply;
mod definition;
mod diff;
mod export;
mod file;
mod get;
mod ls;
mod pause;
mod resume;
mod rm;
mod set;

use clap::Subcommand;

use crate::exit::Outcome;

pub use definition::table;

/// Define, show and stop limits
#[derive(Debug, Subcommand)]
pub enum Action {
    Set(Box<set::Args>),
    Get(get::Args),
    Ls(ls::Args),
    Rm(rm::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Apply(apply::Args),
    Export(export::Args),
}

/// Does it.
///
/// # Errors
/// The server refuses, or is away; a file is wrong.
pub fn run(action: &Action, json: bool) -> Outcome {
    match action {
        Action::Set(args) => set::run(args, json),
        Action::Get(args) => get::run(args, json),
        Action::Ls(args) => ls::run(args, json),
        Action::Rm(args) => rm::run(args, json),
        Action::Pause(args) => pause::run(args, json),
        Action::Resume(args) => resume::run(args, json),
        Action::Apply(args) => apply::run(args, json),
        Action::Export(args) => export::run(args, json),
    }
}

/// Prints one limit as it is now, in a line or as JSON.
fn print(limit: &admit_client::Limit, json: bool) -> Outcome {
    if json { crate::output::json(limit) } else { table(std::slice::from_ref(limit)).print("") }
}
