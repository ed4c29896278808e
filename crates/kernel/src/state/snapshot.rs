//! The whole state as plain data, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::history::{History, Run};
use super::key::{Held, HoldSamples, Past};
use super::level::Level;
use super::timers::Timer;
use super::{Format, Live, State};
use crate::{Claim, End, Lease, Limit, Name, OLDEST_FORMAT, QueueNo, TermsRef, Ticket, Time};

/// A state as plain data, in a fixed order: equal states have equal snapshots. How it is encoded never changes
/// within a format: nodes of every version that knows the format read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The format of the log, and so of the snapshot; whoever stores it keeps this beside it, as it has to be known
    /// to read the rest.
    #[serde(skip, default = "oldest")]
    pub format: u16,
    logged: Time,
    epoch: u32,
    tokens: u64,
    arrivals: u64,
    queues_made: QueueNo,
    limits_changed: u64,
    limits: Vec<(Limit, u64)>,
    keys: Vec<KeyRecord>,
    leases: Vec<(Lease, Option<Arc<[Claim]>>)>,
    queues: Vec<QueueRecord>,
    ended: Vec<(Uuid, End, Time)>,
    unsettled: Vec<Name>,
    clock_offset_ms: i64,
}

fn oldest() -> u16 {
    OLDEST_FORMAT
}

/// What of a key does not follow from leases, queues and limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KeyRecord {
    name: Name,
    horizon_ms: u64,
    known_since: Time,
    starts: Vec<Run>,
    ends: Vec<Run>,
    levels: Vec<(TermsRef, Level)>,
    samples_ms: Vec<u32>,
    /// Of each waitlist: terms, how often its front was passed, and the credits of its groups.
    waitlists: Vec<(TermsRef, u32, Vec<LaneCredit>)>,
}

/// Priority and group of a lane, and its credit.
type LaneCredit = (i32, Option<Name>, u64);

/// A queue, with what its head has reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct QueueRecord {
    no: QueueNo,
    key: Name,
    terms: TermsRef,
    moves: u32,
    aside: bool,
    hold_until: Option<Time>,
    held_in_vain: u32,
    holds: Vec<(Name, TermsRef, u32)>,
    tickets: Vec<Ticket>,
}

impl State {
    /// The whole state as plain data.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut limits: Vec<_> =
            self.limits.values().map(|state| (state.limit.clone(), state.would_wait)).collect();
        limits.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        let mut leases: Vec<_> = self.leases.iter().map(|(_, live)| lease_record(live)).collect();
        leases.sort_by_key(|(lease, _)| lease.token);
        let mut queues: Vec<_> = self.queues.keys().filter_map(|&no| self.queue_record(no)).collect();
        queues.sort_by_key(|queue| queue.no);
        let mut keys: Vec<_> = self.keys.iter().map(|(_, key)| key_record(key)).collect();
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        Snapshot {
            format: self.format(),
            logged: self.logged,
            epoch: self.epoch,
            tokens: self.tokens,
            arrivals: self.arrivals,
            queues_made: self.queues_made,
            limits_changed: self.limits_changed,
            limits,
            keys,
            leases,
            queues,
            ended: self.ids.ended().collect(),
            unsettled: self.unsettled.iter().cloned().collect(),
            clock_offset_ms: self.clock_offset_ms,
        }
    }

    fn queue_record(&self, no: QueueNo) -> Option<QueueRecord> {
        let queue = self.queues.get(&no)?;
        let (ix, terms) = queue.parked.clone()?;
        let hold = |ix: &u32| {
            let key = self.keys.at(*ix)?;
            let held = key.held.iter().find(|held| held.queue == no)?;
            Some((key.name.clone(), held.terms.clone(), held.slots))
        };
        Some(QueueRecord {
            no,
            key: self.keys.at(ix)?.name.clone(),
            terms,
            moves: queue.moves,
            aside: queue.aside,
            hold_until: queue.hold_until,
            held_in_vain: queue.held_in_vain,
            holds: queue.holds.iter().filter_map(hold).collect(),
            tickets: queue.tickets.iter().map(|ticket| (**ticket).clone()).collect(),
        })
    }

    /// The state that a snapshot was taken of.
    #[must_use]
    pub fn restore(snapshot: Snapshot) -> State {
        let mut state = State {
            format: Format(snapshot.format),
            logged: snapshot.logged,
            seen: snapshot.logged,
            clock_offset_ms: snapshot.clock_offset_ms,
            epoch: snapshot.epoch,
            ..State::default()
        };
        for (limit, would_wait) in snapshot.limits {
            let (name, until) = (limit.name.clone(), limit.paused_until);
            state.apply_limit_set(&limit);
            state.apply_paused(&name, until);
            if let Some(limit) = state.limits.get_mut(&name) {
                limit.would_wait = would_wait;
            }
        }
        let mut records = BTreeMap::new();
        for record in snapshot.keys {
            state.restore_key(&record);
            records.insert(record.name.clone(), record);
        }
        for (id, how, at) in snapshot.ended {
            state.ids.end(id, how, at);
        }
        for (lease, asked) in snapshot.leases {
            state.restore_lease(lease, asked);
        }
        for queue in snapshot.queues {
            state.restore_queue(queue, &records);
        }
        for record in records.values() {
            state.restore_waitlists(record);
        }
        state.tokens = snapshot.tokens;
        state.arrivals = snapshot.arrivals;
        state.queues_made = snapshot.queues_made;
        state.limits_changed = snapshot.limits_changed;
        state.unsettled = snapshot.unsettled.into_iter().collect();
        state.dirty.clear();
        state.refresh_touched();
        state
    }

    fn restore_key(&mut self, record: &KeyRecord) {
        let ix = self.keys.ensure(&record.name);
        self.touched.push(ix);
        let Some(key) = self.keys.at_mut(ix) else { return };
        record.samples_ms.iter().for_each(|&ms| key.samples.push(u64::from(ms)));
        if record.horizon_ms > 0 || !record.levels.is_empty() {
            key.past = Some(Box::new(Past {
                horizon_ms: record.horizon_ms,
                known_since: record.known_since,
                starts: history(&record.starts),
                ends: history(&record.ends),
                levels: record.levels.iter().cloned().collect(),
            }));
        }
    }

    fn restore_lease(&mut self, lease: Lease, asked: Option<Arc<[Claim]>>) {
        let (id, expires_at, claim_by) = (lease.id, lease.expires_at, lease.claim_by);
        let asked = asked.unwrap_or_else(|| lease.claims.clone());
        self.digest = self.digest.wrapping_add(super::apply::lease_digest(&lease));
        let ix = self.leases.insert(Box::new(Live { lease, asked, takes: Default::default() }));
        self.ids.set_lease(id, ix);
        self.timers.add(expires_at, Timer::Expiry(id));
        self.timers.add(claim_by, Timer::ClaimBy(id));
        self.recount_lease(ix);
    }

    fn restore_queue(&mut self, record: QueueRecord, keys: &BTreeMap<Name, KeyRecord>) {
        let no = record.no;
        for ticket in &record.tickets {
            self.apply_queued(ticket, no);
        }
        let Some(head) = record.tickets.first() else { return };
        let lists = keys.get(&record.key).into_iter().flat_map(|key| &key.waitlists);
        let credits = lists.filter(|(terms, ..)| *terms == record.terms).flat_map(|(.., credits)| credits);
        let own = credits
            .into_iter()
            .find(|(priority, group, _)| (*priority, group) == (head.priority, &head.group));
        let credit = own.map_or(0, |(.., credit)| *credit);
        self.apply_parked(no, &record.key, &record.terms, credit, record.moves);
        if record.aside {
            self.apply_set_aside(no, true);
        }
        for (key, terms, slots) in &record.holds {
            let ix = self.keys.ensure(key);
            if let Some(key) = self.keys.at_mut(ix) {
                key.held.push(Held { queue: no, terms: terms.clone(), slots: *slots });
            }
            if let Some(queue) = self.queues.get_mut(&no) {
                queue.holds.push(ix);
            }
        }
        if let Some(queue) = self.queues.get_mut(&no) {
            queue.held_in_vain = record.held_in_vain;
        }
        if let Some(until) = record.hold_until {
            self.holding.insert(no);
            self.timers.add(Some(until), Timer::HoldsBack(no));
            if let Some(queue) = self.queues.get_mut(&no) {
                queue.hold_until = Some(until);
            }
        }
    }

    fn restore_waitlists(&mut self, record: &KeyRecord) {
        let Some(key) = self.keys.ix(&record.name).and_then(|ix| self.keys.at_mut(ix)) else { return };
        for (terms, passed, _) in &record.waitlists {
            if let Some(list) = key.waitlist_mut(terms) {
                list.passed = *passed;
            }
        }
    }
}

fn lease_record(live: &Live) -> (Lease, Option<Arc<[Claim]>>) {
    let asked = (live.asked != live.lease.claims).then(|| live.asked.clone());
    (live.lease.clone(), asked)
}

fn key_record(key: &super::key::Key) -> KeyRecord {
    let past = key.past.as_deref();
    let runs = |history: Option<&History>| history.map_or_else(Vec::new, |history| history.runs().collect());
    let mut waitlists: Vec<_> = key
        .waitlists
        .iter()
        .map(|list| {
            let credits =
                list.credits().map(|((priority, group), credit)| (*priority, group.clone(), credit));
            let mut credits: Vec<_> = credits.collect();
            credits.sort();
            (list.terms.clone(), list.passed, credits)
        })
        .collect();
    waitlists.sort();
    KeyRecord {
        name: key.name.clone(),
        horizon_ms: past.map_or(0, |past| past.horizon_ms),
        known_since: past.map_or(Time(0), |past| past.known_since),
        starts: runs(past.map(|past| &past.starts)),
        ends: runs(past.map(|past| &past.ends)),
        levels: past
            .into_iter()
            .flat_map(|past| &past.levels)
            .map(|(terms, level)| (terms.clone(), *level))
            .collect(),
        samples_ms: HoldSamples::iter(&key.samples).collect(),
        waitlists,
    }
}

fn history(runs: &[Run]) -> History {
    let mut history = History::default();
    runs.iter().for_each(|run| history.push(run.at, run.id, run.slots));
    history
}
