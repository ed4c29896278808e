//! The model of the store: what is durable, what is not, and everything that can go wrong between.
//!
//! [`Disk`] is what survives the process; a [`ModelStore`] is one process's access to it. Several may share a
//! disk: an append that does not follow the end of the log is refused.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use admit_store::{Begin, Error, Head, Keep, Reader, Record, Snapshot, Store, Write};

use crate::clocks::Clocks;
use crate::random::Random;

/// Records that one call of `truncate` drops: few, so that crashes fall between the calls.
const TRUNCATE_RECORDS: usize = 8;
/// Snapshots that are kept, as in the real store.
const KEPT_SNAPSHOTS: usize = 2;
/// Records that one page of reading gives: few, so that recovery takes several.
const PAGE_RECORDS: usize = 64;

/// What can go wrong, in cases of a thousand commits where nothing else is said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// The process dies before the append.
    pub crash_before: u64,
    /// The process dies after the append, before it knows.
    pub crash_after: u64,
    /// The process dies in the middle of the append; what is on disk is torn.
    pub torn: u64,
    /// The append happened, the answer is lost.
    pub unknown_done: u64,
    /// The append did not happen, the answer is lost.
    pub unknown_lost: u64,
    /// The database refuses, for a while.
    pub away: u64,
    /// The disk is full, for a while.
    pub full: u64,
    /// The commit takes long.
    pub slow: u64,
    /// The process dies at any other call, before or after its effect (in a thousand calls).
    pub crash_elsewhere: u64,
    /// Reading or tidying fails (in a thousand calls).
    pub errors_elsewhere: u64,
    /// How long the disk is away or full at most, in milliseconds.
    pub longest_ms: u64,
}

/// How a store may be wrong so that the checks can be seen to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// A commit is acknowledged when it is in memory; a crash loses the last of them.
    NoSync,
    /// Every so often a commit is acknowledged and dropped.
    LosesCommit,
    /// More of the log is dropped than the last but one snapshot allows.
    TruncatesTooMuch,
}

/// What has been done to the process and to the disk so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Injected {
    pub crashes: u64,
    pub torn: u64,
    pub unknown: u64,
    pub away: u64,
    pub full: u64,
    pub damaged_snapshots: u64,
}

/// What survives the process.
#[derive(Debug)]
pub(crate) struct Disk {
    records: VecDeque<Record>,
    head: Head,
    /// Newest last; false: damaged.
    snapshots: Vec<(Snapshot, bool)>,
    /// Records since the observer last looked, and when their time was read.
    fresh: Vec<(Record, u64)>,
    /// Bytes of a record that were being written when the process died.
    torn: Option<Record>,
    pub faults: Faults,
    pub injected: Injected,
    random: Random,
    away_until_ms: u64,
    full_until_ms: u64,
    /// The process has died; its store answers nothing sensible any more.
    dead: bool,
    lie: Option<Lie>,
    /// Acknowledged but not written, under [`Lie::NoSync`].
    unsynced: Vec<Record>,
}

pub(crate) type SharedDisk = Arc<Mutex<Disk>>;

pub(crate) fn lock(disk: &SharedDisk) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    pub fn new(random: Random, faults: Faults, lie: Option<Lie>) -> SharedDisk {
        Arc::new(Mutex::new(Disk {
            records: VecDeque::new(),
            head: Head::default(),
            snapshots: Vec::new(),
            fresh: Vec::new(),
            torn: None,
            faults,
            injected: Injected::default(),
            random,
            away_until_ms: 0,
            full_until_ms: 0,
            dead: false,
            lie,
            unsynced: Vec::new(),
        }))
    }

    /// A copy of what is durable, on which nothing goes wrong.
    pub fn copy(&self) -> SharedDisk {
        Arc::new(Mutex::new(Disk {
            records: self.records.clone(),
            head: self.head,
            snapshots: self.snapshots.clone(),
            fresh: Vec::new(),
            torn: None,
            faults: Faults::default(),
            injected: Injected::default(),
            random: Random::new(0, 0),
            away_until_ms: 0,
            full_until_ms: 0,
            dead: false,
            lie: None,
            unsynced: Vec::new(),
        }))
    }

    /// The end of the durable log.
    pub fn head(&self) -> Head {
        self.head
    }

    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// The process dies now.
    pub fn kill(&mut self) {
        if !self.dead {
            self.injected.crashes += 1;
        }
        self.dead = true;
        self.unsynced.clear();
    }

    /// A new process opens the disk; what the old one left half done is undone.
    pub fn open(&mut self, damage_snapshot: bool) {
        self.dead = false;
        self.torn = None;
        // One damaged snapshot has to be survived, two at a time need not.
        if let [(_, true), (_, newest)] = &mut self.snapshots[..]
            && damage_snapshot
        {
            self.injected.damaged_snapshots += 1;
            *newest = false;
        }
    }

    /// Nothing goes wrong any more.
    pub fn heal(&mut self) {
        self.faults = Faults::default();
        self.away_until_ms = 0;
        self.full_until_ms = 0;
    }

    /// The database is away until then.
    pub fn away_until(&mut self, ms: u64) {
        self.injected.away += 1;
        self.away_until_ms = self.away_until_ms.max(ms);
    }

    /// Records that became durable since this was last asked, each with the true time of its clock reading.
    pub fn take_fresh(&mut self) -> Vec<(Record, u64)> {
        std::mem::take(&mut self.fresh)
    }

    fn append(&mut self, record: &Record, read_at_ms: u64) {
        self.head = record.head();
        self.records.push_back(record.clone());
        self.fresh.push((record.clone(), read_at_ms));
    }

    fn away(&mut self, now_ms: u64) -> Error {
        self.injected.away += 1;
        let ms = self.random.within(1, self.faults.longest_ms.max(1));
        self.away_until_ms = now_ms + ms;
        Error::Unavailable("the database went away".to_owned())
    }
}

/// One process's access to a disk.
pub(crate) struct ModelStore {
    disk: SharedDisk,
    clocks: Clocks,
    /// The end of the log as this process knows it: past the durable one where a sync was only claimed.
    applied: Head,
}

impl ModelStore {
    pub fn new(disk: &SharedDisk, clocks: &Clocks) -> ModelStore {
        ModelStore { disk: Arc::clone(disk), clocks: clocks.clone(), applied: lock(disk).head }
    }

    /// Every call but a commit begins here: the process may die, or the call may fail.
    fn enter(&self) -> Result<MutexGuard<'_, Disk>, Error> {
        let mut disk = lock(&self.disk);
        if disk.dead {
            return Err(dead());
        }
        let chances = disk.faults.crash_elsewhere;
        if chances > 0 && disk.random.per_mille(chances) {
            disk.kill();
            return Err(dead());
        }
        if self.clocks.now_ms() < disk.away_until_ms {
            return Err(Error::Unavailable("the database is away".to_owned()));
        }
        let chances = disk.faults.errors_elsewhere;
        if chances > 0 && disk.random.per_mille(chances) {
            return Err(Error::Unavailable("a passing error".to_owned()));
        }
        Ok(disk)
    }

    /// Every call but a commit ends here: the process may die after the effect.
    fn leave<T>(mut disk: MutexGuard<'_, Disk>, value: T) -> Result<T, Error> {
        let chances = disk.faults.crash_elsewhere;
        if chances > 0 && disk.random.per_mille(chances) {
            disk.kill();
            return Err(dead());
        }
        Ok(value)
    }
}

fn dead() -> Error {
    Error::Fatal("the process is dead".to_owned())
}

impl Store for ModelStore {
    fn head(&mut self) -> Result<Head, Error> {
        let disk = self.enter()?;
        let head = disk.unsynced.last().map_or(disk.head, Record::head);
        ModelStore::leave(disk, head)
    }

    fn is_copy(&mut self) -> Result<bool, Error> {
        Ok(false)
    }

    fn latest_snapshot(&mut self) -> Result<Option<Snapshot>, Error> {
        let mut disk = self.enter()?;
        disk.snapshots.retain(|(_, whole)| *whole);
        let newest = disk.snapshots.last().map(|(snapshot, _)| snapshot.clone());
        ModelStore::leave(disk, newest)
    }

    fn records_after(&mut self, seq: u64, max_bytes: usize) -> Result<Vec<Record>, Error> {
        let disk = self.enter()?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        for record in disk.records.iter().chain(&disk.unsynced).filter(|record| record.seq > seq) {
            bytes += record.payload.len();
            page.push(record.clone());
            if bytes >= max_bytes || page.len() == PAGE_RECORDS {
                break;
            }
        }
        ModelStore::leave(disk, page)
    }

    fn begin(&mut self, applied: &Head) -> Result<Begin, Error> {
        let disk = self.enter()?;
        let all = disk.records.iter().chain(&disk.unsynced);
        let missed = all.filter(|record| record.seq > applied.seq).cloned().collect();
        let end = disk.unsynced.last().map_or(disk.head, Record::head);
        let begin = ModelStore::leave(disk, Begin { now_ms: None, missed });
        self.applied = end;
        begin
    }

    fn commit(&mut self, record: &Record, _writes: &[Write]) -> Result<(), Error> {
        let (_, read_at_ms) = self.clocks.expected();
        let mut disk = lock(&self.disk);
        if disk.dead {
            return Err(dead());
        }
        let now_ms = self.clocks.now_ms();
        if now_ms < disk.away_until_ms {
            return Err(Error::Unavailable("the database is away".to_owned()));
        }
        if now_ms < disk.full_until_ms {
            return Err(Error::Full("no space left".to_owned()));
        }
        if record.prev_checksum != self.applied.checksum || record.seq != self.applied.seq + 1 {
            return Err(Error::Corrupt {
                seq: record.seq,
                reason: "an append that does not follow".to_owned(),
            });
        }
        let lie = disk.lie;
        match lie {
            Some(Lie::NoSync) => {
                disk.unsynced.push(record.clone());
                if disk.random.per_mille(500) {
                    for record in std::mem::take(&mut disk.unsynced) {
                        disk.append(&record, read_at_ms);
                    }
                }
                self.clocks.logged();
                return Ok(());
            }
            Some(Lie::LosesCommit) if disk.random.per_mille(20) => return Ok(()),
            _ => {}
        }
        let faults = disk.faults;
        let mut roll = disk.random.below(1_000);
        let mut is = |cases: u64| {
            let hit = roll < cases;
            roll = roll.wrapping_sub(if hit { 0 } else { cases });
            hit
        };
        if is(faults.crash_before) {
            disk.kill();
            return Err(dead());
        }
        if is(faults.torn) {
            disk.injected.torn += 1;
            disk.torn = Some(record.clone());
            disk.kill();
            return Err(dead());
        }
        if is(faults.unknown_lost) {
            disk.injected.unknown += 1;
            if disk.random.per_mille(400) {
                disk.away(now_ms);
            }
            return Err(Error::Unknown("the answer is lost, and so is the commit".to_owned()));
        }
        if is(faults.away) {
            return Err(disk.away(now_ms));
        }
        if is(faults.full) {
            disk.injected.full += 1;
            let ms = disk.random.within(1, faults.longest_ms.max(1));
            disk.full_until_ms = now_ms + ms;
            return Err(Error::Full("no space left".to_owned()));
        }
        disk.append(record, read_at_ms);
        self.clocks.logged();
        if is(faults.crash_after) {
            disk.kill();
            return Err(dead());
        }
        if is(faults.unknown_done) {
            disk.injected.unknown += 1;
            if disk.random.per_mille(400) {
                disk.away(now_ms);
            }
            return Err(Error::Unknown("the answer is lost".to_owned()));
        }
        let ms =
            if is(faults.slow) { disk.random.within(10, faults.longest_ms) } else { disk.random.below(3) };
        self.clocks.pass(ms);
        Ok(())
    }

    fn rollback(&mut self) {}

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let mut disk = self.enter()?;
        disk.snapshots.retain(|(other, _)| other.head.seq != snapshot.head.seq);
        disk.snapshots.push((snapshot.clone(), true));
        let surplus = disk.snapshots.len().saturating_sub(KEPT_SNAPSHOTS);
        disk.snapshots.drain(..surplus);
        ModelStore::leave(disk, ())
    }

    fn truncate(&mut self, keep: Keep, now_ms: u64) -> Result<bool, Error> {
        let mut disk = self.enter()?;
        let floor = match (disk.lie, &disk.snapshots[..]) {
            (Some(Lie::TruncatesTooMuch), _) => disk.head.seq.saturating_sub(1),
            (_, [last_but_one, _]) => last_but_one.0.head.seq,
            _ => return ModelStore::leave(disk, false),
        };
        let mut bytes: u64 = disk.records.iter().map(|record| record.payload.len() as u64).sum();
        let mut dropped = 0;
        while dropped < TRUNCATE_RECORDS
            && let Some(first) = disk.records.front()
        {
            let young = first.time_ms.saturating_add(keep.age_ms) >= now_ms;
            let near = bytes - (first.payload.len() as u64) < keep.bytes;
            if first.seq > floor || (young && near) {
                break;
            }
            bytes -= first.payload.len() as u64;
            disk.records.pop_front();
            dropped += 1;
        }
        ModelStore::leave(disk, dropped == TRUNCATE_RECORDS)
    }

    fn maintain(&mut self) -> Result<(), Error> {
        let disk = self.enter()?;
        ModelStore::leave(disk, ())
    }

    fn probe(&mut self, _bytes: usize) -> Result<(), Error> {
        let disk = self.enter()?;
        if self.clocks.now_ms() < disk.full_until_ms {
            return Err(Error::Full("no space left".to_owned()));
        }
        ModelStore::leave(disk, ())
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
