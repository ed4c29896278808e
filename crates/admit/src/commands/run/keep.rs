//! Keeps the lease alive while the command runs, and has the command ended before another may hold the slot.
//!
//! We count by our own clock, from the sending of the last good renewal, which is never later than the server
//! does. Without another renewal the command is told to stop while there is time left, and killed before the
//! lease ends: by the guard, so that even an `admit run` that is stopped or starved does not exceed its slot.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use admit_client::{Client, Error};
use uuid::Uuid;

use super::Held;
use super::child::Job;
use crate::output::note;

/// A lease is renewed when this part of its time to live has passed: two more attempts fit before its end.
pub const RENEW_AFTER: u32 = 3;
/// The pause after a renewal that failed, where the time to live leaves room for it.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The part of the time to live before whose end the command is told to stop (SIGTERM).
const STOP_BEFORE: u32 = 5;
/// No command needs longer to stop.
const LONGEST_STOP: Duration = Duration::from_secs(10);
/// The part of the time to live before whose end the command is killed: clocks differ, and killing takes time.
const KILL_BEFORE: u32 = 20;
/// Clocks differ by no more.
const LONGEST_KILL: Duration = Duration::from_secs(1);
/// How long a command has to stop whose slot an operator took: another may hold it already.
const TAKEN_GRACE: Duration = Duration::from_secs(1);

/// Renews until it is dropped.
pub struct Keeper {
    _stops_when_dropped: Option<Sender<()>>,
}

struct Keep {
    client: Client,
    job: Arc<Job>,
    id: Uuid,
    ttl: Duration,
    kill_when_lost: bool,
    /// When the lease ends at the latest, counted from the sending of its last good renewal.
    deadline: Instant,
    told_to_stop: bool,
    stop: Receiver<()>,
}

/// Starts to renew a lease on a thread of its own.
pub fn start(client: &Client, job: &Arc<Job>, held: &Held, ttl: Duration, kill_when_lost: bool) -> Keeper {
    let (sender, stop) = channel();
    let keep = Keep {
        client: client.clone(),
        job: Arc::clone(job),
        id: held.lease.id,
        ttl,
        kill_when_lost,
        deadline: held.deadline,
        told_to_stop: false,
        stop,
    };
    // Before anything can go wrong here.
    keep.guard();
    match std::thread::Builder::new().name("renewals".to_owned()).spawn(move || keep.run()) {
        Ok(_) => Keeper { _stops_when_dropped: Some(sender) },
        Err(error) => {
            note(format_args!("the slot cannot be renewed and ends in {}s: {error}", ttl.as_secs()));
            Keeper { _stops_when_dropped: None }
        }
    }
}

impl Keep {
    fn run(mut self) {
        let mut next = self.deadline - self.ttl + self.ttl / RENEW_AFTER;
        let lost = loop {
            let last = if self.kill_when_lost { self.stop_at() } else { self.deadline };
            if !self.sleep_until(next.min(last)) {
                return;
            }
            let sent = Instant::now();
            let Some(left) = last.checked_duration_since(sent).filter(|left| !left.is_zero()) else {
                break Lost::Silence;
            };
            // Of several servers each gets its share, or of what is left where that is less.
            let servers = u32::try_from(self.client.servers()).unwrap_or(u32::MAX);
            let timeout = (self.ttl / RENEW_AFTER).saturating_mul(servers).min(left);
            match self.client.with_timeout(timeout).renew(self.id, None) {
                Ok(renewed) => {
                    self.deadline = sent + self.ttl;
                    self.guard();
                    next = sent + self.ttl / RENEW_AFTER;
                    if renewed.cancel {
                        self.tell_to_stop();
                    }
                }
                Err(Error::Problem(problem)) if matches!(problem.status, 404 | 410) => {
                    break Lost::Taken(problem.to_string());
                }
                Err(_) => next = Instant::now() + RETRY_PAUSE.min(self.ttl / 10),
            }
        };
        self.lost(&lost);
    }

    /// When the command is told to stop unless a renewal succeeds before.
    fn stop_at(&self) -> Instant {
        self.deadline - (self.ttl / STOP_BEFORE).min(LONGEST_STOP)
    }

    /// When it is killed.
    fn kill_at(&self) -> Instant {
        self.deadline - (self.ttl / KILL_BEFORE).min(LONGEST_KILL)
    }

    /// Tells the guard until when the command may run.
    fn guard(&self) {
        if self.kill_when_lost {
            self.job.kill_at(self.kill_at());
        }
    }

    /// Sleeps; false: the command has ended.
    fn sleep_until(&self, until: Instant) -> bool {
        let pause = until.saturating_duration_since(Instant::now());
        matches!(self.stop.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
    }

    /// The server asks the holder to stop: the command is told once, and may take its time.
    fn tell_to_stop(&mut self) {
        if !std::mem::replace(&mut self.told_to_stop, true) {
            note("the server asks for the slot: the command is told to stop (SIGTERM)");
            self.job.signal(libc::SIGTERM);
        }
    }

    fn lost(&self, lost: &Lost) {
        if !self.kill_when_lost {
            note(format_args!("the slot is lost, the command runs on (--on-lost warn): {lost}"));
            return;
        }
        note(format_args!("the slot is lost, the command is ended: {lost}"));
        let kill_at = match lost {
            Lost::Taken(_) => self.kill_at().min(Instant::now() + TAKEN_GRACE),
            Lost::Silence => self.kill_at(),
        };
        self.job.kill_at(kill_at);
        self.job.lose();
        if self.sleep_until(kill_at) {
            note("the command did not end in time after SIGTERM and is killed");
            self.job.signal(libc::SIGKILL);
        }
    }
}

/// How a slot was lost.
enum Lost {
    /// The server says that the lease has ended: released or reset by an operator.
    Taken(String),
    /// No renewal succeeded, and the lease is about to end.
    Silence,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Taken(why) => f.write_str(why),
            Lost::Silence => f.write_str("no renewal reached the server in time"),
        }
    }
}
