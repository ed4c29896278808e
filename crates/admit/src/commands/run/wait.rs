//! Waiting for a slot: one call that stays open for up to ten minutes is the proof that we live. Whatever
//! kills us closes its connection, and the server takes the request out of the queue.

use std::time::{Duration, Instant};

use admit_client::{Acquire, Acquired, Client, Error};
use jiff::Timestamp;
use uuid::Uuid;

use super::child::Job;
use super::keep::RENEW_AFTER;
use super::watch::Watch;
use super::{Args, Held};
use crate::exit::Failure;
use crate::output::note;
use crate::{duration, output};

/// How long a server that was there, and went away while we waited, is looked for.
const LOOK_FOR: Duration = Duration::from_secs(60);
/// The pause between two attempts to find it.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// How far two clocks may differ over one wait.
const EARLY: Duration = Duration::from_secs(1);

/// Waits for a slot as long as the user allows.
///
/// # Errors
/// No slot came in time, the server is away or refuses, or a signal ended the wait.
pub fn for_slot(client: &Client, job: &Job, args: &Args, holder: &str) -> Result<Held, Failure> {
    let start = Instant::now();
    let mut request = Acquire::new(args.claims.claims());
    request.ttl_ms = Some(args.ttl);
    request.holder = Some(holder.to_owned());
    request.labels = args.claims.labels();
    let mut wait = Wait { args, start, sent: start, arrived: Timestamp::now().to_string(), away_since: None };
    loop {
        request.wait_ms = wait.left_ms().min(Acquire::MAX_WAIT_MS);
        if !job.waits_as(request.id) {
            return Err(Failure::Other("interrupted".to_owned()));
        }
        let watch = (request.wait_ms > 0).then(|| Watch::start(client, request.id, args.claims.name()));
        let result = client.acquire(&request).and_then(|acquired| wait.held(client, acquired));
        if let Some(arrived) = watch.and_then(Watch::stop) {
            wait.arrived = arrived;
        }
        match result {
            Ok(Some(held)) => return Ok(held),
            // Never asked for: the request is withdrawn when its wait is over.
            Ok(None) => {
                return Err(Failure::Other("the server kept the request instead of ending it".to_owned()));
            }
            Err(error) => wait.go_on(error, &mut request)?,
        }
    }
}

/// The state of the wait between two requests.
struct Wait<'a> {
    args: &'a Args,
    start: Instant,
    /// When the request under its present id was sent first.
    sent: Instant,
    /// When we arrived, by the server's clock as soon as it said so: what keeps our place in the queue.
    arrived: String,
    /// Since when the server does not answer: the request under its present id was sent more than once.
    away_since: Option<Instant>,
}

impl Wait<'_> {
    /// How much of the time that the user allows is left.
    fn left_ms(&self) -> u64 {
        let waited = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.args.wait.map_or(u64::MAX, |wait| wait.saturating_sub(waited))
    }

    /// Whether the request was ended clearly before the time that it gave.
    fn is_early(&self, request: &Acquire) -> bool {
        self.sent.elapsed() + EARLY < Duration::from_millis(request.wait_ms)
    }

    /// The slot that was granted, and when it ends by our own clock.
    fn held(&self, client: &Client, acquired: Acquired) -> Result<Option<Held>, Error> {
        let Acquired::Granted(lease) = acquired else { return Ok(None) };
        let ttl = Duration::from_millis(self.args.ttl);
        // The request arrived after it was sent, and the server says how long it waited from there.
        let granted = self.sent + Duration::from_millis(lease.waited_ms).min(self.sent.elapsed());
        let deadline = if self.away_since.is_none() && granted.elapsed() < ttl / RENEW_AFTER {
            granted + ttl
        } else {
            // Which of several requests arrived is not known, maybe through another server, but a renewal tells.
            let sent = Instant::now();
            client.renew(lease.id, None)?;
            sent + ttl
        };
        Ok(Some(Held { lease, deadline }))
    }

    /// Prepares the next request after one that failed, if there is to be one.
    fn go_on(&mut self, error: Error, request: &mut Acquire) -> Result<(), Failure> {
        let is_new =
            matches!(error, Error::Unreachable { connected: false, .. }) && self.away_since.is_none();
        if error.is_away() && !is_new && self.left_ms() > 0 {
            if self.away_since.is_none() {
                note(format_args!("{error}; looking for it"));
            }
            let since = *self.away_since.get_or_insert_with(Instant::now);
            if since.elapsed() < LOOK_FOR {
                std::thread::sleep(LOOK_PAUSE);
                return Ok(());
            }
        }
        let Error::Problem(problem) = &error else { return Err(error.into()) };
        match (problem.status, problem.slug()) {
            (429, "queue-full") => Err(Failure::NoSlot(error.to_string())),
            // Asking again would put out whoever put us out.
            _ if problem.how() == Some("replaced") => {
                let limit = output::clean(self.args.claims.name());
                Err(Failure::NoSlot(format!(
                    "a newer request for {limit} took the place (on_full keep_newest)"
                )))
            }
            // The user's patience is over, or that of the limit.
            _ if error.is_no_slot() && (self.left_ms() == 0 || self.is_early(request)) => {
                Err(Failure::NoSlot(self.no_slot(&problem.blocked_by)))
            }
            // The longest wait of one request is over, or a server that stopped took it out of the queue.
            (429 | 410, _) | (409, "lease-ended" | "ticket-ended") => {
                self.away_since = None;
                self.sent = Instant::now();
                request.id = Uuid::now_v7();
                request.age = Some(self.arrived.clone());
                Ok(())
            }
            _ => Err(error.into()),
        }
    }

    fn no_slot(&self, blocked_by: &[admit_client::Block]) -> String {
        let limit = output::clean(self.args.claims.name());
        let waited = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut text = format!("no slot of {limit} came within {}", duration::human(waited));
        for block in blocked_by {
            text += "\n  ";
            text += &super::watch::block(block);
        }
        text
    }
}
