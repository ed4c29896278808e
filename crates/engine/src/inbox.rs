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

/// Claims or labels of a command of usual size.
const USUAL_PARTS: usize = 4;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// Looks at the state, if there is one to be looked at, and answers by itself.
pub(crate) type Look = Box<dyn FnOnce(Result<&State, Error>) + Send>;

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
    /// After this long it is answered at the latest; none: when the ticket ends.
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
    Read(Look),
    Stats(Reply<Stats>),
    /// How much history of the log stays from now on.
    Keep(Keep),
    Shutdown,
}

impl Job {
    /// In commands of usual size, so that a bound on commands is one on memory too.
    fn weight(&self) -> usize {
        let of_acquire =
            |acquire: &Acquire| 1 + acquire.claims.len() / USUAL_PARTS + acquire.labels.len() / USUAL_PARTS;
        let of_command = |command: &Command| match command {
            Command::Acquire(acquire) => of_acquire(acquire),
            _ => 1,
        };
        match self {
            Job::Execute { op, .. } => op.command.as_ref().map_or(1, of_command),
            Job::All { commands, .. } => commands.iter().map(of_command).sum(),
            Job::Acquire { acquire, .. } => of_acquire(acquire),
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
    /// Jobs that ever arrived.
    arrivals: u64,
    /// Somebody sleeps, until so many have.
    sleeping: bool,
    wake_at: u64,
    poked: bool,
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
        lanes.arrivals += 1;
        if lanes.arrivals >= lanes.wake_at && std::mem::take(&mut lanes.sleeping) {
            drop(lanes);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Ends the sleep of [`Inbox::take`]: there is something to look at elsewhere.
    pub fn poke(&self) {
        let mut lanes = self.lock();
        lanes.poked = true;
        if std::mem::take(&mut lanes.sleeping) {
            drop(lanes);
            self.arrived.notify_one();
        }
    }

    /// Takes jobs of about this weight, the urgent ones first. If there is none, sleeps until there is, or it is
    /// poked, or the time is over. True: it was poked.
    pub fn take(&self, into: &mut Vec<Job>, mut weight: usize, sleep: Option<Duration>) -> bool {
        let mut lanes = self.lock();
        let is_empty =
            |lanes: &mut Lanes| lanes.urgent.jobs.is_empty() && lanes.usual.jobs.is_empty() && !lanes.poked;
        if is_empty(&mut lanes) && sleep != Some(Duration::ZERO) {
            lanes.sleeping = true;
            lanes.wake_at = 0;
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
        // A quarter is for the usual ones, so that a storm of renewals delays requests, but does not stop them.
        let mut usual = weight / 4;
        weight -= usual;
        lanes.urgent.take(into, &mut weight);
        usual += weight;
        lanes.usual.take(into, &mut usual);
        lanes.urgent.take(into, &mut usual);
        std::mem::take(&mut lanes.poked)
    }

    /// How many jobs ever arrived.
    pub fn arrivals(&self) -> u64 {
        self.lock().arrivals
    }

    /// Sleeps until so many jobs have arrived, but not for longer than this; how many it is.
    pub fn wait_for(&self, arrivals: u64, at_most: Duration) -> u64 {
        let mut lanes = self.lock();
        lanes.sleeping = true;
        lanes.wake_at = arrivals;
        let is_short = |lanes: &mut Lanes| lanes.arrivals < arrivals;
        let (mut lanes, _) =
            self.arrived.wait_timeout_while(lanes, at_most, is_short).unwrap_or_else(PoisonError::into_inner);
        lanes.sleeping = false;
        lanes.arrivals
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

#[cfg(test)]
mod tests {
    use admit_kernel::Claim;

    use super::*;

    fn execute(command: Command) -> Job {
        Job::Execute { op: Op::new(command), reply: oneshot::channel().0 }
    }

    fn renew() -> Job {
        execute(Command::Renew { id: Uuid::nil(), ttl_ms: None })
    }

    fn taken(inbox: &Inbox, weight: usize) -> (usize, usize) {
        let mut jobs = Vec::new();
        inbox.take(&mut jobs, weight, Some(Duration::ZERO));
        let urgent = jobs.iter().filter(|job| job.is_urgent()).count();
        (urgent, jobs.len() - urgent)
    }

    #[test]
    fn renewals_go_first_but_do_not_keep_requests_out() {
        let inbox = Inbox::new(100);
        for _ in 0..20 {
            inbox.push(execute(Command::Tick)).unwrap();
            inbox.push(renew()).unwrap();
        }
        assert_eq!(taken(&inbox, 16), (12, 4));
        assert_eq!(taken(&inbox, 16), (8, 8));
        assert_eq!(taken(&inbox, 16), (0, 8));
        for _ in 0..16 {
            inbox.push(renew()).unwrap();
        }
        assert_eq!(taken(&inbox, 16), (16, 0), "nothing is kept free for nobody");
        assert_eq!(inbox.load(), (0, 0));
    }

    #[test]
    fn a_large_request_weighs_more() {
        let inbox = Inbox::new(10);
        let large = || {
            let claims = vec![Claim::limit("db", 1); 16];
            execute(Command::Acquire(Box::new(Acquire::new(Uuid::nil(), claims))))
        };
        assert_eq!((inbox.push(large()), inbox.push(large()).is_ok()), (Ok(()), true));
        assert!(inbox.push(large()).is_err());
        assert_eq!(inbox.load(), (10, 1));
    }
}
