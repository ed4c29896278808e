//! A small language for telling the kernel what happens, and seeing what it makes of it.
#![allow(dead_code)]

use admit_kernel::{
    Acquire, Claim, Command, Denial, End, Event, Limit, Outcome, Patience, State, Terms, Ticket, Time,
};
use uuid::Uuid;

/// A kernel, its clock and its log.
pub struct World {
    pub state: State,
    pub now: u64,
    pub log: Vec<Event>,
}

pub fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// A request that waits until it is withdrawn.
pub fn waiting(n: u128, claims: Vec<Claim>) -> Acquire {
    Acquire { patience: Patience::Forever, ttl_ms: None, ..Acquire::new(id(n), claims) }
}

impl Default for World {
    fn default() -> Self {
        World { state: State::new(), now: 1_000_000, log: Vec::new() }
    }
}

impl World {
    pub fn with_limits(limits: &[Limit]) -> World {
        let mut world = World::default();
        for limit in limits {
            world.set(limit.clone());
        }
        world
    }

    pub fn run(&mut self, command: &Command) -> Outcome {
        self.state.step(Time(self.now), command, &mut self.log)
    }

    pub fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.run(&Command::Tick);
        // Work that one step leaves is gone on with at once, as an engine does.
        while self.state.next_due().is_some_and(|due| due.0 <= self.now) {
            self.run(&Command::Tick);
        }
    }

    pub fn set(&mut self, limit: Limit) {
        let outcome = self.run(&Command::SetLimit { limit: Box::new(limit), if_revision: None });
        assert!(matches!(outcome, Outcome::LimitStored { .. }), "{outcome:?}");
    }

    pub fn max(&mut self, name: &str, max: u32) {
        let limit = match self.state.limit(name) {
            Some(limit) => Limit { terms: Terms { max, ..limit.terms }, ..limit.clone() },
            None => Limit::new(name, Terms::concurrent(max)),
        };
        self.set(limit);
    }

    pub fn acquire(&mut self, acquire: Acquire) -> Outcome {
        self.run(&Command::Acquire(Box::new(acquire)))
    }

    /// Asks for slots, willing to wait.
    pub fn ask(&mut self, n: u128, claims: Vec<Claim>) {
        let outcome = self.acquire(waiting(n, claims));
        assert!(matches!(outcome, Outcome::Granted(_) | Outcome::Waiting { .. }), "{n}: {outcome:?}");
    }

    pub fn release(&mut self, n: u128) {
        let outcome = self.run(&Command::Release { id: id(n), part: admit_kernel::Part::All, counts: true });
        assert!(!matches!(outcome, Outcome::UnknownId), "{n} is unknown");
    }

    pub fn withdraw(&mut self, n: u128) {
        self.run(&Command::Withdraw { id: id(n) });
    }

    pub fn holds(&self, n: u128) -> bool {
        self.state.lease(id(n)).is_some()
    }

    pub fn waits(&self, n: u128) -> bool {
        self.state.ticket(id(n)).is_some()
    }

    pub fn ticket(&self, n: u128) -> &Ticket {
        self.state.ticket(id(n)).expect("the ticket waits")
    }

    pub fn ended(&self, n: u128) -> Option<End> {
        self.state.ended(id(n)).map(|(how, _)| how)
    }

    /// Those of the numbers that hold.
    pub fn holding(&self, numbers: impl IntoIterator<Item = u128>) -> Vec<u128> {
        numbers.into_iter().filter(|&n| self.holds(n)).collect()
    }

    pub fn denial(&mut self, acquire: Acquire) -> Denial {
        match self.acquire(acquire) {
            Outcome::Denied(denial) => *denial,
            other => panic!("expected a denial, got {other:?}"),
        }
    }

    pub fn used(&self, key: &str) -> u64 {
        self.state.key_view(key, 0).used
    }

    /// A state made of the log alone must be this one, and so must one restored from a snapshot.
    pub fn check_replay(&self) {
        let mut replayed = State::new();
        replayed.replay(&self.log);
        let snapshot = self.state.snapshot();
        assert_eq!(replayed.snapshot(), snapshot, "replay of the log");
        assert_eq!(replayed.digest(), self.state.digest(), "digest of the replay");
        let restored = State::restore(snapshot.clone());
        assert_eq!(restored.snapshot(), snapshot, "restored snapshot");
        assert_eq!(restored.digest(), self.state.digest(), "digest of the restored");
        assert_eq!(restored.next_due(), replayed.next_due(), "timers of the restored");
        assert_eq!(self.state.problems(), [""; 0]);
    }
}
