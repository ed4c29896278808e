//! `admit nodes`: the servers that share the log.

use admit_client::Node;
use clap::Args as ClapArgs;

use crate::duration::human;
use crate::exit::Outcome;
use crate::output::{self, DIM, RED, Table, clean, paint};
use crate::remote;

/// Show the servers that share the log
#[derive(Debug, ClapArgs)]
pub struct Args {}

/// Lists the nodes.
///
/// # Errors
/// No server answered.
pub fn run(_: &Args, json: bool) -> Outcome {
    let client = remote::client()?;
    let nodes = client.nodes()?;
    if json {
        return output::json(&nodes);
    }
    let mut table = Table::new(
        &["NODE", "ADDRESS", "VERSION", "FORMAT", "LAG", "SEEN", "BATCH", "COMMIT"],
        &[3, 4, 6, 7],
    );
    for node in &nodes {
        table.row([
            named(node),
            or_dash(&node.address),
            clean(&node.version),
            node.format.to_string(),
            node.lag_records.to_string(),
            seen(node),
            node.batch_commands.map_or_else(|| "-".to_owned(), |commands| format!("{commands:.1}")),
            node.commit_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2} ms")),
        ]);
    }
    table.print("there are no nodes")?;
    let store = client.status()?.store;
    let format = store.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default();
    output::line(paint(DIM, rise(&nodes, format)))
}

/// What the log's format is, and what keeps it from rising.
fn rise(nodes: &[Node], format: u64) -> String {
    let mut text = format!("the log is in format {format}");
    if nodes.iter().any(|node| u64::from(node.format) > format) {
        text += "; it rises by itself when every live node knows a newer one";
        let behind = nodes.iter().filter(|node| node.live && u64::from(node.format) <= format);
        let behind: Vec<String> = behind.map(|node| or_dash(&node.name)).collect();
        if !behind.is_empty() {
            text += &format!(": upgrade {}", behind.join(", "));
        }
    }
    text
}

fn named(node: &Node) -> String {
    let name = or_dash(&node.name);
    if node.is_self { format!("{name} (asked)") } else { name }
}

fn seen(node: &Node) -> String {
    let ago = format!("{} ago", human(node.seen_ago_ms));
    if node.live { ago } else { paint(RED, format_args!("gone, {ago}")) }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { clean(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, format: u16, live: bool) -> Node {
        let node = serde_json::json!({ "id": "1", "name": name, "format": format, "live": live });
        serde_json::from_value(node).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn what_keeps_the_format_from_rising_is_named() {
        let nodes = [node("old", 1, true), node("gone", 1, false), node("new", 2, true)];
        for (nodes, format, expect) in [
            (&nodes[..], 2, "the log is in format 2"),
            (&nodes[..2], 1, "the log is in format 1"),
            (
                &nodes[..],
                1,
                "the log is in format 1; it rises by itself when every live node knows a newer one: upgrade old",
            ),
            (
                &nodes[1..],
                1,
                "the log is in format 1; it rises by itself when every live node knows a newer one",
            ),
        ] {
            assert_eq!(rise(nodes, format), expect);
        }
    }
}
