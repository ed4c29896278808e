//! What the server says when it is ready: what listens where, where the data is, what to try first.

use super::listeners::{Address, Off};
use crate::config::Config;
use crate::exit::{Outcome, code};
use crate::output::{self, BOLD, DIM, GREEN, RED, paint};

/// Shows it on standard output; where logs are JSON, as a line of the log.
///
/// # Errors
/// The output is closed.
pub fn show(config: &Config, addresses: &[Address], off: &[Off], data: &str, took_ms: u64) -> Outcome {
    let durability = if config.is_durability_full { "full" } else { "normal" };
    for address in addresses {
        tracing::info!(listener = address.name, url = address.url, data, durability, took_ms, "listening");
    }
    for Off { name, because } in off {
        tracing::warn!(listener = name, because, "off");
    }
    if config.is_log_json {
        return Ok(code::OK);
    }
    output::line(banner(config, addresses, off, data))
}

fn banner(config: &Config, addresses: &[Address], off: &[Off], data: &str) -> String {
    let promise = if config.is_durability_full {
        "full: what is acknowledged survives a power cut"
    } else {
        "normal: what is acknowledged survives a crash of the process, not a power cut"
    };
    let mut lines = vec![paint(BOLD, concat!("admit ", env!("CARGO_PKG_VERSION"))), String::new()];
    for Address { name, url, .. } in addresses {
        lines.push(format!("  {name:<11} {}", paint(GREEN, url)));
    }
    for Off { name, because } in off {
        lines.push(format!("  {name:<11} {}", paint(RED, format!("off: {because}"))));
    }
    if let Some(upstream) = &config.prefect_upstream {
        lines.push(format!("  {:<11} {upstream}", "upstream"));
    }
    lines.push(format!("  {:<11} {data}", "data"));
    lines.push(format!("  {:<11} {promise}", "durability"));
    if let Some(file) = &config.file {
        lines.push(format!("  {:<11} {}", "config", file.display()));
    }
    lines.push(String::new());
    for Address { try_it, .. } in addresses {
        lines.extend(try_it.iter().map(|line| format!("  {}{line}", paint(DIM, "$ "))));
    }
    lines.push(String::new());
    lines.join("\n")
}
