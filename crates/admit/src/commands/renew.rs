//! `admit renew`: hold a lease for longer.

use clap::Args as ClapArgs;
use uuid::Uuid;

use crate::duration;
use crate::exit::Outcome;
use crate::output;
use crate::remote;

/// Hold a lease for longer
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The lease
    id: Uuid,
    /// How long from now; without it, as long as the last time
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_ttl_ms)]
    ttl: Option<u64>,
}

/// Renews, and says until when.
///
/// # Errors
/// The lease is lost, or no server answered.
pub fn run(args: &Args, json: bool) -> Outcome {
    let renewed = remote::client()?.renew(args.id, args.ttl)?;
    if renewed.cancel {
        output::note("the server asks the holder to stop");
    }
    if json {
        return output::json(&renewed);
    }
    match renewed.expires_in_ms {
        Some(ms) => output::line(format_args!("held for {}", duration::human(ms))),
        None => output::line("held until released"),
    }
}
