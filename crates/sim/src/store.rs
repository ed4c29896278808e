//! One process's access to the model of the database, and everything that can go wrong between.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use admit_store::{Begin, Error, Head, Keep, Reader, Record, Snapshot, Store, Wake, Write};

use crate::clocks::{Clocks, TrueTime, shifted};
use crate::disk::{Disk, SharedDisk, lock};
use crate::faults::Lie;
use crate::gate::Gate;

/// Records that one page of reading gives: few, so that recovery takes several.
const PAGE_RECORDS: usize = 64;
/// Records that are read while the log is locked: few, so that nodes are often behind by more.
const MAX_MISSED: usize = 6;
/// How long a process waits for the lock: longer than a paused one keeps it.
const LOCK_WAIT_MS: u64 = 3_000;
/// How often a node looks for what others wrote.
pub(crate) const POLL: Duration = Duration::from_secs(1);

/// A connection to a database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub connection: u64,
    pub home: u64,
}

/// A batch that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    /// When the database's clock was read.
    pub read_ms: u64,
    pub clock_steps: u64,
    pub end: Head,
}

/// Where a process stops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stop {
    /// At this of the places where it can, counted from now.
    pub place: u64,
    pub ms: u64,
}

pub(crate) struct ModelStore {
    pub disk: SharedDisk,
    pub time: TrueTime,
    /// Of a process that is alone with its disk.
    pub clocks: Option<Clocks>,
    pub node: usize,
    pub process: u64,
    /// Where it stops, and what it stops by; none: it cannot.
    pub stop: Option<Stop>,
    pub gate: Option<Gate>,
    pub link: Option<Link>,
    pub begun: Option<Begun>,
    /// What was seen may not be on disk.
    pub is_unflushed: bool,
    pub is_known_copy: bool,
    /// The last record that this process was given or wrote.
    pub last: Head,
}

impl ModelStore {
    pub fn new(disk: &SharedDisk, time: &TrueTime, node: usize, process: u64) -> ModelStore {
        ModelStore {
            disk: Arc::clone(disk),
            time: time.clone(),
            clocks: None,
            node,
            process,
            stop: None,
            gate: None,
            link: None,
            begun: None,
            is_unflushed: false,
            is_known_copy: false,
            last: Head::default(),
        }
    }

    /// The store of a process that is alone, whose clocks make the log's time.
    pub fn alone(disk: &SharedDisk, time: &TrueTime, process: u64, clocks: &Clocks) -> ModelStore {
        ModelStore { clocks: Some(clocks.clone()), ..ModelStore::new(disk, time, 0, process) }
    }

    /// A place where the process may stop.
    pub fn place(&mut self) {
        let Some(stop) = &mut self.stop else { return };
        if stop.place > 0 {
            stop.place -= 1;
            return;
        }
        let ms = stop.ms;
        self.stop = None;
        if !lock(&self.disk).is_dead(self.process) {
            self.wait(ms, false);
        }
    }

    fn wait(&self, ms: u64, for_lock: bool) {
        if let Some(gate) = &self.gate
            && !gate.stop(self.time.now_ms() + ms, for_lock)
        {
            lock(&self.disk).kill(self.process);
        }
    }

    /// Every call but a commit: the process may die or stop before and after its effect, or the call may fail.
    fn call<T>(&mut self, act: impl FnOnce(&mut Disk) -> Result<T, Error>) -> Result<T, Error> {
        self.place();
        let disk = Arc::clone(&self.disk);
        let result = {
            let mut disk = lock(&disk);
            self.connect(&mut disk)?;
            let chances = disk.faults.errors_elsewhere;
            if chances > 0 && disk.random.per_mille(chances) {
                return Err(Error::Unavailable("a passing error".to_owned()));
            }
            let result = act(&mut disk);
            self.may_die(&mut disk)?;
            result
        };
        self.place();
        if lock(&disk).is_dead(self.process) { Err(dead()) } else { result }
    }

    fn may_die(&self, disk: &mut Disk) -> Result<(), Error> {
        let chances = disk.faults.crash_elsewhere;
        if chances > 0 && disk.random.per_mille(chances) {
            disk.kill(self.process);
            return Err(dead());
        }
        Ok(())
    }

    /// Whether the database can be reached; over a new connection if the old one broke.
    pub fn connect(&mut self, disk: &mut Disk) -> Result<(), Error> {
        if disk.is_dead(self.process) {
            return Err(dead());
        }
        self.may_die(disk)?;
        let is_away = disk.is_away(self.node, self.time.now_ms());
        if is_away || self.link.is_some_and(|link| link.connection != disk.connections) {
            (self.link, self.begun) = (None, None);
        }
        if is_away {
            return Err(Error::Unavailable("the database is away".to_owned()));
        }
        self.link.get_or_insert(Link { connection: disk.connections, home: disk.home });
        Ok(())
    }

    fn is_other_home(&self, disk: &Disk) -> bool {
        let home = self.link.map_or(disk.home, |link| link.home);
        disk.home_of_log != 0 && disk.home_of_log != home && disk.lie != Some(Lie::HidesCopies)
    }

    /// Takes the lock, and looks at what others wrote, then at the clock.
    pub fn begin_shared(&mut self, applied: &Head) -> Result<Begin, Error> {
        self.place();
        let give_up_ms = self.time.now_ms() + LOCK_WAIT_MS;
        let disk = Arc::clone(&self.disk);
        loop {
            let now_ms = self.time.now_ms();
            let mut disk = lock(&disk);
            if let Err(error) = self.connect(&mut disk) {
                disk.unlock(self.process);
                return Err(error);
            }
            if disk.has_lock(self.process, now_ms) {
                return Err(Error::Fatal("a batch begins within a batch".to_owned()));
            }
            if disk.try_lock(self.process, now_ms) {
                break;
            }
            if now_ms >= give_up_ms || self.gate.is_none() {
                disk.injected.lock_timeouts += 1;
                disk.unlock(self.process);
                return Err(Error::Unavailable("another node holds the log for too long".to_owned()));
            }
            let until_ms = disk.lock_until(now_ms).unwrap_or(now_ms + 1).min(give_up_ms);
            drop(disk);
            self.wait(until_ms.saturating_sub(now_ms).max(1), true);
        }
        let begin = self.look_locked(&mut lock(&disk), applied);
        self.place();
        if lock(&disk).is_dead(self.process) { Err(dead()) } else { begin }
    }

    fn look_locked(&mut self, disk: &mut Disk, applied: &Head) -> Result<Begin, Error> {
        let missed = if self.is_other_home(disk) && !self.is_known_copy {
            Err(Error::Rewritten("the database was restored or failed over".to_owned()))
        } else {
            disk.after(applied, MAX_MISSED + 1)
                .and_then(|missed| if missed.len() > MAX_MISSED { Err(Error::Behind) } else { Ok(missed) })
        };
        let missed = missed.inspect_err(|error| {
            disk.injected.behind += u64::from(*error == Error::Behind);
            disk.injected.rewritten += u64::from(*error != Error::Behind);
            disk.unlock(self.process);
        })?;
        if let Some(last) = missed.last() {
            self.last = last.head();
            self.is_unflushed = true;
        }
        let read_ms = self.time.now_ms();
        self.begun = Some(Begun { read_ms, clock_steps: disk.clock_steps, end: disk.head });
        Ok(Begin { now_ms: Some(shifted(read_ms, disk.clock_ahead_ms)), missed })
    }

    /// Returns when all that was seen is on disk, unless a crash has taken it back.
    fn flush(&mut self) -> Result<(), Error> {
        if !self.is_unflushed {
            return Ok(());
        }
        let last = self.last;
        self.call(|disk| {
            if disk.lie == Some(Lie::AnswersBeforeFlush) {
                return Ok(());
            }
            let is_there = disk.head.seq >= last.seq
                && disk
                    .records
                    .iter()
                    .all(|record| record.seq != last.seq || record.checksum == last.checksum);
            if !is_there {
                return Err(Error::Rewritten(format!(
                    "record {} was undone before it was on disk",
                    last.seq
                )));
            }
            disk.flush();
            Ok(())
        })?;
        self.is_unflushed = false;
        Ok(())
    }
}

pub(crate) fn dead() -> Error {
    Error::Fatal("the process is dead".to_owned())
}

impl Store for ModelStore {
    fn head(&mut self) -> Result<Head, Error> {
        self.call(|disk| {
            if disk.is_shared {
                disk.flush();
            }
            Ok(disk.head)
        })
    }

    fn is_copy(&mut self) -> Result<bool, Error> {
        self.call(|_| Ok(()))?;
        self.is_known_copy = self.is_other_home(&lock(&self.disk));
        Ok(self.is_known_copy)
    }

    fn latest_snapshot(&mut self) -> Result<Option<Snapshot>, Error> {
        let snapshot = self.call(|disk| Ok(disk.newest_snapshot()))?;
        self.last = snapshot.as_ref().map_or_else(Head::default, |snapshot| snapshot.head);
        Ok(snapshot)
    }

    fn records_after(&mut self, seq: u64, max_bytes: usize) -> Result<Vec<Record>, Error> {
        let page = self.call(|disk| {
            let (mut page, mut bytes) = (Vec::new(), 0);
            for record in disk.records.iter().filter(|record| record.seq > seq) {
                bytes += record.payload.len();
                page.push(record.clone());
                if bytes >= max_bytes || page.len() == PAGE_RECORDS {
                    break;
                }
            }
            Ok(page)
        })?;
        self.last = page.last().map_or(self.last, Record::head);
        Ok(page)
    }

    fn begin(&mut self, applied: &Head) -> Result<Begin, Error> {
        if lock(&self.disk).is_shared {
            return self.begin_shared(applied);
        }
        let missed = self.call(|disk| {
            Ok(disk.records.iter().filter(|record| record.seq > applied.seq).cloned().collect::<Vec<_>>())
        })?;
        self.last = missed.last().map_or(self.last, Record::head);
        Ok(Begin { now_ms: None, missed })
    }

    fn commit(&mut self, record: &Record, _writes: &[Write]) -> Result<(), Error> {
        if lock(&self.disk).is_shared { self.commit_shared(record) } else { self.commit_alone(record) }?;
        self.last = record.head();
        Ok(())
    }

    fn commit_nothing(&mut self) -> Result<(), Error> {
        self.rollback();
        self.flush()
    }

    fn rollback(&mut self) {
        self.begun = None;
        lock(&self.disk).unlock(self.process);
    }

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        self.call(|disk| {
            // A transaction like any other: it is on disk when all before it is.
            if disk.is_shared {
                disk.check_snapshot(snapshot)?;
                disk.flush();
            }
            disk.save_snapshot(snapshot);
            Ok(())
        })
    }

    fn truncate(&mut self, keep: Keep, now_ms: u64) -> Result<bool, Error> {
        self.call(|disk| Ok(disk.truncate(keep, now_ms)))
    }

    fn maintain(&mut self) -> Result<(), Error> {
        self.call(|_| Ok(()))
    }

    fn probe(&mut self, _bytes: usize) -> Result<(), Error> {
        let now_ms = self.time.now_ms();
        self.call(|disk| {
            if now_ms < disk.full_until_ms {
                return Err(Error::Full("no space left".to_owned()));
            }
            Ok(())
        })
    }

    fn missed(&mut self, applied: &Head) -> Result<Vec<Record>, Error> {
        if !lock(&self.disk).is_shared {
            return Ok(Vec::new());
        }
        let is_unflushed = self.is_unflushed;
        let missed = self.call(|disk| {
            let mut missed = disk.after(applied, PAGE_RECORDS)?;
            if disk.lie == Some(Lie::StaleReads) {
                missed.clear();
            }
            // What a batch saw that did not come about is still to be flushed.
            if !missed.is_empty() || is_unflushed {
                disk.flush();
            }
            Ok(missed)
        })?;
        self.is_unflushed = false;
        self.last = missed.last().map_or(self.last, Record::head);
        Ok(missed)
    }

    fn watch(&mut self, _wake: Wake) -> Result<Option<Duration>, Error> {
        Ok(lock(&self.disk).is_shared.then_some(POLL))
    }

    fn announce(&mut self) {
        lock(&self.disk).news.push(self.process);
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(NoTables))
    }
}

/// The model has no tables.
struct NoTables;

impl Reader for NoTables {
    fn query(&self, _sql: &str, _params: &[admit_store::Value]) -> Result<Vec<admit_store::Row>, Error> {
        Err(Error::Query("the model has no tables".to_owned()))
    }

    fn backup(&self, _to: &Path) -> Result<(), Error> {
        Err(Error::Query("the model has no files".to_owned()))
    }
}
