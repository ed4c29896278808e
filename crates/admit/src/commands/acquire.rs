//! `admit acquire`: take slots and keep them when the command is over, for scripts.

use admit_client::{Acquire, Acquired};
use clap::Args as ClapArgs;

use super::claims::{ClaimArgs, holder};
use crate::duration;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::remote;

/// Take slots and print the lease's id; give them back with `admit release`
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    claims: ClaimArgs,
    /// How long the slots are held unless renewed (1s to 7d)
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_ttl_ms)]
    ttl: u64,
    /// How long to wait for them, at most 10m; without it, not at all
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_ms, default_value = "0")]
    wait: u64,
}

/// Acquires, and prints the lease.
///
/// # Errors
/// No slot came, or no server answered.
pub fn run(args: &Args, json: bool) -> Outcome {
    if args.wait > Acquire::MAX_WAIT_MS {
        let longest = duration::human(Acquire::MAX_WAIT_MS);
        let asked = duration::human(args.wait);
        return Err(Failure::Other(format!(
            "--wait {asked} is longer than {longest}; for longer waits use `admit run`"
        )));
    }
    let mut request = Acquire::new(args.claims.claims());
    request.ttl_ms = Some(args.ttl);
    request.wait_ms = args.wait;
    request.holder = Some(holder("admit acquire"));
    request.labels = args.claims.labels();
    match remote::client()?.acquire(&request)? {
        Acquired::Granted(lease) if json => output::json(&lease),
        Acquired::Granted(lease) => output::line(lease.id),
        Acquired::Waiting(ticket) => Err(Failure::Other(format!("the request is still {}", ticket.state))),
    }
}
