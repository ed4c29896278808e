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

/// Who holds what until when, as the holders see it.
#[derive(Default)]
pub struct Holders {
    until: Mutex<HashMap<String, HashMap<Uuid, Instant>>>,
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
        let Ok(Acquired::Granted(lease)) = self.ask(n, |client| client.acquire(&request)) else {
            return false;
        };
        // It was granted at some moment before now; a holder counts from the sending of a renewal that was good.
        let Some(deadline) = self.renew(id, n + 1, None) else { return false };
        self.holders.enter(key, max, id, deadline);
        std::thread::sleep(hold);
        if n.is_multiple_of(16)
            && let Some(deadline) = self.renew(id, n + 2, Some(deadline))
        {
            self.holders.enter(key, max, id, deadline);
            let now = self.ask(n, |client| client.lease(id));
            if let Ok(now) = now {
                assert_eq!(now.token, lease.token, "there is one grant of an id");
            }
        }
        self.holders.leave(key, id);
        let _ = self.ask(n + 3, |client| client.release(id));
        true
    }

    /// Gives the new deadline. None: the lease is over, or no server can be asked.
    fn renew(&self, id: Uuid, first: usize, deadline: Option<Instant>) -> Option<Instant> {
        let mut sent = Instant::now();
        let renewed = self.ask(first, |client| {
            sent = Instant::now();
            client.renew(id, None)
        });
        match renewed {
            Ok(_) => Some(sent + TTL),
            Err(error) => {
                let is_over = deadline.is_none_or(|deadline| Instant::now() >= deadline);
                assert!(is_over || error.is_away(), "{id} was acknowledged and is lost: {error}");
                None
            }
        }
    }
}
