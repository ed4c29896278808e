//! Everything of one seed, and the order in which things happen to it.

use std::collections::BTreeMap;

use admit_engine::{Batch, Options};
use admit_kernel::{Command, Outcome};

use crate::check::{Beliefs, Checked, Ledger, Pace, Rule, Violation, broken};
use crate::client::{Client, Doing};
use crate::clocks::{Clocks, MAX_DRIFT_PPM, TrueTime};
use crate::disk::{Disk, SharedDisk, lock};
use crate::node::{Life, Node};
use crate::observe::Replica;
use crate::operator::Backup;
use crate::plan::Plan;
use crate::random::Random;
use crate::{Counts, Sabotage};

/// How long, in true time, everything may take to come to an end once nothing goes wrong any more.
const CALM_MS: u64 = 2 * 3_600_000;
/// Happenings of one seed at most; more means that something runs in circles.
const MAX_HAPPENINGS: u64 = 200_000;
/// Happenings before everything calms down, however little came of them.
const MAX_TROUBLED: u64 = 10_000;
/// How often, and after how long each, a node that is not up to date in the end looks at the log.
const MAX_LOOKS: u64 = 3;
const LOOK_AGAIN_MS: u64 = 1_100;
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
    /// A node has something to do, goes on after it stopped, starts, hears of news.
    Node(usize),
    GoOn(usize),
    Start(usize),
    News(usize),
    /// A client's timer rings.
    Client(usize),
    /// A request reaches a node.
    Request {
        n: usize,
        request: Request,
    },
    /// An answer reaches a client.
    Answer {
        no: usize,
        call: u64,
        reply: Reply,
    },
    /// A node's side of a connection notices that the client is gone.
    Gone {
        n: usize,
        no: usize,
        call: u64,
    },
    /// Somebody changes limits, sets the clock, pulls the plug.
    Operator,
    ClockStep,
    Outage,
    DatabaseCrash,
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
    pub time: TrueTime,
    pub disk: SharedDisk,
    pub nodes: Vec<Node>,
    processes: u64,
    /// The latest process of the only node has written nothing yet.
    pub is_starting: bool,
    pub batch: Batch,
    pub clients: Vec<Client>,
    pub ledger: Ledger,
    pub beliefs: Beliefs,
    pub pace: Pace,
    /// The time of the latest record, where one node alone makes it.
    pub logged_ms: u64,
    pub replica: Replica,
    /// An older copy of the database, and how often one has taken over.
    pub backup: Option<Backup>,
    pub restores: u64,
    /// Nothing goes wrong any more.
    pub quiet: bool,
    /// The last time that something went wrong, or a node went on that had stopped.
    pub troubled_ms: u64,
    pub counts: Counts,
    pub tells: bool,
    told: std::collections::VecDeque<String>,
    agenda: BTreeMap<(u64, u64), Happening>,
    scheduled: u64,
}

impl World {
    pub fn new(seed: u64, sabotage: Option<Sabotage>, tells: bool) -> World {
        let mut random = Random::new(seed, 0);
        let plan = Plan::new(&mut random, sabotage.map(Sabotage::is_of_several));
        let time = TrueTime::new();
        let is_shared = plan.nodes > 1;
        let disk = Disk::new(is_shared, Random::new(seed, 1), plan.faults, sabotage.and_then(Sabotage::disk));
        let mut new_node = |_| {
            let drift = random.below(2 * MAX_DRIFT_PPM.unsigned_abs()).cast_signed() - MAX_DRIFT_PPM;
            let drift_ppm = if is_shared { drift } else { 0 };
            Node::new(Clocks::new(time.clone(), drift_ppm, sabotage.and_then(Sabotage::clock)))
        };
        let nodes: Vec<Node> = (0..plan.nodes).map(&mut new_node).collect();
        let clients = (0..plan.clients).map(|no| Client::new(no % plan.nodes)).collect();
        World {
            plan,
            random,
            sabotage,
            time,
            disk: disk.share(),
            nodes,
            processes: 0,
            is_starting: false,
            batch: Batch::default(),
            clients,
            ledger: Ledger::default(),
            beliefs: Beliefs::default(),
            pace: Pace::default(),
            logged_ms: 0,
            replica: Replica::default(),
            backup: None,
            restores: 0,
            quiet: false,
            troubled_ms: 0,
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
        for n in 0..self.nodes.len() {
            self.schedule(started, Happening::Start(n));
        }
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
            self.time.advance_to(at);
            self.counts.steps += 1;
            self.happen(happening)?;
            if self.plan.nodes > 1 {
                self.pass_lock_on()?;
                self.spread_news();
            }
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
            Happening::Node(n) => self.run_node(n),
            Happening::GoOn(n) => self.go_on(n),
            Happening::Start(n) => self.start_node(n),
            Happening::News(n) => {
                self.poke(n);
                Ok(())
            }
            Happening::Client(no) => self.wake_client(no),
            Happening::Request { n, request } => {
                self.receive(n, request);
                Ok(())
            }
            Happening::Answer { no, call, reply } => self.answer_client(no, call, reply),
            Happening::Gone { n, no, call } => {
                self.connection_closed(n, no, call);
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
                self.schedule_trouble(self.plan.outage_every_ms, Happening::Outage);
                self.pull_the_plug()
            }
            Happening::DatabaseCrash => {
                self.crash_database();
                Ok(())
            }
            Happening::Command(command) => {
                self.send_to_any(command);
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
        self.time.now_ms()
    }

    pub fn schedule(&mut self, at: u64, happening: Happening) {
        self.scheduled += 1;
        self.agenda.insert((at, self.scheduled), happening);
    }

    /// How much the log's time has run ahead of what it would have been had no node ended.
    pub fn slip_ms(&self) -> u64 {
        if self.plan.nodes == 1 { self.nodes[0].clocks.slip_ms() } else { self.pace.slip_ms }
    }

    /// Sends a request to a node; it may be late, or get lost.
    pub fn send(&mut self, n: usize, caller: Caller, command: Command, listens: bool) {
        if let Some(ms) = self.transit_ms() {
            let at = self.now() + ms;
            let request = Request { caller, command, listens };
            self.schedule(at, Happening::Request { n, request });
        }
    }

    /// An operator asks some node.
    pub fn send_to_any(&mut self, command: Command) {
        let n = usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap_or(0);
        self.send(n, Caller::Operator, command, false);
    }

    /// What nodes have to tell each other gets there, late or not at all.
    fn spread_news(&mut self) {
        let news = std::mem::take(&mut lock(&self.disk).news);
        for from in news {
            for n in (0..self.nodes.len()).filter(|n| self.nodes[*n].process != from).collect::<Vec<_>>() {
                if self.random.per_mille(self.plan.news_lost) {
                    self.counts.lost_news += 1;
                } else if let Some(ms) = self.transit_ms() {
                    let at = self.now() + ms;
                    self.schedule(at, Happening::News(n));
                }
            }
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
        (self.quiet, self.troubled_ms) = (true, self.now());
        lock(&self.disk).heal();
        self.set_all_limits();
        let now = self.now();
        for n in 0..self.nodes.len() {
            self.schedule(now, Happening::Start(n));
        }
        self.schedule(now + 10_000, Happening::Sweep);
        for no in 0..self.clients.len() {
            self.schedule(now + 1, Happening::Client(no));
        }
    }

    fn is_over(&self) -> bool {
        let idle = |client: &Client| matches!(client.doing, Doing::Idle { .. });
        self.nodes.iter().all(|node| matches!(node.life, Life::Idle(_)))
            && self.ledger.leases.is_empty()
            && self.ledger.tickets.is_empty()
            && self.clients.iter().all(idle)
    }

    /// Once more everything is compared, before and after reading it back.
    fn end(&mut self) -> Checked {
        for n in 0..self.nodes.len() {
            // A look may be refused where an earlier one failed a moment ago.
            for _ in 0..MAX_LOOKS {
                if self.plan.nodes > 1 && self.is_up_to_date(n).is_err() {
                    self.time.pass(LOOK_AGAIN_MS);
                    self.poke(n);
                    self.run_node(n)?;
                }
            }
            if self.sabotage.is_none() {
                self.is_up_to_date(n)?;
            }
            self.compare(n)?;
            self.nodes[n].life = Life::Down;
            self.start_node(n)?;
            self.is_up_to_date(n)?;
            self.compare(n)?;
        }
        Ok(())
    }

    fn is_up_to_date(&self, n: usize) -> Checked {
        match &self.nodes[n].life {
            Life::Idle(process) if process.core.seq() == self.replica.seq => Ok(()),
            Life::Idle(process) => {
                let what = format!(
                    "node {n} is at record {}, the log is at {}",
                    process.core.seq(),
                    self.replica.seq
                );
                broken(Rule::Reads, what)
            }
            _ => broken(Rule::Service, format!("node {n} does not start although nothing goes wrong")),
        }
    }

    /// What is on its way to clients gets lost.
    pub fn lose_answers(&mut self) {
        for happening in self.agenda.values_mut() {
            if let Happening::Answer { reply, .. } = happening {
                *reply = Reply::Lost;
            }
        }
    }

    /// The options of a node's next process.
    pub fn options(&mut self) -> Options {
        self.processes += 1;
        Options {
            keep: self.plan.keep,
            snapshot_bytes: self.plan.snapshot_bytes,
            is_alone: self.plan.nodes == 1,
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
