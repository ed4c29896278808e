//! The independent observer: it believes what the durable log says and what clients were told, nothing else.
//!
//! - `ledger` folds the log and judges every event; `usage` counts what it means for keys;
//! - `told` compares answers with the log;
//! - `beliefs` keeps what holders believe to hold, by clocks of their own;
//! - `pace` compares the log's time with true time.

mod beliefs;
mod ledger;
mod pace;
#[cfg(test)]
mod tests;
mod told;
mod usage;

pub(crate) use beliefs::{Belief, Beliefs};
pub(crate) use ledger::{Ledger, Moment};
pub(crate) use pace::{By, MAX_APART_MS, Pace};

/// A rule that was broken, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// What happened.
    pub what: String,
}

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Never more slots than `max`, by the log.
    OverMax,
    /// Never more slots than `max`, by what holders believe; nobody believes in a lease that is gone.
    Believed,
    /// What was acknowledged is in the durable log, and only that.
    Acknowledged,
    /// An id is granted once.
    GrantedOnce,
    /// Fencing tokens grow.
    Tokens,
    /// Leases and tickets end when they should, by the right cause, neither earlier nor later.
    Endings,
    /// A silence of the log expires nobody who comes back in time.
    Outage,
    /// First come, first served within a queue.
    Order,
    /// What is read back is what was; what is replayed is what was decided.
    Recovery,
    /// Same log, same state, on every node.
    SameState,
    /// A read on any node sees everything that was acknowledged before, and nothing that is not on disk.
    Reads,
    /// The log's time is that of the clocks, without their steps.
    Time,
    /// Once nothing goes wrong any more, everybody gets through.
    Progress,
    /// The engine serves, or says why not.
    Service,
}

pub(crate) type Checked = Result<(), Violation>;

/// Breaks a rule.
pub(crate) fn broken<T>(rule: Rule, what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { rule, what: what.into() })
}
