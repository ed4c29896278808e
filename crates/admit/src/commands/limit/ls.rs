//! `admit limit ls`: all limits.

use clap::Args as ClapArgs;

use super::definition;
use crate::exit::Outcome;
use crate::output;
use crate::remote;

/// List all limits
#[derive(Debug, ClapArgs)]
pub struct Args {}

/// Prints them.
///
/// # Errors
/// No server answered.
pub fn run(_: &Args, json: bool) -> Outcome {
    let limits = remote::client()?.limits()?;
    if json {
        return output::json(&limits);
    }
    definition::table(&limits).print("there are no limits; make one with `admit limit set NAME --max N`")
}
