//! `admit db backup`: a copy of the data.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;

use super::place::Place;
use crate::exit::{Failure, Outcome};
use crate::output;

/// Write a consistent copy of a folder's data to a new file, also while a server runs
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The new file
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Writes it.
///
/// # Errors
/// There is no data, or the file cannot be written; a database has tools of its own.
pub fn run(args: &Args, json: bool) -> Outcome {
    let (file, found) = (&args.file, args.place.find()?);
    if let Some(database) = &found.config.database {
        return Err(Failure::Other(format!(
            "{} is backed up with PostgreSQL's own tools, also while servers run: \
             pg_dump --format=custom --schema='{}' --file='{}' DATABASE",
            found.shown,
            database.schema(),
            file.display()
        )));
    }
    let folder = &found.config.data;
    // The copy holds the hashes of tokens: it is its owner's alone, from the first byte on.
    // SAFETY: umask takes a number and cannot fail.
    unsafe { libc::umask(0o077) };
    admit_store::backup(folder, file).map_err(|error| Failure::Other(error.to_string()))?;
    let bytes = std::fs::metadata(file).map(|about| about.len()).unwrap_or(0);
    if json {
        return output::json(&json!({ "from": folder, "file": file, "bytes": bytes }));
    }
    output::line(format_args!("{} ({bytes} bytes) is a copy of {}", file.display(), folder.display()))
}
