//! The audit: who changed what, when, through what; written in the transaction of the change.

use admit_kernel::Time;
use admit_store::Write;
use serde_json::Value;
use uuid::Uuid;

use crate::Caller;

/// Bytes of a description of a change: beyond any limit or token; what is longer is cut to nothing.
const MAX_DESCRIPTION_BYTES: usize = 64 * 1024;

/// How long a row of the audit stays: longer than most ask about, shorter than a disk fills.
const KEEP_MS: u64 = 400 * 24 * 3_600_000;
/// Rows that stay: some hundred megabytes, whatever changes however often.
const KEEP_ROWS: u64 = 1_000_000;
/// Rows that one pruning drops: more than are written between two, few enough to keep nobody waiting.
const PRUNED_ROWS: u64 = 1_000;

/// Drops the oldest rows beyond what is kept, a bounded number at once. Looking for them takes milliseconds:
/// do it now and then, beside one of the changes.
#[must_use]
pub fn prune_audit(now: Time) -> Write {
    Write::new(
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit
         WHERE at < $1 OR at < COALESCE((SELECT at FROM audit ORDER BY at DESC LIMIT 1 OFFSET $2), 0)
         ORDER BY at LIMIT $3)",
        vec![now.minus(KEEP_MS).0.into(), KEEP_ROWS.into(), PRUNED_ROWS.into()],
    )
}

/// Who is about to change something, and through what.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    who: String,
    through: String,
    peer: String,
    request_id: String,
}

/// A change that was or will be made.
#[derive(Debug, Clone)]
pub struct AuditRow {
    id: Uuid,
    entry: AuditEntry,
    action: &'static str,
    subject: String,
    before: Option<Value>,
    after: Option<Value>,
}

impl AuditEntry {
    /// The sender of a request, through the listener that they reached.
    #[must_use]
    pub fn of_caller(caller: &Caller) -> AuditEntry {
        AuditEntry {
            who: caller.who().to_owned(),
            through: caller.listener.to_owned(),
            peer: caller.peer.to_string(),
            request_id: caller.request_id().to_owned(),
        }
    }

    /// Someone at this machine, without a request: the command line on a stopped server, a file of limits.
    #[must_use]
    pub fn local(who: impl Into<String>, through: impl Into<String>) -> AuditEntry {
        AuditEntry {
            who: who.into(),
            through: through.into(),
            peer: String::new(),
            request_id: String::new(),
        }
    }

    /// The change: what kind (`limit.set`), of what, how it was and how it is.
    #[must_use]
    pub fn of(
        self,
        action: &'static str,
        subject: &str,
        before: Option<Value>,
        after: Option<Value>,
    ) -> AuditRow {
        AuditRow { id: Uuid::now_v7(), entry: self, action, subject: subject.to_owned(), before, after }
    }
}

impl AuditRow {
    /// The same with an id that was chosen before, for a row that is only known once the change is.
    #[must_use]
    pub fn with_id(self, id: Uuid) -> AuditRow {
        AuditRow { id, ..self }
    }

    /// The row, for the transaction of the change at `now`. However often it is asked for, it is one row.
    #[must_use]
    pub fn write(&self, now: Time) -> Write {
        let text = |value: &Option<Value>| {
            value.as_ref().map(Value::to_string).filter(|text| text.len() <= MAX_DESCRIPTION_BYTES)
        };
        Write::new(
            "INSERT INTO audit (id, at, who, through, peer, request_id, action, subject, before_json, after_json)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING",
            vec![
                self.id.into(),
                now.0.into(),
                self.entry.who.clone().into(),
                self.entry.through.clone().into(),
                self.entry.peer.clone().into(),
                self.entry.request_id.clone().into(),
                self.action.into(),
                self.subject.clone().into(),
                text(&self.before).into(),
                text(&self.after).into(),
            ],
        )
    }
}
