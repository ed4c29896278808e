//! Random schedules of everything that can be asked, each step held against the naive model.

mod common;
mod model;

use admit_kernel::{
    Acquire, Claim, Command, Counts, Event, IfMissing, Limit, Mode, OnFull, Outcome, Part, Patience, Refill,
    Snapshot, State, Terms, Time,
};
use common::{World, id};
use model::Model;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

/// The one window length of the schedules, in milliseconds: known from a key's first windowed claim on.
const WINDOW_MS: u64 = 700;
/// Rounds of releasing everything within which everybody who can be admitted is.
const DRAIN_ROUNDS: usize = 200;

/// One thing that somebody does. Small numbers stand for the `n`-th request made so far.
#[derive(Debug, Clone)]
enum Op {
    Acquire(Box<Ask>),
    Again(u8),
    Release(u8, bool),
    ReleasePart(u8, u8, u32),
    Renew(u8, Option<u64>),
    AskAbout(u8),
    Withdraw(u8),
    Pass(u64),
    Max(u8, u32),
    Rate(u64),
    Mode(u8, Mode),
    OnFull(u8, OnFull, u32),
    Match(u8, u8),
    Remove(u8),
    Make(u8),
    Pause(u8, u64),
    Resume(u8),
    Reset(u8),
    SetUsage(u8, u32),
    RaiseEpoch,
    ClockOffset(i64),
}

#[derive(Debug, Clone)]
struct Ask {
    claims: Vec<(u8, u32, bool)>,
    patience: Patience,
    ttl_ms: Option<u64>,
    claim_ms: Option<u64>,
    priority: i32,
    group: u8,
    age_ms: Option<u64>,
    on_full: OnFull,
    rate: bool,
    continues: Option<u8>,
}

fn window(max: u32, counts: Counts) -> Terms {
    Terms { max, refill: Refill::Window { ms: WINDOW_MS, counts } }
}

/// The limits of the schedules: two plain ones, the two kinds of windows, a rate, one that matches others'
/// keys, and one for keys of tenants.
fn limits() -> Vec<Limit> {
    let mut matching = Limit::new("m", Terms::concurrent(3));
    matching.patterns = vec!["t/*".into(), "x".into()];
    vec![
        Limit::new("a", Terms::concurrent(2)),
        Limit::new("b", Terms::concurrent(1)),
        Limit::new("runs", window(2, Counts::Runs)),
        Limit::new("starts", window(2, Counts::Starts)),
        Limit::new("rate", Terms { max: 2, refill: Refill::Decay { nano_per_second: 1_700_000_001 } }),
        matching,
        Limit::new("tenant", Terms::concurrent(1)),
    ]
}

const RATE: u8 = 4;
const MATCHING: u8 = 5;

/// The claims that requests choose from.
fn claim((which, slots, admit): (u8, u32, bool)) -> Claim {
    let mut claim = match which % 16 {
        0 | 1 => Claim::limit("a", slots),
        2 | 3 => Claim::limit("b", slots.min(2)),
        4 => Claim::limit("runs", slots),
        5 => Claim::limit("starts", slots),
        6 => Claim::limit("rate", slots),
        7 => Claim::limit("m", slots),
        8 => Claim::limit_on("tenant", "t/1", slots.min(2)),
        9 => Claim::limit_on("tenant", "t/2", 1),
        10 => Claim::inline("x", Terms::concurrent(2), slots.min(2)),
        11 => Claim::inline("x", Terms::concurrent(4), slots),
        12 => Claim::inline("a", Terms::concurrent(3), slots),
        13 => Claim::inline("x", window(3, Counts::Runs), slots),
        14 => Claim::inline("t/1", window(2, Counts::Starts), slots.min(2)),
        _ => Claim::limit_on("rate", "r/1", slots),
    };
    claim.if_missing = if admit { IfMissing::Admit } else { IfMissing::Reject };
    claim
}

fn key_of(which: u8) -> &'static str {
    ["a", "b", "runs", "starts", "rate", "m", "t/1", "t/2", "x", "r/1"][usize::from(which) % 10]
}

fn patience() -> impl Strategy<Value = Patience> {
    prop_oneof![
        1 => Just(Patience::None),
        1 => (1u64..3_000).prop_map(|wait_ms| Patience::For { wait_ms }),
        1 => (1u64..3_000).prop_map(|poll_ttl_ms| Patience::Polled { poll_ttl_ms }),
        5 => Just(Patience::Forever),
    ]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![3 => Just(Mode::Enforce), 1 => Just(Mode::Observe), 1 => Just(Mode::Off)]
}

fn on_full() -> impl Strategy<Value = OnFull> {
    prop_oneof![
        12 => Just(OnFull::Queue),
        1 => Just(OnFull::KeepNewest),
        1 => Just(OnFull::CancelOldest),
        1 => Just(OnFull::Reject),
    ]
}

prop_compose! {
    fn ask()(
        claims in prop::collection::vec((any::<u8>(), prop_oneof![5 => Just(1u32), 2 => 2u32..4], any::<bool>()), 1..4),
        patience in patience(),
        ttl_ms in prop_oneof![2 => Just(None), 2 => (1_000u64..4_000).prop_map(Some)],
        claim_ms in prop_oneof![2 => Just(None), 1 => (1u64..2_000).prop_map(Some)],
        priority in prop_oneof![4 => Just(0), 1 => -1i32..2],
        group in prop_oneof![3 => Just(0u8), 1 => 0u8..3],
        age_ms in prop_oneof![4 => Just(None), 1 => (0u64..2_000).prop_map(Some)],
        on_full in on_full(),
        rate in prop::bool::weighted(0.2),
        continues in prop_oneof![4 => Just(None), 1 => any::<u8>().prop_map(Some)],
    ) -> Ask {
        Ask { claims, patience, ttl_ms, claim_ms, priority, group, age_ms, on_full, rate, continues }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let n = any::<u8>;
    prop_oneof![
        30 => ask().prop_map(|ask| Op::Acquire(Box::new(ask))),
        1 => n().prop_map(Op::Again),
        16 => (n(), prop::bool::weighted(0.8)).prop_map(|(n, counts)| Op::Release(n, counts)),
        4 => (n(), n(), 1u32..4).prop_map(|(n, key, slots)| Op::ReleasePart(n, key, slots)),
        3 => (n(), prop::option::of(1_000u64..4_000)).prop_map(|(n, ttl)| Op::Renew(n, ttl)),
        3 => n().prop_map(Op::AskAbout),
        3 => n().prop_map(Op::Withdraw),
        12 => prop_oneof![6 => 0u64..400, 3 => 400u64..1_500, 1 => 1_500u64..20_000].prop_map(Op::Pass),
        4 => (n(), 0u32..5).prop_map(|(n, max)| Op::Max(n, max)),
        1 => (1u64..5_000_000_000).prop_map(Op::Rate),
        2 => (n(), mode()).prop_map(|(n, mode)| Op::Mode(n, mode)),
        1 => (n(), on_full(), 0u32..6).prop_map(|(n, on_full, len)| Op::OnFull(n, on_full, len)),
        1 => (n(), n()).prop_map(|(n, patterns)| Op::Match(n, patterns)),
        1 => n().prop_map(Op::Remove),
        2 => n().prop_map(Op::Make),
        2 => (n(), 1u64..2_000).prop_map(|(n, ms)| Op::Pause(n, ms)),
        2 => n().prop_map(Op::Resume),
        1 => n().prop_map(Op::Reset),
        1 => (n(), 0u32..5).prop_map(|(n, used)| Op::SetUsage(n, used)),
        1 => Just(Op::RaiseEpoch),
        1 => (-4_000_000i64..4_000_000).prop_map(Op::ClockOffset),
    ]
}

/// A kernel and the model that watches it.
struct Watched {
    world: World,
    model: Model,
    made: Vec<Acquire>,
    steps: Vec<(Time, Command)>,
    /// Another node: it replays what each step logged.
    follower: State,
}

impl Watched {
    fn new() -> Watched {
        let mut watched = Watched {
            world: World::default(),
            model: Model::default(),
            made: Vec::new(),
            steps: Vec::new(),
            follower: State::new(),
        };
        for limit in limits() {
            watched.run(&Command::SetLimit { limit: Box::new(limit), if_revision: None });
        }
        watched
    }

    /// One step, and whatever it leaves to be gone on with.
    fn run(&mut self, command: &Command) -> Outcome {
        let outcome = self.step(command);
        while self.world.state.next_due().is_some_and(|due| due.0 <= self.world.now) {
            self.step(&Command::Tick);
        }
        outcome
    }

    fn step(&mut self, command: &Command) -> Outcome {
        let from = self.world.log.len();
        let outcome = self.world.run(command);
        self.steps.push((Time(self.world.now), command.clone()));
        self.follower.replay(&self.world.log[from..]);
        self.model.follow(command, &self.world.log[from..], self.world.now);
        self.model.check(&self.world.state);
        outcome
    }

    fn limit(&self, n: u8) -> Limit {
        let all = limits();
        all[usize::from(n) % all.len()].clone()
    }

    fn change(&mut self, n: u8, change: impl FnOnce(&mut Limit)) {
        let Some(mut limit) = self.world.state.limit(&self.limit(n).name).cloned() else { return };
        change(&mut limit);
        self.run(&Command::SetLimit { limit: Box::new(limit), if_revision: None });
    }

    fn id(&self, n: u8) -> uuid::Uuid {
        id(u128::from(n) % (self.made.len() as u128 + 1) + 1)
    }

    fn acquire(&mut self, ask: &Ask) {
        let n = self.made.len() as u128 + 1;
        let acquire = Acquire {
            ttl_ms: ask.ttl_ms,
            patience: ask.patience,
            priority: ask.priority,
            group: (ask.group > 0).then(|| format!("g{}", ask.group).into()),
            age: ask.age_ms.map(|ms| Time(self.world.now - ms)),
            on_full: ask.on_full,
            claim_ms: ask.claim_ms,
            rate: ask.rate,
            continues: ask.continues.map(|n| self.id(n)),
            ..Acquire::new(id(n), ask.claims.iter().copied().map(claim).collect())
        };
        self.made.push(acquire.clone());
        self.run(&Command::Acquire(Box::new(acquire)));
    }

    fn play(&mut self, op: &Op) {
        match op {
            Op::Acquire(ask) => self.acquire(ask),
            Op::Again(n) => {
                if !self.made.is_empty() {
                    let again = self.made[usize::from(*n) % self.made.len()].clone();
                    let known = self.world.state.lease(again.id).is_some()
                        || self.world.state.ticket(again.id).is_some();
                    let ended = self.world.state.ended(again.id).is_some();
                    let outcome = self.run(&Command::Acquire(Box::new(again.clone())));
                    if known {
                        assert!(
                            matches!(outcome, Outcome::Granted(_) | Outcome::Waiting { .. }),
                            "{outcome:?}"
                        );
                    } else if ended {
                        let denied = matches!(outcome, Outcome::Denied(denial) if matches!(*denial, admit_kernel::Denial::Ended { .. }));
                        assert!(denied);
                    }
                }
            }
            Op::Release(n, counts) => {
                self.run(&Command::Release { id: self.id(*n), part: Part::All, counts: *counts });
            }
            Op::ReleasePart(n, key, slots) => {
                let key = key_of(*key).into();
                let part = if *slots == 3 { Part::Key(key) } else { Part::Slots { key, slots: *slots } };
                self.run(&Command::Release { id: self.id(*n), part, counts: true });
            }
            Op::Renew(n, ttl_ms) => {
                self.run(&Command::Renew { id: self.id(*n), ttl_ms: *ttl_ms });
            }
            Op::AskAbout(n) => {
                self.run(&Command::Ask { id: self.id(*n), for_ms: 100 });
            }
            Op::Withdraw(n) => {
                self.run(&Command::Withdraw { id: self.id(*n) });
            }
            Op::Pass(ms) => {
                self.world.now += ms;
                self.run(&Command::Tick);
            }
            Op::Max(n, max) => self.change(*n, |limit| limit.terms.max = *max),
            Op::Rate(nano_per_second) => self.change(RATE, |limit| {
                limit.terms.refill = Refill::Decay { nano_per_second: *nano_per_second };
            }),
            // What a level means to leases that were granted while it did not count is tested apart.
            Op::Mode(n, mode) if self.limit(*n).name.as_ref() == "rate" && *mode == Mode::Off => {}
            Op::Mode(n, mode) => self.change(*n, |limit| limit.mode = *mode),
            Op::OnFull(n, on_full, max_len) => self.change(*n, |limit| {
                (limit.on_full, limit.max_len) = (*on_full, *max_len);
            }),
            Op::Match(n, patterns) => {
                let n = if n % 3 == 0 { 0 } else { MATCHING };
                let patterns: &[&str] =
                    [&["t/*", "x"][..], &["x"], &[], &["**"], &["t/1"]][usize::from(patterns % 5)];
                self.change(n, |limit| {
                    limit.patterns = patterns.iter().map(|&pattern| pattern.into()).collect()
                });
            }
            Op::Remove(n) => {
                self.run(&Command::RemoveLimit { name: self.limit(*n).name, if_revision: None });
            }
            Op::Make(n) => {
                let limit = self.limit(*n);
                if self.world.state.limit(&limit.name).is_none() {
                    self.run(&Command::SetLimit { limit: Box::new(limit), if_revision: None });
                }
            }
            Op::Pause(n, ms) => {
                let until = Some(Time(self.world.now + ms));
                self.run(&Command::Pause { name: self.limit(*n).name, until, if_version: None });
            }
            Op::Resume(n) => {
                self.run(&Command::Pause { name: self.limit(*n).name, until: None, if_version: None });
            }
            Op::Reset(n) => {
                self.run(&Command::Reset { name: self.limit(*n).name, if_version: None });
            }
            Op::SetUsage(n, used) => {
                let id = id(1_000_000 + self.world.log.len() as u128);
                self.run(&Command::SetUsage { name: self.limit(*n).name, id, used: *used });
            }
            Op::ClockOffset(ms) => {
                self.run(&Command::SetClockOffset { ms: *ms });
                assert_eq!(self.world.state.clock_offset_ms(), *ms);
            }
            Op::RaiseEpoch => {
                self.run(&Command::RaiseEpoch);
            }
        }
    }

    /// Opens every limit, then releases all that is held and lets time pass, again and again: everybody who
    /// waits has to come through.
    fn drain(&mut self) {
        for n in 0..limits().len() as u8 {
            let limit = Limit { mode: Mode::Enforce, ..self.limit(n) };
            let terms = Terms { max: 8, ..limit.terms };
            self.run(&Command::SetLimit {
                limit: Box::new(Limit { terms, ..limit.clone() }),
                if_revision: None,
            });
            self.run(&Command::Pause { name: limit.name, until: None, if_version: None });
        }
        for _ in 0..DRAIN_ROUNDS {
            let held: Vec<_> = self.model.runs.keys().copied().collect();
            for id in held {
                self.run(&Command::Release { id, part: Part::All, counts: true });
            }
            // Those whose own terms are too narrow for what they ask wait aside for ever.
            if self.model.queues.values().all(|queue| queue.aside) {
                return;
            }
            self.world.now += WINDOW_MS + 300;
            self.run(&Command::Tick);
        }
        panic!("some wait for ever: {:#?}", self.model.queues);
    }
}

fn check(ops: &[Op]) -> Result<(), TestCaseError> {
    let mut watched = Watched::new();
    let (first, second) = ops.split_at(ops.len() / 2);
    first.iter().for_each(|op| watched.play(op));
    watched.world.check_replay();
    let half = (watched.world.state.snapshot(), watched.world.log.len(), watched.steps.len());
    second.iter().for_each(|op| watched.play(op));
    watched.world.check_replay();
    watched.drain();
    watched.world.check_replay();
    check_copies(&watched, half);
    Ok(())
}

/// Whoever goes on from a snapshot, or replays record by record, or reads the log from disk, gets the same.
fn check_copies(watched: &Watched, (snapshot, logged, steps): (Snapshot, usize, usize)) {
    let log = &watched.world.log;
    let end = watched.world.state.snapshot();
    assert_eq!(watched.follower.snapshot(), end, "a follower");
    assert_eq!(watched.follower.digest(), watched.world.state.digest());
    let bytes = postcard::to_allocvec(log).expect("events are written");
    assert_eq!(&postcard::from_bytes::<Vec<Event>>(&bytes).expect("events are read"), log);
    let bytes = postcard::to_allocvec(&snapshot).expect("a snapshot is written");
    let mut restored = State::restore(postcard::from_bytes(&bytes).expect("a snapshot is read"));
    let mut events = Vec::new();
    for (now, command) in &watched.steps[steps..] {
        restored.step(*now, command, &mut events);
    }
    for (n, (event, other)) in events.iter().zip(&log[logged..]).enumerate() {
        assert_eq!(event, other, "event {n} as the restored decides it");
    }
    assert_eq!(events.len(), log[logged..].len());
    assert_eq!(restored.snapshot(), end, "the restored");
    assert_eq!(watched.world.state.problems(), [""; 0]);
}

/// Schedules of one run: some seconds of them, or as many as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let told = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if told { ProptestConfig::default().cases } else { 1_500 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn invariant_03_no_schedule_admits_more_than_the_naive_model_allows(ops in prop::collection::vec(op(), 1..80)) {
        check(&ops)?;
    }
}
