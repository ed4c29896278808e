//! Queues, and the waitlists in which they stand at a key: who goes before whom.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::key::KeyIx;
use super::ranked::{Rank, Ranked};
use crate::{Claim, Name, QueueNo, TermsRef, Ticket, Time};

/// Tickets with the same stated claims, priority and group, oldest first. Parked as one piece at one key.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) identity: QueueIdentity,
    pub(super) tickets: Ranked<Box<Ticket>>,
    /// Where it is parked; none only between the events that make it.
    pub(super) parked: Option<(KeyIx, TermsRef)>,
    /// How often its head was moved.
    pub(super) moves: u32,
    /// Keys of which its head holds slots, and until when.
    pub(super) holds: SmallVec<[KeyIx; 2]>,
    pub(super) hold_until: Option<Time>,
    /// How often its head has held slots in vain: it holds them for longer each time.
    pub(super) held_in_vain: u32,
    pub(super) aside: bool,
    /// Keys and limits whose waiting tickets it is counted among.
    pub(super) counted: Counted,
}

/// What makes two tickets stand in one queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct QueueIdentity {
    pub(super) claims: Arc<[Claim]>,
    pub(super) priority: i32,
    pub(super) group: Option<Name>,
}

/// The keys and limits that the tickets of a queue claim.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted {
    pub(super) keys: SmallVec<[KeyIx; 2]>,
    pub(super) limits: SmallVec<[Name; 1]>,
}

impl Queue {
    pub(super) fn head(&self) -> Option<&Ticket> {
        self.tickets.first().map(|(_, ticket)| &**ticket)
    }

    pub(super) fn head_rank(&self) -> Option<Rank> {
        self.tickets.first().map(|(rank, _)| *rank)
    }
}

/// The place of a group's foremost queue in a waitlist: priority, then rotation, then age, then arrival.
pub(super) type Place = (Reverse<i32>, u64, Rank, QueueNo);

/// The queues parked at one key under the same terms.
#[derive(Debug)]
pub(super) struct Waitlist {
    pub(super) terms: TermsRef,
    lanes: HashMap<(i32, Option<Name>), Lane, RandomState>,
    /// The foremost queue of each lane.
    order: BTreeSet<Place>,
    /// Queues that ask for more than is allowed now; they reserve nothing.
    pub(super) aside: BTreeSet<QueueNo>,
    /// How often younger grants of other terms went before the front.
    pub(super) passed: u32,
    front: Option<(QueueNo, u64)>,
}

/// The queues of one priority and group.
#[derive(Debug, Default)]
struct Lane {
    /// Slots granted to it here: the smallest credit goes first.
    credit: u64,
    queues: BTreeSet<(Rank, QueueNo)>,
}

impl Lane {
    fn place(&self, priority: i32) -> Option<Place> {
        self.queues.first().map(|&(rank, queue)| (Reverse(priority), self.credit, rank, queue))
    }
}

impl Waitlist {
    pub(super) fn new(terms: TermsRef) -> Waitlist {
        Waitlist {
            terms,
            lanes: HashMap::default(),
            order: BTreeSet::new(),
            aside: BTreeSet::new(),
            passed: 0,
            front: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.aside.is_empty()
    }

    /// The place of the queue that goes next.
    pub(super) fn front(&self) -> Option<&Place> {
        self.order.first()
    }

    /// The foremost queues of all lanes, in their order.
    pub(super) fn lane_fronts(&self) -> impl Iterator<Item = &Place> {
        self.order.iter()
    }

    /// The queues of one lane, in their order.
    pub(super) fn lane(&self, priority: i32, group: Option<&Name>) -> impl Iterator<Item = QueueNo> {
        let lane = self.lanes.get(&(priority, group.cloned()));
        lane.into_iter().flat_map(|lane| lane.queues.iter().map(|&(_, queue)| queue))
    }

    /// The credits of all lanes.
    pub(super) fn credits(&self) -> impl Iterator<Item = (&(i32, Option<Name>), u64)> {
        self.lanes.iter().map(|(lane, state)| (lane, state.credit))
    }

    /// The rotation credit of a group: its own, or the lowest present where it is new.
    pub(super) fn credit(&self, priority: i32, group: Option<&Name>) -> u64 {
        // Usually nobody has a group; then there is one lane and nothing to look up.
        if let Some(lane) = self.lanes.get(&(priority, group.cloned())) {
            return lane.credit;
        }
        let lowest = (Reverse(priority), 0, (Time(0), 0), 0);
        match self.order.range(lowest..).next() {
            Some(&(Reverse(found), credit, ..)) if found == priority => credit,
            _ => 0,
        }
    }

    /// Whether the front goes before a candidate that stands, or would stand, here.
    pub(super) fn goes_before(
        &self,
        queue: Option<QueueNo>,
        priority: i32,
        group: Option<&Name>,
        rank: Rank,
    ) -> bool {
        let Some(front) = self.front() else { return false };
        if Some(front.3) == queue {
            return false;
        }
        let credit = self.credit(priority, group);
        (front.0, front.1, front.2) < (Reverse(priority), credit, rank)
    }

    /// Puts a queue in, with the credit that its group has if it is new here.
    pub(super) fn insert(
        &mut self,
        queue: QueueNo,
        priority: i32,
        group: Option<&Name>,
        rank: Rank,
        credit: u64,
    ) {
        let lane =
            self.lanes.entry((priority, group.cloned())).or_insert(Lane { credit, queues: BTreeSet::new() });
        if let Some(place) = lane.place(priority) {
            self.order.remove(&place);
        }
        lane.queues.insert((rank, queue));
        self.order.extend(lane.place(priority));
    }

    /// Takes a queue out.
    pub(super) fn remove(&mut self, queue: QueueNo, priority: i32, group: Option<&Name>, rank: Rank) {
        let name = (priority, group.cloned());
        let Some(lane) = self.lanes.get_mut(&name) else { return };
        if let Some(place) = lane.place(priority) {
            self.order.remove(&place);
        }
        lane.queues.remove(&(rank, queue));
        match lane.place(priority) {
            Some(place) => {
                self.order.insert(place);
            }
            None => {
                self.lanes.remove(&name);
            }
        }
    }

    /// Sets the credit of a group that stands here.
    pub(super) fn set_credit(&mut self, priority: i32, group: Option<&Name>, credit: u64) {
        let Some(lane) = self.lanes.get_mut(&(priority, group.cloned())) else { return };
        if let Some(place) = lane.place(priority) {
            self.order.remove(&place);
        }
        lane.credit = credit;
        self.order.extend(lane.place(priority));
    }

    /// Whether another head is in front than when this was last asked.
    pub(super) fn front_changed(&mut self) -> bool {
        let front = self.order.first().map(|&(_, _, (_, arrival), queue)| (queue, arrival));
        let changed = front != self.front;
        if changed {
            self.front = front;
            self.passed = 0;
        }
        changed
    }
}
