//! Commits: alone, or with others who see what is appended before it is on disk.

use std::sync::Arc;

use admit_store::{Error, Head, Record, Store};

use crate::clocks::Clocks;
use crate::disk::{Disk, Reading, lock};
use crate::faults::Lie;
use crate::store::{Begun, ModelStore, dead};

impl ModelStore {
    /// The batch that has begun, if its lock was not lost; else, if nobody was quicker, one that begins now.
    fn still_begun(&mut self, record: &Record) -> Result<Begun, Error> {
        let has_lock = {
            let disk = Arc::clone(&self.disk);
            let mut disk = lock(&disk);
            if let Err(error) = self.connect(&mut disk) {
                disk.unlock(self.process);
                return Err(error);
            }
            let has_lock = disk.has_lock(self.process, self.time.now_ms());
            disk.injected.conflicts += u64::from(!has_lock);
            has_lock || disk.lie == Some(Lie::Conflicts)
        };
        if let Some(begun) = self.begun.take().filter(|_| has_lock) {
            return Ok(begun);
        }
        let before = Head { seq: record.seq - 1, checksum: record.prev_checksum, ..Head::default() };
        let begin = self.begin_shared(&before)?;
        match self.begun.take() {
            Some(begun) if begin.missed.is_empty() => {
                lock(&self.disk).injected.retried += 1;
                Ok(begun)
            }
            _ => {
                self.rollback();
                let reason = "this node lost the log's lock; others have gone on";
                Err(Error::Unavailable(reason.to_owned()))
            }
        }
    }

    pub fn commit_shared(&mut self, record: &Record) -> Result<(), Error> {
        // The time of the record was read between the begin of its batch and now, whenever it is written.
        let to_ms = self.time.now_ms();
        let (from_ms, clock_steps) =
            self.begun.map_or((to_ms, 0), |begun| (begun.read_ms, begun.clock_steps));
        let reading = Reading { from_ms, to_ms, clock_steps };
        self.place();
        let begun = self.still_begun(record)?;
        let disk = Arc::clone(&self.disk);
        {
            let mut disk = lock(&disk);
            self.fails_before(&mut disk, record)?;
            let is_new_home = record.epoch > begun.end.epoch || disk.home_of_log == 0;
            let home = self.link.filter(|_| is_new_home).map_or(disk.home_of_log, |link| link.home);
            disk.append(record, reading, home);
            disk.unlock(self.process);
        }
        // Others see it and go on from it; whether it stays is not certain yet.
        self.place();
        {
            let mut disk = lock(&disk);
            if disk.is_dead(self.process) {
                return Err(dead());
            }
            let is_broken = self.link.is_none_or(|link| link.connection != disk.connections);
            if is_broken || disk.is_away(self.node, self.time.now_ms()) {
                disk.injected.unknown += 1;
                self.link = None;
                return Err(Error::Unknown("the connection broke".to_owned()));
            }
            if disk.lie != Some(Lie::AcknowledgesBeforeFlush) {
                disk.flush();
            }
            self.fails_after(&mut disk)?;
        }
        self.place();
        if lock(&disk).is_dead(self.process) {
            return Err(dead());
        }
        (self.is_unflushed, self.is_known_copy) = (false, false);
        Ok(())
    }

    pub fn commit_alone(&mut self, record: &Record) -> Result<(), Error> {
        let disk = Arc::clone(&self.disk);
        let mut disk = lock(&disk);
        self.connect(&mut disk)?;
        if record.prev_checksum != self.last.checksum || record.seq != self.last.seq + 1 {
            let reason = "an append that does not follow".to_owned();
            return Err(Error::Corrupt { seq: record.seq, reason });
        }
        let (_, read_ms) = self.clocks.as_ref().map_or((0, 0), Clocks::expected);
        let reading = Reading { from_ms: read_ms, to_ms: read_ms, clock_steps: 0 };
        let is_synced = match disk.lie {
            Some(Lie::NoSync) => {
                disk.append(record, reading, 0);
                if disk.random.per_mille(500) {
                    disk.flush();
                }
                true
            }
            Some(Lie::LosesCommit) => disk.random.per_mille(20),
            _ => false,
        };
        if is_synced {
            self.last = record.head();
            return Ok(());
        }
        self.fails_before(&mut disk, record)?;
        disk.append(record, reading, 0);
        disk.flush();
        if let Some(clocks) = &self.clocks {
            clocks.logged();
        }
        self.fails_after(&mut disk)?;
        let faults = disk.faults;
        let ms = if disk.random.per_mille(faults.slow) {
            disk.random.within(10, faults.longest_ms)
        } else {
            disk.random.below(3)
        };
        self.time.pass(ms);
        Ok(())
    }

    /// Why a commit does not come about.
    fn fails_before(&self, disk: &mut Disk, record: &Record) -> Result<(), Error> {
        let now_ms = self.time.now_ms();
        if now_ms < disk.full_until_ms {
            disk.unlock(self.process);
            return Err(Error::Full("no space left".to_owned()));
        }
        if disk.lie != Some(Lie::Conflicts) && record.prev_checksum != disk.head.checksum {
            let reason = "an append that does not follow".to_owned();
            return Err(Error::Corrupt { seq: record.seq, reason });
        }
        let faults = disk.faults;
        let mut roll = disk.random.below(1_000);
        let mut is = |cases: u64| {
            let hit = roll < cases;
            roll = roll.wrapping_sub(if hit { 0 } else { cases });
            hit
        };
        if is(faults.crash_before) {
            disk.kill(self.process);
            return Err(dead());
        }
        let error = if is(faults.unknown_lost) {
            disk.injected.unknown += 1;
            if disk.random.per_mille(400) {
                disk.goes_away(now_ms);
            }
            Error::Unknown("the answer is lost, and so is the commit".to_owned())
        } else if is(faults.away) {
            disk.goes_away(now_ms)
        } else if is(faults.full) {
            disk.injected.full += 1;
            let ms = disk.random.within(1, faults.longest_ms.max(1));
            disk.full_until_ms = now_ms + ms;
            Error::Full("no space left".to_owned())
        } else {
            return Ok(());
        };
        disk.unlock(self.process);
        Err(error)
    }

    /// Why a commit that came about is not known to have.
    fn fails_after(&mut self, disk: &mut Disk) -> Result<(), Error> {
        let faults = disk.faults;
        if disk.random.per_mille(faults.crash_after) {
            disk.kill(self.process);
            return Err(dead());
        }
        if disk.random.per_mille(faults.unknown_done) {
            disk.injected.unknown += 1;
            if disk.random.per_mille(400) {
                disk.goes_away(self.time.now_ms());
            }
            return Err(Error::Unknown("the answer is lost".to_owned()));
        }
        Ok(())
    }
}
