//! What goes into a batch, and what comes out of it.

use std::sync::Arc;

use admit_kernel::{Command, Event, Outcome, Time};
use admit_store::Write;
use uuid::Uuid;

use crate::Error;

/// Commands of a batch at most: more only makes the first ones wait.
pub const MAX_BATCH: usize = 256;
/// Bytes of events after which a batch takes no further command.
pub const MAX_BATCH_BYTES: usize = 1 << 20;

/// Makes the rows that are written with a command, once its outcome is known; of a batch that has to be
/// tried again it is asked again.
pub type Rows = Box<dyn Fn(Option<&Outcome>, Time) -> Vec<Write> + Send>;

/// One operation of a batch.
pub struct Op {
    /// The command, if there is one.
    pub command: Option<Command>,
    /// The rows to write with it, if there are any.
    pub rows: Option<Rows>,
}

impl Op {
    /// A command without rows.
    #[must_use]
    pub fn new(command: Command) -> Op {
        Op { command: Some(command), rows: None }
    }
}

/// What a batch came to. It is on disk, or nothing of it is (the errors say so).
#[derive(Default)]
pub struct Batch {
    /// Of each operation that was taken, in order: the outcome of its command.
    pub answers: Vec<Result<Option<Outcome>, Error>>,
    /// What became of tickets that somebody here waits for.
    pub woken: Vec<(Uuid, Outcome)>,
    /// Tickets that somebody here waits for and other nodes granted, as far as that is not among the woken.
    pub granted_elsewhere: Vec<Uuid>,
    /// When it was decided.
    pub time: Time,
    /// Whether the state was dropped and read back, so that no wake-up of before can be relied upon.
    pub reloaded: bool,
    /// Set it to have `records` filled.
    pub wants_records: bool,
    /// The records that are new here: those of other nodes, then this batch's.
    pub records: Vec<Committed>,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.answers.clear();
        self.woken.clear();
        self.granted_elsewhere.clear();
        self.records.clear();
        self.reloaded = false;
    }
}

/// A record that was committed.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its number.
    pub seq: u64,
    /// Its time.
    pub time: Time,
    /// What happened.
    pub events: Arc<[Event]>,
}
