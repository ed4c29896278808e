//! The nodes: each drives its core as the engine's thread does, round by round, while it lives.

use std::collections::VecDeque;

use admit_engine::{Batch, Error, Op};
use admit_kernel::{Command, Patience};

use crate::Sabotage;
use crate::brief::command_brief;
use crate::check::{By, Checked, Rule, broken};
use crate::clocks::Clocks;
use crate::disk::lock;
use crate::errand::{Done, Errand, Listener, Process};
use crate::gate::{Signal, Thread};
use crate::store::{ModelStore, Stop};
use crate::world::{Caller, Happening, Reply, Request, World, note};

/// Batches after which the live state is compared with what the log says.
const COMPARE_EVERY: u64 = 64;
/// Reads of the state, in cases of a thousand rounds.
const READS: u64 = 100;

pub(crate) struct Node {
    pub clocks: Clocks,
    pub life: Life,
    /// The number of its latest process.
    pub process: u64,
    pub inbox: VecDeque<Request>,
    /// Callers whose connections broke: client and call.
    gone: Vec<(usize, u64)>,
    /// When it has something to do.
    due: Option<u64>,
    /// Others told it of news.
    is_poked: bool,
    /// What its next reading of the clock goes by.
    pub goes_by: By,
}

pub(crate) enum Life {
    Down,
    Idle(Box<Process>),
    /// In the middle of something that does not go on before its time.
    Stopped(Stopped),
}

pub(crate) struct Stopped {
    thread: Thread<Done>,
    taken: Vec<Request>,
    until_ms: u64,
    for_lock: bool,
    /// How often an older copy of the database had taken over when it began.
    restores: u64,
}

impl Node {
    pub fn new(clocks: Clocks) -> Node {
        Node {
            clocks,
            life: Life::Down,
            process: 0,
            inbox: VecDeque::new(),
            gone: Vec::new(),
            due: None,
            is_poked: false,
            goes_by: By { is_wall: true, follows_jump: false },
        }
    }

    fn take_idle(&mut self) -> Option<Box<Process>> {
        match std::mem::replace(&mut self.life, Life::Down) {
            Life::Idle(process) => Some(process),
            other => {
                self.life = other;
                None
            }
        }
    }
}

impl World {
    /// A process starts: it reads back what is in the database.
    pub fn start_node(&mut self, n: usize) -> Checked {
        if !matches!(self.nodes[n].life, Life::Down) {
            return Ok(());
        }
        let damage = self.random.per_mille(if self.quiet { 0 } else { self.plan.damage });
        let options = self.options();
        lock(&self.disk).open(options.node, damage);
        let node = &mut self.nodes[n];
        (node.process, node.goes_by.is_wall) = (options.node, true);
        let clocks = node.clocks.clone();
        let store = if self.plan.nodes == 1 {
            ModelStore::alone(&self.disk, &self.time, options.node, &clocks)
        } else {
            ModelStore::new(&self.disk, &self.time, n, options.node)
        };
        self.begin(n, Errand::Open { store: Box::new(store), clocks, options }, Vec::new())
    }

    fn opened(&mut self, n: usize, opened: Result<Box<Process>, Error>) -> Checked {
        self.observe()?;
        if self.plan.nodes == 1 {
            let end_ms = self.ledger.clock().max(lock(&self.disk).durable.time_ms);
            self.nodes[n].clocks.opened(end_ms, self.ledger.clock_offset_ms);
        }
        self.counts.offsets += u64::from(self.ledger.clock_offset_ms != 0);
        self.counts.recoveries += 1;
        match opened {
            Ok(_) if self.is_dead(n) => self.restart_later(n),
            Ok(process) => {
                note!(self, "node {n} starts at record {}", process.core.seq());
                self.is_starting = true;
                self.nodes[n].life = Life::Idle(process);
                self.compare(n)?;
                self.schedule_node(n, self.now());
            }
            Err(error) => {
                let passing = matches!(error, Error::Store(admit_store::Error::Unavailable(_)));
                if !self.is_dead(n) && !passing && !matches!(error, Error::Unavailable { .. }) {
                    return broken(Rule::Recovery, format!("what is stored cannot be read back: {error}"));
                }
                note!(self, "the start of node {n} fails: {error}");
                lock(&self.disk).kill(self.nodes[n].process);
                self.restart_later(n);
            }
        }
        Ok(())
    }

    pub fn is_dead(&self, n: usize) -> bool {
        lock(&self.disk).is_dead(self.nodes[n].process)
    }

    pub fn schedule_node(&mut self, n: usize, at: u64) {
        if self.nodes[n].due.is_none_or(|due| at < due) {
            self.nodes[n].due = Some(at);
            self.schedule(at, Happening::Node(n));
        }
    }

    /// A request reaches a node, if there is one.
    pub fn receive(&mut self, n: usize, request: Request) {
        if matches!(self.nodes[n].life, Life::Down) {
            match request.caller {
                Caller::Client { no, call } => self.answer(no, call, Reply::Lost),
                Caller::Operator => self.again_if_quiet(request.command),
                Caller::Engine => {}
            }
            return;
        }
        if let Command::Release { id, .. } | Command::Withdraw { id } = &request.command {
            self.ledger.asked_to_end.insert(*id);
        }
        self.nodes[n].inbox.push_back(request);
        let at = self.now() + self.random.below(2);
        self.schedule_node(n, at);
    }

    /// A node is told that others have news.
    pub fn poke(&mut self, n: usize) {
        self.nodes[n].is_poked = true;
        self.schedule_node(n, self.now());
    }

    /// A node's side of a connection notices that the client is gone.
    pub fn connection_closed(&mut self, n: usize, no: usize, call: u64) {
        if !matches!(self.nodes[n].life, Life::Down) {
            self.nodes[n].gone.push((no, call));
            self.schedule_node(n, self.now());
        }
    }

    /// Who is gone listens no more: its ticket goes with it, if it said so.
    fn see_who_is_gone(&mut self, n: usize, process: &mut Process) {
        for (no, call) in std::mem::take(&mut self.nodes[n].gone) {
            let mut withdrawn = None;
            for (id, listeners) in &mut process.listeners {
                let is_it = |listener: &Listener| (listener.client, listener.call) == (no, call);
                if let Some(index) = listeners.iter().position(is_it) {
                    let leaves_nothing = listeners.swap_remove(index).leaves_nothing;
                    withdrawn = (leaves_nothing && listeners.is_empty()).then_some(*id);
                }
            }
            process.listeners.retain(|_, listeners| !listeners.is_empty());
            if let Some(id) = withdrawn {
                self.ledger.asked_to_end.insert(id);
                let command = Command::Withdraw { id };
                let request = Request { caller: Caller::Engine, command, listens: false };
                self.nodes[n].inbox.push_back(request);
            }
        }
    }

    /// One round of a node: decide, look, tidy.
    pub fn run_node(&mut self, n: usize) -> Checked {
        if self.nodes[n].due.is_none_or(|due| due > self.now()) {
            return Ok(());
        }
        self.nodes[n].due = None;
        let Some(mut process) = self.nodes[n].take_idle() else { return Ok(()) };
        self.see_who_is_gone(n, &mut process);
        let taken = self.gather(n, &mut process);
        if taken.is_empty() {
            return self.look(n, process);
        }
        let ops: Vec<Op> = taken.iter().map(|request| Op::new(request.command.clone())).collect();
        if self.plan.nodes == 1 {
            return self.decide_alone(n, process, taken, &ops);
        }
        let batch = std::mem::take(&mut self.batch);
        self.begin(n, Errand::Decide { process, batch, ops }, taken)
    }

    /// What the next batch is made of.
    fn gather(&mut self, n: usize, process: &mut Process) -> Vec<Request> {
        let inbox = &mut self.nodes[n].inbox;
        let most = usize::try_from(self.random.within(1, 12)).unwrap_or(1).min(inbox.len());
        let mut taken: Vec<Request> = inbox.drain(..most).collect();
        if taken.is_empty() && process.core.tick_in_ms() == Some(0) {
            taken.push(Request { caller: Caller::Engine, command: Command::Tick, listens: false });
        }
        for request in taken.iter().filter(|request| request.listens) {
            let (id, leaves_nothing) = match &request.command {
                Command::Acquire(acquire) => (acquire.id, matches!(acquire.patience, Patience::For { .. })),
                Command::Ask { id, .. } => (*id, false),
                _ => continue,
            };
            if let Caller::Client { no, call } = request.caller {
                let listener = Listener { client: no, call, leaves_nothing };
                process.listeners.entry(id).or_default().push(listener);
            }
        }
        taken
    }

    /// Begins something; in a thread of its own where it may stop.
    fn begin(&mut self, n: usize, errand: Errand, taken: Vec<Request>) -> Checked {
        let stop = self.stop();
        let is_contended = self.plan.nodes > 1 && lock(&self.disk).is_contended(self.now());
        if stop.is_none() && !is_contended {
            let done = errand.run();
            return self.done(n, done, taken, false);
        }
        let thread = Thread::start(move |gate| errand.run_stopping(stop, gate));
        self.hear(n, Stopped { thread, taken, until_ms: 0, for_lock: false, restores: self.restores })
    }

    /// Whether a node stops, and where.
    fn stop(&mut self) -> Option<Stop> {
        if self.plan.nodes == 1 || self.quiet || !self.random.per_mille(self.plan.stops) {
            return None;
        }
        let longest_ms = self.plan.longest_stop_ms;
        let ms = match self.random.below(4) {
            0 => self.random.within(1, 50),
            1 => self.random.within(1_500, 4_000),
            _ => self.random.within(1, longest_ms),
        };
        self.counts.stops += 1;
        Some(Stop { place: self.random.below(8), ms })
    }

    /// Hears of a node that goes on in a thread of its own.
    fn hear(&mut self, n: usize, mut stopped: Stopped) -> Checked {
        match stopped.thread.hear() {
            Some(Signal::Stops { until_ms, for_lock }) => {
                note!(self, "node {n} stops until {}, for the lock: {for_lock}", until_ms % 100_000_000);
                (stopped.until_ms, stopped.for_lock) = (until_ms, for_lock);
                self.nodes[n].life = Life::Stopped(stopped);
                self.schedule(until_ms, Happening::GoOn(n));
                let has_tail = {
                    let disk = lock(&self.disk);
                    disk.head.seq > disk.durable.seq
                };
                if has_tail && !self.quiet && self.random.per_mille(self.plan.tail_crashes) {
                    let at = self.now() + self.random.within(1, 100);
                    self.schedule(at, Happening::DatabaseCrash);
                }
                self.observe()
            }
            Some(Signal::Done(mut done)) => {
                if stopped.restores != self.restores {
                    // What was decided in a log that is no more is nobody's answer.
                    std::mem::take(&mut stopped.taken)
                        .into_iter()
                        .for_each(|request| self.lose(request.caller));
                    if let Done::Decided { batch, .. } | Done::Looked { batch, .. } = &mut done {
                        (batch.answers, batch.woken, batch.reloaded) = (Vec::new(), Vec::new(), true);
                    }
                }
                self.done(n, done, stopped.taken, true)
            }
            None => broken(Rule::Service, format!("node {n} panicked")),
        }
    }

    /// A stopped node goes on, if it is time.
    pub fn go_on(&mut self, n: usize) -> Checked {
        match std::mem::replace(&mut self.nodes[n].life, Life::Down) {
            Life::Stopped(stopped) if stopped.until_ms <= self.now() => self.wake(n, stopped),
            other => {
                self.nodes[n].life = other;
                Ok(())
            }
        }
    }

    fn wake(&mut self, n: usize, stopped: Stopped) -> Checked {
        note!(self, "node {n} goes on");
        self.troubled_ms = self.now();
        stopped.thread.go_on();
        self.hear(n, stopped)
    }

    /// Who waits for a lock that is free has it.
    pub fn pass_lock_on(&mut self) -> Checked {
        loop {
            let Some(process) = lock(&self.disk).next_for_lock(self.now()) else { return Ok(()) };
            let waits = |node: &Node| {
                node.process == process && matches!(&node.life, Life::Stopped(stopped) if stopped.for_lock)
            };
            let Some(n) = self.nodes.iter().position(waits) else { return Ok(()) };
            if let Life::Stopped(stopped) = std::mem::replace(&mut self.nodes[n].life, Life::Down) {
                self.wake(n, stopped)?;
            }
        }
    }

    fn done(&mut self, n: usize, done: Done, taken: Vec<Request>, has_stopped: bool) -> Checked {
        match done {
            Done::Opened(opened) => self.opened(n, opened),
            Done::Decided { process, batch } => self.decided(n, process, batch, taken, has_stopped),
            Done::Looked { process, batch, seen } => self.looked(n, process, batch, &seen, has_stopped),
            Done::Tidied { process } => self.tidied(n, process),
        }
    }

    pub fn decided(
        &mut self,
        n: usize,
        mut process: Box<Process>,
        mut batch: Batch,
        taken: Vec<Request>,
        has_stopped: bool,
    ) -> Checked {
        self.counts.batches += 1;
        self.counts.commands += batch.answers.len() as u64;
        for request in &taken {
            note!(self, "node {n}: {}", command_brief(&request.command));
        }
        self.observe()?;
        if self.is_dead(n) {
            self.nodes[n].inbox.extend(taken);
            return self.died(n, *process);
        }
        self.deliver(n, &mut process, taken, &mut batch, has_stopped)?;
        self.batch = batch;
        let (now, process_no) = (self.now(), self.nodes[n].process);
        let is_locked = {
            let disk = lock(&self.disk);
            disk.has_lock(process_no, now) && !disk.is_away(n, now)
        };
        if is_locked {
            return broken(Rule::Service, format!("node {n} keeps the log locked after its batch"));
        }
        self.look(n, process)
    }

    /// Looks at what others did, if there is reason to.
    fn look(&mut self, n: usize, mut process: Box<Process>) -> Checked {
        let reads = self.plan.nodes > 1 && self.random.per_mille(READS);
        let is_due = self.nodes[n].is_poked || reads || process.core.look_in_ms() == Some(0);
        if !process.core.is_shared() || !is_due {
            return self.begin(n, Errand::Tidy { process }, Vec::new());
        }
        self.nodes[n].is_poked = false;
        let batch = std::mem::take(&mut self.batch);
        self.begin(n, Errand::Look { process, batch }, Vec::new())
    }

    fn looked(
        &mut self,
        n: usize,
        mut process: Box<Process>,
        mut batch: Batch,
        seen: &Result<(), Error>,
        has_stopped: bool,
    ) -> Checked {
        self.observe()?;
        if self.is_dead(n) {
            return self.died(n, *process);
        }
        let is_judged = self.sabotage.is_none_or(|sabotage| sabotage == Sabotage::StaleReads);
        if seen.is_ok() && process.core.state().is_ok() && is_judged {
            let (seq, ends) = (process.core.seq(), lock(&self.disk).durable.seq);
            if !has_stopped && seq != ends {
                return broken(Rule::Reads, format!("node {n} shows record {seq}, the log is at {ends}"));
            }
        }
        self.deliver(n, &mut process, Vec::new(), &mut batch, has_stopped)?;
        self.batch = batch;
        self.begin(n, Errand::Tidy { process }, Vec::new())
    }

    fn tidied(&mut self, n: usize, mut process: Box<Process>) -> Checked {
        self.observe()?;
        if self.is_dead(n) {
            return self.died(n, *process);
        }
        if let Some(error) = process.core.failure() {
            return broken(Rule::Service, format!("the engine of node {n} gave up: {error}"));
        }
        let now = self.now();
        if self.nodes[n].inbox.is_empty() && self.nodes[n].gone.is_empty() {
            let next = [process.core.tick_in_ms(), process.core.look_in_ms()].into_iter().flatten().min();
            if let Some(ms) = next {
                self.schedule_node(n, now + ms.max(1));
            }
        } else {
            let at = now + self.random.below(3);
            self.schedule_node(n, at);
        }
        self.nodes[n].life = Life::Idle(process);
        self.compare_digest(n)?;
        if self.counts.batches.is_multiple_of(COMPARE_EVERY) { self.compare(n) } else { Ok(()) }
    }

    /// The process is no more: who was connected notices, or not.
    fn died(&mut self, n: usize, process: Process) -> Checked {
        note!(self, "node {n} dies");
        for listener in process.listeners.into_values().flatten() {
            self.answer(listener.client, listener.call, Reply::Lost);
        }
        for request in std::mem::take(&mut self.nodes[n].inbox) {
            self.lose(request.caller);
        }
        self.nodes[n].gone.clear();
        self.restart_later(n);
        Ok(())
    }

    fn lose(&mut self, caller: Caller) {
        if let Caller::Client { no, call } = caller {
            self.answer(no, call, Reply::Lost);
        }
    }

    fn restart_later(&mut self, n: usize) {
        let most = if self.quiet { 100 } else { self.plan.longest_down_ms };
        let at = self.now() + self.random.within(1, most);
        self.schedule(at, Happening::Start(n));
    }

    /// A process is killed, or told to stop if it is between two rounds.
    pub fn stop_node(&mut self, n: usize, politely: bool) -> Checked {
        match std::mem::replace(&mut self.nodes[n].life, Life::Down) {
            Life::Down => Ok(()),
            Life::Stopped(stopped) => {
                lock(&self.disk).kill(self.nodes[n].process);
                self.wake(n, stopped)
            }
            Life::Idle(mut process) => {
                if politely {
                    // That it fails is no harm: opening again only takes longer.
                    let _ = process.core.snapshot();
                }
                lock(&self.disk).kill(self.nodes[n].process);
                self.died(n, *process)
            }
        }
    }
}
