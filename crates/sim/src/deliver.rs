//! What leaves a node: answers, wake-ups, and questions again for those whose wake-ups may have been lost.

use admit_engine::{Batch, Error};
use admit_kernel::{Command, Outcome};
use uuid::Uuid;

use crate::brief::brief;
use crate::check::{Checked, Rule, broken};
use crate::errand::Process;
use crate::world::{Caller, Happening, Reply, Request, World, note};

/// How long after a refusal the engine asks again what nobody outside would.
const AGAIN_MS: u64 = 1_000;

impl World {
    /// Answers the taken requests, and wakes. Where the node has stopped meanwhile, others may have gone on, and
    /// what was not there when it was decided may be there by now.
    pub fn deliver(
        &mut self,
        n: usize,
        process: &mut Process,
        mut taken: Vec<Request>,
        batch: &mut Batch,
        has_stopped: bool,
    ) -> Checked {
        let log_ms = batch.time.0;
        let answered = batch.answers.len().min(taken.len());
        let made: Vec<Uuid> = taken.iter().filter_map(made).collect();
        for request in taken.drain(answered..).rev() {
            self.nodes[n].inbox.push_front(Request { listens: false, ..request });
        }
        for (request, answer) in taken.into_iter().zip(batch.answers.drain(..)) {
            match answer {
                Ok(outcome) => {
                    let outcome = outcome.unwrap_or(Outcome::Done);
                    // Nor what a later command of the same batch made.
                    let is_late = has_stopped || asked(&request).is_some_and(|id| made.contains(&id));
                    if !is_late || outcome != Outcome::UnknownId {
                        self.ledger.told(&request.command, &outcome)?;
                    }
                    self.answer_request(n, process, &request, outcome, log_ms);
                }
                Err(Error::Unavailable { .. }) => self.refuse(n, process, request),
                Err(error) => return broken(Rule::Service, format!("{:?}: {error}", request.command)),
            }
        }
        for (id, outcome) in batch.woken.drain(..) {
            if !has_stopped || outcome != Outcome::UnknownId {
                self.ledger.told_of(id, &outcome)?;
            }
            self.wake_listeners(process, id, &outcome, log_ms);
        }
        let again: Vec<Uuid> = if batch.reloaded {
            process.listeners.keys().copied().collect()
        } else {
            std::mem::take(&mut batch.granted_elsewhere)
        };
        for id in again {
            let command = Command::Ask { id, for_ms: 0 };
            let request = Request { caller: Caller::Engine, command, listens: false };
            self.nodes[n].inbox.push_back(request);
        }
        Ok(())
    }

    fn answer_request(
        &mut self,
        n: usize,
        process: &mut Process,
        request: &Request,
        outcome: Outcome,
        log_ms: u64,
    ) {
        match request.caller {
            Caller::Client { no, call } => {
                if request.listens {
                    if matches!(outcome, Outcome::Waiting { .. }) {
                        return;
                    }
                    stop_listening(process, no, call);
                }
                self.answer(no, call, Reply::Outcome(outcome, log_ms));
            }
            Caller::Engine => {
                // Asked again after the state was dropped.
                if let Command::Ask { id, .. } = request.command
                    && !matches!(outcome, Outcome::Waiting { .. })
                {
                    self.wake_listeners(process, id, &outcome, log_ms);
                }
            }
            Caller::Operator => note!(self, "operator is told {} by node {n}", brief(&outcome)),
        }
    }

    fn refuse(&mut self, n: usize, process: &mut Process, request: Request) {
        self.counts.refused += 1;
        match request.caller {
            Caller::Client { no, call } => {
                stop_listening(process, no, call);
                self.answer(no, call, Reply::Lost);
            }
            Caller::Operator => self.again_if_quiet(request.command),
            Caller::Engine if matches!(request.command, Command::Ask { .. } | Command::Withdraw { .. }) => {
                let at = self.now() + AGAIN_MS;
                self.schedule(at, Happening::Request { n, request });
            }
            Caller::Engine => {}
        }
    }

    fn wake_listeners(&mut self, process: &mut Process, id: Uuid, outcome: &Outcome, log_ms: u64) {
        for listener in process.listeners.remove(&id).unwrap_or_default() {
            self.answer(listener.client, listener.call, Reply::Outcome(outcome.clone(), log_ms));
        }
    }

    /// An operator's command that did not get through is sent again, once all is calm.
    pub fn again_if_quiet(&mut self, command: Command) {
        if self.quiet {
            let at = self.now() + AGAIN_MS;
            self.schedule(at, Happening::Command(command));
        }
    }
}

/// The lease or ticket that a request makes.
fn made(request: &Request) -> Option<Uuid> {
    match &request.command {
        Command::Acquire(acquire) => Some(acquire.id),
        _ => None,
    }
}

/// The lease or ticket that a request asks about.
fn asked(request: &Request) -> Option<Uuid> {
    match &request.command {
        Command::Ask { id, .. } | Command::Renew { id, .. } => Some(*id),
        Command::Release { id, .. } | Command::Withdraw { id } => Some(*id),
        _ => None,
    }
}

fn stop_listening(process: &mut Process, client: usize, call: u64) {
    for listeners in process.listeners.values_mut() {
        listeners.retain(|listener| (listener.client, listener.call) != (client, call));
    }
    process.listeners.retain(|_, listeners| !listeners.is_empty());
}
