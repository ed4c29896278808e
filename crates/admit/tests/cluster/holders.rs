//! Clients that hold slots and count themselves: no server is asked whether there are too many.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use admit_client::{Acquire, Acquired, Claim, Client, Error};
use uuid::Uuid;

/// How long a lease lives: short, so that many end while their holders or servers are away.
pub const TTL: Duration = Duration::from_secs(2);
/// How long a request may wait for its slot.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// After how long without an answer a client asks another server.
const ANSWER_WITHIN: Duration = Duration::from_millis(700);
/// How much earlier than its holder counts a lease may end: nodes agree on the time within less.
const MARGIN: Duration = Duration::from_millis(300);
/// How a request ends that its client left, as far as its server can tell, without having had the answer.
const ENDS_OF_THE_LEFT: [&str; 4] = ["withdrawn", "released", "lapsed", "unattended"];

/// Who holds what until when, as the holders see it.
#[derive(Default)]
pub struct Holders {
    until: Mutex<HashMap<String, HashMap<Uuid, Instant>>>,
    /// Whose each token is.
    tokens: Mutex<HashMap<u64, Uuid>>,
}

impl Holders {
    /// Somebody holds until its own deadline, and knows who else does.
    fn enter(&self, key: &str, max: usize, id: Uuid, deadline: Instant) {
        let mut until = self.until.lock().unwrap();
        let here = until.entry(key.to_owned()).or_default();
        let now = Instant::now();
        here.retain(|_, deadline| *deadline > now);
        if deadline > now {
            here.insert(id, deadline);
        }
        assert!(here.len() <= max, "{} hold {key}, which has {max}", here.len());
    }

    /// Somebody was given a token, which nobody else ever has.
    fn note_token(&self, token: u64, id: Uuid) {
        let owner = *self.tokens.lock().unwrap().entry(token).or_insert(id);
        assert_eq!(owner, id, "token {token} was given twice");
    }

    fn leave(&self, key: &str, id: Uuid) {
        self.until.lock().unwrap().entry(key.to_owned()).or_default().remove(&id);
    }
}

/// One client that knows every server.
pub struct Holder<'a> {
    pub clients: &'a [Client],
    pub holders: &'a Holders,
}

impl Holder<'_> {
    /// Asks one server after the other until one answers. Any may answer any call.
    fn ask<T>(&self, first: usize, mut call: impl FnMut(&Client) -> Result<T, Error>) -> Result<T, Error> {
        let begun = Instant::now();
        let mut n = first;
        loop {
            match call(&self.clients[n % self.clients.len()].with_timeout(ANSWER_WITHIN)) {
                Err(error) if error.is_away() && begun.elapsed() < TTL => n += 1,
                other => return other,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Acquires, counts itself, holds a little, releases. True: it held.
    pub fn hold_once(&self, key: &str, max: usize, claim: Claim, hold: Duration, n: usize) -> bool {
        let mut request = Acquire::new(vec![claim]);
        request.ttl_ms = u64::try_from(TTL.as_millis()).ok();
        request.wait_ms = u64::try_from(PATIENCE.as_millis()).unwrap();
        let id = request.id;
        let Some((token, until)) = self.acquire(&request, n) else { return false };
        self.holders.note_token(token, id);
        // It was granted at some moment before now; a holder counts from the sending of a renewal that was good.
        let Some(until) = self.renew(id, n + 1, until) else { return false };
        self.holders.enter(key, max, id, until);
        std::thread::sleep(hold);
        if let Some(now) = self.ask_of_lease(id, n, until, |client| client.lease(id)) {
            assert_eq!(now.token, token, "there is one grant of an id");
        }
        if n.is_multiple_of(16)
            && let Some(until) = self.renew(id, n + 2, until)
        {
            self.holders.enter(key, max, id, until);
        }
        self.holders.leave(key, id);
        let released = self.ask(n + 3, |client| client.release(id));
        assert!(released.as_ref().err().is_none_or(Error::is_away), "{id} cannot be released: {released:?}");
        true
    }

    /// Gives the token, and until when the lease lives at least. None: there was no slot in time, or no server
    /// could be asked in time.
    fn acquire(&self, request: &Acquire, first: usize) -> Option<(u64, Instant)> {
        let begun = Instant::now();
        let (mut sent, mut times) = (begun, 0);
        let acquired = self.ask(first, |client| {
            (sent, times) = (Instant::now(), times + 1);
            client.acquire(request)
        });
        match acquired {
            Ok(Acquired::Granted(lease)) => {
                let rest = Duration::from_millis(lease.expires_in_ms.expect("it has a time to live"));
                Some((lease.token, (begun + TTL).max(sent + rest)))
            }
            Err(error) if error.is_no_slot() || error.is_away() => None,
            // An earlier answer never arrived; whoever did not get it has left, or not renewed.
            Err(Error::Problem(problem)) if times > 1 && problem.how().is_some() => {
                let how = problem.how().unwrap_or_default();
                let is_over = how == "expired" && begun.elapsed() + MARGIN >= TTL;
                assert!(is_over || ENDS_OF_THE_LEFT.contains(&how), "{}: {problem}", request.id);
                None
            }
            other => panic!("{} asked for a slot {times} times and got {other:?}", request.id),
        }
    }

    /// Gives the new deadline. None: the lease is over, or no server can be asked.
    fn renew(&self, id: Uuid, first: usize, until: Instant) -> Option<Instant> {
        let mut sent = Instant::now();
        let renewed = self.ask_of_lease(id, first, until, |client| {
            sent = Instant::now();
            client.renew(id, None)
        });
        renewed.map(|_| sent + TTL)
    }

    /// What a server says of a lease that lives until then at least. None: it is over since, or no server can be
    /// asked.
    fn ask_of_lease<T>(
        &self,
        id: Uuid,
        first: usize,
        until: Instant,
        call: impl FnMut(&Client) -> Result<T, Error>,
    ) -> Option<T> {
        let error = match self.ask(first, call) {
            Ok(answer) => return Some(answer),
            Err(error) if error.is_away() => return None,
            Err(error) => error,
        };
        let rest = until.saturating_duration_since(Instant::now());
        let is_over = error.status() == Some(410) && rest <= MARGIN;
        assert!(is_over, "{id} was acknowledged and is lost {rest:?} before its end: {error}");
        None
    }
}
