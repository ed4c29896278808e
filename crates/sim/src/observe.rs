//! What the world sees of the log, and how it compares the nodes with that.

use admit_kernel::{End, Event, State};
use admit_store::Record;

use crate::brief::events_brief;
use crate::check::{By, Checked, Moment, Rule, Violation, broken};
use crate::disk::{Reading, lock};
use crate::node::{Life, Node};
use crate::world::{World, note};

/// Digests that are kept: a node that is further behind is not compared.
const KEPT_DIGESTS: usize = 512;

/// A grant that waits for so long is found by looking alone.
const LONG_CLAIM_MS: u64 = 3_000;
/// After so long nobody is in the middle of what happened before all was calm.
const CALM_DOWN_MS: u64 = 10_000;

/// What somebody knows who only replays what is on disk.
#[derive(Default)]
pub(crate) struct Replica {
    pub state: State,
    pub seq: u64,
    checksum: u64,
    /// The checksums of the latest records, with the digests of the state after them.
    digests: std::collections::BTreeMap<u64, (u64, u64)>,
    /// Nodes that were ahead of what is on disk: the record, its checksum and the digest of their state.
    ahead: Vec<(u64, u64, u64)>,
}

impl Replica {
    pub fn restored(state: State, seq: u64, checksum: u64) -> Replica {
        Replica { state, seq, checksum, ..Replica::default() }
    }

    fn replay(&mut self, record: &Record, events: &[Event]) -> Checked {
        if record.seq != self.seq + 1 || record.prev_checksum != self.checksum {
            let what = format!("record {} takes the place of one that was on disk", record.seq);
            return broken(Rule::Acknowledged, what);
        }
        self.state.replay(events);
        (self.seq, self.checksum) = (record.seq, record.checksum);
        let digest = self.state.digest();
        self.digests.insert(record.seq, (record.checksum, digest));
        if self.digests.len() > KEPT_DIGESTS {
            self.digests.pop_first();
        }
        let differs = |&(seq, checksum, other): &(u64, u64, u64)| {
            (seq, checksum) == (record.seq, record.checksum) && other != digest
        };
        if self.ahead.iter().any(differs) {
            return broken(Rule::SameState, format!("a node has another state after record {}", record.seq));
        }
        self.ahead.retain(|(seq, ..)| *seq > record.seq);
        Ok(())
    }
}

impl World {
    /// What has come to disk is read by the observer and by the replica.
    pub fn observe(&mut self) -> Checked {
        self.observe_written().map(drop)
    }

    /// The same; gives the records.
    pub fn observe_written(&mut self) -> Result<Vec<Record>, Violation> {
        let fresh = lock(&self.disk).take_fresh();
        let mut written = Vec::with_capacity(fresh.len());
        for (record, reading) in fresh {
            let events: Vec<Event> = match postcard::from_bytes(&record.payload) {
                Ok(events) => events,
                Err(error) => return broken(Rule::Recovery, format!("record {}: {error}", record.seq)),
            };
            let process = record.batch.as_u64_pair().0;
            note!(
                self,
                "record {} of process {process} at {}: {}",
                record.seq,
                record.time_ms,
                events_brief(&events)
            );
            let moment = if self.plan.nodes == 1 {
                self.moment_alone(&record, reading)?
            } else {
                self.moment(&record, reading, &events)?
            };
            self.replica.replay(&record, &events)?;
            self.listeners_are_told(&events)?;
            self.ledger.record(&events, moment, &mut self.beliefs)?;
            self.offset_is_logged(&record)?;
            written.push(record);
        }
        self.counts.records += written.len() as u64;
        Ok(written)
    }

    fn moment_alone(&mut self, record: &Record, reading: Reading) -> Result<Moment, Violation> {
        let clocks = &self.nodes[0].clocks;
        let (log_ms, _) = clocks.expected();
        if record.time_ms != log_ms && self.sabotage.is_none() {
            let what = format!("record {} is of {}, the clocks say {log_ms}", record.seq, record.time_ms);
            return broken(Rule::Time, what);
        }
        let silent_ms = log_ms.saturating_sub(self.logged_ms);
        self.logged_ms = log_ms;
        let (from_ms, to_ms) = (reading.from_ms, reading.to_ms);
        let (slip_ms, is_first) = (clocks.slip_ms(), std::mem::take(&mut self.is_starting));
        Ok(Moment { from_ms, to_ms, silent_ms, slip_ms, now_ms: self.now(), is_first })
    }

    fn moment(&mut self, record: &Record, reading: Reading, events: &[Event]) -> Result<Moment, Violation> {
        let process = record.batch.as_u64_pair().0;
        let writer = self.nodes.iter().position(|node| node.process == process);
        let by = writer.map_or(By { is_wall: true, follows_jump: true }, |n| self.nodes[n].goes_by);
        let step = match self.pace.record(record.time_ms, reading, by) {
            Err(violation) if self.sabotage.is_none() => return Err(violation),
            step => step.unwrap_or_default(),
        };
        let silent_ms = step.silent_ms;
        let sets_offset = events.iter().any(|event| matches!(event, Event::ClockOffsetSet { .. }));
        for (n, node) in self.nodes.iter_mut().enumerate() {
            if Some(n) == writer {
                node.goes_by = By::default();
            } else {
                node.goes_by.follows_jump |= step.has_jumped || (node.goes_by.is_wall && step.is_stepped);
                node.goes_by.is_wall |= sets_offset;
            }
        }
        let (from_ms, to_ms) = (reading.from_ms, reading.to_ms);
        let slip_ms = self.pace.slip_ms;
        Ok(Moment { from_ms, to_ms, silent_ms, slip_ms, now_ms: self.now(), is_first: false })
    }

    /// Once all is calm no grant lapses whose caller listens, at whichever node that is.
    fn listeners_are_told(&self, events: &[Event]) -> Checked {
        if !self.quiet || self.sabotage.is_some() {
            return Ok(());
        }
        for event in events {
            let Event::LeaseEnded { id, how: End::Lapsed, .. } = event else { continue };
            let claim_ms = self.ledger.leases.get(id).map_or(0, |held| held.claim_ms);
            let is_calm = self.now() > self.troubled_ms + CALM_DOWN_MS + claim_ms;
            let listens =
                |node: &Node| matches!(&node.life, Life::Idle(process) if process.listeners.contains_key(id));
            if is_calm && claim_ms >= LONG_CLAIM_MS && self.nodes.iter().any(listens) {
                let what = format!("{} lapsed while its caller listened", id.as_u128());
                return broken(Rule::Progress, what);
            }
        }
        Ok(())
    }

    /// Whoever goes on with the log knows how far its time is from the wall clock.
    fn offset_is_logged(&self, record: &Record) -> Checked {
        let offset_ms = self.ledger.clock_offset_ms;
        if self.sabotage.is_some() || self.plan.nodes > 1 || self.nodes[0].clocks.may_log(offset_ms) {
            return Ok(());
        }
        broken(Rule::Time, format!("after record {} the log says that its offset is {offset_ms}", record.seq))
    }

    /// What a node knows after a record is what everybody knows after it.
    pub fn compare_digest(&mut self, n: usize) -> Checked {
        let Life::Idle(process) = &mut self.nodes[n].life else { return Ok(()) };
        let last = process.core.store().last;
        let (seq, Ok(state)) = (process.core.seq(), process.core.state()) else { return Ok(()) };
        if last.seq != seq {
            return Ok(());
        }
        let digest = state.digest();
        match self.replica.digests.get(&seq) {
            Some(&(checksum, expect)) if checksum == last.checksum && expect != digest => broken(
                Rule::SameState,
                format!("node {n} has another state after record {seq} than the log says"),
            ),
            None if seq > self.replica.seq => {
                self.replica.ahead.push((seq, last.checksum, digest));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A node's state is the one that replaying the log gives, and says of leases and tickets what the ledger says.
    pub fn compare(&mut self, n: usize) -> Checked {
        let Life::Idle(process) = &self.nodes[n].life else { return Ok(()) };
        let Ok(state) = process.core.state() else { return Ok(()) };
        let (seq, ends) = (process.core.seq(), self.replica.seq);
        if seq != ends {
            // Others may have gone on.
            if self.plan.nodes > 1 {
                return Ok(());
            }
            return broken(Rule::Recovery, format!("at record {seq}, the log ends at {ends}"));
        }
        if state.digest() != self.replica.state.digest() || state.snapshot() != self.replica.state.snapshot()
        {
            let what = format!("the state of node {n} differs from the replayed one at record {ends}");
            return broken(Rule::Recovery, what);
        }
        let totals = state.totals();
        let counted = (self.ledger.leases.len() as u64, self.ledger.tickets.len() as u64);
        if (totals.leases, totals.tickets) != counted {
            return broken(Rule::Recovery, format!("{totals:?}, by the ledger {counted:?}"));
        }
        for (id, held) in &self.ledger.leases {
            let lease = state.lease(*id);
            let same = lease.is_some_and(|lease| {
                lease.token == held.token
                    && lease.expires_at.map(|at| at.0) == held.expires_at
                    && lease.claim_by.map(|at| at.0) == held.claim_by
            });
            if !same {
                return broken(Rule::Recovery, format!("{lease:?} is not what the ledger has: {held:?}"));
            }
        }
        Ok(())
    }
}
