//! The model of the database: the log with what is on disk of it, the right to append, and snapshots.
//!
//! [`Disk`] is what survives processes; a [`crate::store::ModelStore`] is one process's access to it. Where several
//! share it, a lock that is lost in time is the right to append, what is appended is seen before it is on disk,
//! and a crash of the database takes back what is not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use admit_store::{Error, Head, Keep, Record, Snapshot};

use crate::faults::{Faults, Injected, Lie};
use crate::random::Random;

/// Records that one call of `truncate` drops: few, so that crashes fall between the calls.
const TRUNCATE_RECORDS: usize = 8;
/// Snapshots that are kept, as in the real store.
const KEPT_SNAPSHOTS: usize = 2;
/// How long a process keeps the lock without a word.
const LOCK_MS: u64 = 2_000;

/// When the time of a record was read, in true time: between these two.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reading {
    pub from_ms: u64,
    pub to_ms: u64,
    /// How often the database's clock had been set by then.
    pub clock_steps: u64,
}

/// The right to append.
#[derive(Debug, Clone, Copy)]
struct Lock {
    process: u64,
    until_ms: u64,
}

/// What survives the processes.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Several nodes use it.
    pub is_shared: bool,
    pub records: VecDeque<Record>,
    /// The end of the log, as all can see it, and up to where it is on disk.
    pub head: Head,
    pub durable: Head,
    /// Newest last; false: damaged.
    snapshots: Vec<(Snapshot, bool)>,
    /// Records that are not on disk, and those that came there since the observer last looked.
    pending: VecDeque<(Record, Reading)>,
    fresh: Vec<(Record, Reading)>,
    pub faults: Faults,
    pub injected: Injected,
    pub lie: Option<Lie>,
    pub random: Random,
    away_until_ms: u64,
    pub full_until_ms: u64,
    /// Nodes that cannot reach the database until then.
    cut_until_ms: BTreeMap<usize, u64>,
    /// Processes that live; the stores of others answer nothing sensible any more.
    alive: BTreeSet<u64>,
    lock: Option<Lock>,
    /// Who waits for the lock, in order.
    queue: VecDeque<u64>,
    /// Which database this is, and which it was when the epoch last rose, as all see it and on disk; 0: never.
    pub home: u64,
    pub home_of_log: u64,
    home_on_disk: u64,
    /// Rises when all connections break.
    pub connections: u64,
    /// What the database's clock shows beyond true time, and how often it was set.
    pub clock_ahead_ms: i64,
    pub clock_steps: u64,
    /// Processes that told of news since the world last asked.
    pub news: Vec<u64>,
}

pub(crate) type SharedDisk = Arc<Mutex<Disk>>;

pub(crate) fn lock(disk: &SharedDisk) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a copy of a database has.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    records: VecDeque<Record>,
    pub head: Head,
    snapshots: Vec<(Snapshot, bool)>,
    home_of_log: u64,
}

impl Disk {
    pub fn new(is_shared: bool, random: Random, faults: Faults, lie: Option<Lie>) -> Disk {
        Disk {
            is_shared,
            records: VecDeque::new(),
            head: Head::default(),
            durable: Head::default(),
            snapshots: Vec::new(),
            pending: VecDeque::new(),
            fresh: Vec::new(),
            faults,
            injected: Injected::default(),
            lie,
            random,
            away_until_ms: 0,
            full_until_ms: 0,
            cut_until_ms: BTreeMap::new(),
            alive: BTreeSet::new(),
            lock: None,
            queue: VecDeque::new(),
            home: 1,
            home_of_log: 0,
            home_on_disk: 0,
            connections: 0,
            clock_ahead_ms: 0,
            clock_steps: 0,
            news: Vec::new(),
        }
    }

    pub fn share(self) -> SharedDisk {
        Arc::new(Mutex::new(self))
    }

    /// What is on disk.
    pub fn copy(&self) -> Copy {
        let is_durable = |record: &&Record| record.seq <= self.durable.seq;
        Copy {
            records: self.records.iter().filter(is_durable).cloned().collect(),
            head: self.durable,
            snapshots: self.snapshots.clone(),
            home_of_log: self.home_on_disk,
        }
    }

    /// A disk of one node with what a copy has, on which nothing goes wrong.
    pub fn of_copy(copy: Copy) -> Disk {
        let mut disk = Disk::new(false, Random::new(0, 0), Faults::default(), None);
        disk.put_back(copy);
        disk
    }

    fn put_back(&mut self, copy: Copy) {
        (self.records, self.snapshots) = (copy.records, copy.snapshots);
        (self.head, self.durable) = (copy.head, copy.head);
        (self.home_of_log, self.home_on_disk) = (copy.home_of_log, copy.home_of_log);
        self.pending.clear();
    }

    pub fn is_dead(&self, process: u64) -> bool {
        !self.alive.contains(&process)
    }

    /// A process dies. Where others want the lock, its connection may be found out to be dead only in time.
    pub fn kill(&mut self, process: u64) {
        if self.alive.remove(&process) {
            self.injected.crashes += 1;
        }
        self.queue.retain(|waiting| *waiting != process);
        if self.random.per_mille(500) {
            self.unlock(process);
        }
        if !self.is_shared {
            self.lose_tail();
        }
    }

    /// A process opens the disk; what an old one left half done is undone.
    pub fn open(&mut self, process: u64, damage_snapshot: bool) {
        self.alive.insert(process);
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
        (self.away_until_ms, self.full_until_ms) = (0, 0);
        self.cut_until_ms.clear();
    }

    /// The database is away until then.
    pub fn away_until(&mut self, ms: u64) {
        self.injected.away += 1;
        self.away_until_ms = self.away_until_ms.max(ms);
    }

    /// One node cannot reach it until then.
    pub fn cut_until(&mut self, node: usize, ms: u64) {
        self.injected.away += 1;
        self.cut_until_ms.insert(node, ms);
    }

    pub fn is_away(&self, node: usize, now_ms: u64) -> bool {
        now_ms < self.away_until_ms || self.cut_until_ms.get(&node).is_some_and(|until| now_ms < *until)
    }

    /// It goes away for a while.
    pub fn goes_away(&mut self, now_ms: u64) -> Error {
        self.injected.away += 1;
        let ms = self.random.within(1, self.faults.longest_ms.max(1));
        self.away_until_ms = now_ms + ms;
        Error::Unavailable("the database went away".to_owned())
    }

    /// The database dies and comes back: what was not on disk is gone, and all connections are.
    pub fn crash_database(&mut self) {
        self.injected.database_crashes += 1;
        self.break_connections();
        self.lose_tail();
    }

    /// A copy that has everything takes over.
    pub fn fail_over(&mut self) {
        self.injected.failovers += 1;
        self.break_connections();
        self.lose_tail();
        self.home += 1;
    }

    /// An older copy takes over.
    pub fn restore(&mut self, copy: Copy) {
        self.injected.restores += 1;
        self.break_connections();
        self.put_back(copy);
        self.fresh.clear();
        self.home += 1;
    }

    fn break_connections(&mut self) {
        self.connections += 1;
        self.lock = None;
        self.queue.clear();
    }

    fn lose_tail(&mut self) {
        self.injected.lost_records += self.head.seq - self.durable.seq;
        self.pending.clear();
        self.records.retain(|record| record.seq <= self.durable.seq);
        (self.head, self.home_of_log) = (self.durable, self.home_on_disk);
    }

    /// Whether somebody else has the lock, or waits for it.
    pub fn is_contended(&self, now_ms: u64) -> bool {
        self.lock_until(now_ms).is_some() || !self.queue.is_empty()
    }

    /// Until when the lock is held at most; none: it is free.
    pub fn lock_until(&self, now_ms: u64) -> Option<u64> {
        self.lock.filter(|lock| now_ms < lock.until_ms).map(|lock| lock.until_ms)
    }

    /// Who is next to have the lock, if it can be had.
    pub fn next_for_lock(&self, now_ms: u64) -> Option<u64> {
        if self.lock_until(now_ms).is_some() { None } else { self.queue.front().copied() }
    }

    /// Takes the lock, if it is this process's turn; else it has a place in the queue from now on.
    pub fn try_lock(&mut self, process: u64, now_ms: u64) -> bool {
        let is_next = self.queue.front().is_none_or(|first| *first == process);
        let can_have = is_next && self.lock_until(now_ms).is_none();
        if can_have {
            self.queue.pop_front();
            self.lock = Some(Lock { process, until_ms: now_ms + LOCK_MS });
        } else if !self.queue.contains(&process) {
            self.injected.lock_waits += 1;
            self.queue.push_back(process);
        }
        can_have
    }

    pub fn has_lock(&self, process: u64, now_ms: u64) -> bool {
        self.lock.is_some_and(|lock| lock.process == process && now_ms < lock.until_ms)
    }

    /// A process gives up the lock, or its place in the queue.
    pub fn unlock(&mut self, process: u64) {
        self.queue.retain(|waiting| *waiting != process);
        if self.lock.is_some_and(|lock| lock.process == process) {
            self.lock = None;
        }
    }

    /// Appends a record, for all to see.
    pub fn append(&mut self, record: &Record, reading: Reading, home: u64) {
        if self.lie == Some(Lie::Conflicts) {
            self.records.retain(|other| other.seq < record.seq);
        }
        self.head = record.head();
        self.home_of_log = home;
        self.records.push_back(record.clone());
        self.pending.push_back((record.clone(), reading));
    }

    /// Everything that was appended is on disk.
    pub fn flush(&mut self) {
        self.fresh.extend(self.pending.drain(..));
        (self.durable, self.home_on_disk) = (self.head, self.home_of_log);
    }

    /// Records that came to disk since this was last asked.
    pub fn take_fresh(&mut self) -> Vec<(Record, Reading)> {
        std::mem::take(&mut self.fresh)
    }

    /// The records after this one, unless the log has another one there, or none.
    pub fn after(&self, applied: &Head, most: usize) -> Result<Vec<Record>, Error> {
        let rewritten = |what: &str| Err(Error::Rewritten(format!("record {} {what}", applied.seq)));
        let is_hidden = self.lie == Some(Lie::HidesRewrites);
        if self.head.seq < applied.seq && !is_hidden {
            return rewritten("is gone");
        }
        let records = self.records.iter().filter(|record| record.seq > applied.seq);
        let records: Vec<Record> = records.take(most).cloned().collect();
        match records.first() {
            None if self.head.seq > applied.seq => rewritten("and those after it are gone"),
            Some(first) if first.seq != applied.seq + 1 => rewritten("is followed by a gap"),
            _ if is_hidden => Ok(records),
            None if self.head.checksum != applied.checksum => rewritten("is another one"),
            Some(first) if first.prev_checksum != applied.checksum => rewritten("was another one"),
            _ => Ok(records),
        }
    }

    /// The newest snapshot that is whole.
    pub fn newest_snapshot(&mut self) -> Option<Snapshot> {
        self.snapshots.retain(|(_, whole)| *whole);
        self.snapshots.last().map(|(snapshot, _)| snapshot.clone())
    }

    /// Whether the log has the record that a snapshot is of: its node may know another log.
    pub fn check_snapshot(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let of = (snapshot.head.seq, snapshot.head.checksum);
        if self.records.iter().any(|record| (record.seq, record.checksum) == of) {
            return Ok(());
        }
        Err(Error::Rewritten(format!("there is no record {} that this snapshot is of", of.0)))
    }

    pub fn save_snapshot(&mut self, snapshot: &Snapshot) {
        let newest = self.snapshots.last().map_or(0, |(newest, _)| newest.head.seq);
        // Another node was quicker: its snapshot serves as well.
        if self.is_shared && newest >= snapshot.head.seq {
            return;
        }
        self.snapshots.retain(|(other, _)| other.head.seq != snapshot.head.seq);
        self.snapshots.push((snapshot.clone(), true));
        let surplus = self.snapshots.len().saturating_sub(KEPT_SNAPSHOTS);
        self.snapshots.drain(..surplus);
    }

    /// Drops old records; true: there may be more.
    pub fn truncate(&mut self, keep: Keep, now_ms: u64) -> bool {
        let floor = match (self.lie, &self.snapshots[..]) {
            (Some(Lie::TruncatesTooMuch), _) => self.head.seq.saturating_sub(1),
            (_, [last_but_one, _]) => last_but_one.0.head.seq,
            _ => return false,
        };
        let mut bytes: u64 = self.records.iter().map(|record| record.payload.len() as u64).sum();
        let mut dropped = 0;
        while dropped < TRUNCATE_RECORDS
            && let Some(first) = self.records.front()
        {
            let young = first.time_ms.saturating_add(keep.age_ms) >= now_ms;
            let near = bytes - (first.payload.len() as u64) < keep.bytes;
            if first.seq > floor || (young && near) {
                break;
            }
            bytes -= first.payload.len() as u64;
            self.records.pop_front();
            dropped += 1;
        }
        dropped == TRUNCATE_RECORDS
    }
}
