//! A second, naive statement of what the kernel promises. It reads the facts that happened (the events) as a
//! historian would, keeps all of them, and counts everything anew whenever it is asked: no indexes, no
//! timers, nothing kept that could be computed. Slow, and plain enough to be believed.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};

use admit_kernel::{
    Claim, Command, Counts, End, Event, Limit, Mode, Name, OUTAGE_GRACE_MS, PASSED_BEFORE_RESERVE, QueueNo,
    Refill, State, Terms, TermsRef, Ticket, Time, matches,
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

    fn set_limit(&mut self, limit: &Limit) {
        // Levels so far fell at the rate so far.
        let terms = TermsRef::Limit(limit.name.clone());
        let keys: Vec<_> = self.levels.keys().filter(|(_, by)| *by == terms).cloned().collect();
        for level in keys {
            let pico = self.level(&level.0, &terms);
            self.levels.insert(level, (pico, self.now));
        }
        let decays = |limit: &Limit| matches!(limit.terms.refill, Refill::Decay { .. });
        let before = self.limits.insert(limit.name.clone(), limit.clone());
        let went_on = before.is_some_and(|before| decays(&before) && before.patterns == limit.patterns);
        if decays(limit) && !went_on {
            // It begins with what is in use on each key where leases go by it.
            let of = |run: &Run| self.effective(&run.claims).into_iter().filter(|claim| claim.1 == terms);
            let keys: BTreeSet<Name> = self.runs.values().flat_map(of).map(|claim| claim.0).collect();
            for key in keys {
                let pico = self.level(&key, &terms).max(u128::from(self.takes_all(&key)) * PICO);
                self.levels.insert((key, terms.clone()), (pico, self.now));
            }
        }
    }

    fn remember(&mut self, key: &Name, ms: u64) {
        let already = self.horizons.contains_key(key);
        assert!(!already, "the schedules use one window length: a longer one is tested apart");
        self.horizons.insert(key.clone(), (ms, self.now));
        let running = self.runs.iter().filter_map(|(id, run)| {
            let slots = self.takes(&run.claims).get(key).copied()?;
            Some(Mark { key: key.clone(), at: run.granted_at, id: *id, slots })
        });
        let running: Vec<_> = running.collect();
        self.starts.extend(running);
    }

    fn begin(
        &mut self,
        id: Uuid,
        claims: &[Claim],
        token: u64,
        ttl_ms: Option<u64>,
        rate: bool,
        continues: Option<Uuid>,
    ) {
        assert!(token > self.last_token, "tokens grow");
        assert!(token < 1 << 53);
        self.last_token = token;
        self.grants += 1;
        let claims: Vec<Claim> = claims
            .iter()
            .filter(|claim| claim.terms.limit().is_none_or(|name| self.limits.contains_key(name)))
            .cloned()
            .collect();
        for (key, slots) in self.takes(&claims) {
            if self.horizons.contains_key(&key) {
                self.starts.push(Mark { key: key.clone(), at: self.now, id, slots });
                if let Some((run, at)) = continues.and_then(|run| Some((run, *self.ended.get(&run)?))) {
                    let end = |mark: &Mark| mark.key == key && mark.id == run && mark.at == at;
                    if let Some(index) = self.ends.iter().position(end) {
                        self.ends.remove(index);
                    }
                }
            }
        }
        for (key, terms, numbers, mode, _, slots) in self.effective(&claims) {
            if mode != Mode::Off && matches!(numbers.refill, Refill::Decay { .. }) {
                let pico = self.level(&key, &terms) + u128::from(slots) * PICO;
                self.levels.insert((key, terms), (pico, self.now));
            }
        }
        let run = Run {
            claims,
            ttl_ms,
            granted_at: self.now,
            expires_at: ttl_ms.map(|ttl| self.now + ttl),
            claim_by: None,
            rate,
            token,
        };
        assert!(self.runs.insert(id, run).is_none(), "an id holds once");
    }

    fn end(&mut self, id: Uuid, how: End, counts: bool) {
        let run = self.runs.remove(&id).expect("a live lease ends");
        match how {
            End::Expired => assert_eq!(run.expires_at, Some(self.now), "it ends at its own time"),
            End::Lapsed => assert_eq!(run.claim_by, Some(self.now), "it lapses at its own time"),
            _ => {}
        }
        for (key, slots) in self.takes(&run.claims) {
            if self.horizons.contains_key(&key) {
                if counts {
                    self.ends.push(Mark { key, at: self.now, id, slots });
                } else {
                    self.starts.retain(|mark| !(mark.key == key && mark.id == id));
                }
            }
        }
        self.lower(&run, &[]);
        self.ended.insert(id, self.now);
    }

    fn shrink(&mut self, id: Uuid, key: &Name, left: u32) {
        let before = self.runs[&id].clone();
        let claims = before.claims.iter().filter_map(|claim| {
            let slots = if claim.key == *key { claim.slots.min(left) } else { claim.slots };
            (slots > 0).then(|| Claim { slots, ..claim.clone() })
        });
        let claims: Vec<Claim> = claims.collect();
        let (had, has) = (self.takes(&before.claims), self.takes(&claims));
        for (key, had) in had {
            let gone = had - has.get(&key).copied().unwrap_or(0);
            if gone > 0 && self.horizons.contains_key(&key) {
                self.ends.push(Mark { key, at: self.now, id: Uuid::nil(), slots: gone });
            }
        }
        self.lower(&before, &claims);
        self.runs.get_mut(&id).expect("it lives").claims = claims;
    }

    /// A release lowers each level by as many slots as the lease no longer takes there.
    fn lower(&mut self, run: &Run, left: &[Claim]) {
        if run.rate {
            return;
        }
        let left = self.effective(left);
        for (key, terms, numbers, mode, _, slots) in self.effective(&run.claims) {
            if mode == Mode::Off || !matches!(numbers.refill, Refill::Decay { .. }) {
                continue;
            }
            let stays = left.iter().find(|other| (&other.0, &other.1) == (&key, &terms));
            let gone = slots - stays.map_or(0, |stays| stays.5);
            let pico = self.level(&key, &terms).saturating_sub(u128::from(gone) * PICO);
            self.levels.insert((key, terms), (pico, self.now));
        }
    }

    // What is counted, from all that is known.

    fn numbers(&self, terms: &TermsRef) -> Terms {
        match terms {
            TermsRef::Inline(terms) => *terms,
            TermsRef::Limit(name) => self.limits[name].terms,
        }
    }

    /// Stated claims and those of limits that match them; what does not exist or is off is left out.
    pub fn effective(&self, claims: &[Claim]) -> Vec<Effective> {
        let mut all: Vec<Effective> = Vec::new();
        for claim in claims {
            match &claim.terms {
                TermsRef::Inline(terms) => all.push((
                    claim.key.clone(),
                    claim.terms.clone(),
                    *terms,
                    Mode::Enforce,
                    false,
                    claim.slots,
                )),
                TermsRef::Limit(name) => {
                    if let Some(limit) = self.limits.get(name) {
                        all.push(self.of_limit(claim.key.clone(), limit, claim.slots));
                    }
                }
            }
        }
        for limit in self.limits.values() {
            let matched = claims.iter().filter(|claim| {
                !self.limits.contains_key(&claim.key)
                    && limit.patterns.iter().any(|pattern| matches(pattern, &claim.key))
            });
            if let Some(slots) = matched.map(|claim| claim.slots).max() {
                all.push(self.of_limit(limit.name.clone(), limit, slots));
            }
        }
        all.retain(|claim| claim.3 != Mode::Off);
        let takes = |key: &Name| all.iter().filter(|other| other.0 == *key).map(|other| other.5).max();
        let most: Vec<_> = all.iter().map(|claim| takes(&claim.0).expect("itself at least")).collect();
        all.iter_mut().zip(most).for_each(|(claim, most)| claim.5 = most);
        all
    }

    fn of_limit(&self, key: Name, limit: &Limit, slots: u32) -> Effective {
        let paused = limit.paused_until.is_some_and(|until| self.now < until.0);
        (key, TermsRef::Limit(limit.name.clone()), limit.terms, limit.mode, paused, slots)
    }

    /// What a lease with these claims takes of each key. What it took through a limit that is gone it keeps.
    pub fn takes(&self, claims: &[Claim]) -> BTreeMap<Name, u32> {
        let mut takes: BTreeMap<Name, u32> =
            self.effective(claims).into_iter().map(|claim| (claim.0, claim.5)).collect();
        for claim in claims {
            if claim.terms.limit().is_some_and(|name| !self.limits.contains_key(name)) {
                let slots = takes.entry(claim.key.clone()).or_default();
                *slots = claim.slots.max(*slots);
            }
        }
        takes
    }

    /// Slots of live leases on a key.
    pub fn takes_all(&self, key: &Name) -> u64 {
        self.runs.values().filter_map(|run| self.takes(&run.claims).get(key).copied()).map(u64::from).sum()
    }

    fn level(&self, key: &Name, terms: &TermsRef) -> u128 {
        let Refill::Decay { nano_per_second } = self.numbers(terms).refill else { return 0 };
        let (pico, at) = self.levels.get(&(key.clone(), terms.clone())).copied().unwrap_or_default();
        pico.saturating_sub(u128::from(nano_per_second) * u128::from(self.now - at))
    }

    /// Usage of a key under terms, leaving out what the queue `but` holds.
    pub fn used_pico(&self, key: &Name, by: &TermsRef, terms: &Terms, but: Option<QueueNo>) -> u128 {
        let after = |marks: &[Mark], ms: u64| {
            let within = |mark: &&Mark| mark.key == *key && mark.at + ms > self.now;
            marks.iter().filter(within).map(|mark| u64::from(mark.slots)).sum::<u64>()
        };
        let used = match terms.refill {
            Refill::Release => u128::from(self.takes_all(key)) * PICO,
            Refill::Window { ms, counts: Counts::Runs } => {
                u128::from(self.takes_all(key) + after(&self.ends, ms)) * PICO
            }
            Refill::Window { ms, counts: Counts::Starts } => u128::from(after(&self.starts, ms)) * PICO,
            Refill::Decay { .. } => self.level(key, by),
        };
        let holds =
            self.queues.iter().filter(|(no, _)| Some(**no) != but).flat_map(|(_, queue)| &queue.holds);
        let held: u64 = holds.filter(|hold| hold.0 == *key).map(|hold| u64::from(hold.2)).sum();
        used + u128::from(held) * PICO
    }

    /// Whether a claim has room, counted from history.
    fn has_room(&self, claim: &Effective, continues: Option<Uuid>, but: Option<QueueNo>) -> bool {
        let (key, by, terms, .., slots) = claim;
        let mut used = self.used_pico(key, by, terms, but);
        if let Refill::Window { ms, counts: Counts::Runs } = terms.refill
            && let Some((run, at)) = continues.and_then(|run| Some((run, *self.ended.get(&run)?)))
            && at + ms > self.now
        {
            let own = self.ends.iter().find(|mark| mark.key == *key && mark.id == run && mark.at == at);
            used -= u128::from(own.map_or(0, |mark| mark.slots)) * PICO;
        }
        used + u128::from(*slots) * PICO <= u128::from(terms.max) * PICO
    }

    fn check_grant(&self, id: Uuid, claims: &[Claim], continues: Option<Uuid>, queue: Option<QueueNo>) {
        for claim in self.effective(claims).iter().filter(|claim| claim.3 == Mode::Enforce) {
            assert!(!claim.4, "{id} was granted through {:?}, which is paused", claim.1);
            assert!(
                self.has_room(claim, continues, queue),
                "{id} was admitted to {} beyond {:?}: {} slots, {} pico used",
                claim.0,
                claim.2,
                claim.5,
                self.used_pico(&claim.0, &claim.1, &claim.2, queue),
            );
        }
    }

    // Who waits where.

    fn queue_of(&self, id: Uuid) -> QueueNo {
        let has = |queue: &Queue| queue.tickets.iter().any(|ticket| ticket.id == id);
        *self.queues.iter().find(|(_, queue)| has(queue)).expect("the ticket waits in a queue").0
    }

    fn take_ticket(&mut self, id: Uuid, credit: Option<u64>) -> Ticket {
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

    fn give_back_if_headed(&mut self, no: QueueNo, id: Uuid) {
        let queue = self.queues.get_mut(&no).expect("it is there");
        if queue.head().id == id {
            queue.holds.clear();
        }
    }

    fn lane(&self, no: QueueNo, key: &Name, terms: &TermsRef) -> (Name, TermsRef, i32, Option<Name>) {
        let head = self.queues[&no].head();
        (key.clone(), terms.clone(), head.priority, head.group.clone())
    }

    /// The queues of a waitlist that reserve there.
    fn waitlist(&self, key: &Name, terms: &TermsRef) -> impl Iterator<Item = (QueueNo, &Queue)> {
        let at = Some((key.clone(), terms.clone()));
        self.queues
            .iter()
            .filter(move |(_, queue)| queue.at == at && !queue.aside)
            .map(|(no, queue)| (*no, queue))
    }

    fn lane_is_there(&self, lane: &(Name, TermsRef, i32, Option<Name>), but: QueueNo) -> bool {
        self.waitlist(&lane.0, &lane.1).any(|(no, queue)| {
            let head = queue.head();
            no != but && (head.priority, &head.group) == (lane.2, &lane.3)
        })
    }

    fn lowest_credit(&self, key: &Name, terms: &TermsRef, priority: i32) -> u64 {
        let of = |queue: &Queue| {
            let head = queue.head();
            self.credits.get(&(key.clone(), terms.clone(), head.priority, head.group.clone())).copied()
        };
        let same = self.waitlist(key, terms).filter(|(_, queue)| queue.head().priority == priority);
        same.filter_map(|(_, queue)| of(queue)).min().unwrap_or(0)
    }

    /// The queue that goes first in a waitlist.
    fn front(&self, key: &Name, terms: &TermsRef) -> Option<(QueueNo, &Queue)> {
        self.waitlist(key, terms).min_by_key(|(no, queue)| {
            let head = queue.head();
            let credit =
                self.credits.get(&(key.clone(), terms.clone(), head.priority, head.group.clone())).copied();
            (-i64::from(head.priority), credit.unwrap_or(0), head.age, head.arrival, *no)
        })
    }

    /// What every state between steps has to be: no lost wake-up, nothing overdue, the views tell the truth.
    pub fn check(&self, state: &State) {
        let now = self.now;
        for (id, run) in &self.runs {
            let takes: BTreeMap<Name, u32> = state.takes_of(*id).into_iter().collect();
            assert_eq!(takes, self.takes(&run.claims), "what {id} takes");
            assert!(run.expires_at.is_none_or(|at| at > now), "{id} outlives its lease");
            assert!(run.claim_by.is_none_or(|at| at > now), "{id} outlives its claim");
        }
        assert_eq!(state.totals().leases, self.runs.len() as u64);
        let tickets: usize = self.queues.values().map(|queue| queue.tickets.len()).sum();
        assert_eq!(state.totals().tickets, tickets as u64);
        for ticket in self.queues.values().flat_map(|queue| &queue.tickets) {
            assert!(ticket.deadline.is_none_or(|at| at.0 > now), "{} overstays", ticket.id);
            assert!(ticket.poll_by.is_none_or(|at| at.0 > now), "{} overstays", ticket.id);
            assert_eq!(state.ticket(ticket.id), Some(ticket));
        }
        if self.unsettled.is_empty() {
            self.queues.iter().for_each(|(no, queue)| self.check_reason(state, *no, queue));
        }
        self.check_usage(state);
    }

    /// Every queue has a reason to wait: its key is short, or another goes before it there.
    fn check_reason(&self, state: &State, no: QueueNo, queue: &Queue) {
        let head = queue.head();
        let (key, terms) = queue.at.as_ref().expect("it is parked");
        let effective = self.effective(&head.claims);
        let enforced: Vec<_> = effective.iter().filter(|claim| claim.3 == Mode::Enforce).collect();
        let impossible = enforced.iter().any(|claim| claim.2.max > 0 && claim.5 > claim.2.max);
        assert!(!queue.aside || impossible, "{} waits aside though it could be admitted", head.id);
        if queue.aside || self.front(key, terms).is_some_and(|(front, _)| front != no) {
            return;
        }
        assert!(!impossible, "{} reserves though it can never be admitted", head.id);
        let here = enforced.iter().find(|claim| (&claim.0, &claim.1) == (key, terms));
        let here = here.unwrap_or_else(|| panic!("{} waits at {key}, which it does not claim", head.id));
        let shut = |claim: &Effective| claim.4 || claim.2.max == 0;
        let short = shut(here)
            || !self.has_room(here, head.continues, Some(no))
            || self.is_reserved(state, here, head)
            || self.is_held_by_another(here, no, queue);
        assert!(short, "{} waits at {key} without a reason: {queue:#?}", head.id);
    }

    fn is_reserved(&self, state: &State, claim: &Effective, head: &Ticket) -> bool {
        let lists: BTreeSet<_> = self.queues.values().filter_map(|queue| queue.at.clone()).collect();
        let others = lists.iter().filter(|(key, terms)| *key == claim.0 && *terms != claim.1);
        others.filter_map(|(key, terms)| self.front(key, terms)).any(|(_, front)| {
            let front = front.head();
            let view = state.ticket_view(front.id).expect("it waits");
            view.passed_by_looser_terms >= PASSED_BEFORE_RESERVE
                && (-front.priority, front.age, front.arrival) < (-head.priority, head.age, head.arrival)
        })
    }

    fn is_held_by_another(&self, claim: &Effective, no: QueueNo, queue: &Queue) -> bool {
        let holds = |other: &Queue| other.holds.iter().any(|hold| hold.0 == claim.0 && hold.1 == claim.1);
        queue.moves >= admit_kernel::MOVES_BEFORE_HOLD
            && self.queues.iter().any(|(other, queue)| *other != no && holds(queue))
    }

    /// The key's own usage as its view tells it.
    fn check_usage(&self, state: &State) {
        for (name, limit) in &self.limits {
            let terms = TermsRef::Limit(name.clone());
            let used = self.used_pico(name, &terms, &limit.terms, None).div_ceil(PICO);
            assert_eq!(u128::from(state.key_view(name, 0).used), used, "used of {name}");
        }
    }
}
