//! What a database has to do for the engine.

use std::path::Path;
use std::time::Duration;

use crate::{Error, Head, Load, Node, Record, Row, Snapshot, Value, Write};

/// What a store calls when other nodes may have added records; from any thread, sometimes for nothing.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// The log and what lies beside it. All calls come from one thread.
///
/// A batch is `begin`, then `commit`, `commit_nothing` or `rollback`. [`Error::Unknown`] is the only error of
/// `commit` after which something may have been written.
///
/// What other nodes wrote may be seen in `begin` before it is on disk, so nothing may be answered from it before
/// `commit` or `commit_nothing` returned. What every other call gives is on disk.
pub trait Store: Send {
    /// The end of the log, as it is stored.
    fn head(&mut self) -> Result<Head, Error>;

    /// Whether this data is a copy whose log may lack the end of the original's (a restored backup). It
    /// stays so until a record of a greater epoch is committed.
    fn is_copy(&mut self) -> Result<bool, Error>;

    /// The newest snapshot that is whole. One that is not is passed over and dropped, with a warning.
    fn latest_snapshot(&mut self) -> Result<Option<Snapshot>, Error>;

    /// Records after `seq` in order: as many as fit in `max_bytes`, at least one if there is one.
    fn records_after(&mut self, seq: u64, max_bytes: usize) -> Result<Vec<Record>, Error>;

    /// Begins a batch: from now until its end nobody else appends to the log. `applied` is the record up to which
    /// its caller knows the log; [`Error::Rewritten`]: the log has another one there, or none.
    fn begin(&mut self, applied: &Head) -> Result<Begin, Error>;

    /// Appends the record and executes the writes, all or nothing, and returns when that is on disk.
    fn commit(&mut self, record: &Record, writes: &[Write]) -> Result<(), Error>;

    /// Ends a batch that writes nothing, and returns when what it saw is on disk.
    fn commit_nothing(&mut self) -> Result<(), Error> {
        self.rollback();
        Ok(())
    }

    /// Gives a batch up.
    fn rollback(&mut self);

    /// Stores a snapshot; keeps the one before it, drops older ones. [`Error::Rewritten`]: it is of another log,
    /// where there are others who may have written that.
    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), Error>;

    /// Drops the oldest records that nobody needs: a bounded number of them; true: call again for more.
    /// What the last but one snapshot needs is never dropped.
    fn truncate(&mut self, keep: Keep, now_ms: u64) -> Result<bool, Error>;

    /// Work that must be done now and then but keeps nobody waiting: call it between batches.
    fn maintain(&mut self) -> Result<(), Error>;

    /// Whether there is room again for `bytes`, after [`Error::Full`].
    fn probe(&mut self, bytes: usize) -> Result<(), Error>;

    /// The next records after `applied` that other nodes added, as far as they fit in one reading; nobody waits
    /// meanwhile. A store of one node has none.
    fn missed(&mut self, applied: &Head) -> Result<Vec<Record>, Error> {
        let _ = applied;
        Ok(Vec::new())
    }

    /// Has `wake` called when other nodes tell of news. Gives how often to look for [`Store::missed`] all the
    /// same, because telling may fail; none: there are no other nodes.
    fn watch(&mut self, wake: Wake) -> Result<Option<Duration>, Error> {
        drop(wake);
        Ok(None)
    }

    /// Tells other nodes that what was committed concerns somebody who may be waiting there.
    fn announce(&mut self) {}

    /// The newest format that every live node knows; none: that cannot be told yet. To be asked within a batch, so
    /// that it is still true when the batch is committed: who comes later finds the batch in the log. Where nobody
    /// else writes, this node's own is all that counts.
    fn common_format(&mut self) -> Result<Option<u16>, Error> {
        Ok(Some(u16::MAX))
    }

    /// Tells other nodes how this one has been writing lately.
    fn note_load(&mut self, load: Load) {
        let _ = load;
    }

    /// A handle to read rows with.
    fn reader(&self) -> Result<Box<dyn Reader>, Error>;
}

/// What a batch begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The database's time in milliseconds since the Unix epoch, where the database is the clock of all nodes.
    pub now_ms: Option<u64>,
    /// The records after `applied`, which others wrote.
    pub missed: Vec<Record>,
}

/// How much history of the log stays: what is younger than `age_ms` and among the last `bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Milliseconds.
    pub age_ms: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

impl Default for Keep {
    /// 24 hours, 1 GB: enough to explain and simulate yesterday, little enough for any disk.
    fn default() -> Keep {
        Keep { age_ms: 24 * 3_600_000, bytes: 1_000_000_000 }
    }
}

/// What a record of the log says, without what proves that it is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The record's number.
    pub seq: u64,
    /// Its time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The format of its payload.
    pub format: u16,
    /// What happened.
    pub payload: Vec<u8>,
}

/// Reads rows, from any thread; sees what is committed.
pub trait Reader: Send {
    /// The rows that a query gives; too many of them are an error.
    fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, Error>;

    /// What the log says after record `after`, in order, at most so many records.
    fn entries_after(&self, after: u64, most: usize) -> Result<Vec<Entry>, Error> {
        let sql = "SELECT seq, time_ms, format, payload FROM log WHERE seq > $1 ORDER BY seq LIMIT $2";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = self.query(sql, &[Value::Int(after.cast_signed()), Value::Int(most)])?;
        let entry = |row: &Row| -> Result<Entry, Error> {
            Ok(Entry {
                seq: row.int(0)?.cast_unsigned(),
                time_ms: row.int(1)?.cast_unsigned(),
                format: u16::try_from(row.int(2)?).unwrap_or(u16::MAX),
                payload: row.blob(3)?.to_vec(),
            })
        };
        rows.iter().map(entry).collect()
    }

    /// Writes a consistent copy of everything to a new file, while the store is in use.
    fn backup(&self, to: &Path) -> Result<(), Error>;

    /// The nodes that use the log; a store of one node lists none.
    fn nodes(&self) -> Result<Vec<Node>, Error> {
        Ok(Vec::new())
    }
}
