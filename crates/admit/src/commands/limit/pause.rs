//! `admit limit pause`: admit nothing through a limit for a while.

use clap::Args as ClapArgs;

use crate::duration;
use crate::exit::Outcome;
use crate::remote;

/// Admit nothing through a limit for a while; who holds a slot keeps it
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Its name
    name: String,
    /// For how long; without it, until `admit limit resume`
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse_ms)]
    for_ms: Option<u64>,
}

/// Pauses it.
///
/// # Errors
/// There is none of this name, or no server answered.
pub fn run(args: &Args, json: bool) -> Outcome {
    let client = remote::client()?;
    client.pause_limit(&args.name, args.for_ms)?;
    super::print(&client.limit(&args.name)?, json)
}
