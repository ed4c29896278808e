//! A limit's definition in words, the same in tables and in diffs.

use admit_client::{Counts, Limit, LimitSpec, Mode, OnFull};

use crate::duration::{exact, human};
use crate::output::{RED, Table, YELLOW, clean, paint};

/// The fields of a definition, each with its value in words. What is not said has its default.
pub fn fields(spec: &LimitSpec) -> Vec<(&'static str, String)> {
    let list: Vec<String> = spec.patterns.iter().map(|pattern| clean(pattern)).collect();
    vec![
        ("max", spec.max.to_string()),
        ("window", spec.window.map_or_else(none, |w| format!("{} of {}", exact(w.ms), counts(w.counts)))),
        ("decay", spec.decay_per_second.map_or_else(none, |rate| format!("{rate}/s"))),
        ("match", if list.is_empty() { none() } else { list.join(" ") }),
        ("mode", mode(spec.mode).to_owned()),
        ("on_full", on_full(spec.on_full).to_owned()),
        ("max_len", spec.queue.max_len.to_string()),
        ("max_wait", spec.queue.max_wait_ms.map_or_else(none, exact)),
        ("description", if spec.description.is_empty() { none() } else { clean(&spec.description) }),
    ]
}

fn none() -> String {
    "none".to_owned()
}

fn counts(counts: Counts) -> &'static str {
    match counts {
        Counts::Starts => "starts",
        Counts::Runs => "runs",
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Observe => "observe",
        Mode::Off => "off",
    }
}

fn on_full(on_full: OnFull) -> &'static str {
    match on_full {
        OnFull::Queue => "queue",
        OnFull::KeepNewest => "keep_newest",
        OnFull::CancelOldest => "cancel_oldest",
        OnFull::Reject => "reject",
    }
}

/// When a slot of the limit comes back, in a few words.
fn refill(spec: &LimitSpec) -> String {
    match (spec.window, spec.decay_per_second) {
        (Some(window), _) => format!("{} per {}", counts(window.counts), human(window.ms)),
        (None, Some(rate)) => format!("{rate}/s"),
        (None, None) => "on release".to_owned(),
    }
}

/// Limits as a table.
pub fn table(limits: &[Limit]) -> Table {
    let mut table =
        Table::new(&["LIMIT", "USED", "MAX", "WAITING", "SLOTS RETURN", "MODE", "MATCHES"], &[1, 2, 3]);
    for limit in limits {
        let spec = &limit.spec;
        let used = if limit.used >= u64::from(spec.max) {
            paint(YELLOW, limit.used)
        } else {
            limit.used.to_string()
        };
        let state = match (limit.paused, limit.paused_for_ms) {
            (true, Some(ms)) => paint(RED, format_args!("paused for {}", human(ms))),
            (true, None) => paint(RED, "paused"),
            (false, _) => mode(spec.mode).to_owned(),
        };
        table.row([
            clean(&spec.name),
            used,
            spec.max.to_string(),
            limit.waiting.to_string(),
            refill(spec),
            state,
            spec.patterns.iter().map(|pattern| clean(pattern)).collect::<Vec<_>>().join(" "),
        ]);
    }
    table
}
