//! Places in line that outlive a request: a client that is told to ask again finds its own, also when the server
//! that it asked before is gone.
//!
//! Between two requests this server keeps the place, in memory. What it has not kept, because it was killed and
//! started again, or because another node did, is found among the tickets of the log (`take_up`).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use admit_engine::{Engine, Error};
use admit_kernel::{Acquire, Claim, Command, Name, Outcome, Part, Patience, Time};
use tokio::runtime::Handle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bounds::{ATTEND_MS, CLAIM_MS, MAX_PLACES, PLACE_GRACE, POLL_TTL_MS};
use crate::lost::Lost;

/// What makes two requests one waiter: the holder that both name, or else their connection; and that both ask
/// for the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Waiter {
    pub(crate) who: Who,
    pub(crate) claims: Vec<Claim>,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) rate: bool,
}

/// Who waits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// The holder that the request names.
    Holder(Name),
    /// Whoever is at the other end of the connection.
    Peer(SocketAddr),
}

type Waiting = Pin<Box<dyn Future<Output = Result<Outcome, Error>> + Send>>;

/// A place in line, or a lease that nobody was told of yet. Dropped, it is given up.
pub(crate) struct Place {
    engine: Engine,
    id: Uuid,
    /// What it goes by, if not by its arrival.
    age: Option<Time>,
    waiting: Waiting,
    is_mine: bool,
}

impl Place {
    /// Gets in line, or past it.
    pub(crate) fn take(engine: &Engine, acquire: Acquire) -> Place {
        let (id, age) = (acquire.id, acquire.age);
        let asked = engine.clone();
        let waiting = Box::pin(async move {
            let outcome = asked.acquire(acquire, ATTEND_MS).await?;
            attend(&asked, id, outcome).await
        });
        Place { engine: engine.clone(), id, age, waiting, is_mine: true }
    }

    /// Gets in line where a ticket stands that nobody attends to any more, and takes that one out. With an id of its
    /// own: whoever else still has the old one, like a node that was thought to be gone, finds that it has ended.
    pub(crate) fn take_up(engine: &Engine, acquire: Acquire, lost: Lost) -> Place {
        let (id, age) = (acquire.id, Some(lost.age));
        let acquire = Acquire { age, ..acquire };
        let asked = engine.clone();
        let waiting = Box::pin(async move {
            // Whole, so that nobody else finds it until it is out.
            let old = lost;
            // First in, then out: nobody passes in between.
            let commands =
                vec![Command::Acquire(Box::new(acquire.clone())), Command::Withdraw { id: old.id }];
            let outcomes = asked.execute_all(commands).await?;
            let outcome = match outcomes.into_iter().next() {
                // Where as many wait as may, the old one had to go first.
                Some(Outcome::Denied(_)) => asked.acquire(acquire, ATTEND_MS).await?,
                _ => Outcome::Waiting { id },
            };
            attend(&asked, id, outcome).await
        });
        Place { engine: engine.clone(), id, age, waiting, is_mine: true }
    }

    /// The same place for another request.
    pub(crate) fn resume(mut self) -> Place {
        let (engine, id) = (self.engine.clone(), self.id);
        let before = std::mem::replace(&mut self.waiting, Box::pin(std::future::pending()));
        self.waiting = Box::pin(async move {
            // What came between the two requests is here already.
            if let Ok(outcome) = tokio::time::timeout(Duration::ZERO, before).await
                && !matches!(outcome, Ok(Outcome::Waiting { .. }))
            {
                return outcome;
            }
            let outcome = engine.ask(id, ATTEND_MS).await?;
            attend(&engine, id, outcome).await
        });
        self
    }

    /// What it goes by, if not by its arrival.
    pub(crate) fn age(&self) -> Option<Time> {
        self.age
    }

    /// What comes of it, if that is known in time.
    pub(crate) async fn wait_until(&mut self, until: Instant) -> Option<Result<Outcome, Error>> {
        tokio::time::timeout_at(until, &mut self.waiting).await.ok()
    }

    /// The lease belongs to somebody now.
    pub(crate) fn hand_over(mut self) -> Uuid {
        self.is_mine = false;
        self.id
    }
}

/// Stays in line for as long as the future is kept.
async fn attend(engine: &Engine, id: Uuid, mut outcome: Outcome) -> Result<Outcome, Error> {
    while matches!(outcome, Outcome::Waiting { .. }) {
        outcome = engine.ask(id, ATTEND_MS).await?;
    }
    Ok(outcome)
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_mine {
            return;
        }
        // Without a runtime the server is going down; the ticket ends unattended, a lease by its expiry.
        let Ok(runtime) = Handle::try_current() else { return };
        let (engine, id) = (self.engine.clone(), self.id);
        runtime.spawn(async move {
            // Withdrawing goes the way of acquiring, so it does not overtake the request that it is to undo.
            match engine.execute(Command::Withdraw { id }).await {
                Ok(Outcome::Withdrawn { changed: true }) => return,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, %id, "a place could not be withdrawn"),
            }
            // It had become a lease already. It never began, so no window counts it.
            let release = Command::Release { id, part: Part::All, counts: false };
            if let Err(error) = engine.execute(release).await {
                tracing::warn!(%error, %id, "a lease that nobody was told of could not be released");
            }
        });
    }
}

/// How a request waits whose place may be kept.
pub(crate) fn patiently(acquire: Acquire) -> Acquire {
    let patience = Patience::Polled { poll_ttl_ms: POLL_TTL_MS };
    Acquire { patience, claim_ms: Some(CLAIM_MS), ..acquire }
}

/// Places that are kept between two requests.
#[derive(Default)]
pub(crate) struct Places {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    by_waiter: HashMap<Waiter, VecDeque<Place>>,
    len: usize,
}

impl Places {
    /// The place of this waiter, if one is kept.
    pub(crate) fn take(&self, waiter: &Waiter) -> Option<Place> {
        lock(&self.kept).remove(waiter, |_| true)
    }

    /// Keeps a place for as long as a client takes that was told to wait so long.
    pub(crate) fn keep(&self, waiter: Waiter, place: Place, told: Duration) {
        let id = place.id;
        {
            let mut kept = lock(&self.kept);
            if kept.len >= MAX_PLACES {
                // Dropped after the lock, and so given up.
                drop(kept);
                tracing::warn!(max = MAX_PLACES, "no room to keep another client's place in line");
                return;
            }
            kept.len += 1;
            kept.by_waiter.entry(waiter.clone()).or_default().push_back(place);
        }
        let kept = Arc::clone(&self.kept);
        tokio::spawn(async move {
            tokio::time::sleep(told + PLACE_GRACE).await;
            let late = lock(&kept).remove(&waiter, |place| place.id == id);
            drop(late);
        });
    }
}

impl Kept {
    fn remove(&mut self, waiter: &Waiter, is_it: impl Fn(&Place) -> bool) -> Option<Place> {
        let places = self.by_waiter.get_mut(waiter)?;
        let place = places.remove(places.iter().position(is_it)?);
        if places.is_empty() {
            self.by_waiter.remove(waiter);
        }
        self.len -= usize::from(place.is_some());
        place
    }
}

fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
