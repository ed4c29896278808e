//! `admit limit rm`: remove a limit.

use clap::Args as ClapArgs;

use crate::exit::{Outcome, code};
use crate::output;
use crate::remote;

/// Remove a limit; leases keep what they hold
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Its name
    name: String,
}

/// Removes it.
///
/// # Errors
/// There is none of this name, or no server answered.
pub fn run(args: &Args, json: bool) -> Outcome {
    remote::client()?.remove_limit(&args.name, None)?;
    if json { output::json(&serde_json::json!({ "name": args.name, "removed": true })) } else { Ok(code::OK) }
}
