//! `admit status`: the server and its limits on one screen.

use clap::Args as ClapArgs;

use super::explain::outline;
use super::limit;
use crate::exit::Outcome;
use crate::output;
use crate::remote;

/// Show the server and its limits
#[derive(Debug, ClapArgs)]
pub struct Args {}

/// Prints what the server says of itself, and the limits.
///
/// # Errors
/// No server answered.
pub fn run(_: &Args, json: bool) -> Outcome {
    let client = remote::client()?;
    let (status, limits) = (client.status()?, client.limits()?);
    if json {
        return output::json(&serde_json::json!({ "server": status, "limits": limits }));
    }
    output::line(outline(&status, 0))?;
    limit::table(&limits).print("there are no limits; make one with `admit limit set NAME --max N`")
}
