//! What a node does in one go, in the world's thread or, where it may have to stop, in one of its own.

use std::collections::BTreeMap;

use admit_engine::{Batch, Core, Error, Op, Options};
use uuid::Uuid;

use crate::clocks::Clocks;
use crate::gate::Gate;
use crate::store::{ModelStore, Stop};

/// A caller that listens for a ticket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listener {
    pub client: usize,
    pub call: u64,
    /// The ticket goes when it goes.
    pub leaves_nothing: bool,
}

/// A process of the engine, with those who listen there.
pub(crate) struct Process {
    pub core: Core<ModelStore, Clocks>,
    pub listeners: BTreeMap<Uuid, Vec<Listener>>,
}

pub(crate) enum Errand {
    Open { store: Box<ModelStore>, clocks: Clocks, options: Options },
    Decide { process: Box<Process>, batch: Batch, ops: Vec<Op> },
    Look { process: Box<Process>, batch: Batch },
    Tidy { process: Box<Process> },
}

pub(crate) enum Done {
    Opened(Result<Box<Process>, Error>),
    Decided { process: Box<Process>, batch: Batch },
    Looked { process: Box<Process>, batch: Batch, seen: Result<(), Error> },
    Tidied { process: Box<Process> },
}

impl Errand {
    pub fn run(self) -> Done {
        match self {
            Errand::Open { store, clocks, options } => Done::Opened(open(*store, clocks, options)),
            Errand::Decide { mut process, mut batch, ops } => {
                let Process { core, listeners } = &mut *process;
                core.prepare(&mut |id| listeners.contains_key(id), &mut batch);
                core.store().place();
                core.run(&ops, &mut |id| listeners.contains_key(id), &mut batch);
                Done::Decided { process, batch }
            }
            Errand::Look { mut process, mut batch } => {
                let Process { core, listeners } = &mut *process;
                let seen = core.look(&mut |id| listeners.contains_key(id), &mut batch);
                Done::Looked { process, batch, seen }
            }
            Errand::Tidy { mut process } => {
                process.core.maintain();
                Done::Tidied { process }
            }
        }
    }

    /// The same with a stop on the way, and wherever it has to wait for others.
    pub fn run_stopping(mut self, stop: Option<Stop>, gate: Gate) -> Done {
        let store = match &mut self {
            Errand::Open { store, .. } => store,
            Errand::Decide { process, .. } | Errand::Look { process, .. } | Errand::Tidy { process } => {
                process.core.store()
            }
        };
        (store.stop, store.gate) = (stop, Some(gate));
        let mut done = self.run();
        if let Done::Opened(Ok(process))
        | Done::Decided { process, .. }
        | Done::Looked { process, .. }
        | Done::Tidied { process } = &mut done
        {
            let store = process.core.store();
            (store.stop, store.gate) = (None, None);
        }
        done
    }
}

fn open(store: ModelStore, clocks: Clocks, options: Options) -> Result<Box<Process>, Error> {
    let mut core = Core::open(store, clocks, options)?;
    core.watch(Box::new(|| {}))?;
    Ok(Box::new(Process { core, listeners: BTreeMap::new() }))
}
