//! A seeded simulator: the engine's real core over models of the store, of clocks, of the network, and of the
//! people who use and abuse it.
//!
//! A seed decides everything, so whatever a run finds it finds again. Nothing is believed but the durable log
//! and what clients were told: `check` folds the log with other code than the kernel's and judges every event.
//!
//! - `plan` is what a seed decides before anything happens;
//! - `world` is the order of what happens; `client` and `operator` are the people in it;
//! - `process` drives the core as the engine's thread does; `disk` and `clocks` are what it stands on;
//! - `check` is the observer.

mod check;
mod client;
mod clocks;
mod disk;
mod operator;
mod plan;
mod process;
mod random;
mod world;

pub use check::{Rule, Violation};

use clocks::Fake;
use disk::Lie;
use world::World;

/// What was done and checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Things that happened.
    pub steps: u64,
    /// Batches that the engine decided.
    pub batches: u64,
    /// Commands in them.
    pub commands: u64,
    /// Records of the log.
    pub records: u64,
    /// Leases granted.
    pub grants: u64,
    /// Leases that expired or lapsed.
    pub expiries: u64,
    /// Deaths of the process.
    pub crashes: u64,
    /// Times that the state was read back at a start.
    pub recoveries: u64,
    /// Commits of unknown outcome.
    pub unknown: u64,
    /// Times that the store was away or full.
    pub failures: u64,
    /// Commands refused meanwhile.
    pub refused: u64,
    /// Answers that got lost.
    pub lost_answers: u64,
    /// Times that the wall clock was set.
    pub clock_steps: u64,
    /// Starts with a log whose time is not the wall clock's.
    pub offsets: u64,
    /// Times that the process was stopped or the database went away for a while.
    pub outages: u64,
    /// Silences of the log for which holders were spared.
    pub silences: u64,
    /// Batches that a second engine decided too.
    pub twins: u64,
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Counts) {
        self.steps += other.steps;
        self.batches += other.batches;
        self.commands += other.commands;
        self.records += other.records;
        self.grants += other.grants;
        self.expiries += other.expiries;
        self.crashes += other.crashes;
        self.recoveries += other.recoveries;
        self.unknown += other.unknown;
        self.failures += other.failures;
        self.refused += other.refused;
        self.lost_answers += other.lost_answers;
        self.clock_steps += other.clock_steps;
        self.offsets += other.offsets;
        self.outages += other.outages;
        self.silences += other.silences;
        self.twins += other.twins;
    }
}

/// A seed that broke a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The step at which it was noticed.
    pub step: u64,
    /// The rule and how it was broken.
    pub violation: Violation,
    /// The last of what happened before.
    pub trace: Vec<String>,
}

/// A way in which something is wrong on purpose, so that the checks can be seen to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The store acknowledges what is only in memory; a crash loses it.
    NoSync,
    /// The store acknowledges a commit and drops it.
    LosesCommit,
    /// The store drops more of the log than its snapshots can replace.
    TruncatesTooMuch,
    /// The clock hides silences of the log, so that outages expire holders.
    NoOutageRule,
    /// The monotonic clock steps with the wall clock.
    MonotonicSteps,
    /// Callers are answered before the commit.
    AnswersEarly,
}

impl Sabotage {
    fn disk(self) -> Option<Lie> {
        match self {
            Sabotage::NoSync => Some(Lie::NoSync),
            Sabotage::LosesCommit => Some(Lie::LosesCommit),
            Sabotage::TruncatesTooMuch => Some(Lie::TruncatesTooMuch),
            _ => None,
        }
    }

    fn clock(self) -> Option<Fake> {
        match self {
            Sabotage::NoOutageRule => Some(Fake::HidesSilence),
            Sabotage::MonotonicSteps => Some(Fake::MonotonicSteps),
            _ => None,
        }
    }
}

/// Runs one seed.
pub fn run(seed: u64) -> Result<Counts, Failure> {
    run_sabotaged(seed, None)
}

/// Runs one seed in a world where something is wrong on purpose.
pub fn run_sabotaged(seed: u64, sabotage: Option<Sabotage>) -> Result<Counts, Failure> {
    let mut world = World::new(seed, sabotage, false);
    let Err(violation) = world.run() else {
        let mut counts = world.counts;
        let injected = disk::lock(&world.disk).injected;
        counts.grants = world.ledger.grants;
        counts.expiries = world.ledger.expiries;
        counts.silences = world.ledger.outages;
        counts.crashes = injected.crashes;
        counts.unknown = injected.unknown;
        counts.failures = injected.away + injected.full;
        return Ok(counts);
    };
    let step = world.counts.steps;
    // The same again, this time telling what happens: cheaper than always to write down what nobody reads.
    let mut again = World::new(seed, sabotage, true);
    let violation = again.run().err().unwrap_or(violation);
    Err(Failure { seed, step, violation, trace: again.told() })
}
