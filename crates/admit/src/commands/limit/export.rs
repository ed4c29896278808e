//! `admit limit export`: the limits as a file that `admit limit apply` reads.

use clap::Args as ClapArgs;

use super::file::LimitFile;
use crate::exit::Outcome;
use crate::output;
use crate::remote;

/// Print all limits as a file that `admit limit apply` reads
#[derive(Debug, ClapArgs)]
pub struct Args {}

/// Prints it.
///
/// # Errors
/// No server answered.
pub fn run(_: &Args, json: bool) -> Outcome {
    let limits = remote::client()?.limits()?;
    let file = LimitFile::of(limits.into_iter().map(|limit| limit.spec));
    if json { output::json(&file) } else { output::line(file.to_toml()?.trim_end()) }
}
