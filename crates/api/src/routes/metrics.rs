//! Metrics as Prometheus reads them. Labels are bounded: no key is one, and only the first limits by name are.

use std::fmt::Write as _;
use std::time::Duration;

use admit_engine::{DENIALS, Histogram, Node, Stats};
use admit_http::Problem;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use tokio::time::timeout;

use super::Shared;
use crate::app::About;
use crate::extract::Acquirer;

/// Limits with series of their own; the others are summed up as `other`.
const MAX_LABELLED_LIMITS: usize = 100;
/// Limits that are looked at for that sum: they are read between two batches.
const MAX_SUMMED_LIMITS: usize = 1_000;

/// How long the list of nodes is waited for.
const NODES_TIMEOUT: Duration = Duration::from_secs(1);

/// A limit as it is measured: its name, used slots, allowed slots, waiting tickets.
struct Gauge {
    name: String,
    used: u64,
    max: u64,
    waiting: u64,
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, body = String)))]
pub(super) async fn metrics(_: Acquirer, State(app): Shared) -> Result<impl IntoResponse, Problem> {
    let stats = app.stats().await?;
    let limits = app.look(|state, _| {
        let limits = state.limits(None, MAX_LABELLED_LIMITS + MAX_SUMMED_LIMITS);
        let gauge = |limit: &&admit_kernel::Limit| Gauge {
            name: limit.name.to_string(),
            used: state.key_view(&limit.name, 0).used,
            max: limit.terms.max.into(),
            waiting: state.limit_counts(&limit.name).0.into(),
        };
        limits.iter().map(gauge).collect::<Vec<_>>()
    });
    let mut text = String::with_capacity(16 * 1024);
    engine(&mut text, &stats);
    // Neither is shown while the database is away; then there is the rest, which says so.
    if let Ok(limits) = limits.await {
        per_limit(&mut text, &limits);
    }
    if let Ok(Ok(known)) = timeout(NODES_TIMEOUT, app.engine.nodes()).await {
        nodes(&mut text, &known);
    }
    listeners(&mut text, &app.about);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn one(text: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    head(text, name, kind, help);
    let _ = writeln!(text, "{name} {value}");
}

fn engine(text: &mut String, stats: &Stats) {
    head(text, "admit_grants_total", "counter", "Leases granted, by whether their request had waited.");
    for (waited, count) in [("no", stats.granted_at_once), ("yes", stats.granted_after_wait)] {
        let _ = writeln!(text, "admit_grants_total{{waited=\"{waited}\"}} {count}");
    }
    head(text, "admit_denials_total", "counter", "Requests denied, by why.");
    for (kind, count) in DENIALS.iter().zip(stats.denied) {
        let _ = writeln!(text, "admit_denials_total{{kind=\"{kind}\"}} {count}");
    }
    for (name, help, value) in [
        ("admit_waits_total", "Requests that began to wait.", stats.queued),
        ("admit_releases_total", "Leases that ended by release.", stats.released),
        ("admit_expiries_total", "Leases that ended because nobody renewed or claimed them.", stats.expired),
        ("admit_tickets_ended_total", "Tickets that ended without a lease.", stats.tickets_ended),
        ("admit_overloaded_total", "Requests refused because too much was queued.", stats.overloaded),
        ("admit_unavailable_total", "Commands refused because nothing could be written.", stats.unavailable),
        ("admit_outages_total", "Silences of the log in which nobody could renew.", stats.outages),
        ("admit_log_records_total", "Records appended to the log.", stats.records),
        ("admit_log_events_total", "Events in them.", stats.events),
        ("admit_log_bytes_total", "Bytes of them.", stats.log_bytes),
        ("admit_commands_total", "Commands decided.", stats.commands),
        ("admit_snapshots_total", "Snapshots stored.", stats.snapshots),
    ] {
        one(text, name, "counter", help, value);
    }
    for (name, help, value) in [
        ("admit_leases", "Live leases.", stats.totals.leases),
        ("admit_tickets", "Waiting tickets.", stats.totals.tickets),
        ("admit_keys", "Keys that are remembered.", stats.totals.keys),
        ("admit_limits", "Limits.", stats.totals.limits),
        ("admit_queue_length", "Commands that wait to be decided.", stats.queue_len),
        ("admit_waiters", "Callers that wait for a ticket.", stats.waiters),
        ("admit_log_seq", "The number of the last record.", stats.seq),
        ("admit_log_format", "The format that the log is in.", stats.format.into()),
        ("admit_serving", "Whether commands are being served.", stats.serving.into()),
    ] {
        one(text, name, "gauge", help, value);
    }
    let offset = fraction(stats.clock_offset_ms.unsigned_abs(), 1_000);
    let sign = if stats.clock_offset_ms < 0 { "-" } else { "" };
    let help = "What is added to the database's clock, or where there is none this machine's, to make the log's time.";
    one(text, "admit_clock_offset_seconds", "gauge", help, format_args!("{sign}{offset}"));
    histogram(text, "admit_wait_seconds", "How long granted tickets had waited.", &stats.wait_ms, 1_000);
    histogram(text, "admit_commit_seconds", "How long commits took.", &stats.commit_us, 1_000_000);
    histogram(
        text,
        "admit_batch_seconds",
        "From the first decision of a batch to its answer.",
        &stats.batch_us,
        1_000_000,
    );
    histogram(text, "admit_batch_commands", "Commands per batch.", &stats.batch_size, 1);
}

fn per_limit(text: &mut String, limits: &[Gauge]) {
    let (named, rest) = limits.split_at(limits.len().min(MAX_LABELLED_LIMITS));
    type Measure = (&'static str, &'static str, fn(&Gauge) -> u64);
    let measures: [Measure; 3] = [
        ("admit_limit_used", "Slots in use on a limit's own key.", |limit| limit.used),
        ("admit_limit_max", "Slots that a limit allows.", |limit| limit.max),
        ("admit_limit_waiting", "Tickets that claim a limit.", |limit| limit.waiting),
    ];
    for (name, help, measure) in measures {
        head(text, name, "gauge", help);
        for limit in named {
            let _ = writeln!(text, "{name}{{limit=\"{}\"}} {}", escape(&limit.name), measure(limit));
        }
        if !rest.is_empty() {
            let sum: u64 = rest.iter().map(measure).sum();
            let _ = writeln!(text, "{name}{{limit=\"other\",summed=\"{}\"}} {sum}", rest.len());
        }
    }
}

/// One that is gone is listed as such until it is forgotten. A node is another one each time that it is started.
fn nodes(text: &mut String, nodes: &[Node]) {
    type Measure = (&'static str, &'static str, fn(&Node) -> Option<f64>);
    #[allow(clippy::cast_precision_loss, reason = "times and numbers of records far below 2^52")]
    let measures: [Measure; 6] = [
        ("admit_node_live", "Whether a node was seen lately.", |node| Some(node.is_live.into())),
        ("admit_node_seen_seconds", "How long ago a node was seen.", |node| {
            Some(node.seen_ms_ago as f64 / 1_000.0)
        }),
        ("admit_node_lag_records", "Records of the log that a node lacked when it was seen.", |node| {
            Some(node.behind as f64)
        }),
        ("admit_node_format", "The newest format of the log that a node knows.", |node| {
            Some(node.info.format.into())
        }),
        ("admit_node_batch_commands", "Commands of a node's batches lately, on average.", |node| {
            node.load.map(|load| load.batch_commands)
        }),
        ("admit_node_commit_seconds", "How long a node's commits took lately, on average.", |node| {
            node.load.map(|load| load.commit_ms / 1_000.0)
        }),
    ];
    for (name, help, measure) in measures {
        head(text, name, "gauge", help);
        for node in nodes {
            let Some(value) = measure(node) else { continue };
            let (id, called) = (super::nodes::id(node.info.number), escape(&node.info.name));
            let _ = writeln!(text, "{name}{{node=\"{called}\",id=\"{id}\"}} {value}");
        }
    }
}

fn listeners(text: &mut String, about: &About) {
    let counts = || about.listeners.iter().filter_map(|one| Some((&one.name, one.connections.as_ref()?)));
    head(text, "admit_connections", "gauge", "Connections that are open.");
    for (name, connections) in counts() {
        let _ = writeln!(text, "admit_connections{{listener=\"{}\"}} {}", escape(name), connections.open());
    }
    head(text, "admit_connections_closed_total", "counter", "Connections closed for want of room.");
    for (name, connections) in counts() {
        for (why, count) in [("idle", connections.evicted()), ("new", connections.refused())] {
            let labels = format!("listener=\"{}\",which=\"{why}\"", escape(name));
            let _ = writeln!(text, "admit_connections_closed_total{{{labels}}} {count}");
        }
    }
}

/// `per_second` is how many of the histogram's units make a second (or 1 where it counts things).
fn histogram(text: &mut String, name: &str, help: &str, values: &Histogram, per_second: u64) {
    head(text, name, "histogram", help);
    for (bound, count) in values.cumulative() {
        match bound {
            Some(bound) => {
                let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {count}", fraction(bound, per_second));
            }
            None => {
                let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}");
            }
        }
    }
    let _ = writeln!(text, "{name}_sum {}\n{name}_count {}", fraction(values.sum, per_second), values.count);
}

/// An exact decimal of `value / per`, where `per` is a power of ten.
fn fraction(value: u64, per: u64) -> String {
    if per == 1 {
        return value.to_string();
    }
    let digits = per.ilog10() as usize;
    format!("{}.{:0digits$}", value / per, value % per)
}

/// A label's value: what Prometheus wants escaped.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_exact() {
        assert_eq!(fraction(1_234, 1_000), "1.234");
        assert_eq!(fraction(7, 1_000_000), "0.000007");
        assert_eq!(fraction(7, 1), "7");
    }

    #[test]
    fn limits_beyond_the_bound_are_one_series() {
        let gauge = |number: u64| Gauge { name: format!("l{number:03}"), used: 1, max: 2, waiting: 3 };
        let limits: Vec<_> = (0..103).map(gauge).collect();
        let mut text = String::new();
        per_limit(&mut text, &limits);
        assert_eq!(text.matches("admit_limit_used{").count(), 101);
        assert!(text.contains("admit_limit_waiting{limit=\"other\",summed=\"3\"} 9"), "{text}");
    }
}
