//! A seeded simulator: the engine's real core over models of the store, of clocks, of the network, and of the
//! people who use and abuse it.
//!
//! A seed decides everything, so whatever a run finds it finds again. Nothing is believed but the durable log
//! and what clients were told: `check` folds the log with other code than the kernel's and judges every event.
//!
//! - `plan` is what a seed decides before anything happens;
//! - `world` is the order of what happens; `client` and `operator` are the people in it;
//! - `node` drives a core as the engine's thread does, `errand` by `errand`; `deliver` is what leaves it; `gate` lets
//!   it stop in the middle of something while others go on;
//! - `store` is a node's access to the model of the database, `disk`; `commit` its commits, `faults` what goes
//!   wrong with it; `clocks` is the model of time;
//! - `check` is the observer; `observe` shows it the log and compares the nodes with it, `twins` decides again.
//!
//! Half of the seeds have one node with a disk of its own, the others two to four on one database.

mod brief;
mod check;
mod client;
mod clocks;
mod commit;
mod counts;
mod deliver;
mod disk;
mod errand;
mod faults;
mod gate;
mod node;
mod observe;
mod operator;
mod plan;
mod random;
mod store;
mod twins;
mod world;

pub use check::{Rule, Violation};
pub use counts::Counts;

use clocks::Fake;
use faults::Lie;
use world::World;

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
    /// The store lets a node append that has lost the log's lock.
    Conflicts,
    /// The store does not say that the log has other records than those that were read.
    HidesRewrites,
    /// The store acknowledges what others can see before it is on disk.
    AcknowledgesBeforeFlush,
    /// The store ends a batch that wrote nothing before what it saw is on disk.
    AnswersBeforeFlush,
    /// The store does not say that it is a copy.
    HidesCopies,
    /// The store does not give what others wrote to who only looks.
    StaleReads,
}

impl Sabotage {
    fn disk(self) -> Option<Lie> {
        match self {
            Sabotage::NoSync => Some(Lie::NoSync),
            Sabotage::LosesCommit => Some(Lie::LosesCommit),
            Sabotage::TruncatesTooMuch => Some(Lie::TruncatesTooMuch),
            Sabotage::Conflicts => Some(Lie::Conflicts),
            Sabotage::HidesRewrites => Some(Lie::HidesRewrites),
            Sabotage::AcknowledgesBeforeFlush => Some(Lie::AcknowledgesBeforeFlush),
            Sabotage::AnswersBeforeFlush => Some(Lie::AnswersBeforeFlush),
            Sabotage::HidesCopies => Some(Lie::HidesCopies),
            Sabotage::StaleReads => Some(Lie::StaleReads),
            _ => None,
        }
    }

    /// Whether it takes several nodes.
    fn is_of_several(self) -> bool {
        matches!(
            self,
            Sabotage::Conflicts
                | Sabotage::HidesRewrites
                | Sabotage::AcknowledgesBeforeFlush
                | Sabotage::AnswersBeforeFlush
                | Sabotage::HidesCopies
                | Sabotage::StaleReads
        )
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
        return Ok(world.counted());
    };
    let step = world.counts.steps;
    // The same again, this time telling what happens: cheaper than always to write down what nobody reads.
    let mut again = World::new(seed, sabotage, true);
    let violation = again.run().err().unwrap_or(violation);
    Err(Failure { seed, step, violation, trace: again.told() })
}
