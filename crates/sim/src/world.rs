//! Everything of one seed, and the order in which things happen to it.

use std::collections::BTreeMap;

use admit_engine::{Batch, Options};
use admit_kernel::{Command, Outcome, State};

use crate::check::{Beliefs, Checked, Ledger, Rule, Violation, broken};
use crate::client::{Client, Doing};
use crate::clocks::Clocks;
use crate::disk::{Disk, SharedDisk, lock};
use crate::plan::Plan;
use crate::process::Process;
use crate::random::Random;
use crate::{Counts, Sabotage};

/// How long, in true time, everything may take to come to an end once nothing goes wrong any more.
const CALM_MS: u64 = 2 * 3_600_000;
/// Happenings of one seed at most; more means that something runs in circles.
const MAX_HAPPENINGS: u64 = 200_000;
/// Happenings before everything calms down, however little came of them.
const MAX_TROUBLED: u64 = 10_000;
/// The last of what happened that is told when a rule is broken.
const TOLD: usize = 60;

/// Notes what happens, where somebody wants to read it.
macro_rules! note {
    ($world:expr, $($what:tt)*) => {
        if $world.tells {
            let line = format!($($what)*);
            $world.tell(&line);
        }
    };
}
pub(crate) use note;

/// One thing that happens at some time.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The engine has something to do.
    Engine,
    /// The process starts.
    Start,
    /// A client's timer rings.
    Client(usize),
    /// A request reaches the engine.
    Request(Request),
    /// An answer reaches a client.
    Answer {
        no: usize,
        call: u64,
        reply: Reply,
    },
    /// The engine's side of a connection notices that the client is gone.
    Gone {
        no: usize,
        call: u64,
    },
    /// Somebody changes limits, sets the clock, pulls the plug.
    Operator,
    ClockStep,
    Outage,
    /// An operator sends this; again and again until it is done, once all is calm.
    Command(Command),
    /// In the end, what nobody holds any more is looked for and given back.
    Sweep,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Caller {
    Client { no: usize, call: u64 },
    Operator,
    Engine,
}

/// A command on its way.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub caller: Caller,
    pub command: Command,
    /// The caller stays to listen until its ticket is granted or ends.
    pub listens: bool,
}

/// What a client hears: what came of its request and when that was decided, or nothing certain.
#[derive(Debug)]
pub(crate) enum Reply {
    Outcome(Outcome, u64),
    Lost,
}

pub(crate) struct World {
    pub plan: Plan,
    pub random: Random,
    pub sabotage: Option<Sabotage>,
    pub clocks: Clocks,
    pub disk: SharedDisk,
    pub process: Option<Process>,
    pub processes: u64,
    /// The latest process has written nothing yet.
    pub is_starting: bool,
    pub batch: Batch,
    pub engine_due: Option<u64>,
    pub clients: Vec<Client>,
    pub ledger: Ledger,
    pub beliefs: Beliefs,
    /// What somebody knows who only replays the log.
    pub replica: State,
    pub replica_seq: u64,
    /// Nothing goes wrong any more.
    pub quiet: bool,
    pub counts: Counts,
    pub tells: bool,
    told: std::collections::VecDeque<String>,
    agenda: BTreeMap<(u64, u64), Happening>,
    scheduled: u64,
}

impl World {
    pub fn new(seed: u64, sabotage: Option<Sabotage>, tells: bool) -> World {
        let mut random = Random::new(seed, 0);
        let plan = Plan::new(&mut random);
        let clocks = Clocks::new(sabotage.and_then(Sabotage::clock));
        let disk = Disk::new(Random::new(seed, 1), plan.faults, sabotage.and_then(Sabotage::disk));
        let clients = (0..plan.clients).map(|_| Client::new()).collect();
        World {
            plan,
            random,
            sabotage,
            clocks,
            disk,
            process: None,
            processes: 0,
            is_starting: false,
            batch: Batch::default(),
            engine_due: None,
            clients,
            ledger: Ledger::default(),
            beliefs: Beliefs::default(),
            replica: State::new(),
            replica_seq: 0,
            quiet: false,
            counts: Counts::default(),
            tells,
            told: std::collections::VecDeque::new(),
            agenda: BTreeMap::new(),
            scheduled: 0,
        }
    }

    /// Runs the seed from its beginning to the calm end.
    pub fn run(&mut self) -> Result<(), Violation> {
        let started = self.now();
        self.schedule(started, Happening::Start);
        self.set_all_limits();
        for no in 0..self.clients.len() {
            let at = started + self.random.below(2_000);
            self.schedule(at, Happening::Client(no));
        }
        let troubles = [
            (self.plan.operator_every_ms, Happening::Operator),
            (self.plan.clock_every_ms, Happening::ClockStep),
            (self.plan.outage_every_ms, Happening::Outage),
        ];
        for (every_ms, trouble) in troubles {
            self.schedule_trouble(every_ms, trouble);
        }
        let mut calm_by = u64::MAX;
        while let Some(((at, _), happening)) = self.agenda.pop_first() {
            self.clocks.advance_to(at);
            self.counts.steps += 1;
            self.happen(happening)?;
            let enough = self.counts.records >= self.plan.records || self.counts.steps >= MAX_TROUBLED;
            if !self.quiet && enough {
                self.calm_down();
                calm_by = self.now() + CALM_MS;
            }
            if self.quiet && self.is_over() {
                return self.end();
            }
            if self.now() > calm_by || self.counts.steps > MAX_HAPPENINGS {
                break;
            }
        }
        let waiting: Vec<u128> = self.ledger.tickets.keys().map(|id| id.as_u128()).collect();
        let held: Vec<u128> = self.ledger.leases.keys().map(|id| id.as_u128()).collect();
        broken(Rule::Progress, format!("it does not come to an end: {waiting:?} wait, {held:?} hold"))
    }

    fn happen(&mut self, happening: Happening) -> Checked {
        match happening {
            Happening::Engine => self.run_engine(),
            Happening::Start => self.start_process(),
            Happening::Client(no) => self.wake_client(no),
            Happening::Request(request) => {
                self.receive(request);
                Ok(())
            }
            Happening::Answer { no, call, reply } => self.answer_client(no, call, reply),
            Happening::Gone { no, call } => {
                self.connection_closed(no, call);
                Ok(())
            }
            Happening::Operator => {
                self.operate();
                self.schedule_trouble(self.plan.operator_every_ms, Happening::Operator);
                Ok(())
            }
            Happening::ClockStep => {
                self.step_clock();
                self.schedule_trouble(self.plan.clock_every_ms, Happening::ClockStep);
                Ok(())
            }
            Happening::Outage => {
                self.pull_the_plug();
                self.schedule_trouble(self.plan.outage_every_ms, Happening::Outage);
                Ok(())
            }
            Happening::Command(command) => {
                self.send(Caller::Operator, command, false);
                Ok(())
            }
            Happening::Sweep => {
                self.sweep();
                Ok(())
            }
        }
    }

    fn schedule_trouble(&mut self, every_ms: u64, trouble: Happening) {
        if every_ms > 0 && !self.quiet {
            let at = self.now() + self.random.within(1, 2 * every_ms);
            self.schedule(at, trouble);
        }
    }

    pub fn now(&self) -> u64 {
        self.clocks.now_ms()
    }

    pub fn schedule(&mut self, at: u64, happening: Happening) {
        self.scheduled += 1;
        self.agenda.insert((at, self.scheduled), happening);
    }

    pub fn schedule_engine(&mut self, at: u64) {
        if self.engine_due.is_none_or(|due| at < due) {
            self.engine_due = Some(at);
            self.schedule(at, Happening::Engine);
        }
    }

    /// Sends a request to the engine; it may be late, or get lost.
    pub fn send(&mut self, caller: Caller, command: Command, listens: bool) {
        if let Some(ms) = self.transit_ms() {
            let at = self.now() + ms;
            self.schedule(at, Happening::Request(Request { caller, command, listens }));
        }
    }

    /// Answers a client; the answer may be late, or get lost.
    pub fn answer(&mut self, no: usize, call: u64, reply: Reply) {
        if let Some(ms) = self.transit_ms() {
            let at = self.now() + ms;
            self.schedule(at, Happening::Answer { no, call, reply });
        } else {
            self.counts.lost_answers += 1;
        }
    }

    /// How long a message takes; none: it gets lost.
    fn transit_ms(&mut self) -> Option<u64> {
        if self.quiet {
            return Some(1);
        }
        if self.random.per_mille(self.plan.lost) {
            return None;
        }
        let most = if self.random.per_mille(self.plan.late) { 8_000 } else { 4 };
        Some(self.random.below(most))
    }

    /// From now on nothing goes wrong: everybody finishes what was begun.
    fn calm_down(&mut self) {
        note!(self, "from now on nothing goes wrong");
        self.quiet = true;
        lock(&self.disk).heal();
        self.set_all_limits();
        let now = self.now();
        if self.process.is_none() {
            self.schedule(now, Happening::Start);
        }
        self.schedule(now + 10_000, Happening::Sweep);
        for no in 0..self.clients.len() {
            self.schedule(now + 1, Happening::Client(no));
        }
    }

    fn is_over(&self) -> bool {
        let idle = |client: &Client| matches!(client.doing, Doing::Idle { .. });
        self.process.is_some()
            && self.ledger.leases.is_empty()
            && self.ledger.tickets.is_empty()
            && self.clients.iter().all(idle)
    }

    /// Once more everything is compared, before and after reading it back.
    fn end(&mut self) -> Checked {
        self.compare()?;
        self.process = None;
        self.start_process()?;
        match &self.process {
            Some(_) => self.compare(),
            None => broken(Rule::Service, "it does not start although nothing goes wrong"),
        }
    }

    /// The options of the next process.
    pub fn options(&mut self) -> Options {
        self.processes += 1;
        Options {
            keep: self.plan.keep,
            snapshot_bytes: self.plan.snapshot_bytes,
            is_alone: true,
            ..Options::new(self.processes)
        }
    }

    pub fn tell(&mut self, line: &str) {
        if self.told.len() == TOLD {
            self.told.pop_front();
        }
        let ms = self.now() % 100_000_000;
        self.told.push_back(format!("{:>6} {:>5}.{:03}s  {line}", self.counts.steps, ms / 1_000, ms % 1_000));
    }

    /// The last of what happened.
    pub fn told(self) -> Vec<String> {
        self.told.into()
    }
}
