//! `admit serve`: the server.

use clap::Args as ClapArgs;

use crate::config::Flags;
use crate::exit::Outcome;
use crate::serve;

/// Run the server
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
}

/// Serves until a signal ends it.
///
/// # Errors
/// Whatever keeps the server from starting.
pub fn run(args: &Args) -> Outcome {
    serve::serve(&args.flags)
}
