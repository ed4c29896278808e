//! `admit db`: the data folder itself, with or without a server on it.

use std::path::{Path, PathBuf};

use admit_store::{Error, FolderLock, Report};
use clap::{Args as ClapArgs, Subcommand};
use serde_json::json;

use super::config::environment;
use crate::config::{Config, Flags};
use crate::exit::{Failure, Outcome, code};
use crate::output::{self, GREEN, RED, paint};

/// Back up and check the data
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write a consistent copy of the data to a new file, also while a server runs
    Backup {
        /// The new file
        file: PathBuf,
        #[command(flatten)]
        folder: Folder,
    },
    /// Check that what is stored is what was written, also while a server runs
    Check(Folder),
}

/// Which data folder.
#[derive(Debug, ClapArgs)]
struct Folder {
    /// The folder of the data [default: what `admit serve` would use]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration's file that names it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Folder {
    fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let flags = Flags::of_file(self.config.clone());
        Config::load(&flags, &environment()).map(|config| config.data).map_err(Failure::Config)
    }
}

/// Does it.
///
/// # Errors
/// There is no data, or it cannot be read or written.
pub fn run(args: &Args, json: bool) -> Outcome {
    let failed = |error: Error| Failure::Other(error.to_string());
    match &args.action {
        Action::Backup { file, folder } => {
            let folder = folder.path()?;
            // The copy holds the hashes of tokens: it is its owner's alone, from the first byte on.
            // SAFETY: umask takes a number and cannot fail.
            unsafe { libc::umask(0o077) };
            admit_store::backup(&folder, file).map_err(failed)?;
            let bytes = std::fs::metadata(file).map(|about| about.len()).unwrap_or(0);
            if json {
                return output::json(&json!({ "from": folder, "file": file, "bytes": bytes }));
            }
            output::line(format_args!("{} ({bytes} bytes) is a copy of {}", file.display(), folder.display()))
        }
        Action::Check(folder) => {
            let folder = folder.path()?;
            let report = admit_store::check(&folder).map_err(failed)?;
            show(&folder, &report, json)?;
            Ok(if report.problems.is_empty() { code::OK } else { code::FAILED })
        }
    }
}

fn show(folder: &Path, report: &Report, json: bool) -> Outcome {
    let user = user(folder);
    if json {
        return output::json(&json!({
            "folder": folder,
            "in_use_by": user.as_ref().map(|pid| pid.map_or(json!("another process"), |pid| json!(pid))),
            "first_seq": report.first_seq,
            "last_seq": report.last_seq,
            "records": report.records,
            "snapshots": report.snapshots,
            "problems": report.problems,
        }));
    }
    if let Some(pid) = user {
        let pid = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
        output::note(format_args!(
            "{} is in use by a server{pid}: this is how it was a moment ago",
            folder.display()
        ));
    }
    output::line(format_args!(
        "{} records ({} to {}), {} snapshots",
        report.records,
        report.first_seq,
        report.last_seq,
        report.snapshots.len()
    ))?;
    for problem in &report.problems {
        output::line(paint(RED, problem))?;
    }
    if report.problems.is_empty() { output::line(paint(GREEN, "all is well")) } else { Ok(code::OK) }
}

/// Whether a server uses the folder, and which process it is if that is known.
fn user(folder: &Path) -> Option<Option<u32>> {
    match FolderLock::take(folder) {
        Err(Error::Locked { pid, .. }) => Some(pid),
        _ => None,
    }
}
