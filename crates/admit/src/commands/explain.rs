//! `admit explain`: why a ticket or a lease is where it is.

use clap::Args as ClapArgs;
use serde_json::Value;
use uuid::Uuid;

use crate::exit::Outcome;
use crate::output::{self, BOLD, clean, paint};
use crate::remote;

/// Say why a ticket waits, or what a lease holds
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The ticket or lease
    id: Uuid,
}

/// Prints what the server says.
///
/// # Errors
/// There is no such ticket or lease, or no server answered.
pub fn run(args: &Args, json: bool) -> Outcome {
    let explained = remote::client()?.explain(args.id)?;
    if json {
        return output::json(&explained);
    }
    if let Some(summary) = explained.get("summary").and_then(Value::as_str) {
        output::line(format_args!("{}\n", clean(summary)))?;
    }
    let details = ["ticket", "lease", "ended"].iter().find_map(|part| explained.get(part));
    output::line(outline(details.unwrap_or(&explained), 0).trim_end())
}

/// Data as an indented outline: a name and a value a line.
pub fn outline(data: &Value, depth: usize) -> String {
    let pad = "  ".repeat(depth);
    let mut text = String::new();
    let mut entry = |name: String, value: &Value| match value {
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(fields) if fields.is_empty() => {}
        Value::Object(_) | Value::Array(_) => {
            text += &format!("{pad}{}\n{}", paint(BOLD, name), outline(value, depth + 1));
        }
        Value::String(plain) => text += &format!("{pad}{}  {}\n", paint(BOLD, name), clean(plain)),
        plain => text += &format!("{pad}{}  {plain}\n", paint(BOLD, name)),
    };
    match data {
        Value::Object(fields) => {
            let widest = fields.keys().map(|name| name.chars().count()).max().unwrap_or(0);
            for (name, value) in fields {
                entry(format!("{:widest$}", clean(name)), value);
            }
        }
        Value::Array(items) => {
            for item in items {
                entry("-".to_owned(), item);
            }
        }
        Value::String(plain) => text = format!("{pad}{}\n", clean(plain)),
        plain => text = format!("{pad}{plain}\n"),
    }
    text
}
