//! Clients: they ask for slots, work while they believe to hold them, renew, give back; they lose patience,
//! answers and their lives.

use admit_kernel::{Acquire, Command, Denial, Lease, Outcome, Part, Patience, Time};
use uuid::Uuid;

use crate::brief::brief;
use crate::check::{Belief, Checked, MAX_APART_MS};
use crate::clocks::at_least_ms;
use crate::world::{Caller, Happening, Reply, World, note};

/// One client, which does one job after the other.
#[derive(Debug)]
pub(crate) struct Client {
    pub doing: Doing,
    /// The node that it asks.
    node: usize,
    job: Option<Job>,
    holding: Option<Holding>,
    jobs: u64,
    calls: u64,
    paused_until: u64,
    /// When it wants to be woken next; other wake-ups are stale.
    timer: u64,
}

/// What a client is about.
#[derive(Debug, Clone)]
pub(crate) enum Doing {
    Idle { until: u64 },
    Calling { call: Call, no: u64, sent: u64, slip: u64, until: u64 },
    Pausing { until: u64, then: Call },
    Working { renew_at: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Acquire,
    Ask { for_ms: u64 },
    Renew,
    Shrink,
    Release,
    Withdraw,
}

#[derive(Debug)]
struct Job {
    acquire: Acquire,
    /// It listens until its ticket is granted; else it asks now and then.
    listens: bool,
    hold_ms: u64,
    gives_up_at: Option<u64>,
    /// It has asked to give a part back, once: asking again would give back another.
    shrunk: bool,
}

#[derive(Debug)]
struct Holding {
    work_until: u64,
    /// Until when it may believe; none: until it gives it back.
    until: Option<u64>,
}

impl Client {
    pub fn new(node: usize) -> Client {
        Client {
            doing: Doing::Idle { until: 0 },
            node,
            job: None,
            holding: None,
            jobs: 0,
            calls: 0,
            paused_until: 0,
            timer: 0,
        }
    }

    /// The id of the job that it has not finished yet.
    pub fn job_id(&self) -> Option<Uuid> {
        self.job.as_ref().map(|job| job.acquire.id)
    }
}

impl World {
    /// A client's timer rings.
    pub fn wake_client(&mut self, no: usize) -> Checked {
        let now = self.now();
        if self.clients[no].timer != now && self.clients[no].timer > now {
            return Ok(());
        }
        if self.clients[no].paused_until > now {
            self.set_timer(no);
            return Ok(());
        }
        if let Some(holding) = &self.clients[no].holding {
            let believes = self.beliefs.holds(no, now, self.slip_ms());
            if !believes {
                note!(self, "client {no} has lost its lease, by its own clock");
                self.stop_working(no);
                if self.random.per_mille(500) {
                    self.call(no, Call::Release);
                } else {
                    self.end_job(no);
                }
            } else if now >= holding.work_until {
                self.stop_working(no);
                self.call(no, Call::Release);
            }
        }
        match self.clients[no].doing.clone() {
            Doing::Idle { until } if now >= until && !self.quiet => self.start_job(no),
            Doing::Calling { call, no: call_no, until, .. } if now >= until => {
                if self.random.per_mille(500) {
                    let n = self.clients[no].node;
                    self.schedule(now + 1, Happening::Gone { n, no, call: call_no });
                }
                self.call_failed(no, call);
            }
            Doing::Pausing { until, then } if now >= until => self.call(no, then),
            Doing::Working { renew_at } if now >= renew_at => {
                let job = self.clients[no].job.as_ref();
                let heavy = job.is_some_and(|job| !job.shrunk && job.acquire.claims[0].slots > 1);
                let shrinks = heavy && self.random.per_mille(100);
                self.call(no, if shrinks { Call::Shrink } else { Call::Renew });
            }
            _ => {}
        }
        self.set_timer(no);
        Ok(())
    }

    fn set_timer(&mut self, no: usize) {
        let now = self.now();
        let client = &mut self.clients[no];
        let mut at = match client.doing {
            Doing::Idle { .. } if self.quiet => return,
            Doing::Idle { until } | Doing::Calling { until, .. } | Doing::Pausing { until, .. } => until,
            Doing::Working { renew_at } => renew_at,
        };
        if let Some(holding) = &client.holding {
            at = at.min(holding.work_until).min(holding.until.unwrap_or(u64::MAX));
        }
        at = at.max(client.paused_until).max(now + 1);
        client.timer = at;
        self.schedule(at, Happening::Client(no));
    }

    fn start_job(&mut self, no: usize) {
        let now = self.now();
        let random = &mut self.random;
        let client = &mut self.clients[no];
        client.jobs += 1;
        let id = Uuid::from_u128((no as u128 + 1) * 1_000_000 + u128::from(client.jobs));
        let claims = random.pick(&self.plan.shapes).clone();
        let ttl_ms = (!random.per_mille(60)).then(|| random.within(1_000, self.plan.longest_ttl_ms));
        let patience = match random.below(10) {
            0 => Patience::None,
            1..5 => Patience::For { wait_ms: random.within(100, 60_000) },
            5..8 => Patience::Polled { poll_ttl_ms: random.within(1_000, 20_000) },
            _ => Patience::Forever,
        };
        let mut acquire = Acquire { ttl_ms, patience, ..Acquire::new(id, claims) };
        if random.per_mille(self.plan.ranked) {
            acquire.labels.insert("ranked".into(), "true".into());
            match random.below(3) {
                0 => acquire.priority = i32::try_from(random.below(3)).unwrap_or(0) - 1,
                1 => acquire.group = Some(format!("group {}", random.below(3)).into()),
                _ => acquire.age = Some(Time(self.ledger.clock().saturating_sub(random.below(30_000)))),
            }
        }
        if random.per_mille(100) {
            acquire.claim_ms = Some(random.within(500, 5_000));
        }
        acquire.rate = random.per_mille(100);
        let job = Job {
            acquire,
            listens: random.per_mille(600),
            hold_ms: random.within(1, self.plan.longest_hold_ms),
            gives_up_at: random.per_mille(150).then(|| now + random.below(20_000)),
            shrunk: false,
        };
        client.job = Some(job);
        self.call(no, Call::Acquire);
    }

    fn end_job(&mut self, no: usize) {
        let until = self.now() + self.random.within(1, self.plan.longest_rest_ms);
        let client = &mut self.clients[no];
        client.job = None;
        client.doing = Doing::Idle { until };
    }

    /// Sends a request.
    fn call(&mut self, no: usize, call: Call) {
        if self.random.per_mille(self.plan.moves) {
            self.change_node(no);
        }
        let (sent, slip) = (self.now(), self.slip_ms());
        let client = &mut self.clients[no];
        let Some(job) = &mut client.job else { return };
        client.calls += 1;
        if call == Call::Shrink {
            job.shrunk = true;
            self.beliefs.count_no_more(no);
        }
        let id = job.acquire.id;
        let listens = match call {
            Call::Acquire => job.listens && job.acquire.patience != Patience::None,
            Call::Ask { for_ms } => for_ms > 0,
            _ => false,
        };
        let command = match call {
            Call::Acquire => Command::Acquire(Box::new(job.acquire.clone())),
            Call::Ask { for_ms } => Command::Ask { id, for_ms },
            Call::Renew => Command::Renew { id, ttl_ms: None },
            Call::Shrink => {
                let key = job.acquire.claims[0].key.clone();
                Command::Release { id, part: Part::Slots { key, slots: 1 }, counts: true }
            }
            Call::Release => Command::Release { id, part: Part::All, counts: !self.random.per_mille(100) },
            Call::Withdraw => Command::Withdraw { id },
        };
        let patience_ms = match (call, job.acquire.patience) {
            (Call::Acquire, Patience::For { wait_ms }) if listens => wait_ms + 5_000,
            (Call::Ask { for_ms }, _) => for_ms + 1_000,
            (Call::Acquire, _) if listens => 20_000,
            _ => self.random.within(500, 5_000),
        };
        let caller = Caller::Client { no, call: client.calls };
        client.doing = Doing::Calling { call, no: client.calls, sent, slip, until: sent + patience_ms };
        let n = client.node;
        self.send(n, caller, command, listens);
    }

    /// It asks another node from now on.
    fn change_node(&mut self, no: usize) {
        let others = self.plan.nodes as u64 - 1;
        if others > 0 {
            let step = usize::try_from(self.random.within(1, others)).unwrap_or(1);
            let client = &mut self.clients[no];
            client.node = (client.node + step) % self.plan.nodes;
            self.counts.moves += 1;
        }
    }

    /// No answer came, or none that says what became of it.
    fn call_failed(&mut self, no: usize, call: Call) {
        let now = self.now();
        if self.random.per_mille(400) {
            self.change_node(no);
        }
        let pause = self.random.within(20, 1_500);
        let client = &mut self.clients[no];
        let tired = client.job.as_ref().is_some_and(|job| job.gives_up_at.is_some_and(|at| now >= at));
        client.doing = match call {
            Call::Acquire | Call::Ask { .. } if tired => {
                Doing::Pausing { until: now + pause, then: Call::Withdraw }
            }
            Call::Acquire | Call::Ask { .. } => Doing::Pausing { until: now + pause, then: Call::Acquire },
            Call::Renew | Call::Shrink if client.holding.is_some() => {
                Doing::Working { renew_at: now + pause.min(300) }
            }
            Call::Renew | Call::Shrink => Doing::Pausing { until: now + pause, then: Call::Release },
            Call::Release | Call::Withdraw => Doing::Pausing { until: now + pause, then: call },
        };
    }

    /// An answer reaches a client.
    pub fn answer_client(&mut self, no: usize, call_no: u64, reply: Reply) -> Checked {
        let now = self.now();
        let Doing::Calling { call, no: expected, sent, slip, .. } = self.clients[no].doing.clone() else {
            return Ok(());
        };
        if expected != call_no || self.clients[no].paused_until > now {
            return Ok(());
        }
        let (outcome, log_ms) = match reply {
            Reply::Outcome(outcome, log_ms) => (outcome, log_ms),
            Reply::Lost => {
                self.call_failed(no, call);
                self.set_timer(no);
                return Ok(());
            }
        };
        note!(self, "client {no} is told {}", brief(&outcome));
        match (call, outcome) {
            (Call::Acquire | Call::Ask { .. }, Outcome::Granted(lease)) => {
                self.told_lease(no, &lease, log_ms, sent, slip)?;
            }
            (Call::Renew, Outcome::Renewed(lease)) => {
                let stop = lease.cancel_asked && self.random.per_mille(700);
                self.told_lease(no, &lease, log_ms, sent, slip)?;
                if let Some(holding) = self.clients[no].holding.as_mut().filter(|_| stop) {
                    holding.work_until = now;
                }
            }
            (Call::Acquire | Call::Ask { .. }, Outcome::Waiting { .. }) => {
                let tired = self.clients[no].job.as_ref().and_then(|job| job.gives_up_at);
                let then = if tired.is_some_and(|at| now >= at) {
                    Call::Withdraw
                } else if self.random.per_mille(300) {
                    Call::Ask { for_ms: self.random.within(100, 10_000) }
                } else {
                    Call::Ask { for_ms: 0 }
                };
                let until = now + self.random.within(20, 3_000);
                self.clients[no].doing = Doing::Pausing { until, then };
            }
            (Call::Shrink, Outcome::Released { .. }) if self.clients[no].holding.is_some() => {
                let renew_at = now + self.random.within(100, 500);
                self.clients[no].doing = Doing::Working { renew_at };
            }
            // An answer that was lost may have granted what is withdrawn.
            (Call::Withdraw, Outcome::Withdrawn { changed: false }) => self.call(no, Call::Release),
            (Call::Acquire, Outcome::UnknownId) => self.call_failed(no, Call::Acquire),
            (Call::Acquire, Outcome::Denied(denial)) if matches!(*denial, Denial::Overloaded { .. }) => {
                self.call_failed(no, Call::Acquire);
            }
            _ => {
                self.stop_working(no);
                self.end_job(no);
            }
        }
        self.set_timer(no);
        Ok(())
    }

    /// A client is told that it holds: it believes so for as long as the lease lives, counted from when it asked.
    fn told_lease(&mut self, no: usize, lease: &Lease, log_ms: u64, sent: u64, slip: u64) -> Checked {
        let now = self.now();
        // Nodes differ a little in what they say the time is: a holder stops by so much earlier.
        let margin_ms = if self.plan.nodes > 1 { MAX_APART_MS } else { 0 };
        let lives_ms = |at: Time| at.0.saturating_sub(log_ms + margin_ms);
        let until = lease.expires_at.map(|at| sent + at_least_ms(lives_ms(at)));
        let slip_now = self.slip_ms();
        if until.is_some_and(|until| now + (slip_now - slip) >= until) && self.clients[no].holding.is_none() {
            // The answer took longer than the lease lives: only a renewal can tell whether there is anything left.
            self.call(no, Call::Renew);
            return Ok(());
        }
        let third = lease.ttl_ms.map_or(10_000, |ttl| ttl / 3);
        let renew_at = now + self.random.within(third / 2, third);
        let client = &mut self.clients[no];
        let Some(job) = &client.job else { return Ok(()) };
        let first = client.holding.is_none();
        let work_until = client.holding.as_ref().map_or(now + job.hold_ms, |holding| holding.work_until);
        let before = client.holding.as_ref().and_then(|holding| holding.until);
        if before.is_some_and(|before| until.is_some_and(|until| until < before)) {
            client.doing = Doing::Working { renew_at };
            return Ok(());
        }
        client.holding = Some(Holding { work_until, until });
        client.doing = Doing::Working { renew_at };
        let mortal = lease.ttl_ms.is_some();
        if self.ledger.leases.contains_key(&lease.id) {
            let takes = if job.shrunk { Vec::new() } else { self.ledger.takes_of(lease.id) };
            let belief = Belief { id: lease.id, until_ms: until, slip_ms: slip, takes, overruled: false };
            let ledger = &self.ledger;
            self.beliefs.hold(no, belief, now, slip_now, |key| ledger.most_of(key))?;
        }
        if first && mortal && self.random.per_mille(self.plan.die) && !self.quiet {
            note!(self, "client {no} dies");
            self.die(no);
        } else if self.random.per_mille(self.plan.pause) && !self.quiet {
            let ms = self.random.within(1, 2 * self.plan.longest_ttl_ms);
            note!(self, "client {no} pauses for {ms} ms");
            self.clients[no].paused_until = now + ms;
        }
        Ok(())
    }

    fn stop_working(&mut self, no: usize) {
        self.clients[no].holding = None;
        self.beliefs.let_go(no);
    }

    /// A client dies; another takes its place, knowing nothing of its work.
    pub fn die(&mut self, no: usize) {
        self.stop_working(no);
        self.end_job(no);
        let until = self.now() + self.random.within(10, 20_000);
        self.clients[no].doing = Doing::Idle { until };
    }
}
