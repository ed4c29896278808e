//! `admit limit resume`: end a pause.

use clap::Args as ClapArgs;

use crate::exit::Outcome;
use crate::remote;

/// End a pause
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The limit's name
    name: String,
}

/// Resumes it.
///
/// # Errors
/// There is none of this name, or no server answered.
pub fn run(args: &Args, json: bool) -> Outcome {
    let client = remote::client()?;
    client.resume_limit(&args.name)?;
    super::print(&client.limit(&args.name)?, json)
}
