//! What can be read from the state.

use std::cmp::Ordering;

use uuid::Uuid;

use super::blocked::{Candidate, Effective};
use super::level::PICO;
use super::{Id, State};
use crate::{
    Block, Claim, End, Eta, EtaKind, HolderView, KeyView, Lease, LeaseFilter, Limit, MAX_NAMED_HOLDERS, Name,
    TermsRef, Ticket, TicketView, Time, Totals, Why,
};

impl State {
    /// The live lease of this id.
    #[must_use]
    pub fn lease(&self, id: Uuid) -> Option<&Lease> {
        self.ids.lease(id).and_then(|ix| self.leases.at(ix)).map(|live| &live.lease)
    }

    /// What a live lease takes of each key, limits that match its keys included.
    #[must_use]
    pub fn takes_of(&self, id: Uuid) -> Vec<(Name, u32)> {
        let live = self.ids.lease(id).and_then(|ix| self.leases.at(ix));
        let takes = live.map_or(&[][..], |live| &live.takes);
        takes.iter().filter_map(|&(ix, slots)| Some((self.keys.at(ix)?.name.clone(), slots))).collect()
    }

    /// The waiting ticket of this id.
    #[must_use]
    pub fn ticket(&self, id: Uuid) -> Option<&Ticket> {
        let (queue, rank) = self.ids.ticket(id)?;
        self.queues.get(&queue)?.tickets.get(rank).map(|ticket| &**ticket)
    }

    /// All waiting tickets, in no particular order.
    pub fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.queues.values().flat_map(|queue| queue.tickets.iter().map(|ticket| &**ticket))
    }

    /// Where the waiting ticket of this id stands.
    #[must_use]
    pub fn ticket_view(&self, id: Uuid) -> Option<TicketView> {
        let ticket = self.ticket(id)?;
        let (no, _) = self.ids.ticket(id)?;
        let queue = self.queues.get(&no)?;
        let (ix, terms) = queue.parked.as_ref()?;
        let key = self.keys.at(*ix)?;
        let list = key.waitlist(terms)?;
        let is_head = queue.head().is_some_and(|head| head.id == id);
        let candidate = Candidate {
            queue: is_head.then_some(no),
            priority: ticket.priority,
            group: ticket.group.as_ref(),
            rank: (ticket.age, ticket.arrival),
            continues: ticket.continues,
        };
        let effective = self.effective(&ticket.claims);
        let mut blocked_by = self.blocks_of(&candidate, &effective);
        blocked_by.sort_by_key(|block| block.key != key.name);
        let held = |ix: &u32| {
            let key = self.keys.at(*ix)?;
            let slots = key.held.iter().find(|held| held.queue == no)?.slots;
            Some((key.name.clone(), slots))
        };
        Some(TicketView {
            ticket: ticket.clone(),
            parked_at: key.name.clone(),
            position: self.ahead(list, &candidate).tickets + 1,
            eta: self.eta(&candidate, &effective),
            blocked_by,
            holding: if is_head { queue.holds.iter().filter_map(held).collect() } else { Vec::new() },
            passed_by_looser_terms: if is_head { list.passed } else { 0 },
        })
    }

    /// How and when the lease or ticket of this id ended, while that is remembered.
    #[must_use]
    pub fn ended(&self, id: Uuid) -> Option<(End, Time)> {
        match self.ids.get(id) {
            Some(Id::Ended { how, at }) => Some((how, at)),
            _ => None,
        }
    }

    /// Why a request with these claims would wait now, claim by claim.
    #[must_use]
    pub fn blocked_by(&self, claims: &[Claim]) -> Vec<Block> {
        let candidate =
            Candidate { queue: None, priority: 0, group: None, rank: (self.seen, u64::MAX), continues: None };
        self.blocks(&candidate, claims)
    }

    pub(super) fn blocks(&self, candidate: &Candidate<'_>, claims: &[Claim]) -> Vec<Block> {
        self.blocks_of(candidate, &self.effective(claims))
    }

    fn blocks_of(&self, candidate: &Candidate<'_>, effective: &[Effective<'_>]) -> Vec<Block> {
        effective
            .iter()
            .filter_map(|claim| Some(self.block(candidate, claim, self.shortage(candidate, claim)?)))
            .collect()
    }

    fn block(&self, candidate: &Candidate<'_>, claim: &Effective<'_>, why: Why) -> Block {
        let key = self.keys.get(claim.key);
        let used = key.map_or(0, |key| {
            slots_up(key.used_pico(&claim.rules.terms, claim.terms, self.seen, None, &self.leases))
        });
        Block {
            key: claim.key.clone(),
            limit: claim.terms.limit().cloned(),
            why,
            used,
            max: claim.rules.terms.max,
            asked: claim.slots,
            waiting: key.map_or(0, |key| key.waiting),
            holders: self.holders(claim.key, MAX_NAMED_HOLDERS),
            retry_in_ms: self.eta_of(candidate, claim).in_ms,
        }
    }

    /// The oldest who hold slots of a key, at most `most`.
    #[must_use]
    pub fn holders(&self, key: &str, most: usize) -> Vec<HolderView> {
        let holders = self.keys.get(key).into_iter().flat_map(|key| key.holders.iter());
        let view = |(ix, slots)| {
            let lease = &self.leases.at(ix)?.lease;
            Some(HolderView {
                id: lease.id,
                token: lease.token,
                holder: lease.holder.clone(),
                slots,
                age_ms: self.seen.since(lease.granted_at),
                expires_at: lease.expires_at,
            })
        };
        holders.take(most).filter_map(view).collect()
    }

    /// Leases by token, ascending, that fit the filter: one page.
    #[must_use]
    pub fn leases(&self, filter: &LeaseFilter) -> Vec<&Lease> {
        let limit_key = filter.limit.as_ref().and_then(|name| self.keys.ix(name));
        let fits = |live: &&super::Live| {
            let claims_limit = filter.limit.as_ref().is_none_or(|name| {
                live.lease.claims.iter().any(|claim| claim.terms.limit() == Some(name))
                    || live.takes.iter().any(|&(ix, _)| Some(ix) == limit_key)
            });
            claims_limit
                && filter.holder.as_ref().is_none_or(|holder| live.lease.holder.as_ref() == Some(holder))
        };
        if let Some(key) = &filter.key {
            let holders =
                self.keys.get(key).into_iter().flat_map(|key| key.holders.after(filter.after_token));
            let live = holders.filter_map(|ix| self.leases.at(ix)).filter(fits);
            return live.take(filter.page_size).map(|live| &live.lease).collect();
        }
        let live = self.leases.iter().map(|(_, live)| live);
        let fitting = live.filter(|live| live.lease.token > filter.after_token).filter(fits);
        first_sorted(fitting.map(|live| &live.lease), filter.page_size, |a, b| a.token.cmp(&b.token))
    }

    /// The limit of this name.
    #[must_use]
    pub fn limit(&self, name: &str) -> Option<&Limit> {
        self.limits.get(name).map(|state| &state.limit)
    }

    /// Up to `page_size` limits by name, those after `after`.
    #[must_use]
    pub fn limits(&self, after: Option<&str>, page_size: usize) -> Vec<&Limit> {
        let limits = self.limits.values().map(|state| &state.limit);
        let rest = limits.filter(|limit| after.is_none_or(|after| &*limit.name > after));
        first_sorted(rest, page_size, |a, b| a.name.cmp(&b.name))
    }

    /// Tickets that claim a limit, wherever they are parked, and how many requests it would have made wait in
    /// mode observe.
    #[must_use]
    pub fn limit_counts(&self, name: &str) -> (u32, u64) {
        self.limits.get(name).map_or((0, 0), |state| (state.waiting, state.would_wait))
    }

    /// A key as it is now, with up to `holders` of its holders; of an unknown key: nothing used.
    #[must_use]
    pub fn key_view(&self, name: &str, holders: usize) -> KeyView {
        let name: Name = self.keys.get(name).map_or_else(|| name.into(), |key| key.name.clone());
        let own = self.limits.get(&name).map(|state| state.limit.name.clone());
        let limits =
            own.clone().into_iter().chain(self.matching(&name).map(|(limit, _)| limit.clone())).collect();
        let past =
            self.keys.get(&name).and_then(|key| key.past.as_deref()).filter(|past| past.horizon_ms > 0);
        let terms = own.map(TermsRef::Limit);
        let used = terms.as_ref().and_then(|terms| {
            let resolved = self.resolve(terms)?;
            Some(slots_up(self.keys.get(&name)?.used_pico(
                &resolved.terms,
                terms,
                self.seen,
                None,
                &self.leases,
            )))
        });
        let key = self.keys.get(&name);
        let running = key.map_or(0, |key| key.holders.slots());
        let held = key.map_or(0, |key| key.held_slots(None));
        KeyView {
            running,
            cooling: past.map_or(0, |past| past.ends.slots_after(self.seen.minus(past.horizon_ms))),
            held,
            used: used.unwrap_or(running + held),
            waiting: key.map_or(0, |key| key.waiting),
            limits,
            holders: self.holders(&name, holders),
            holder_count: key.map_or(0, |key| key.holders.len() as u64),
            window_known_since: past.map(|past| past.known_since),
            median_hold_ms: key.and_then(|key| key.samples.median()),
            next_slot: self.next_slot(&name, terms.as_ref()),
            key: name,
        }
    }

    /// When the foremost of those who wait at a key goes on, or when a slot of its own limit comes free.
    fn next_slot(&self, name: &Name, own: Option<&TermsRef>) -> Eta {
        let lists = self.keys.get(name).map_or(&[][..], |key| &key.waitlists);
        let fronts = lists.iter().filter_map(|list| list.front());
        if let Some(&(.., queue)) = fronts.min_by_key(|&&(priority, _, rank, _)| (priority, rank))
            && let (Some(candidate), Some(queue)) = (self.candidate_of(queue), self.queues.get(&queue))
        {
            return self.eta(&candidate, &self.effective(&queue.identity.claims));
        }
        let candidate =
            Candidate { queue: None, priority: 0, group: None, rank: (self.seen, u64::MAX), continues: None };
        let claim =
            own.and_then(|terms| Some(Effective { key: name, terms, rules: self.resolve(terms)?, slots: 1 }));
        let short = claim.filter(|claim| self.shortage(&candidate, claim).is_some());
        short.map_or(Eta { in_ms: Some(0), kind: EtaKind::Exact, reason: "a slot is free" }, |claim| {
            self.eta_of(&candidate, &claim)
        })
    }

    /// Up to `page_size` known keys by name that start with `prefix`, those after `after`.
    #[must_use]
    pub fn keys(&self, prefix: &str, after: Option<&str>, page_size: usize) -> Vec<Name> {
        let keys = self.keys.iter().map(|(_, key)| &key.name);
        let rest = keys.filter(|name| name.starts_with(prefix) && after.is_none_or(|after| &***name > after));
        first_sorted(rest, page_size, Ord::cmp).into_iter().cloned().collect()
    }

    /// How much there is of everything.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            leases: self.leases.live as u64,
            tickets: u64::from(self.tickets),
            keys: self.keys.len() as u64,
            limits: self.limits.len() as u64,
            oldest_ticket: self.oldest_ticket(),
        }
    }

    fn oldest_ticket(&self) -> Option<Uuid> {
        let heads = self.queues.values().filter_map(|queue| queue.head());
        heads.min_by_key(|head| (head.age, head.arrival)).map(|head| head.id)
    }

    /// The latest fencing token given.
    #[must_use]
    pub fn newest_token(&self) -> u64 {
        self.token()
    }
}

/// Slots, rounded up.
fn slots_up(pico: u128) -> u64 {
    u64::try_from(pico.div_ceil(PICO)).unwrap_or(u64::MAX)
}

/// The first `most` items by an order, sorted, without sorting the rest.
fn first_sorted<T: Copy>(
    items: impl Iterator<Item = T>,
    most: usize,
    order: impl Fn(&T, &T) -> Ordering,
) -> Vec<T> {
    let mut all: Vec<T> = items.collect();
    if most < all.len() && most > 0 {
        all.select_nth_unstable_by(most - 1, &order);
    }
    all.truncate(most);
    all.sort_unstable_by(order);
    all
}
