//! `admit limit get`: one limit, all of it.

use admit_client::Limit;
use clap::Args as ClapArgs;

use super::definition;
use crate::exit::Outcome;
use crate::output::{self, BOLD, clean, paint};
use crate::remote;

/// Show one limit
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Its name
    name: String,
}

/// Prints it.
///
/// # Errors
/// There is none of this name, or no server answered.
pub fn run(args: &Args, json: bool) -> Outcome {
    let limit = remote::client()?.limit(&args.name)?;
    if json {
        return output::json(&limit);
    }
    output::line(format_args!("{}", paint(BOLD, clean(&limit.spec.name))))?;
    let now = [
        ("used", limit.used.to_string()),
        ("waiting", limit.waiting.to_string()),
        ("paused", paused(&limit)),
        ("source", clean(&limit.spec.source)),
    ];
    let lines: Vec<String> = definition::fields(&limit.spec)
        .into_iter()
        .chain(now)
        .map(|(name, value)| format!("  {name:<11}  {value}"))
        .collect();
    output::line(lines.join("\n"))
}

fn paused(limit: &Limit) -> String {
    match (limit.paused, &limit.paused_until) {
        (false, _) => "no".to_owned(),
        (true, None) => "until it is resumed".to_owned(),
        (true, Some(until)) => format!("until {until}"),
    }
}
