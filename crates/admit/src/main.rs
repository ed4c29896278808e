//! `admit`: the server and its command line in one binary.

mod commands;
mod config;
mod duration;
mod exit;
mod output;
mod remote;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Cli;
use crate::output::{RED, paint};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if cli.json {
                output::problem(&failure.problem());
            } else {
                output::note(format_args!("{}: {}", paint(RED, "error"), failure.sentence()));
                if let Some(hint) = failure.hint() {
                    output::note(hint);
                }
            }
            ExitCode::from(failure.code())
        }
    }
}
