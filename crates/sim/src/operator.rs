//! Operators: they change limits, set the clock, pull the plug, and in the end put everything right.

use admit_kernel::{Command, Limit, Mode, Part, Refill, Time};
use uuid::Uuid;

use crate::disk::lock;
use crate::world::{Caller, Happening, World, note};

/// What every limit allows in the end, so that whatever was asked for can be had.
const ENOUGH: u32 = 8;

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
        self.send(Caller::Operator, command, false);
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
        note!(self, "the wall clock is set by {by_ms} ms");
        self.counts.clock_steps += 1;
        self.clocks.step(by_ms);
    }

    /// The process stops, or the database is away for a while.
    pub fn pull_the_plug(&mut self) {
        if self.quiet {
            return;
        }
        self.counts.outages += 1;
        match self.random.below(3) {
            0 => {
                let until = self.now() + self.random.within(1, self.plan.longest_down_ms);
                note!(self, "the database is away until {until}");
                lock(&self.disk).away_until(until);
            }
            1 => self.stop_process(true),
            _ => self.stop_process(false),
        }
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
            self.send(Caller::Operator, Command::Release { id, part: Part::All, counts: true }, false);
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
