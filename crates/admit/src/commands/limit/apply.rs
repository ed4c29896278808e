//! `admit limit apply`: make the server's limits what a file says.

use std::path::PathBuf;

use admit_client::{Client, Error, Expected, Limit};
use clap::Args as ClapArgs;
use serde_json::json;

use super::diff::{Change, diff};
use super::file;
use crate::exit::{Failure, Outcome, code};
use crate::output::{self, clean};
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

/// Shows the diff, and makes the changes, all or none: each only if its limit is still as it was compared, and
/// where one is refused those before it are taken back.
///
/// # Errors
/// The file is wrong, or the server refuses a change or is away; the message names the limit, and what could
/// not be taken back.
pub fn run(args: &Args, json: bool) -> Outcome {
    let wanted = file::read(&args.file)?;
    let client = remote::client()?;
    let diff = diff(wanted, client.limits()?, args.prune);
    if !json {
        output::line(diff.render())?;
    }
    if !args.dry_run {
        apply(&client, &diff.changes)?;
    }
    if json {
        return output::json(&json!({ "applied": !args.dry_run, "diff": diff }));
    }
    Ok(code::OK)
}

/// A change that is made, and so how it is taken back.
enum Undo<'a> {
    /// There was no limit; now there is this one.
    Remove(Limit),
    /// There was the one, and now there is the other, or none.
    Restore(&'a Limit, Option<Limit>),
}

fn apply(client: &Client, changes: &[Change]) -> Result<(), Failure> {
    let mut done = Vec::new();
    for change in changes {
        match make(client, change) {
            Ok(undo) => done.push(undo),
            Err(error) => {
                let name = clean(change.name());
                // Whether it was made is not known where no answer came.
                let unknown = if error.is_away() { format!(", perhaps {name}") } else { String::new() };
                let kept = take_back(client, done);
                let left = if kept.is_empty() && unknown.is_empty() {
                    "nothing is changed".to_owned()
                } else {
                    format!("changed, and not taken back: {}{unknown}", kept.join(", "))
                };
                return Err(Failure::Within { what: format!("limit '{name}'"), left, error });
            }
        }
    }
    Ok(())
}

fn make<'a>(client: &Client, change: &'a Change) -> Result<Undo<'a>, Error> {
    Ok(match change {
        Change::Create { spec, .. } => Undo::Remove(client.set_limit(spec, Some(Expected::Absent))?),
        Change::Update { spec, before, .. } => {
            Undo::Restore(before, Some(client.set_limit(spec, Some(Expected::Is(before)))?))
        }
        Change::Remove { name, before } => {
            client.remove_limit(name, Some(Expected::Is(before)))?;
            Undo::Restore(before, None)
        }
    })
}

/// Takes changes back, the last one first; gives the names of those that stay.
fn take_back(client: &Client, done: Vec<Undo<'_>>) -> Vec<String> {
    let mut kept = Vec::new();
    for undo in done.into_iter().rev() {
        let (name, result) = match &undo {
            Undo::Remove(now) => {
                (&now.spec.name, client.remove_limit(&now.spec.name, Some(Expected::Is(now))))
            }
            Undo::Restore(before, now) => {
                let expected = now.as_ref().map_or(Expected::Absent, Expected::Is);
                (&before.spec.name, client.set_limit(&before.spec, Some(expected)).map(drop))
            }
        };
        if result.is_err() {
            kept.push(clean(name));
        }
    }
    kept
}
