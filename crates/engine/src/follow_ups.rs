//! What is to be done because of earlier answers, until it is.

use std::collections::BTreeSet;

use admit_kernel::{Command, Part};
use uuid::Uuid;

use crate::Error;

/// When an error does not say when to try again, it is tried after so long.
const AGAIN_MS: u64 = 1_000;

/// One thing to do. Nobody outside waits for its answer, so nobody else would repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FollowUp {
    /// A lease that nobody knows of goes back; it never began, so no window counts it.
    GiveBack(Uuid),
    /// A ticket is of use to nobody.
    Withdraw(Uuid),
    /// The waiters of a ticket may have missed its end.
    Refresh(Uuid),
}

impl FollowUp {
    pub fn command(self) -> Command {
        match self {
            FollowUp::GiveBack(id) => Command::Release { id, part: Part::All, counts: false },
            FollowUp::Withdraw(id) => Command::Withdraw { id },
            FollowUp::Refresh(id) => Command::Ask { id, for_ms: 0 },
        }
    }
}

/// All things to do: each once, however often there is reason to.
#[derive(Debug, Default)]
pub(crate) struct FollowUps {
    waiting: BTreeSet<FollowUp>,
    /// Nothing is done before this, by the monotonic clock.
    not_before_ms: u64,
}

impl FollowUps {
    pub fn add(&mut self, follow_up: FollowUp) {
        self.waiting.insert(follow_up);
    }

    /// It was refused: it is done again when that may help.
    pub fn refused(&mut self, follow_up: FollowUp, error: &Error, now_ms: u64) {
        let pause_ms = match error {
            Error::Unavailable { retry_in_ms, .. } => *retry_in_ms,
            _ => AGAIN_MS,
        };
        self.waiting.insert(follow_up);
        self.not_before_ms = now_ms.saturating_add(pause_ms);
    }

    /// In how many milliseconds there is something to do; none: never.
    pub fn due_in_ms(&self, now_ms: u64) -> Option<u64> {
        (!self.waiting.is_empty()).then(|| self.not_before_ms.saturating_sub(now_ms))
    }

    /// Takes out the next thing to do.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<FollowUp> {
        if now_ms < self.not_before_ms { None } else { self.waiting.pop_first() }
    }
}
