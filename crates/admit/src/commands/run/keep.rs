//! Keeps the lease alive while the command runs, and ends the command when the lease is lost.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use admit_client::{Client, Error};
use uuid::Uuid;

use super::Held;
use super::child::Job;
use crate::output::note;

/// A lease is renewed when this part of its time to live has passed: two more attempts fit before its end.
const RENEW_AFTER: u32 = 3;
/// The pause after a renewal that failed, where the time to live leaves room for it.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long a command that must end has after SIGTERM before SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

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
            if !self.sleep_until(next.min(self.deadline)) {
                return;
            }
            let sent = Instant::now();
            let Some(left) = self.deadline.checked_duration_since(sent).filter(|left| !left.is_zero()) else {
                break "no renewal reached the server in time".to_owned();
            };
            match self.client.with_timeout(left.min(self.ttl / RENEW_AFTER)).renew(self.id, None) {
                Ok(renewed) => {
                    self.deadline = sent + self.ttl;
                    next = sent + self.ttl / RENEW_AFTER;
                    if renewed.cancel {
                        self.tell_to_stop();
                    }
                }
                Err(Error::Problem(problem)) if matches!(problem.status, 404 | 410) => {
                    break problem.to_string();
                }
                Err(_) => next = Instant::now() + RETRY_PAUSE.min(self.ttl / 10),
            }
        };
        self.lost(&lost);
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

    fn lost(&self, why: &str) {
        if !self.kill_when_lost {
            note(format_args!("the slot is lost, the command runs on (--on-lost warn): {why}"));
            return;
        }
        note(format_args!("the slot is lost, the command is ended: {why}"));
        self.job.signal(libc::SIGTERM);
        if self.sleep_until(Instant::now() + GRACE) {
            note(format_args!(
                "the command did not end within {}s of SIGTERM and is killed",
                GRACE.as_secs()
            ));
            self.job.signal(libc::SIGKILL);
        }
    }
}
