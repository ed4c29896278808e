//! The way to the engine's thread: two bounded lanes that are emptied in bulk.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use admit_kernel::{Acquire, Command, Outcome, State};
use admit_store::Keep;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::batch::Op;
use crate::{Error, Stats};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// The outcome of a request for slots.
pub(crate) struct Answer {
    pub outcome: Outcome,
    /// The lease was granted by this very answer, not by an earlier one of the same id.
    pub fresh: bool,
}

/// Who waits for a ticket, and how.
pub(crate) struct Caller {
    /// Tells callers of one ticket apart.
    pub no: u64,
    pub reply: Reply<Answer>,
    /// After this long it is told that it still waits; none: when the ticket ends.
    pub answer_within_ms: Option<u64>,
    /// Whether the ticket, or an undelivered grant, goes with its caller.
    pub leaves_nothing: bool,
}

/// Something for the engine's thread to do.
pub(crate) enum Job {
    Execute {
        op: Op,
        reply: Reply<Option<Outcome>>,
    },
    All {
        commands: Vec<Command>,
        reply: Reply<Vec<Outcome>>,
    },
    Acquire {
        acquire: Box<Acquire>,
        caller: Caller,
    },
    Ask {
        id: Uuid,
        caller: Caller,
    },
    /// A caller went away before it was answered.
    Gone {
        id: Uuid,
        no: u64,
    },
    /// A lease was granted to a caller that never took note of it.
    Undelivered {
        id: Uuid,
    },
    Read(Box<dyn FnOnce(Result<&State, Error>) + Send>),
    Stats(Reply<Stats>),
    /// How much history of the log stays from now on.
    Keep(Keep),
    Shutdown,
}

impl Job {
    /// In commands.
    fn weight(&self) -> usize {
        match self {
            Job::All { commands, .. } => commands.len(),
            _ => 1,
        }
    }

    /// Whether it goes before others: it gives something back, or keeps what is held.
    fn is_urgent(&self) -> bool {
        match self {
            Job::Execute { op, .. } => {
                matches!(op.command, Some(Command::Renew { .. } | Command::Release { .. }))
            }
            Job::Gone { .. } | Job::Undelivered { .. } | Job::Stats(_) | Job::Shutdown => true,
            Job::All { .. } | Job::Acquire { .. } | Job::Ask { .. } | Job::Read(_) | Job::Keep(_) => false,
        }
    }

    /// Whether it must get through, however long the queue: there is at most one per caller, and it frees something.
    fn is_unbounded(&self) -> bool {
        matches!(self, Job::Gone { .. } | Job::Undelivered { .. } | Job::Shutdown)
    }
}

pub(crate) struct Inbox {
    lanes: Mutex<Lanes>,
    arrived: Condvar,
    max_weight: usize,
}

#[derive(Default)]
struct Lanes {
    urgent: Lane,
    usual: Lane,
    sleeping: bool,
    closed: bool,
    overloaded: u64,
}

#[derive(Default)]
struct Lane {
    jobs: VecDeque<Job>,
    weight: usize,
}

impl Lane {
    fn take(&mut self, into: &mut Vec<Job>, budget: &mut usize) {
        while *budget > 0
            && let Some(job) = self.jobs.pop_front()
        {
            let weight = job.weight();
            self.weight -= weight;
            *budget = budget.saturating_sub(weight);
            into.push(job);
        }
    }
}

impl Inbox {
    pub fn new(max_weight: usize) -> Inbox {
        Inbox { lanes: Mutex::default(), arrived: Condvar::new(), max_weight }
    }

    pub fn push(&self, job: Job) -> Result<(), Error> {
        let mut lanes = self.lock();
        if lanes.closed {
            return Err(Error::Stopping);
        }
        let weight = job.weight();
        let lane = if job.is_urgent() { &mut lanes.urgent } else { &mut lanes.usual };
        if lane.weight + weight > self.max_weight && !job.is_unbounded() {
            lanes.overloaded += 1;
            return Err(Error::Overloaded { what: "commands queued", max: self.max_weight });
        }
        lane.weight += weight;
        lane.jobs.push_back(job);
        if std::mem::take(&mut lanes.sleeping) {
            drop(lanes);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes jobs of about this weight, the urgent ones first. If there is none, sleeps until there is or
    /// the time is over.
    pub fn take(&self, into: &mut Vec<Job>, mut weight: usize, sleep: Option<Duration>) {
        let mut lanes = self.lock();
        let is_empty = |lanes: &mut Lanes| lanes.urgent.jobs.is_empty() && lanes.usual.jobs.is_empty();
        if is_empty(&mut lanes) && sleep != Some(Duration::ZERO) {
            lanes.sleeping = true;
            lanes = match sleep {
                None => self
                    .arrived
                    .wait_while(lanes, |lanes| is_empty(lanes))
                    .unwrap_or_else(PoisonError::into_inner),
                Some(sleep) => {
                    self.arrived
                        .wait_timeout_while(lanes, sleep, |lanes| is_empty(lanes))
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
            lanes.sleeping = false;
        }
        lanes.urgent.take(into, &mut weight);
        lanes.usual.take(into, &mut weight);
    }

    /// Takes no more; gives what was queued, to be answered.
    pub fn close(&self) -> Vec<Job> {
        let mut lanes = self.lock();
        lanes.closed = true;
        let mut left = Vec::new();
        lanes.urgent.take(&mut left, &mut usize::MAX.clone());
        lanes.usual.take(&mut left, &mut usize::MAX.clone());
        left
    }

    /// Commands queued, and requests that were refused for there being too many.
    pub fn load(&self) -> (usize, u64) {
        let lanes = self.lock();
        (lanes.urgent.weight + lanes.usual.weight, lanes.overloaded)
    }

    /// A panic elsewhere leaves the queues as they are: whole.
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
