//! Operators: they change limits, set the clock, pull the plug, and in the end put everything right.

use admit_kernel::{Command, Limit, Mode, Part, Refill, State, Time};
use uuid::Uuid;

use crate::check::{Checked, Ledger};
use crate::disk::{Copy, lock};
use crate::observe::Replica;
use crate::world::{Happening, World, note};

/// What every limit allows in the end, so that whatever was asked for can be had.
const ENOUGH: u32 = 8;

/// A copy of the database, and what the observer knew then.
pub(crate) struct Backup {
    database: Copy,
    ledger: Ledger,
    state: State,
}

impl World {
    /// Defines all limits: as the plan has them, or, in the end, so that everybody gets through.
    pub fn set_all_limits(&mut self) {
        for limit in self.plan.limits.clone() {
            let name = limit.name.clone();
            let plain = limit.terms.refill == Refill::Release;
            let limit = if self.quiet { generous(limit) } else { limit };
            let set = Command::SetLimit { limit: Box::new(limit), if_revision: None };
            let mut commands = vec![set];
            if self.quiet {
                commands.push(Command::Pause { name: name.clone(), until: None, if_version: None });
                if plain {
                    commands.push(Command::SetUsage { name, id: self.operator_id(), used: 0 });
                }
            }
            for command in commands {
                let at = self.now() + 1;
                self.schedule(at, Happening::Command(command));
            }
        }
    }

    fn operator_id(&mut self) -> Uuid {
        Uuid::from_u128(u128::from(self.random.next()) << 64)
    }

    /// Somebody changes a limit.
    pub fn operate(&mut self) {
        if self.quiet {
            return;
        }
        let mut limit = self.random.pick(&self.plan.limits).clone();
        let name = limit.name.clone();
        let plain = limit.terms.refill == Refill::Release;
        let command = match self.random.below(20) {
            0..9 => {
                limit.terms.max = u32::try_from(self.random.below(5)).unwrap_or(0);
                limit.mode = match self.random.below(12) {
                    0 => Mode::Observe,
                    1 => Mode::Off,
                    _ => Mode::Enforce,
                };
                if !limit.patterns.is_empty() && self.random.per_mille(300) {
                    limit.patterns.clear();
                }
                Command::SetLimit { limit: Box::new(limit), if_revision: None }
            }
            9..12 => Command::Pause { name, until: Some(self.some_time()), if_version: None },
            12..14 => Command::Pause { name, until: None, if_version: None },
            14 => Command::Reset { name, if_version: None },
            15 if plain => Command::RemoveLimit { name, if_revision: None },
            16 if plain => {
                let used = u32::try_from(self.random.below(3)).unwrap_or(0);
                Command::SetUsage { name, id: self.operator_id(), used }
            }
            17 => Command::RaiseEpoch,
            _ => Command::SetLimit { limit: Box::new(limit), if_revision: None },
        };
        self.send_to_any(command);
    }

    fn some_time(&mut self) -> Time {
        if self.random.per_mille(200) {
            return Time(u64::MAX);
        }
        Time(self.ledger.clock() + self.random.below(30_000))
    }

    /// Somebody, or something, sets the wall clock.
    pub fn step_clock(&mut self) {
        if self.quiet {
            return;
        }
        let by_ms = match self.random.below(4) {
            0 => self.random.within(1, 5_000),
            1 => 3_600_000,
            2 => self.random.within(5_001, 20_000),
            _ => self.random.within(20_000, 600_000),
        };
        let by_ms = by_ms.cast_signed() * if self.random.per_mille(500) { 1 } else { -1 };
        self.counts.clock_steps += 1;
        let n = self.any_node();
        if self.plan.nodes > 1 && self.random.per_mille(500) {
            note!(self, "the clock of the database is set by {by_ms} ms");
            self.step_database_clock(by_ms);
        } else {
            note!(self, "the wall clock of node {n} is set by {by_ms} ms");
            self.nodes[n].clocks.step(by_ms);
        }
    }

    fn step_database_clock(&mut self, by_ms: i64) {
        let mut disk = lock(&self.disk);
        disk.clock_ahead_ms += by_ms;
        disk.clock_steps += 1;
    }

    fn any_node(&mut self) -> usize {
        usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap_or(0)
    }

    /// A process stops, the database is away for a while, dies, or is replaced by a copy.
    pub fn pull_the_plug(&mut self) -> Checked {
        if self.quiet {
            return Ok(());
        }
        self.counts.outages += 1;
        let n = self.any_node();
        let until = self.now() + self.random.within(1, self.plan.longest_down_ms);
        let kinds = if self.plan.nodes == 1 { 3 } else { 10 };
        match self.random.below(kinds) {
            0 => {
                note!(self, "the database is away until {until}");
                lock(&self.disk).away_until(until);
            }
            1 => self.stop_node(n, true)?,
            2 => self.stop_node(n, false)?,
            3 | 4 => {
                note!(self, "node {n} cannot reach the database until {until}");
                lock(&self.disk).cut_until(n, until);
            }
            5..=7 => self.crash_database(),
            8 => {
                note!(self, "another database takes over");
                lock(&self.disk).fail_over();
                let by_ms = self.random.below(200).cast_signed() - 100;
                self.step_database_clock(by_ms);
            }
            _ => self.back_up_or_restore(),
        }
        Ok(())
    }

    /// The database dies, and is back in a moment.
    pub fn crash_database(&mut self) {
        if self.quiet {
            return;
        }
        note!(self, "the database dies");
        let until = self.now() + self.random.within(1, 5_000);
        let mut disk = lock(&self.disk);
        disk.crash_database();
        disk.away_until(until);
    }

    fn back_up_or_restore(&mut self) {
        let Some(backup) = self.backup.take() else {
            note!(self, "a backup is made");
            let snapshot = self.replica.state.snapshot();
            let database = lock(&self.disk).copy();
            self.backup =
                Some(Backup { database, ledger: self.ledger.clone(), state: State::restore(snapshot) });
            return;
        };
        let head = backup.database.head;
        if head.epoch != lock(&self.disk).head.epoch {
            // It does not know how far the epoch has risen since, and would give the same tokens again.
            return;
        }
        note!(self, "a backup of record {} takes over", head.seq);
        lock(&self.disk).restore(backup.database);
        self.restores += 1;
        self.ledger.go_back_to(backup.ledger);
        self.replica = Replica::restored(backup.state, head.seq, head.checksum);
        self.beliefs.overrule_all();
        self.pace.forget();
        self.nodes.iter_mut().for_each(|node| node.goes_by.is_wall = true);
        self.lose_answers();
    }

    /// What does not expire and belongs to nobody is given back, as an operator would.
    pub fn sweep(&mut self) {
        let owned: Vec<Uuid> = self.clients.iter().filter_map(|client| client.job_id()).collect();
        let left: Vec<Uuid> = self
            .ledger
            .leases
            .iter()
            .filter(|(id, held)| held.expires_at.is_none() && held.claim_by.is_none() && !owned.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in left {
            self.send_to_any(Command::Release { id, part: Part::All, counts: true });
        }
        // What operators wanted before all was calm may have come late.
        let is_generous = |limit: &Limit| {
            let stored = self.ledger.limits.0.get(&limit.name);
            stored.is_some_and(|stored| stored.terms.max == ENOUGH && stored.paused_until.is_none())
        };
        if !self.plan.limits.iter().all(is_generous) {
            self.set_all_limits();
        }
        let at = self.now() + 10_000;
        self.schedule(at, Happening::Sweep);
    }
}

fn generous(limit: Limit) -> Limit {
    let mut limit = limit;
    limit.terms.max = ENOUGH;
    limit
}
