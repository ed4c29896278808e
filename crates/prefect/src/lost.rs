//! Places of servers that are gone, as the log has them: tickets that nobody here attends to.
//!
//! Who comes back is known by the holder that it names. Where it names none, a server that is alone knows that all
//! those who asked the same of the server before it have lost their places, and gives these to them in the order
//! in which they come back; among several nodes that cannot be known, and only holders find their places.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use admit_engine::{Engine, Error};
use admit_kernel::{LeaseFilter, Name, Patience, State, Time};
use uuid::Uuid;

use crate::bounds::{CLAIM_MS, LOST_FOR, LOST_GRANTS, POLL_TTL_MS};
use crate::places::{Waiter, Who};

/// A ticket, or a grant that nobody has taken note of.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) id: Uuid,
    /// What goes in line in its place goes by this age.
    pub(crate) age: Time,
    /// Nobody else finds it meanwhile.
    _own: Own,
}

/// Looks for them.
pub(crate) struct LostPlaces {
    /// The places of this server, which are not lost.
    own: Arc<Mutex<HashSet<Uuid>>>,
    is_alone: bool,
    begun: Instant,
}

impl LostPlaces {
    /// Those that there are from now on.
    pub(crate) fn new(engine: &Engine) -> LostPlaces {
        LostPlaces { own: Arc::default(), is_alone: !engine.is_shared(), begun: Instant::now() }
    }

    /// Says that this id, which is new, is that of a place of this server.
    pub(crate) fn own(&self, id: Uuid) -> Own {
        lock(&self.own).insert(id);
        Own { ids: Arc::clone(&self.own), id }
    }

    /// The oldest place of a waiter that is lost; a grant before all tickets.
    pub(crate) async fn find(
        &self,
        engine: &Engine,
        waiter: &Waiter,
        somebody_waits: bool,
    ) -> Result<Option<Lost>, Error> {
        let may_be = match self.is_alone {
            true => self.begun.elapsed() < LOST_FOR,
            // Looking asks the database; where nobody waits, a place is worth no more than a new one.
            false => somebody_waits && matches!(waiter.who, Who::Holder(_)),
        };
        if !may_be {
            return Ok(None);
        }
        let (own, waiter) = (Arc::clone(&self.own), waiter.clone());
        engine
            .read(move |state| {
                let mut all = granted(state, &waiter).chain(waiting(state, &waiter));
                let mut ids = lock(&own);
                let (id, age) = all.find(|(id, _)| ids.insert(*id))?;
                drop(ids);
                Some(Lost { id, age, _own: Own { ids: own, id } })
            })
            .await
    }
}

/// Grants of a waiter that nobody has taken note of. They had been in front.
fn granted(state: &State, waiter: &Waiter) -> impl Iterator<Item = (Uuid, Time)> {
    let filter = LeaseFilter {
        key: waiter.claims.first().map(|claim| claim.key.clone()),
        holder: holder(waiter).cloned(),
        after_token: state.newest_token().saturating_sub(LOST_GRANTS),
        page_size: usize::try_from(LOST_GRANTS).unwrap_or(usize::MAX),
        ..LeaseFilter::default()
    };
    let leases = state.leases(&filter).into_iter().filter(|lease| {
        lease.claim_by.is_some()
            && lease.holder.as_ref() == holder(waiter)
            && *lease.claims == *waiter.claims
            && (lease.ttl_ms, lease.rate) == (waiter.ttl_ms, waiter.rate)
    });
    leases.map(|lease| (lease.id, Time(0)))
}

/// Tickets of a waiter, the oldest first. Nobody else asks for slots in this way.
fn waiting(state: &State, waiter: &Waiter) -> impl Iterator<Item = (Uuid, Time)> {
    let tickets = state.tickets_with(&waiter.claims).filter(|ticket| {
        ticket.holder.as_ref() == holder(waiter)
            && (ticket.ttl_ms, ticket.rate) == (waiter.ttl_ms, waiter.rate)
            && ticket.patience == Patience::Polled { poll_ttl_ms: POLL_TTL_MS }
            && ticket.claim_ms == CLAIM_MS
    });
    tickets.map(|ticket| (ticket.id, ticket.age))
}

fn holder(waiter: &Waiter) -> Option<&Name> {
    match &waiter.who {
        Who::Holder(holder) => Some(holder),
        Who::Peer(_) => None,
    }
}

/// An id that belongs to a place of this server for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Own {
    ids: Arc<Mutex<HashSet<Uuid>>>,
    id: Uuid,
}

impl Drop for Own {
    fn drop(&mut self) {
        lock(&self.ids).remove(&self.id);
    }
}

fn lock(ids: &Mutex<HashSet<Uuid>>) -> std::sync::MutexGuard<'_, HashSet<Uuid>> {
    ids.lock().unwrap_or_else(PoisonError::into_inner)
}
