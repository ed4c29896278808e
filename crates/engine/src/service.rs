//! The engine's thread: takes jobs, makes batches of them, answers, wakes.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use admit_kernel::{Acquire, Command, Outcome, Patience, State};
use admit_store::Store;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::batch::{Batch, Committed, MAX_BATCH, Op};
use crate::clock::Clock;
use crate::core::Core;
use crate::follow_ups::{FollowUp, FollowUps};
use crate::gather::Gather;
use crate::inbox::{Answer, Caller, Inbox, Job, Look, Reply};
use crate::now::Now;
use crate::waiters::{Waiter, Waiters};
use crate::{Error, Stats};

/// How long after its patience ended a caller is told that this could not be written.
const LATE_MS: u64 = 1_000;

/// Ticks of one batch that goes on with work which a step has left: a few milliseconds of work for one commit.
const TICKS: usize = 16;

/// What becomes of an operation's answer.
enum Then {
    Nothing,
    Reply(Reply<Option<Outcome>>),
    /// The next outcome of `execute_all` number so.
    Collect(u64),
    /// Of a request that cannot wait.
    Answer {
        reply: Reply<Answer>,
        leaves_nothing: bool,
    },
    /// Of a caller that is among the waiters by now.
    Waiter {
        id: Uuid,
        no: u64,
        answer_now: bool,
    },
    /// Of what is repeated until it is answered.
    FollowUp(FollowUp),
}

/// The outcomes of one `execute_all` so far.
struct Collected {
    outcomes: Vec<Outcome>,
    missing: usize,
    reply: Reply<Vec<Outcome>>,
}

pub(crate) struct Service<S, C> {
    core: Core<S, C>,
    inbox: Arc<Inbox>,
    now: Arc<Now>,
    subscribers: broadcast::Sender<Committed>,
    max_waiters: usize,
    waiters: Waiters,
    /// What follows from earlier batches; goes first.
    follow_ups: FollowUps,
    ops: Vec<Op>,
    thens: VecDeque<Then>,
    reads: Vec<Look>,
    stats_asked: Vec<Reply<Stats>>,
    collected: HashMap<u64, Collected>,
    collections: u64,
    batch: Batch,
    gather: Gather,
}

impl<S: Store, C: Clock> Service<S, C> {
    pub fn new(
        core: Core<S, C>,
        inbox: Arc<Inbox>,
        now: Arc<Now>,
        subscribers: broadcast::Sender<Committed>,
        max_waiters: usize,
    ) -> Service<S, C> {
        Service {
            core,
            inbox,
            now,
            subscribers,
            max_waiters,
            waiters: Waiters::default(),
            follow_ups: FollowUps::default(),
            ops: Vec::new(),
            thens: VecDeque::new(),
            reads: Vec::new(),
            stats_asked: Vec::new(),
            collected: HashMap::new(),
            collections: 0,
            batch: Batch::default(),
            gather: Gather::default(),
        }
    }

    /// Serves until it is told to stop, or can serve no more (then it says why).
    pub fn serve(mut self) -> Result<(), Error> {
        let mut jobs = Vec::new();
        let mut more_to_tidy = false;
        let stop = loop {
            let sleep_ms = if more_to_tidy { Some(0) } else { self.sleep_ms() };
            let poked = self.inbox.take(&mut jobs, MAX_BATCH, sleep_ms.map(Duration::from_millis));
            let looks = self.core.looks();
            let mut stop = self.accept(&mut jobs);
            if !self.ops.is_empty() {
                self.gather();
                self.prepare();
                self.inbox.take(&mut jobs, MAX_BATCH.saturating_sub(self.ops.len()), Some(Duration::ZERO));
                stop |= self.accept(&mut jobs);
            }
            self.decide();
            let seen = if self.core.looks() == looks { self.look(poked) } else { Ok(()) };
            self.read(&seen);
            if let Some(error) = self.core.failure() {
                break Some(error.clone());
            }
            if stop {
                // What the last answers left behind.
                self.accept(&mut jobs);
                self.decide();
                break None;
            }
            self.answer_late();
            more_to_tidy = self.core.maintain();
        };
        self.end(stop)
    }

    fn sleep_ms(&mut self) -> Option<u64> {
        let tick = self.core.tick_in_ms();
        let next = self.waiters.next_ms();
        let mono_ms = self.core.mono_ms();
        let answer = next.map(|at_ms| at_ms.saturating_sub(mono_ms));
        let follow_up = self.follow_ups.due_in_ms(mono_ms);
        [tick, answer, follow_up, self.core.look_in_ms()].into_iter().flatten().min()
    }

    /// Sorts jobs into operations and reads. True: stop.
    fn accept(&mut self, jobs: &mut Vec<Job>) -> bool {
        let mono_ms = self.core.mono_ms();
        // All before anybody else: an id that is asked for again must not be given back afterwards.
        while let Some(follow_up) = self.follow_ups.pop_due(mono_ms) {
            self.add(Op::new(follow_up.command()), Then::FollowUp(follow_up));
        }
        let mut stop = false;
        for job in jobs.drain(..) {
            match job {
                Job::Execute { op, reply } => self.add(op, Then::Reply(reply)),
                Job::All { commands, reply } => self.accept_all(commands, reply),
                Job::Acquire { acquire, caller } => self.accept_acquire(acquire, caller),
                Job::Ask { id, caller } => {
                    let for_ms = caller.answer_within_ms.unwrap_or(0);
                    self.accept_waiter(Op::new(Command::Ask { id, for_ms }), id, caller);
                }
                Job::Gone { id, no } => self.caller_is_gone(id, no),
                Job::Undelivered { id } => self.follow_ups.add(FollowUp::GiveBack(id)),
                Job::Read(read) => self.reads.push(read),
                Job::Stats(reply) => self.stats_asked.push(reply),
                Job::Keep(keep) => self.core.set_keep(keep),
                Job::Shutdown => stop = true,
            }
        }
        if self.ops.is_empty() && self.core.tick_in_ms() == Some(0) {
            let has_work_left = self.core.state().is_ok_and(State::has_work_left);
            for _ in 0..if has_work_left { TICKS } else { 1 } {
                self.add(Op::new(Command::Tick), Then::Nothing);
            }
        }
        stop
    }

    fn add(&mut self, op: Op, then: Then) {
        self.ops.push(op);
        self.thens.push_back(then);
    }

    fn accept_all(&mut self, commands: Vec<Command>, reply: Reply<Vec<Outcome>>) {
        if commands.is_empty() {
            let _ = reply.send(Ok(Vec::new()));
            return;
        }
        self.collections += 1;
        let collected = Collected { outcomes: Vec::new(), missing: commands.len(), reply };
        self.collected.insert(self.collections, collected);
        for command in commands {
            self.add(Op::new(command), Then::Collect(self.collections));
        }
    }

    fn accept_acquire(&mut self, acquire: Box<Acquire>, caller: Caller) {
        if caller.reply.is_closed() && caller.leaves_nothing {
            return;
        }
        let (id, patience) = (acquire.id, acquire.patience);
        let caller = match patience {
            Patience::For { wait_ms } => Caller { answer_within_ms: Some(wait_ms), ..caller },
            _ => caller,
        };
        let op = Op::new(Command::Acquire(acquire));
        if patience == Patience::None {
            return self.add(op, Then::Answer { reply: caller.reply, leaves_nothing: caller.leaves_nothing });
        }
        // Who listens for longer than a ticket may go unattended is attending to it.
        let listens_ms = caller.answer_within_ms.unwrap_or(0);
        let attends = matches!(patience, Patience::Polled { poll_ttl_ms } if listens_ms >= poll_ttl_ms);
        self.accept_waiter(op, id, caller);
        if attends {
            self.add(Op::new(Command::Ask { id, for_ms: listens_ms }), Then::Nothing);
        }
    }

    fn accept_waiter(&mut self, op: Op, id: Uuid, caller: Caller) {
        if self.waiters.len() >= self.max_waiters {
            let error = Error::Overloaded { what: "callers waiting", max: self.max_waiters };
            let _ = caller.reply.send(Err(error));
            return;
        }
        let no = caller.no;
        let answer_now = caller.answer_within_ms == Some(0);
        let mono_ms = self.core.mono_ms();
        let answer_at_ms = caller.answer_within_ms.filter(|ms| *ms > 0).map(|ms| mono_ms.saturating_add(ms));
        let Caller { reply, leaves_nothing, .. } = caller;
        let waiter = Waiter { no, reply, answer_at_ms, leaves_nothing, is_late: false };
        self.waiters.add(id, waiter);
        self.add(op, Then::Waiter { id, no, answer_now });
    }

    /// Nobody listens to the answer any more; a ticket that would be of use to nobody is withdrawn.
    fn caller_is_gone(&mut self, id: Uuid, no: u64) {
        if let Some(waiter) = self.waiters.remove(id, no)
            && waiter.leaves_nothing
            && !self.waiters.contains(&id)
            && !self.is_kept(id)
        {
            self.follow_ups.add(FollowUp::Withdraw(id));
        }
    }

    /// Whether a ticket waits on without anybody who listens: so the request that made it wanted.
    fn is_kept(&self, id: Uuid) -> bool {
        let ticket = self.core.state().ok().and_then(|state| state.ticket(id));
        ticket.is_some_and(|ticket| matches!(ticket.patience, Patience::Polled { .. } | Patience::Forever))
    }

    /// Waits a little for those who are about to ask again.
    fn gather(&mut self) {
        let before = self.inbox.arrivals();
        if self.ops.len() < MAX_BATCH
            && let Some(wait) = self.gather.wait(Instant::now(), before)
        {
            let after = self.inbox.wait_for(wait.arrivals, wait.at_most);
            self.gather.waited(&wait, before, after);
        }
    }

    /// Waits until this node may write; what comes in meanwhile is decided with the rest.
    fn prepare(&mut self) {
        self.batch.wants_records = self.subscribers.receiver_count() > 0;
        let waiters = &self.waiters;
        self.core.prepare(&mut |id| waiters.contains(id), &mut self.batch);
    }

    fn decide(&mut self) {
        let mut from = 0;
        while from < self.ops.len() {
            self.batch.wants_records = self.subscribers.receiver_count() > 0;
            let waiters = &self.waiters;
            let started = Instant::now();
            self.core.run(&self.ops[from..], &mut |id| waiters.contains(id), &mut self.batch);
            let now = Instant::now();
            self.gather.committed(now, now - started, self.inbox.arrivals());
            from += self.batch.answers.len();
            if let Some(now) = self.core.now() {
                self.now.set(now);
            }
            self.deliver();
        }
        self.ops.clear();
    }

    /// Looks at what other nodes did, if there is reason to: they say so, it is time, or somebody reads the state.
    fn look(&mut self, poked: bool) -> Result<(), Error> {
        let is_due = poked || self.core.look_in_ms() == Some(0) || !self.reads.is_empty();
        if !self.core.is_shared() || !is_due {
            return Ok(());
        }
        self.batch.wants_records = self.subscribers.receiver_count() > 0;
        let waiters = &self.waiters;
        let seen = self.core.look(&mut |id| waiters.contains(id), &mut self.batch);
        self.deliver();
        seen
    }

    fn deliver(&mut self) {
        let mut answers = std::mem::take(&mut self.batch.answers);
        for answer in answers.drain(..) {
            let then = self.thens.pop_front().unwrap_or(Then::Nothing);
            self.answer(then, answer);
        }
        self.batch.answers = answers;
        let mut woken = std::mem::take(&mut self.batch.woken);
        for (id, outcome) in woken.drain(..) {
            self.wake(id, &outcome);
        }
        self.batch.woken = woken;
        for record in self.batch.records.drain(..) {
            // Without subscribers there is nobody to tell.
            let _ = self.subscribers.send(record);
        }
        for id in self.batch.granted_elsewhere.drain(..) {
            self.follow_ups.add(FollowUp::Refresh(id));
        }
        if self.batch.reloaded {
            for id in self.waiters.tickets() {
                self.follow_ups.add(FollowUp::Refresh(id));
            }
        }
    }

    fn answer(&mut self, then: Then, answer: Result<Option<Outcome>, Error>) {
        match then {
            Then::Nothing => {}
            // A caller that is gone has no use for its answer.
            Then::Reply(reply) => {
                self.gather.answered();
                drop(reply.send(answer));
            }
            Then::Collect(no) => self.collect(no, answer),
            Then::Answer { reply, leaves_nothing } => {
                self.gather.answered();
                let answer = self.to_answer(answer);
                if let Err(Ok(Answer { outcome: Outcome::Granted(lease), fresh: true })) = reply.send(answer)
                    && leaves_nothing
                {
                    self.follow_ups.add(FollowUp::GiveBack(lease.id));
                }
            }
            Then::Waiter { id, no, answer_now } => match answer {
                Ok(Some(Outcome::Waiting { .. })) if !answer_now => {}
                answer => {
                    let answer = self.to_answer(answer);
                    let Some(waiter) = self.waiters.remove(id, no) else { return };
                    self.gather.answered();
                    if let Err(Ok(Answer { outcome: Outcome::Granted(lease), fresh: true })) =
                        waiter.reply.send(answer)
                        && waiter.leaves_nothing
                    {
                        self.follow_ups.add(FollowUp::GiveBack(lease.id));
                    }
                }
            },
            Then::FollowUp(follow_up) => match (follow_up, answer) {
                (_, Err(error)) => {
                    let mono_ms = self.core.mono_ms();
                    self.follow_ups.refused(follow_up, &error, mono_ms);
                }
                (_, Ok(None | Some(Outcome::Waiting { .. }))) => {}
                (FollowUp::Refresh(id), Ok(Some(outcome))) => self.wake(id, &outcome),
                (FollowUp::GiveBack(_) | FollowUp::Withdraw(_), Ok(Some(_))) => {}
            },
        }
    }

    fn to_answer(&self, answer: Result<Option<Outcome>, Error>) -> Result<Answer, Error> {
        let outcome = answer?.unwrap_or(Outcome::Done);
        let fresh = matches!(&outcome, Outcome::Granted(lease) if lease.granted_at == self.batch.time);
        Ok(Answer { outcome, fresh })
    }

    fn wake(&mut self, id: Uuid, outcome: &Outcome) {
        if !self.waiters.wake(id, outcome) {
            self.follow_ups.add(FollowUp::GiveBack(id));
        }
    }

    /// Tells those whose time is over that they still wait. Whose ticket should have ended with their time is
    /// told a little later that it could not: the kernel ends it, unless nothing can be written.
    fn answer_late(&mut self) {
        let mono_ms = self.core.mono_ms();
        while let Some((id, mut waiter)) = self.waiters.pop_due(mono_ms) {
            let answer = if !waiter.leaves_nothing || self.waits_for_longer(id) {
                Ok(Answer { outcome: Outcome::Waiting { id }, fresh: false })
            } else if waiter.is_late {
                self.follow_ups.add(FollowUp::Withdraw(id));
                let reason = "the log could not be written in time".to_owned();
                Err(Error::Unavailable { reason, retry_in_ms: LATE_MS })
            } else {
                (waiter.is_late, waiter.answer_at_ms) = (true, Some(mono_ms.saturating_add(LATE_MS)));
                self.waiters.add(id, waiter);
                continue;
            };
            // Whoever is gone has no use for the answer.
            let _ = waiter.reply.send(answer);
        }
    }

    /// Whether a ticket waits on although one caller's time is over: the request that made it is more patient
    /// than the one that repeated it.
    fn waits_for_longer(&mut self, id: Uuid) -> bool {
        let state = self.core.state().ok();
        let ticket = state.and_then(|state| Some((state.now(), state.ticket(id)?)));
        ticket
            .is_some_and(|(now, ticket)| ticket.deadline.is_none_or(|deadline| deadline > now.plus(LATE_MS)))
    }

    fn collect(&mut self, no: u64, answer: Result<Option<Outcome>, Error>) {
        let Some(collected) = self.collected.get_mut(&no) else { return };
        collected.missing -= 1;
        let is_last = collected.missing == 0;
        let failed = match answer {
            Ok(outcome) => {
                collected.outcomes.push(outcome.unwrap_or(Outcome::Done));
                None
            }
            Err(error) => Some(error),
        };
        if (is_last || failed.is_some())
            && let Some(collected) = self.collected.remove(&no)
        {
            let _ = collected.reply.send(failed.map_or(Ok(collected.outcomes), Err));
        }
    }

    /// Lets the readers see the state, unless what others write could not be `seen` since they asked.
    fn read(&mut self, seen: &Result<(), Error>) {
        for read in self.reads.drain(..) {
            let state = seen.clone().and_then(|()| self.core.state());
            // What is wrong with one reader must not stop the rest; it only looks.
            let looked = catch_unwind(AssertUnwindSafe(|| read(state)));
            if looked.is_err() {
                tracing::error!("a read of the state panicked");
            }
        }
        if self.stats_asked.is_empty() {
            return;
        }
        let stats = self.core.stats();
        let (queued, overloaded) = self.inbox.load();
        stats.queue_len = queued as u64;
        stats.overloaded = overloaded;
        stats.waiters = self.waiters.len() as u64;
        stats.subscribers = self.subscribers.receiver_count() as u64;
        for reply in self.stats_asked.drain(..) {
            let _ = reply.send(Ok(*stats));
        }
    }

    /// Grants nothing more; who still waits is told, by their senders being dropped at the latest.
    fn end(mut self, failure: Option<Error>) -> Result<(), Error> {
        let error = failure.clone().unwrap_or(Error::Stopping);
        let left = self.inbox.close();
        for job in left {
            if let Job::Execute { reply, .. } = job {
                let _ = reply.send(Err(error.clone()));
            }
        }
        self.waiters.fail_all(&error);
        match failure {
            Some(error) => Err(error),
            None => {
                if let Err(error) = self.core.snapshot() {
                    tracing::warn!(%error, "no snapshot at the end; opening again takes longer");
                }
                Ok(())
            }
        }
    }
}
