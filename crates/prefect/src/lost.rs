//! Places whose server is gone: tickets, and grants that nobody took note of, to which nobody attends any more.
//!
//! The id of a place says which node made it, so that a place is known to be lost when its node is gone. What is
//! lost is remembered here by who asked for what, and who comes back goes in line by the age of its old place. In
//! line itself the lost stay only until somebody who is here has waited for a second ([`GRACE`]): a slot that comes
//! meanwhile is kept for the first of those who come back, but it is kept once, not once for each of them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use admit_engine::{Engine, Error};
use admit_kernel::{Claim, Command, Lease, LeaseFilter, Name, State, Ticket, Time};
use tokio::time::Instant;
use uuid::Uuid;

use crate::bounds::{GRACE, LOST_FOR, LOST_GRANTS, MAX_PLACES, NODE_GONE_MS};
use crate::places::{Waiter, Who};

/// The version of the ids of places: one of our own making, unlike that of any other id.
const PLACE_VERSION: u8 = 0x80;

/// What has been found out last need not be looked at again, if it was so shortly ago: no node comes and goes
/// unseen meanwhile.
const FRESH: Duration = Duration::from_millis(NODE_GONE_MS / 2);

/// A place that is lost, and nobody else's meanwhile.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) id: Uuid,
    /// What goes in line in its place goes by this age.
    pub(crate) age: Time,
    _taken: Taken,
}

/// What makes a request that of a waiter who comes back, whatever its connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asks {
    holder: Option<Name>,
    claims: Vec<Claim>,
    ttl_ms: Option<u64>,
    rate: bool,
}

/// Looks for them.
pub(crate) struct LostPlaces {
    engine: Engine,
    is_shared: bool,
    known: Mutex<Known>,
    /// Those that are being taken up.
    taken: Arc<Mutex<HashSet<Uuid>>>,
    clearing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    by_asks: HashMap<Asks, VecDeque<(Uuid, Time, Instant)>>,
    /// Those that have not been taken out of line.
    in_line: Vec<Uuid>,
    /// The nodes that were there, and when that was.
    live: Option<(HashSet<u32>, Instant)>,
    is_done: bool,
}

impl LostPlaces {
    /// Those that there are now.
    ///
    /// # Errors
    /// When it cannot be known which nodes there are.
    pub(crate) async fn new(engine: &Engine) -> Result<LostPlaces, Error> {
        let is_shared = engine.is_shared();
        let lost = LostPlaces {
            engine: engine.clone(),
            is_shared,
            known: Mutex::default(),
            taken: Arc::default(),
            clearing: tokio::sync::Mutex::default(),
        };
        lost.look().await?;
        let mut known = lock(&lost.known);
        // Who is alone loses nothing while it lives.
        known.is_done = !is_shared && known.in_line.is_empty();
        drop(known);
        Ok(lost)
    }

    /// A new id for a place of this node.
    pub(crate) fn new_id(&self) -> Uuid {
        let mut bytes = Uuid::now_v7().into_bytes();
        bytes[6] = PLACE_VERSION | bytes[6] & 0x0f;
        // The front of it is the time and a counter, so it is new without the end.
        bytes[12..].copy_from_slice(&number_of(self.engine.node()).to_be_bytes());
        Uuid::from_bytes(bytes)
    }

    /// The place of a waiter who comes back: the oldest that was lost. Of nodes that others share, also that which a
    /// holder has on another one.
    pub(crate) async fn take(&self, waiter: &Waiter, somebody_waits: bool) -> Result<Option<Lost>, Error> {
        let asks = Asks::of(waiter);
        if let Some((id, age)) = lock(&self.known).take(&asks) {
            let Some(taken) = Taken::new(&self.taken, id) else { return Ok(None) };
            return Ok(Some(Lost { id, age, _taken: taken }));
        }
        // Looking asks the database; where nobody waits, a place is worth no more than a new one.
        if !self.is_shared || !somebody_waits || asks.holder.is_none() {
            return Ok(None);
        }
        let (own, all_taken) = (number_of(self.engine.node()), Arc::clone(&self.taken));
        let find = move |state: &State| {
            let elsewhere = lost(state, |node| node != own).filter(|(_, _, of)| *of == asks);
            let mut elsewhere: Vec<_> = elsewhere.map(|(id, age, _)| (age, id)).collect();
            elsewhere.sort_unstable();
            elsewhere
                .into_iter()
                .find_map(|(age, id)| Some(Lost { id, age, _taken: Taken::new(&all_taken, id)? }))
        };
        self.engine.read(find).await
    }

    /// Until when to wait at most before [`LostPlaces::clear`]; none: nothing is lost any more.
    pub(crate) fn clear_at(&self) -> Option<Instant> {
        (!lock(&self.known).is_done).then(|| Instant::now() + GRACE)
    }

    /// Takes everything out of line that is lost: nobody has come back for it while somebody waited.
    pub(crate) async fn clear(&self) {
        // Somebody else is about it.
        let Ok(_one_at_a_time) = self.clearing.try_lock() else { return };
        if let Err(error) = self.try_clear().await {
            tracing::warn!(%error, "the places of servers that are gone could not be cleared; trying again");
        }
    }

    async fn try_clear(&self) -> Result<(), Error> {
        if self.is_shared {
            self.look().await?;
        }
        let ids = lock(&self.known).in_line.clone();
        if !ids.is_empty() {
            tracing::info!(places = ids.len(), "clearing the line of those whose server is gone");
            let withdraw = |id: &Uuid| Command::Withdraw { id: *id };
            self.engine.execute_all(ids.iter().map(withdraw).collect()).await?;
        }
        let mut known = lock(&self.known);
        known.in_line.clear();
        known.is_done = !self.is_shared;
        Ok(())
    }

    /// Takes note of what the nodes have left behind that are not there any more.
    async fn look(&self) -> Result<(), Error> {
        let live = self.live_nodes().await?;
        let begun = Instant::now();
        let is_known =
            |(before, at): &(HashSet<u32>, Instant)| before.is_subset(&live) && at.elapsed() < FRESH;
        let is_known = lock(&self.known).live.as_ref().is_some_and(is_known);
        if !is_known {
            let there = live.clone();
            let find = move |state: &State| {
                let mut all: Vec<_> = lost(state, |node| !there.contains(&node)).collect();
                all.sort_unstable_by_key(|(id, age, _)| (*age, *id));
                all
            };
            let found = self.engine.read(find).await?;
            lock(&self.known).remember(found, self.is_shared);
        }
        lock(&self.known).live = Some((live, begun));
        Ok(())
    }

    /// The nodes that were seen lately: as lately as this one.
    async fn live_nodes(&self) -> Result<HashSet<u32>, Error> {
        let own = self.engine.node();
        let nodes = self.engine.nodes().await?;
        let seen_ms_ago =
            nodes.iter().find(|node| node.info.number == own).map_or(0, |node| node.seen_ms_ago);
        // A database that hears of nobody has not lost everybody.
        let live = nodes.iter().filter(|node| node.seen_ms_ago <= seen_ms_ago + NODE_GONE_MS);
        Ok(live.map(|node| node.info.number).chain([own]).map(number_of).collect())
    }
}

impl Known {
    fn take(&mut self, asks: &Asks) -> Option<(Uuid, Time)> {
        let places = self.by_asks.get_mut(asks)?;
        let now = Instant::now();
        let found = std::iter::from_fn(|| places.pop_front()).find(|(_, _, until)| *until > now);
        if places.is_empty() {
            self.by_asks.remove(asks);
        }
        found.map(|(id, age, _)| (id, age))
    }

    fn remember(&mut self, found: Vec<(Uuid, Time, Asks)>, is_shared: bool) {
        let now = Instant::now();
        self.by_asks.retain(|_, places| places.iter().any(|(_, _, until)| *until > now));
        for (id, age, asks) in found {
            if self.in_line.contains(&id) {
                continue;
            }
            self.in_line.push(id);
            // On several nodes every one of them would give it to somebody else.
            if (!is_shared || asks.holder.is_some()) && self.in_line.len() <= MAX_PLACES {
                self.by_asks.entry(asks).or_default().push_back((id, age, now + LOST_FOR));
            }
        }
    }
}

/// The places of these nodes, with their ages: grants that nobody has taken note of come before all tickets.
fn lost(state: &State, of_node: impl Fn(u32) -> bool) -> impl Iterator<Item = (Uuid, Time, Asks)> {
    let filter = LeaseFilter {
        after_token: state.newest_token().saturating_sub(LOST_GRANTS),
        page_size: usize::try_from(LOST_GRANTS).unwrap_or(usize::MAX),
        ..LeaseFilter::default()
    };
    let granted = state.leases(&filter).into_iter().filter(|lease| lease.claim_by.is_some());
    let granted = granted.map(|lease| (lease.id, Time(0), Asks::from(lease)));
    let waiting = state.tickets().map(|ticket| (ticket.id, ticket.age, Asks::from(ticket)));
    granted.chain(waiting).filter(move |(id, ..)| node_of(*id).is_some_and(&of_node))
}

/// Which node's place an id is of; none: it is not that of a place.
fn node_of(id: Uuid) -> Option<u32> {
    let bytes = id.as_bytes();
    let number = u32::from_be_bytes(bytes[12..].try_into().ok()?);
    (bytes[6] & 0xf0 == PLACE_VERSION).then_some(number)
}

/// As much of a node's number as the ids of its places carry: nodes that are there at once hardly share it.
fn number_of(node: u64) -> u32 {
    let bytes = node.to_be_bytes();
    u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]])
}

impl Asks {
    fn of(waiter: &Waiter) -> Asks {
        let holder = match &waiter.who {
            Who::Holder(holder) => Some(holder.clone()),
            Who::Peer(_) => None,
        };
        Asks { holder, claims: waiter.claims.clone(), ttl_ms: waiter.ttl_ms, rate: waiter.rate }
    }
}

impl From<&Ticket> for Asks {
    fn from(ticket: &Ticket) -> Asks {
        let Ticket { holder, claims, ttl_ms, rate, .. } = ticket;
        Asks { holder: holder.clone(), claims: claims.to_vec(), ttl_ms: *ttl_ms, rate: *rate }
    }
}

impl From<&Lease> for Asks {
    fn from(lease: &Lease) -> Asks {
        let Lease { holder, claims, ttl_ms, rate, .. } = lease;
        Asks { holder: holder.clone(), claims: claims.to_vec(), ttl_ms: *ttl_ms, rate: *rate }
    }
}

/// Keeps others from taking up the same place.
#[derive(Debug)]
struct Taken {
    ids: Arc<Mutex<HashSet<Uuid>>>,
    id: Uuid,
}

impl Taken {
    fn new(ids: &Arc<Mutex<HashSet<Uuid>>>, id: Uuid) -> Option<Taken> {
        lock(ids).insert(id).then(|| Taken { ids: Arc::clone(ids), id })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        lock(&self.ids).remove(&self.id);
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
