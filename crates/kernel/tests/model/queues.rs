//! Who waits where.

use admit_kernel::{Name, QueueNo, TermsRef, Ticket};
use uuid::Uuid;

use super::{Model, Queue};

impl Model {
    pub(super) fn queue_of(&self, id: Uuid) -> QueueNo {
        let has = |queue: &Queue| queue.tickets.iter().any(|ticket| ticket.id == id);
        *self.queues.iter().find(|(_, queue)| has(queue)).expect("the ticket waits in a queue").0
    }

    pub(super) fn take_ticket(&mut self, id: Uuid, credit: Option<u64>) -> Ticket {
        let no = self.queue_of(id);
        if let Some(credit) = credit {
            let (key, terms) = self.queues[&no].at.clone().expect("it is parked");
            let lane = self.lane(no, &key, &terms);
            self.credits.insert(lane, credit);
        }
        let queue = self.queues.get_mut(&no).expect("it is there");
        let was_head = queue.head().id == id;
        let index = queue.tickets.iter().position(|ticket| ticket.id == id).expect("it is in it");
        let ticket = queue.tickets.remove(index);
        if was_head {
            queue.holds.clear();
        }
        if queue.tickets.is_empty() {
            self.queues.remove(&no);
        }
        ticket
    }

    pub(super) fn give_back_if_headed(&mut self, no: QueueNo, id: Uuid) {
        let queue = self.queues.get_mut(&no).expect("it is there");
        if queue.head().id == id {
            queue.holds.clear();
        }
    }

    pub(super) fn lane(
        &self,
        no: QueueNo,
        key: &Name,
        terms: &TermsRef,
    ) -> (Name, TermsRef, i32, Option<Name>) {
        let head = self.queues[&no].head();
        (key.clone(), terms.clone(), head.priority, head.group.clone())
    }

    /// The queues of a waitlist that reserve there.
    pub(super) fn waitlist(&self, key: &Name, terms: &TermsRef) -> impl Iterator<Item = (QueueNo, &Queue)> {
        let at = Some((key.clone(), terms.clone()));
        self.queues
            .iter()
            .filter(move |(_, queue)| queue.at == at && !queue.aside)
            .map(|(no, queue)| (*no, queue))
    }

    pub(super) fn lane_is_there(&self, lane: &(Name, TermsRef, i32, Option<Name>), but: QueueNo) -> bool {
        self.waitlist(&lane.0, &lane.1).any(|(no, queue)| {
            let head = queue.head();
            no != but && (head.priority, &head.group) == (lane.2, &lane.3)
        })
    }

    pub(super) fn lowest_credit(&self, key: &Name, terms: &TermsRef, priority: i32) -> u64 {
        let of = |queue: &Queue| {
            let head = queue.head();
            self.credits.get(&(key.clone(), terms.clone(), head.priority, head.group.clone())).copied()
        };
        let same = self.waitlist(key, terms).filter(|(_, queue)| queue.head().priority == priority);
        same.filter_map(|(_, queue)| of(queue)).min().unwrap_or(0)
    }

    /// The queue that goes first in a waitlist.
    pub(super) fn front(&self, key: &Name, terms: &TermsRef) -> Option<(QueueNo, &Queue)> {
        self.waitlist(key, terms).min_by_key(|(no, queue)| {
            let head = queue.head();
            let credit =
                self.credits.get(&(key.clone(), terms.clone(), head.priority, head.group.clone())).copied();
            (-i64::from(head.priority), credit.unwrap_or(0), head.age, head.arrival, *no)
        })
    }
}
