//! The process of the engine: the real core, and around it what its thread does: gathers a batch, answers,
//! keeps those who listen, asks again for them when the state was dropped.

use std::collections::{BTreeMap, VecDeque};

use admit_engine::{Batch, Clock, Core, Error, Op, Options};
use admit_kernel::{Command, Event, Outcome, Patience};
use admit_store::Record;
use uuid::Uuid;

use crate::check::{Checked, Rule, broken};
use crate::client::brief;
use crate::clocks::Clocks;
use crate::disk::{ModelStore, SharedDisk, lock};
use crate::world::{Caller, Happening, Reply, Request, World, note};
use crate::{Sabotage, check};

/// Batches after which the live state is compared with what the log says.
const COMPARE_EVERY: u64 = 64;

pub(crate) struct Process {
    core: Core<ModelStore, Clocks>,
    inbox: VecDeque<Request>,
    /// Who listens for which ticket: client, call, and whether its ticket goes when it goes.
    listeners: BTreeMap<Uuid, Vec<(usize, u64, bool)>>,
}

impl World {
    /// The process starts: it reads back what is on disk.
    pub fn start_process(&mut self) -> Checked {
        if self.process.is_some() {
            return Ok(());
        }
        let damage = self.random.per_mille(if self.quiet { 0 } else { self.plan.damage });
        lock(&self.disk).open(damage);
        let store = ModelStore::new(&self.disk, &self.clocks);
        let options = self.options();
        let opened = Core::open(store, self.clocks.clone(), options);
        let end_ms = self.ledger.clock().max(lock(&self.disk).head().time_ms);
        self.clocks.opened(end_ms, self.ledger.clock_offset_ms);
        self.counts.offsets += u64::from(self.ledger.clock_offset_ms != 0);
        self.counts.recoveries += 1;
        match opened {
            Ok(core) => {
                note!(self, "process {} starts at record {}", self.processes, core.seq());
                self.is_starting = true;
                self.process = Some(Process { core, inbox: VecDeque::new(), listeners: BTreeMap::new() });
                self.compare()?;
                self.schedule_engine(self.now());
                Ok(())
            }
            Err(error) => {
                let excused = lock(&self.disk).is_dead() || matches!(error, Error::Unavailable { .. });
                let passing = matches!(error, Error::Store(admit_store::Error::Unavailable(_)));
                if !excused && !passing {
                    return broken(Rule::Recovery, format!("what is stored cannot be read back: {error}"));
                }
                note!(self, "the start fails: {error}");
                self.restart_later();
                Ok(())
            }
        }
    }

    /// A request reaches the engine, if there is one.
    pub fn receive(&mut self, request: Request) {
        let Some(process) = &mut self.process else {
            match request.caller {
                Caller::Client { no, call } => self.answer(no, call, Reply::Lost),
                Caller::Operator => self.again_if_quiet(request.command),
                Caller::Engine => {}
            }
            return;
        };
        if let Command::Release { id, .. } | Command::Withdraw { id } = &request.command {
            self.ledger.asked_to_end.insert(*id);
        }
        process.inbox.push_back(request);
        let at = self.now() + self.random.below(2);
        self.schedule_engine(at);
    }

    /// An operator's command that did not get through is sent again, once all is calm.
    fn again_if_quiet(&mut self, command: Command) {
        if self.quiet {
            let at = self.now() + 1_000;
            self.schedule(at, Happening::Command(command));
        }
    }

    /// The engine notices that a listener is gone: its ticket goes with it, if it said so.
    pub fn connection_closed(&mut self, no: usize, call: u64) {
        let Some(process) = &mut self.process else { return };
        let mut withdrawn = None;
        for (id, listeners) in &mut process.listeners {
            if let Some(index) = listeners.iter().position(|&(other, its, _)| (other, its) == (no, call)) {
                let (.., leaves_nothing) = listeners.swap_remove(index);
                withdrawn = (leaves_nothing && listeners.is_empty()).then_some(*id);
            }
        }
        process.listeners.retain(|_, listeners| !listeners.is_empty());
        if let Some(id) = withdrawn {
            self.receive(Request {
                caller: Caller::Engine,
                command: Command::Withdraw { id },
                listens: false,
            });
        }
    }

    /// One round of the engine's thread.
    pub fn run_engine(&mut self) -> Checked {
        if self.engine_due.is_none_or(|due| due > self.now()) {
            return Ok(());
        }
        self.engine_due = None;
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let requests = self.gather(&mut process);
        if !requests.is_empty() {
            self.decide(&mut process, requests)?;
        }
        if !lock(&self.disk).is_dead() {
            process.core.maintain();
        }
        if lock(&self.disk).is_dead() {
            self.process_died(process);
            return Ok(());
        }
        if let Some(error) = process.core.failure() {
            return broken(Rule::Service, format!("the engine gave up: {error}"));
        }
        let now = self.now();
        if !process.inbox.is_empty() {
            let at = now + self.random.below(3);
            self.schedule_engine(at);
        } else if let Some(ms) = process.core.tick_in_ms() {
            self.schedule_engine(now + ms.max(1));
        }
        self.process = Some(process);
        if self.counts.batches.is_multiple_of(COMPARE_EVERY) {
            self.compare()?;
        }
        Ok(())
    }

    /// What the next batch is made of.
    fn gather(&mut self, process: &mut Process) -> Vec<Request> {
        let most = usize::try_from(self.random.within(1, 12)).unwrap_or(1).min(process.inbox.len());
        let mut requests: Vec<Request> = process.inbox.drain(..most).collect();
        if requests.is_empty() && process.core.tick_in_ms() == Some(0) {
            requests.push(Request { caller: Caller::Engine, command: Command::Tick, listens: false });
        }
        for request in requests.iter().filter(|request| request.listens) {
            let (id, leaves_nothing) = match &request.command {
                Command::Acquire(acquire) => (acquire.id, matches!(acquire.patience, Patience::For { .. })),
                Command::Ask { id, .. } => (*id, false),
                _ => continue,
            };
            if let Caller::Client { no, call } = request.caller {
                process.listeners.entry(id).or_default().push((no, call, leaves_nothing));
            }
        }
        requests
    }

    fn decide(&mut self, process: &mut Process, requests: Vec<Request>) -> Checked {
        let ops: Vec<Op> = requests.iter().map(|request| Op::new(request.command.clone())).collect();
        let before = self.wants_twin(process).then(|| lock(&self.disk).copy());
        let early = self.answers_early(process, &ops);
        let is_first = self.is_starting;
        let listeners = &process.listeners;
        let mut batch = std::mem::take(&mut self.batch);
        process.core.run(&ops, &mut |id| listeners.contains_key(id), &mut batch);
        self.counts.batches += 1;
        self.counts.commands += batch.answers.len() as u64;
        for request in &requests {
            note!(self, "engine: {}", command_brief(&request.command));
        }
        let written = self.observe()?;
        if let (Some(before), [record]) = (before, &written[..]) {
            self.decide_twice(before, record, &ops, process, is_first)?;
        }
        if let Some(early) = early {
            batch = early;
        } else if lock(&self.disk).is_dead() {
            process.inbox.extend(requests);
            self.batch = batch;
            return Ok(());
        }
        self.deliver(process, requests, &mut batch)?;
        self.batch = batch;
        Ok(())
    }

    /// Answers, wakes, and asks again for those whose wake-ups may have been lost.
    fn deliver(&mut self, process: &mut Process, mut requests: Vec<Request>, batch: &mut Batch) -> Checked {
        let log_ms = batch.time.0;
        for request in requests.drain(batch.answers.len()..).rev() {
            process.inbox.push_front(Request { listens: false, ..request });
        }
        for (request, answer) in requests.into_iter().zip(batch.answers.drain(..)) {
            match answer {
                Ok(outcome) => {
                    let outcome = outcome.unwrap_or(Outcome::Done);
                    self.ledger.told(&request.command, &outcome)?;
                    self.answer_request(process, &request, outcome, log_ms);
                }
                Err(Error::Unavailable { .. }) => self.refuse(process, request),
                Err(error) => return broken(Rule::Service, format!("{:?}: {error}", request.command)),
            }
        }
        for (id, outcome) in batch.woken.drain(..) {
            self.ledger.told_of(id, &outcome)?;
            self.wake_listeners(process, id, &outcome, log_ms);
        }
        if batch.reloaded {
            for &id in process.listeners.keys() {
                let command = Command::Ask { id, for_ms: 0 };
                process.inbox.push_back(Request { caller: Caller::Engine, command, listens: false });
            }
        }
        Ok(())
    }

    fn answer_request(&mut self, process: &mut Process, request: &Request, outcome: Outcome, log_ms: u64) {
        match request.caller {
            Caller::Client { no, call } => {
                if request.listens {
                    if matches!(outcome, Outcome::Waiting { .. }) {
                        return;
                    }
                    stop_listening(process, no, call);
                }
                self.answer(no, call, Reply::Outcome(outcome, log_ms));
            }
            Caller::Engine => {
                // Asked again after the state was dropped.
                if let Command::Ask { id, .. } = request.command
                    && !matches!(outcome, Outcome::Waiting { .. })
                {
                    self.wake_listeners(process, id, &outcome, log_ms);
                }
            }
            Caller::Operator => note!(self, "operator is told {}", brief(&outcome)),
        }
    }

    fn refuse(&mut self, process: &mut Process, request: Request) {
        self.counts.refused += 1;
        match request.caller {
            Caller::Client { no, call } => {
                stop_listening(process, no, call);
                self.answer(no, call, Reply::Lost);
            }
            Caller::Operator => self.again_if_quiet(request.command),
            Caller::Engine if matches!(request.command, Command::Ask { .. } | Command::Withdraw { .. }) => {
                let at = self.now() + 1_000;
                self.schedule(at, Happening::Request(request));
            }
            Caller::Engine => {}
        }
    }

    fn wake_listeners(&mut self, process: &mut Process, id: Uuid, outcome: &Outcome, log_ms: u64) {
        for (no, call, _) in process.listeners.remove(&id).unwrap_or_default() {
            self.answer(no, call, Reply::Outcome(outcome.clone(), log_ms));
        }
    }

    /// The process is no more: who was connected notices, or not.
    fn process_died(&mut self, process: Process) {
        note!(self, "process {} dies", self.processes);
        let listening = process.listeners.into_values().flatten().map(|(no, call, _)| (no, call));
        let asking = process.inbox.into_iter().filter_map(|request| match request.caller {
            Caller::Client { no, call } => Some((no, call)),
            Caller::Operator | Caller::Engine => None,
        });
        for (no, call) in listening.chain(asking).collect::<Vec<_>>() {
            self.answer(no, call, Reply::Lost);
        }
        self.restart_later();
    }

    fn restart_later(&mut self) {
        let most = if self.quiet { 100 } else { self.plan.longest_down_ms };
        let at = self.now() + self.random.within(1, most);
        self.schedule(at, Happening::Start);
    }

    /// The process is killed between two batches, or told to stop.
    pub fn stop_process(&mut self, politely: bool) {
        let Some(mut process) = self.process.take() else { return };
        if politely {
            // That it fails is no harm: opening again only takes longer.
            let _ = process.core.snapshot();
        }
        lock(&self.disk).kill();
        self.process_died(process);
    }

    /// What has become durable is read by the observer and by the replica.
    fn observe(&mut self) -> Result<Vec<Record>, check::Violation> {
        let fresh = lock(&self.disk).take_fresh();
        let mut written = Vec::with_capacity(fresh.len());
        for (record, read_ms) in fresh {
            let is_first = std::mem::take(&mut self.is_starting);
            let events: Vec<Event> = match postcard::from_bytes(&record.payload) {
                Ok(events) => events,
                Err(error) => return broken(Rule::Recovery, format!("record {}: {error}", record.seq)),
            };
            note!(self, "record {} at {}: {}", record.seq, record.time_ms, events_brief(&events));
            let (log_ms, _) = self.clocks.expected();
            if record.time_ms != log_ms && self.sabotage.is_none() {
                let what = format!("record {} is of {}, the clocks say {log_ms}", record.seq, record.time_ms);
                return broken(Rule::Time, what);
            }
            let slip_ms = self.clocks.slip_ms();
            let moment = check::Moment { read_ms, log_ms, slip_ms, now_ms: self.now(), is_first };
            self.ledger.record(&events, moment, &mut self.beliefs)?;
            self.offset_is_logged(&record)?;
            self.replica.replay(&events);
            self.replica_seq = record.seq;
            written.push(record);
        }
        self.counts.records += written.len() as u64;
        Ok(written)
    }

    /// Whoever goes on with the log knows how far its time is from the wall clock.
    fn offset_is_logged(&self, record: &Record) -> Checked {
        let offset_ms = self.ledger.clock_offset_ms;
        if self.sabotage.is_some() || self.clocks.may_log(offset_ms) {
            return Ok(());
        }
        broken(Rule::Time, format!("after record {} the log says that its offset is {offset_ms}", record.seq))
    }

    /// The engine's state is the one that replaying the log gives, and says of leases and tickets what the
    /// ledger says.
    pub fn compare(&mut self) -> Checked {
        let Some(process) = &self.process else { return Ok(()) };
        let Ok(state) = process.core.state() else { return Ok(()) };
        if process.core.seq() != self.replica_seq {
            let what = format!("at record {}, the log ends at {}", process.core.seq(), self.replica_seq);
            return broken(Rule::Recovery, what);
        }
        if state.digest() != self.replica.digest() || state.snapshot() != self.replica.snapshot() {
            let what = format!("the state differs from the replayed one at record {}", self.replica_seq);
            return broken(Rule::Recovery, what);
        }
        let totals = state.totals();
        let counted = (self.ledger.leases.len() as u64, self.ledger.tickets.len() as u64);
        if (totals.leases, totals.tickets) != counted {
            return broken(Rule::Recovery, format!("{totals:?}, by the ledger {counted:?}"));
        }
        for (id, held) in &self.ledger.leases {
            let lease = state.lease(*id);
            let same = lease.is_some_and(|lease| {
                lease.token == held.token
                    && lease.expires_at.map(|at| at.0) == held.expires_at
                    && lease.claim_by.map(|at| at.0) == held.claim_by
            });
            if !same {
                return broken(Rule::Recovery, format!("{lease:?} is not what the ledger has: {held:?}"));
            }
        }
        Ok(())
    }

    fn wants_twin(&mut self, process: &Process) -> bool {
        self.random.per_mille(self.plan.twins)
            && process.core.state().is_ok()
            && process.core.seq() == lock(&self.disk).head().seq
    }

    /// Another engine, on a copy of the log, decides the same.
    fn decide_twice(
        &mut self,
        before: SharedDisk,
        record: &Record,
        ops: &[Op],
        process: &Process,
        is_first: bool,
    ) -> Checked {
        let events: Vec<Event> = postcard::from_bytes(&record.payload).unwrap_or_default();
        let heartbeat = matches!(events[..], [Event::Clock(_)]);
        let notes_offset = events.iter().any(|event| matches!(event, Event::ClockOffsetSet { .. }));
        if heartbeat || notes_offset || self.sabotage.is_some() {
            return Ok(());
        }
        let store = ModelStore::new(&before, &Clocks::new(None));
        let options = Options { is_alone: is_first, ..Options::new(u64::MAX) };
        let mut twin = match Core::open(store, self.stopped(record.time_ms), options) {
            Ok(twin) => twin,
            Err(error) => return broken(Rule::Recovery, format!("a copy cannot be read: {error}")),
        };
        let mut batch = Batch::default();
        twin.run(ops, &mut |id| process.listeners.contains_key(id), &mut batch);
        let fresh = lock(&before).take_fresh();
        self.counts.twins += 1;
        match &fresh[..] {
            [(twice, _)] if twice.payload == record.payload => Ok(()),
            other => {
                let other: Vec<Vec<Event>> = other
                    .iter()
                    .filter_map(|(record, _)| postcard::from_bytes(&record.payload).ok())
                    .collect();
                let first = postcard::from_bytes::<Vec<Event>>(&record.payload);
                broken(
                    Rule::Recovery,
                    format!("decided anew, record {} is {other:?}, not {first:?}", record.seq),
                )
            }
        }
    }

    /// Clocks by which it always is this late in the log.
    fn stopped(&self, log_ms: u64) -> Stopped {
        Stopped(log_ms.saturating_add_signed(-self.ledger.clock_offset_ms))
    }

    /// [`Sabotage::AnswersEarly`]: what the batch will say if all goes well.
    fn answers_early(&mut self, process: &Process, ops: &[Op]) -> Option<Batch> {
        if self.sabotage != Some(Sabotage::AnswersEarly) || process.core.state().is_err() {
            return None;
        }
        let copy = lock(&self.disk).copy();
        let (log_ms, _) = self.clocks.expected();
        let store = ModelStore::new(&copy, &Clocks::new(None));
        let mut core = Core::open(store, self.stopped(log_ms), Options::new(u64::MAX)).ok()?;
        let mut batch = Batch::default();
        core.run(ops, &mut |id| process.listeners.contains_key(id), &mut batch);
        Some(batch)
    }
}

fn stop_listening(process: &mut Process, no: usize, call: u64) {
    for listeners in process.listeners.values_mut() {
        listeners.retain(|&(other, its, _)| (other, its) != (no, call));
    }
    process.listeners.retain(|_, listeners| !listeners.is_empty());
}

/// A clock at which nothing passes.
struct Stopped(u64);

impl Clock for Stopped {
    fn wall_ms(&mut self) -> u64 {
        self.0
    }

    fn mono_ms(&mut self) -> u64 {
        0
    }
}

/// A command in a few words.
fn command_brief(command: &Command) -> String {
    match command {
        Command::Acquire(acquire) => {
            let claims: Vec<String> = acquire
                .claims
                .iter()
                .map(|claim| match claim.terms.limit() {
                    Some(limit) => format!("{} of {} by {limit}", claim.slots, claim.key),
                    None => format!("{} of {} by {:?}", claim.slots, claim.key, claim.terms),
                })
                .collect();
            format!(
                "Acquire {} {claims:?} ttl {:?} {:?} priority {} {:?} {:?}",
                acquire.id.as_u128(),
                acquire.ttl_ms,
                acquire.patience,
                acquire.priority,
                acquire.group,
                acquire.age
            )
        }
        Command::Renew { id, .. } => format!("Renew {}", id.as_u128()),
        Command::Release { id, part, counts } => format!("Release {} {part:?} {counts}", id.as_u128()),
        Command::Ask { id, for_ms } => format!("Ask {} for {for_ms}", id.as_u128()),
        Command::Withdraw { id } => format!("Withdraw {}", id.as_u128()),
        Command::SetLimit { limit, .. } => limit_brief(limit),
        other => format!("{other:?}"),
    }
}

fn limit_brief(limit: &admit_kernel::Limit) -> String {
    format!(
        "limit {} {:?} {:?} {:?} {:?}",
        limit.name, limit.terms, limit.mode, limit.on_full, limit.patterns
    )
}

/// Events in a few words.
fn events_brief(events: &[Event]) -> String {
    let brief = |event: &Event| match event {
        Event::Granted(grant) => format!("Granted {} token {}", grant.id.as_u128(), grant.token),
        Event::TicketGranted { id, token, .. } => format!("TicketGranted {} token {token}", id.as_u128()),
        Event::LeaseEnded { id, how, .. } => format!("LeaseEnded {} {how:?}", id.as_u128()),
        Event::TicketEnded { id, how } => format!("TicketEnded {} {how:?}", id.as_u128()),
        Event::Renewed { id, expires_at, .. } => {
            format!("Renewed {} until {:?}", id.as_u128(), expires_at.map(|at| at.0))
        }
        Event::Queued { ticket, queue } => format!("Queued {} in {queue}", ticket.id.as_u128()),
        Event::Clock(at) => format!("Clock {}", at.0),
        Event::LimitSet(limit) => limit_brief(limit),
        other => format!("{other:?}"),
    };
    events.iter().map(brief).collect::<Vec<_>>().join("; ")
}
