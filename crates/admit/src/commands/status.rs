//! `admit status`: the server and its limits on one screen.

use clap::Args as ClapArgs;
use serde_json::{Map, Value};

use super::explain::outline;
use super::limit;
use crate::duration::human;
use crate::exit::Outcome;
use crate::output::{self, BOLD, RED, Table, clean, paint};
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
    let since = human(status.uptime_ms);
    output::line(format_args!(
        "{} at {}, running for {since}",
        paint(BOLD, format!("admit {}", status.version)),
        client.url()
    ))?;
    let mut listeners = Table::new(&["LISTENER", "ADDRESS", "TLS", "CONNECTIONS"], &[3]);
    for listener in &status.listeners {
        let off = || {
            paint(RED, format!("off: {}", clean(listener.off_because.as_deref().unwrap_or("not asked for"))))
        };
        listeners.row([
            clean(&listener.name),
            listener.address.clone().unwrap_or_else(off),
            if listener.tls { "yes" } else { "no" }.to_owned(),
            listener.connections.to_string(),
        ]);
    }
    output::line("")?;
    listeners.print("")?;
    output::line(format_args!("\n{}{}", named("store", &status.store), named("totals", &status.totals)))?;
    limit::table(&limits).print("there are no limits; make one with `admit limit set NAME --max N`")
}

/// Values by name under a heading.
fn named(heading: &str, values: &Map<String, Value>) -> String {
    if values.is_empty() {
        return String::new();
    }
    format!("{}\n{}", paint(BOLD, heading), outline(&Value::Object(values.clone()), 1))
}
