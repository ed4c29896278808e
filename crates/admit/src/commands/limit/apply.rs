//! `admit limit apply`: make the server's limits what a file says.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;

use super::diff::{Change, diff};
use super::file;
use crate::exit::{Outcome, code};
use crate::output;
use crate::remote;

/// Make the limits what a file says, and show what that changes
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// TOML, or JSON where it ends in .json; `-` is standard input
    file: PathBuf,
    /// Remove limits that a file made and this one does not name
    #[arg(long)]
    prune: bool,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

/// Shows the diff, and makes the changes one by one: each only if its limit is still as it was compared.
///
/// # Errors
/// The file is wrong, or the server refuses a change or is away; the changes before it are made.
pub fn run(args: &Args, json: bool) -> Outcome {
    let wanted = file::read(&args.file)?;
    let client = remote::client()?;
    let diff = diff(wanted, client.limits()?, args.prune);
    if !json {
        output::line(diff.render())?;
    }
    if !args.dry_run {
        for change in &diff.changes {
            match change {
                Change::Create { spec, .. } => drop(client.set_limit(spec, Some(0))?),
                Change::Update { spec, revision, .. } => drop(client.set_limit(spec, Some(*revision))?),
                Change::Remove { name, revision } => client.remove_limit(name, Some(*revision))?,
            }
        }
    }
    if json {
        return output::json(&json!({ "applied": !args.dry_run, "diff": diff }));
    }
    Ok(code::OK)
}
