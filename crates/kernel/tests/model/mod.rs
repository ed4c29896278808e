//! A second, naive statement of what the kernel promises. It reads the facts that happened (the events) as a
//! historian would, keeps all of them, and counts everything anew whenever it is asked: no indexes, no
//! timers, nothing kept that could be computed. Slow, and plain enough to be believed.
#![allow(dead_code)]

mod check;
mod leases;
mod queues;
mod usage;

use std::collections::{BTreeMap, BTreeSet};

use admit_kernel::{
    Claim, Command, End, Event, Limit, Mode, Name, OUTAGE_GRACE_MS, QueueNo, Terms, TermsRef, Ticket, Time,
};
use uuid::Uuid;

/// Parts of a slot in which levels are told.
pub const PICO: u128 = 1_000_000_000_000;

/// A live lease, as the model knows it.
#[derive(Debug, Clone)]
pub struct Run {
    pub claims: Vec<Claim>,
    /// What its request claimed when it was granted, also of limits that did not exist.
    pub ttl_ms: Option<u64>,
    pub granted_at: u64,
    pub expires_at: Option<u64>,
    pub claim_by: Option<u64>,
    pub rate: bool,
    pub token: u64,
}

/// One start or end on one key.
#[derive(Debug, Clone)]
struct Mark {
    key: Name,
    at: u64,
    id: Uuid,
    slots: u32,
}

/// A queue: who stands in it, and where it is parked.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    pub at: Option<(Name, TermsRef)>,
    pub aside: bool,
    pub moves: u32,
    pub tickets: Vec<Ticket>,
    pub holds: Vec<(Name, TermsRef, u32)>,
}

impl Queue {
    pub fn head(&self) -> &Ticket {
        self.tickets.iter().min_by_key(|ticket| (ticket.age, ticket.arrival)).expect("queues are not empty")
    }
}

/// A claim as it is in force: key, terms by reference, the numbers, the limit's mode, its pause, slots.
pub type Effective = (Name, TermsRef, Terms, Mode, bool, u32);

#[derive(Debug, Default)]
pub struct Model {
    pub now: u64,
    pub limits: BTreeMap<Name, Limit>,
    pub runs: BTreeMap<Uuid, Run>,
    pub queues: BTreeMap<QueueNo, Queue>,
    starts: Vec<Mark>,
    ends: Vec<Mark>,
    /// Keys that remember starts and ends: for how long, and since when.
    horizons: BTreeMap<Name, (u64, u64)>,
    levels: BTreeMap<(Name, TermsRef), (u128, u64)>,
    /// Slots granted to the groups of a waitlist.
    credits: BTreeMap<(Name, TermsRef, i32, Option<Name>), u64>,
    unsettled: BTreeSet<Name>,
    ended: BTreeMap<Uuid, u64>,
    last_token: u64,
    pub grants: u64,
}

impl Model {
    /// Reads what a step did, and holds every grant against its own count.
    pub fn follow(&mut self, command: &Command, events: &[Event], now: u64) {
        for event in events {
            self.read(command, event);
            self.let_go();
        }
        assert!(self.now <= now);
        self.now = now;
    }

    fn read(&mut self, command: &Command, event: &Event) {
        match event {
            Event::Clock(now) => {
                assert!(now.0 >= self.now, "time runs backwards");
                self.now = now.0;
            }
            Event::Outage { .. } => {
                for run in self.runs.values_mut() {
                    let grace = self.now + run.ttl_ms.unwrap_or(OUTAGE_GRACE_MS).min(OUTAGE_GRACE_MS);
                    run.expires_at = run.expires_at.map(|at| at.max(grace));
                    run.claim_by = run.claim_by.map(|at| at.max(grace));
                }
                let until = Time(self.now + OUTAGE_GRACE_MS);
                for ticket in self.queues.values_mut().flat_map(|queue| &mut queue.tickets) {
                    ticket.poll_by = ticket.poll_by.map(|at| at.max(until));
                }
            }
            Event::Granted(grant) => {
                let synthetic = matches!(command, Command::SetUsage { id, .. } if *id == grant.id);
                if !synthetic {
                    self.check_grant(grant.id, &grant.claims, grant.continues, None);
                }
                self.begin(grant.id, &grant.claims, grant.token, grant.ttl_ms, grant.rate, grant.continues);
            }
            Event::TicketGranted { id, token, credit, .. } => {
                let no = self.queue_of(*id);
                let ticket = self.take_ticket(*id, Some(*credit));
                self.check_grant(*id, &ticket.claims, ticket.continues, Some(no));
                self.begin(*id, &ticket.claims, *token, ticket.ttl_ms, ticket.rate, ticket.continues);
                let claim_by = self.now + ticket.claim_ms;
                self.runs.get_mut(id).expect("it just began").claim_by = Some(claim_by);
            }
            Event::Renewed { id, ttl_ms, expires_at } => {
                let now = self.now;
                let run = self.runs.get_mut(id).expect("a live lease is renewed");
                assert!(run.expires_at.is_none_or(|at| now < at), "renewed at or after its expiry");
                assert_eq!(expires_at.map(|at| at.0), ttl_ms.map(|ttl| now + ttl));
                (run.ttl_ms, run.expires_at, run.claim_by) = (*ttl_ms, expires_at.map(|at| at.0), None);
            }
            Event::Claimed { id } => self.runs.get_mut(id).expect("a live lease is claimed").claim_by = None,
            Event::CancelAsked { id } => assert!(self.runs.contains_key(id)),
            Event::LeaseEnded { id, how, counts } => self.end(*id, *how, *counts),
            Event::Shrunk { id, key, slots } => self.shrink(*id, key, *slots),
            Event::Queued { ticket, queue } => {
                self.queues.entry(*queue).or_default().tickets.push((**ticket).clone());
                self.give_back_if_headed(*queue, ticket.id);
            }
            Event::TicketEnded { id, how } => {
                let ticket = self.take_ticket(*id, None);
                match how {
                    End::TimedOut => assert!(ticket.deadline.is_some_and(|at| at.0 <= self.now)),
                    End::Unattended => assert!(ticket.poll_by.is_some_and(|at| at.0 <= self.now)),
                    _ => {}
                }
                self.ended.insert(*id, self.now);
            }
            Event::Polled { id, poll_by } => {
                let no = self.queue_of(*id);
                let tickets = &mut self.queues.get_mut(&no).expect("it waits").tickets;
                tickets.iter_mut().find(|ticket| ticket.id == *id).expect("it waits").poll_by =
                    Some(*poll_by);
            }
            Event::Parked { queue, key, terms, credit, moves } => {
                let lane = self.lane(*queue, key, terms);
                let known = self.lane_is_there(&lane, *queue);
                let state = self.queues.get_mut(queue).expect("a queue is parked");
                (state.at, state.aside, state.moves) = (Some((key.clone(), terms.clone())), false, *moves);
                if !known {
                    self.credits.insert(lane, *credit);
                }
            }
            Event::SetAside { queue, aside } => {
                let state = self.queues.get(queue).expect("a queue is set aside").clone();
                let (key, terms) = state.at.expect("it is parked");
                let lane = self.lane(*queue, &key, &terms);
                if !aside && !self.lane_is_there(&lane, *queue) {
                    let lowest = self.lowest_credit(&key, &terms, lane.2);
                    self.credits.insert(lane, lowest);
                }
                self.queues.get_mut(queue).expect("it is there").aside = *aside;
            }
            Event::HoldTaken { queue, key, terms, slots, .. } => {
                let used = self.used_pico(key, terms, &self.numbers(terms), Some(*queue));
                let max = u128::from(self.numbers(terms).max) * PICO;
                assert!(used + u128::from(*slots) * PICO <= max, "held more of {key} than is free");
                let before: Vec<_> = self.queues[queue].holds.iter().map(|hold| hold.0.clone()).collect();
                assert!(before.iter().all(|held| held < key), "holds are taken in byte order");
                let hold = (key.clone(), terms.clone(), *slots);
                self.queues.get_mut(queue).expect("a queue holds").holds.push(hold);
            }
            Event::HoldsReturned { queue, .. } => self.queues.get_mut(queue).expect("a queue").holds.clear(),
            Event::Horizon { key, ms } => self.remember(key, *ms),
            Event::Level { .. } => {}
            Event::Cleared { key } => {
                self.starts.retain(|mark| mark.key != *key);
                self.ends.retain(|mark| mark.key != *key);
                self.levels.retain(|(level, _), _| level != key);
            }
            Event::Forgotten { key } => {
                assert!(self.takes_all(key) == 0, "a key in use is forgotten");
            }
            Event::LimitSet(limit) => self.set_limit(limit),
            Event::LimitRemoved { name } => {
                let terms = TermsRef::Limit(name.clone());
                self.levels.retain(|(_, by), _| *by != terms);
                self.limits.remove(name).expect("a known limit is removed");
            }
            Event::Paused { name, until } => {
                self.limits.get_mut(name).expect("a known limit is paused").paused_until = *until;
            }
            Event::Unsettled { key } => assert!(self.unsettled.insert(key.clone())),
            Event::Settled { key } => assert!(self.unsettled.remove(key)),
            Event::EpochRaised { .. } | Event::ClockOffsetSet { .. } | Event::FormatRaised { .. } => {}
        }
        if let Command::SetUsage { name, used, .. } = command
            && let Event::Level { key, terms, pico } = event
            && *terms == TermsRef::Limit(name.clone())
            && *pico == u128::from(*used) * PICO
        {
            self.levels.insert((key.clone(), terms.clone()), (*pico, self.now));
        }
    }

    /// Keys that nobody uses and in whose windows nothing is left remember no more.
    fn let_go(&mut self) {
        let is_over = |key: &Name, ms: u64, since: u64| {
            let marks = self.starts.iter().chain(&self.ends).filter(|mark| mark.key == *key);
            let mut tickets = self.queues.values().map(|queue| queue.head());
            since.max(marks.map(|mark| mark.at).max().unwrap_or(0)) + ms <= self.now
                && !self.limits.contains_key(key)
                && self.takes_all(key) == 0
                && !tickets.any(|head| self.effective(&head.claims).iter().any(|claim| claim.0 == *key))
        };
        let over = self.horizons.iter().filter(|(key, (ms, since))| is_over(key, *ms, *since));
        let over: BTreeSet<Name> = over.map(|(key, _)| key.clone()).collect();
        self.horizons.retain(|key, _| !over.contains(key));
        self.starts.retain(|mark| !over.contains(&mark.key));
        self.ends.retain(|mark| !over.contains(&mark.key));
    }
}
