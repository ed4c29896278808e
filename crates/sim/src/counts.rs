//! What was done and checked.

use crate::disk;
use crate::world::World;

/// Defines the counts, each with what it counts.
macro_rules! counts {
    ($($(#[doc = $what:literal])* $name:ident,)*) => {
        /// What was done and checked.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[doc = $what])* pub $name: u64,)*
        }

        impl Counts {
            /// Adds those of another run.
            pub fn add(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
            }

            /// All of them, by name.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counts! {
    /// Seeds with several nodes.
    seeds_of_several,
    /// Things that happened.
    steps,
    /// Batches that the engines decided.
    batches,
    /// Commands in them.
    commands,
    /// Records of the log.
    records,
    /// Leases granted.
    grants,
    /// Leases that expired or lapsed.
    expiries,
    /// Deaths of processes.
    crashes,
    /// Times that the state was read back at a start.
    recoveries,
    /// Commits of unknown outcome.
    unknown,
    /// Times that the database was away or full, for all or for one.
    failures,
    /// Commands refused meanwhile.
    refused,
    /// Answers that got lost.
    lost_answers,
    /// Times that a wall clock was set.
    clock_steps,
    /// Starts with a log whose time is not the wall clock's.
    offsets,
    /// Times that somebody pulled a plug.
    outages,
    /// Silences of the log for which holders were spared.
    silences,
    /// Snapshots that were damaged.
    damaged_snapshots,
    /// Batches that a second engine decided too.
    twins,
    /// Moves of a client to another node.
    moves,
    /// Nodes that stopped in the middle of something.
    stops,
    /// Batches that waited for another node's lock.
    lock_waits,
    /// Of those, the ones that waited in vain.
    lock_timeouts,
    /// Commits of nodes that had lost the lock.
    conflicts,
    /// Of those, the ones that nobody had been quicker than.
    retried,
    /// Batches of nodes that were too far behind.
    behind,
    /// Batches of nodes that knew another log.
    rewritten,
    /// Crashes of the database.
    database_crashes,
    /// Records that were seen and then lost with it.
    lost_records,
    /// Times that another database took over.
    failovers,
    /// Times that an older one did.
    restores,
    /// News among nodes that got lost.
    lost_news,
}

impl World {
    /// What this world has come to.
    pub fn counted(&self) -> Counts {
        let injected = disk::lock(&self.disk).injected;
        Counts {
            seeds_of_several: u64::from(self.plan.nodes > 1),
            grants: self.ledger.grants,
            expiries: self.ledger.expiries,
            silences: self.ledger.outages,
            crashes: injected.crashes,
            unknown: injected.unknown,
            failures: injected.away + injected.full,
            damaged_snapshots: injected.damaged_snapshots,
            lock_waits: injected.lock_waits,
            lock_timeouts: injected.lock_timeouts,
            conflicts: injected.conflicts,
            retried: injected.retried,
            behind: injected.behind,
            rewritten: injected.rewritten,
            database_crashes: injected.database_crashes,
            lost_records: injected.lost_records,
            failovers: injected.failovers,
            restores: injected.restores,
            ..self.counts
        }
    }
}
