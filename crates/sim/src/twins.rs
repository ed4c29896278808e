//! A second engine decides the same: on a copy of the log, by a clock that stands still.

use admit_engine::{Batch, Clock, Core, Op, Options};
use admit_kernel::Event;
use admit_store::Record;

use crate::Sabotage;
use crate::check::{Checked, Rule, broken};
use crate::clocks::TrueTime;
use crate::disk::{Copy, Disk, SharedDisk, lock};
use crate::errand::Process;
use crate::store::ModelStore;
use crate::world::{Request, World};

impl World {
    /// A node that is alone decides; now and then another one does so, too.
    pub fn decide_alone(
        &mut self,
        n: usize,
        mut process: Box<Process>,
        taken: Vec<Request>,
        ops: &[Op],
    ) -> Checked {
        let before = self.wants_twin(&process).then(|| lock(&self.disk).copy());
        let early = self.answers_early(n, &process, ops);
        let is_first = self.is_starting;
        let mut batch = std::mem::take(&mut self.batch);
        let Process { core, listeners } = &mut *process;
        core.run(ops, &mut |id| listeners.contains_key(id), &mut batch);
        let written = self.observe_written()?;
        if let (Some(before), [record]) = (before, &written[..]) {
            self.decide_twice(before, record, ops, &process, is_first)?;
        }
        if let Some(early) = early {
            self.deliver(n, &mut process, taken, &mut { early }, false)?;
            return self.decided(n, process, batch, Vec::new(), true);
        }
        self.decided(n, process, batch, taken, false)
    }

    fn wants_twin(&mut self, process: &Process) -> bool {
        self.random.per_mille(self.plan.twins)
            && process.core.state().is_ok()
            && process.core.seq() == lock(&self.disk).durable.seq
    }

    fn decide_twice(
        &mut self,
        before: Copy,
        record: &Record,
        ops: &[Op],
        process: &Process,
        is_first: bool,
    ) -> Checked {
        let events: Vec<Event> = postcard::from_bytes(&record.payload).unwrap_or_default();
        let heartbeat = matches!(events[..], [Event::Clock(_)]);
        let notes_offset = events.iter().any(|event| matches!(event, Event::ClockOffsetSet { .. }));
        // A process remembers that it could not write, its copy does not.
        let remembers = !is_first && events.iter().any(|event| matches!(event, Event::Outage { .. }));
        if heartbeat || notes_offset || remembers || self.sabotage.is_some() {
            return Ok(());
        }
        let (disk, store) = copied(before);
        let options = Options { is_alone: is_first, ..Options::new(u64::MAX) };
        let mut twin = match Core::open(store, self.stopped(record.time_ms), options) {
            Ok(twin) => twin,
            Err(error) => return broken(Rule::Recovery, format!("a copy cannot be read: {error}")),
        };
        let mut batch = Batch::default();
        twin.run(ops, &mut |id| process.listeners.contains_key(id), &mut batch);
        let fresh = lock(&disk).take_fresh();
        self.counts.twins += 1;
        match &fresh[..] {
            [(twice, _)] if twice.payload == record.payload => Ok(()),
            other => {
                let other: Vec<Vec<Event>> = other
                    .iter()
                    .filter_map(|(record, _)| postcard::from_bytes(&record.payload).ok())
                    .collect();
                let first = postcard::from_bytes::<Vec<Event>>(&record.payload);
                broken(
                    Rule::Recovery,
                    format!("decided anew, record {} is {other:?}, not {first:?}", record.seq),
                )
            }
        }
    }

    /// Clocks by which it always is this late in the log.
    fn stopped(&self, log_ms: u64) -> Standing {
        Standing(log_ms.saturating_add_signed(-self.ledger.clock_offset_ms))
    }

    /// [`Sabotage::AnswersEarly`]: what the batch will say if all goes well.
    fn answers_early(&mut self, n: usize, process: &Process, ops: &[Op]) -> Option<Batch> {
        if self.sabotage != Some(Sabotage::AnswersEarly) || process.core.state().is_err() {
            return None;
        }
        let (_, store) = copied(lock(&self.disk).copy());
        let (log_ms, _) = self.nodes[n].clocks.expected();
        let mut core = Core::open(store, self.stopped(log_ms), Options::new(u64::MAX)).ok()?;
        let mut batch = Batch::default();
        core.run(ops, &mut |id| process.listeners.contains_key(id), &mut batch);
        Some(batch)
    }
}

/// A disk with what a copy has, and the store of its only process.
fn copied(copy: Copy) -> (SharedDisk, ModelStore) {
    let mut disk = Disk::of_copy(copy);
    disk.open(0, false);
    let disk = disk.share();
    let store = ModelStore::new(&disk, &TrueTime::new(), 0, 0);
    (disk, store)
}

/// A clock at which nothing passes.
struct Standing(u64);

impl Clock for Standing {
    fn wall_ms(&mut self) -> u64 {
        self.0
    }

    fn mono_ms(&mut self) -> u64 {
        0
    }
}
