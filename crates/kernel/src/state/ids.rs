//! What ids stand for: live leases, waiting tickets, and for a day what has ended.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use uuid::Uuid;

use super::key::LeaseIx;
use super::ranked::Rank;
use crate::{End, MAX_ENDED, QueueNo, REMEMBER_ENDED_MS, Time};

/// What an id stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Id {
    Lease(LeaseIx),
    Ticket { queue: QueueNo, rank: Rank },
    Ended { how: End, at: Time },
}

/// All ids that are known.
#[derive(Debug, Default)]
pub(super) struct Ids {
    // Apart, because there are far more of the latter two and most requests find nothing there: what they do
    // touch stays small enough for a core's cache.
    leases: HashMap<Uuid, LeaseIx, RandomState>,
    tickets: HashMap<Uuid, (QueueNo, Rank), RandomState>,
    ended: EndedIds,
}

impl Ids {
    pub(super) fn get(&self, id: Uuid) -> Option<Id> {
        let lease = self.lease(id).map(Id::Lease);
        let ticket = || self.ticket(id).map(|(queue, rank)| Id::Ticket { queue, rank });
        lease.or_else(ticket).or_else(|| self.ended.get(id))
    }

    pub(super) fn lease(&self, id: Uuid) -> Option<LeaseIx> {
        self.leases.get(&id).copied()
    }

    pub(super) fn ticket(&self, id: Uuid) -> Option<(QueueNo, Rank)> {
        self.tickets.get(&id).copied()
    }

    /// The id stands for a lease, no longer for a ticket.
    pub(super) fn set_lease(&mut self, id: Uuid, ix: LeaseIx) {
        self.tickets.remove(&id);
        self.leases.insert(id, ix);
    }

    pub(super) fn set_ticket(&mut self, id: Uuid, queue: QueueNo, rank: Rank) {
        self.tickets.insert(id, (queue, rank));
    }

    /// What was live under this id is over; the end is remembered.
    pub(super) fn end(&mut self, id: Uuid, how: End, at: Time) {
        if self.leases.remove(&id).is_none() {
            self.tickets.remove(&id);
        }
        self.ended.push(at, id, how);
    }

    /// Forgets what ended a day before `now`.
    pub(super) fn forget(&mut self, now: Time) {
        while self.ended.ends.front().is_some_and(|(at, ..)| at.plus(REMEMBER_ENDED_MS) <= now) {
            self.ended.forget_oldest();
        }
    }

    /// What has ended, oldest first.
    pub(super) fn ended(&self) -> impl Iterator<Item = (Uuid, End, Time)> {
        self.ended.ends.iter().map(|&(at, id, how)| (id, how, at))
    }
}

/// Ids that ended. Up to a million of them are asked about with every request, so their index is as small as
/// it can be: an answer costs one wait for memory.
#[derive(Debug, Default)]
struct EndedIds {
    /// Oldest first.
    ends: VecDeque<(Time, Uuid, End)>,
    /// The numbers of all ends, found by the hash of their ids. Numbers go round; [`MAX_ENDED`] of them never meet.
    index: HashTable<u32>,
    /// The number of the oldest.
    first: u32,
    hasher: RandomState,
}

const _: () = assert!(MAX_ENDED < u32::MAX as usize / 2);

impl EndedIds {
    fn get(&self, id: Uuid) -> Option<Id> {
        let number = self.index.find(self.hasher.hash_one(id), |&number| self.at(number).1 == id)?;
        let (at, _, how) = *self.at(*number);
        Some(Id::Ended { how, at })
    }

    fn at(&self, number: u32) -> &(Time, Uuid, End) {
        &self.ends[number.wrapping_sub(self.first) as usize]
    }

    fn push(&mut self, at: Time, id: Uuid, how: End) {
        if self.ends.len() == MAX_ENDED {
            self.forget_oldest();
        }
        let number = self.first.wrapping_add(self.ends.len() as u32);
        self.ends.push_back((at, id, how));
        let EndedIds { ends, index, first, hasher } = self;
        let hash = |&number: &u32| hasher.hash_one(ends[number.wrapping_sub(*first) as usize].1);
        index.insert_unique(hasher.hash_one(id), number, hash);
    }

    fn forget_oldest(&mut self) {
        let Some((_, id, _)) = self.ends.pop_front() else { return };
        let oldest = self.first;
        self.first = oldest.wrapping_add(1);
        if let Ok(entry) = self.index.find_entry(self.hasher.hash_one(id), |&number| number == oldest) {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_ends_are_remembered_for_a_day() {
        let mut ids =
            Ids { ended: EndedIds { first: u32::MAX - 10, ..EndedIds::default() }, ..Ids::default() };
        let id = |n: usize| Uuid::from_u128(n as u128);
        for n in 0..MAX_ENDED + 20 {
            ids.end(id(n), End::Released, Time(n as u64));
        }
        let check = |ids: &Ids, n, expect: Option<u64>| {
            let expect = expect.map(|at| Id::Ended { how: End::Released, at: Time(at) });
            assert_eq!(ids.get(id(n)), expect, "{n}");
        };
        check(&ids, 19, None);
        check(&ids, 20, Some(20));
        check(&ids, MAX_ENDED + 19, Some(MAX_ENDED as u64 + 19));
        ids.forget(Time(REMEMBER_ENDED_MS + 500));
        check(&ids, 500, None);
        check(&ids, 501, Some(501));
        assert_eq!(ids.ended().count(), MAX_ENDED - 481);
    }
}
