//! Tells the user how the wait goes: position, when it is expected to end and how that is known, who holds.

use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use admit_client::{Block, Client, EtaKind, Ticket};
use uuid::Uuid;

use crate::duration::human;
use crate::output::{clean, note};

/// Nothing is said, nor asked, before: most waits are shorter.
const FIRST: Duration = Duration::from_secs(1);
/// The pause between two questions.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest pause, reached while nothing changes: a long queue of patient waiters asks little.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Holders that a line names.
const NAMED: usize = 3;

/// A thread that asks about a ticket and prints what it learns, until it is stopped.
pub struct Watch {
    stop: Sender<()>,
    arrived: Arc<OnceLock<String>>,
}

impl Watch {
    /// Watches the ticket of this id.
    pub fn start(client: &Client, id: Uuid, limit: &str) -> Watch {
        let (stop, stopped) = channel::<()>();
        let arrived = Arc::new(OnceLock::new());
        if stderr_is_shown() {
            let (client, limit, arrived) = (client.with_timeout(TIMEOUT), clean(limit), Arc::clone(&arrived));
            let watch = move || {
                let (mut said, mut pause) = (None, FIRST);
                while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    pause = (pause * 2).clamp(PAUSE, LONGEST_PAUSE);
                    let Ok(ticket) = client.ticket(id, 0) else { continue };
                    let now = standing(&ticket);
                    // The wait may have ended while we asked.
                    if ticket.state != "waiting" || stopped.try_recv() != Err(TryRecvError::Empty) {
                        break;
                    }
                    if said.as_ref() != Some(&now) {
                        note(format_args!("waiting for {limit}: {}", line(&ticket)));
                        (said, pause) = (Some(now), PAUSE);
                    }
                    if let Some(at) = ticket.arrived_at {
                        let _ = arrived.set(at);
                    }
                }
            };
            // Without the thread the wait is as good, only silent.
            let _ = std::thread::Builder::new().name("watch".to_owned()).spawn(watch);
        }
        Watch { stop, arrived }
    }

    /// Stops it, without waiting for an answer that is under way; gives when the ticket arrived by the
    /// server's clock, if that was learnt.
    pub fn stop(self) -> Option<String> {
        drop(self.stop);
        self.arrived.get().cloned()
    }
}

/// Whether anybody could read what we say.
fn stderr_is_shown() -> bool {
    !std::fs::read_link("/proc/self/fd/2").is_ok_and(|to| to.as_os_str() == "/dev/null")
}

/// What must differ for another line.
fn standing(ticket: &Ticket) -> (Option<u64>, Vec<Uuid>) {
    let holders = ticket.blocked_by.iter().flat_map(|block| &block.holders).map(|holder| holder.id).collect();
    (ticket.position, holders)
}

fn line(ticket: &Ticket) -> String {
    let position = ticket.position.map_or_else(|| "position unknown".to_owned(), |n| format!("position {n}"));
    let eta = eta(ticket.eta_ms, ticket.eta_kind);
    let blocks: Vec<String> = ticket.blocked_by.iter().map(block).collect();
    format!("{position}, {eta}; {}", blocks.join("; "))
}

/// When something is expected, and how that is known.
pub fn eta(in_ms: Option<u64>, kind: EtaKind) -> String {
    match (in_ms, kind) {
        (Some(ms), EtaKind::Exact) => format!("free in {} (exact)", human(ms)),
        (Some(ms), _) => format!("free in about {} (estimate)", human(ms)),
        (None, _) => "no estimate when".to_owned(),
    }
}

/// A short claim in a few words: `db 2/2, held by a (4s), b (1s) and 3 more`.
pub fn block(block: &Block) -> String {
    let mut text = format!("{} {}/{}", clean(&block.key), block.used, block.max);
    if let Some(why) = block.why.as_deref().filter(|why| !matches!(*why, "no-room" | "no_room" | "behind")) {
        text += &format!(" ({})", clean(why));
    }
    let held = |h: &admit_client::Holder| {
        format!("{} ({})", h.holder.as_deref().map_or_else(|| h.id.to_string(), clean), human(h.age_ms))
    };
    let named: Vec<String> = block.holders.iter().take(NAMED).map(held).collect();
    if !named.is_empty() {
        text += &format!(", held by {}", named.join(", "));
    }
    if block.holders.len() > NAMED {
        text += &format!(" and {} more", block.holders.len() - NAMED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(json: serde_json::Value) -> Ticket {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_line_says_position_expectation_and_holders() {
        let check = |json: serde_json::Value, expect: &str| assert_eq!(line(&ticket(json)), expect);
        let holder =
            |name: &str| serde_json::json!({"id": Uuid::nil(), "holder": name, "slots": 1, "age_ms": 4_000});
        check(
            serde_json::json!({"state": "waiting", "position": 3, "eta_ms": 12_000, "eta_kind": "estimate",
                "blocked_by": [{"key": "db", "used": 1, "max": 1, "waiting": 3, "holders": [holder("a:1 make")]}]}),
            "position 3, free in about 12s (estimate); db 1/1, held by a:1 make (4s)",
        );
        check(
            serde_json::json!({"state": "waiting", "position": 1, "eta_ms": 900, "eta_kind": "exact",
                "blocked_by": [{"key": "api", "used": 60, "max": 60, "holders": []}]}),
            "position 1, free in 900ms (exact); api 60/60",
        );
        check(
            serde_json::json!({"state": "waiting", "position": 1, "eta_kind": "unknown",
                "blocked_by": [{"key": "db", "used": 0, "max": 0, "why": "paused",
                    "holders": [holder("a"), holder("b"), holder("c"), holder("d\u{1b}")]}]}),
            "position 1, no estimate when; db 0/0 (paused), held by a (4s), b (4s), c (4s) and 1 more",
        );
    }
}
