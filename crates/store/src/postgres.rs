//! PostgreSQL: any number of nodes. The lock of one row is the right to append; a batch is one transaction of
//! two round trips: lock and look, then write and commit.

mod check;
mod config;
mod error;
mod flush;
mod log;
mod migrate;
mod nodes;
mod rows;
mod session;
mod snapshots;
mod tls;
mod watch;

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

pub use check::PostgresSource;
pub use config::PostgresConfig;
use error::Failure;
use log::{Begun, End, Statements};
use rows::PostgresReader;
use session::{Path, Session, Setup, find_path};
use tls::Tls;
use watch::{Board, Watcher};

use crate::{
    Begin, Error, Head, Keep, Load, Migration, NodeInfo, Reader, Record, Snapshot, Store, Wake, Write,
};

/// How long a transaction may wait for its node: a node that is paused while it has the log's lock
/// stops the others for so long.
const IDLE_LIMIT: Duration = Duration::from_secs(2);
/// How long a node waits for the lock: longer than a paused holder keeps it, so that nobody is refused for that.
const LOCK_LIMIT: Duration = Duration::from_secs(3);
/// How long any statement may take.
const STATEMENT_LIMIT: Duration = Duration::from_secs(4);
/// After how long without an answer a connection is given up: longer than the database itself gives anything.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a node looks for what others wrote, should it never be told.
const POLL: Duration = Duration::from_secs(1);
/// How old a transaction may be before its connection is looked at again: what is older was perhaps thrown out.
const SUSPICIOUS_AFTER: Duration = Duration::from_secs(1);

/// One node's store in a PostgreSQL database that other nodes may share.
pub struct PostgresStore {
    runtime: Runtime,
    config: PostgresConfig,
    path: Path,
    info: NodeInfo,
    link: Option<Link>,
    begun: Option<(Begun, Instant)>,
    /// The last record that this node wrote and knows to be on disk.
    written: Option<Head>,
    /// The last record that was seen before it was known to be on disk.
    unflushed: Option<Head>,
    /// The state is known to come from a copy: the epoch is about to rise.
    is_known_copy: bool,
    snapshot_seq: u64,
    board: Arc<Board>,
    watcher: Option<Watcher>,
}

/// A connection that is ready for batches.
struct Link {
    session: Session,
    statements: Statements,
    /// The number of this node.
    node: u64,
    /// Which database this is.
    home: String,
}

impl PostgresStore {
    /// Connects, creates the schema if it is not there, and brings every component's tables up to date.
    pub fn open(
        config: PostgresConfig,
        info: NodeInfo,
        migrations: &[Migration],
    ) -> Result<PostgresStore, Error> {
        let runtime = new_runtime()?;
        let opened: Result<(Path, Link), Error> = runtime.block_on(async {
            let path = match config.path {
                Some(path) => path,
                None => find_path(&config).await.map_err(Failure::opening)?,
            };
            let setup = Setup::new(&config, path);
            let session = Session::open(&config, &setup, None).await.map_err(Failure::opening)?;
            migrate::run(&session, &config, migrations).await?;
            Ok((path, Link::new(session, &config, info.number).await.map_err(Failure::opening)?))
        });
        let (path, link) = opened?;
        if path == Path::Pooled {
            tracing::warn!(
                "a pooler in transaction mode is between this node and the database: statements are not \
                 prepared, and a ticket granted by another node is delivered up to a second later"
            );
        }
        Ok(PostgresStore {
            runtime,
            config,
            path,
            info,
            link: Some(link),
            begun: None,
            written: None,
            unflushed: None,
            is_known_copy: false,
            snapshot_seq: 0,
            board: Arc::default(),
            watcher: None,
        })
    }

    /// Has a conversation with the database, over a new connection if the old one is gone.
    fn talk<T>(&mut self, talk: impl AsyncFnOnce(&Link) -> Result<T, Failure>) -> Result<T, Failure> {
        let PostgresStore { runtime, link, config, path, info, .. } = self;
        let result = runtime.block_on(async {
            let link = match link {
                Some(link) => link,
                None => {
                    let setup = Setup::new(config, *path);
                    let session = Session::open(config, &setup, None).await?;
                    link.insert(Link::new(session, config, info.number).await?)
                }
            };
            talk(link).await
        });
        if result.as_ref().is_err_and(Failure::ends_the_connection) {
            self.link = None;
        }
        result
    }

    /// A connection that died while it was idle costs a new one, not what was to be done over it.
    fn again_if_it_died<T>(
        &mut self,
        mut call: impl FnMut(&mut PostgresStore) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let was_linked = self.link.is_some();
        let first = call(self);
        if first.is_err() && was_linked && self.link.is_none() { call(self) } else { first }
    }

    /// The same in a transaction, which ends with it.
    fn transact<T>(
        &mut self,
        mode: &str,
        talk: impl AsyncFnOnce(&Link) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let result = self.talk(async |link| {
            link.session.begin(mode).await?;
            let done = talk(link).await?;
            link.session.script("COMMIT").await?;
            Ok(done)
        });
        if result.is_err() {
            self.undo();
        }
        result.map_err(Failure::outside_commit)
    }

    /// Ends a transaction without effect.
    fn undo(&mut self) {
        self.begun = None;
        // Without a connection there is no transaction either.
        if self.link.is_some() && self.talk(async |link| link.session.script("ROLLBACK").await).is_err() {
            self.link = None;
        }
    }

    fn try_begin(&mut self, applied: &Head) -> Result<Vec<Record>, Failure> {
        let is_known_copy = self.is_known_copy;
        let begun = self.talk(async |link| {
            let begun = log::begin(&link.session, &link.statements, applied).await?;
            if begun.end.home != link.home && !begun.end.home.is_empty() && !is_known_copy {
                return Err(Error::Rewritten("the database was restored or failed over".to_owned()).into());
            }
            Ok(begun)
        });
        match begun {
            Ok(mut begun) => {
                let missed = std::mem::take(&mut begun.missed);
                self.note_seen(&begun.end, !missed.is_empty());
                self.note_applied(begun.end.head.seq);
                self.begun = Some((begun, Instant::now()));
                Ok(missed)
            }
            Err(failure) => {
                self.undo();
                Err(failure)
            }
        }
    }

    fn try_commit(&mut self, record: &Record, writes: &[Write]) -> Result<(), (Option<usize>, Failure)> {
        let Some((begun, since)) = self.begun.take() else { return Err((None, Failure::Lost)) };
        let (mut refused, others_write) = (None, begun.others_write);
        let result = self.talk(async |link| {
            if since.elapsed() > SUSPICIOUS_AFTER && link.session.is_lost().await {
                return Err(Failure::Lost);
            }
            log::commit(link, &begun, record, writes, others_write).await.map_err(|(write, failure)| {
                refused = write;
                failure
            })
        });
        match result {
            Ok(end) => {
                self.is_known_copy &= record.epoch == begun.end.head.epoch;
                (self.written, self.unflushed) = (Some(end.head), None);
                self.note_applied(end.head.seq);
                Ok(())
            }
            Err(failure) => {
                self.undo();
                Err((refused, failure))
            }
        }
    }

    /// What was read from the log is its caller's, though perhaps not on disk.
    fn note_seen(&mut self, end: &End, has_news: bool) {
        match end.unflushed() {
            None => self.unflushed = None,
            Some(head) if has_news || self.unflushed.is_some() => self.unflushed = Some(head),
            Some(_) => {}
        }
    }

    /// Returns when all that was seen is on disk.
    fn flush(&mut self) -> Result<(), Error> {
        if let Some(to) = self.unflushed {
            self.talk(async |link| link.flush(&to).await).map_err(Failure::outside_commit)?;
            self.unflushed = None;
        }
        Ok(())
    }

    fn note_applied(&self, seq: u64) {
        self.board.applied.store(seq, Ordering::Relaxed);
    }
}

impl Link {
    async fn new(session: Session, config: &PostgresConfig, node: u64) -> Result<Link, Failure> {
        let statements = Statements::prepare(&session, config).await?;
        // The table has another number in a database that was restored from a dump ...
        session.begin("READ ONLY").await?;
        let answer = session.query("SELECT CAST(CAST('log_head' AS regclass) AS oid)", &[]).await?;
        session.script("COMMIT").await?;
        let table: Option<u32> = answer.first().map(|row| row.try_get(0)).transpose()?;
        // ... and the system another timeline after recovery to a point in time or a failover (what was promoted
        // writes in it before its control file says so); where a database does not tell, restoring it has to be
        // told to us.
        let sql = "SELECT CAST(s.system_identifier AS TEXT) || '/' || CAST(CASE WHEN pg_is_in_recovery()
                THEN c.timeline_id
                ELSE CAST(CAST('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8) AS bit(32)) AS INTEGER)
            END AS TEXT) FROM pg_control_system() s, pg_control_checkpoint() c";
        let system: Option<String> = match session.query(sql, &[]).await {
            Ok(answer) => answer.first().map(|row| row.try_get(0)).transpose()?,
            Err(failure) if failure.ends_the_connection() => return Err(failure),
            Err(_) => None,
        };
        let home = format!("{}/{}", system.unwrap_or_default(), table.unwrap_or_default());
        Ok(Link { session, statements, node, home })
    }

    /// Returns when the log is on disk up to this record.
    async fn flush(&self, to: &Head) -> Result<(), Failure> {
        flush::flush(&self.session, &self.statements.flush, self.node, to).await
    }
}

impl Store for PostgresStore {
    fn head(&mut self) -> Result<Head, Error> {
        let end = self.transact("READ ONLY", async |link| log::end(&link.session).await)?;
        self.note_seen(&end, true);
        self.flush()?;
        Ok(end.head)
    }

    fn is_copy(&mut self) -> Result<bool, Error> {
        let written = self.written;
        let is_copy = self.transact("READ ONLY", async |link| {
            let end = log::end(&link.session).await?;
            if !end.home.is_empty() && end.home != link.home {
                return Ok(true);
            }
            // The same database, but put back to an earlier moment while this node ran.
            match written {
                Some(written) => log::has_lost(&link.session, &end, &written).await,
                None => Ok(false),
            }
        })?;
        self.is_known_copy = is_copy;
        Ok(is_copy)
    }

    fn latest_snapshot(&mut self) -> Result<Option<Snapshot>, Error> {
        let mode = "ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let (found, damaged) = self.transact(mode, async |link| snapshots::latest(&link.session).await)?;
        if !damaged.is_empty()
            && let Err(error) =
                self.transact("", async |link| snapshots::drop_damaged(&link.session, &damaged).await)
        {
            // A full disk keeps nobody from reading what is there.
            tracing::warn!(?damaged, %error, "the damaged snapshots could not be dropped");
        }
        self.snapshot_seq = found.as_ref().map_or(0, |snapshot| snapshot.head.seq);
        Ok(found)
    }

    fn records_after(&mut self, seq: u64, max_bytes: usize) -> Result<Vec<Record>, Error> {
        self.transact("READ ONLY", async |link| log::records_after(&link.session, seq, max_bytes).await)
    }

    fn begin(&mut self, applied: &Head) -> Result<Begin, Error> {
        let missed =
            self.again_if_it_died(|store| store.try_begin(applied)).map_err(Failure::outside_commit)?;
        let now_ms = self.begun.as_ref().map(|(begun, _)| begun.now_ms.max(0).cast_unsigned());
        Ok(Begin { now_ms, missed })
    }

    fn commit(&mut self, record: &Record, writes: &[Write]) -> Result<(), Error> {
        let first = match self.try_commit(record, writes) {
            Ok(()) => return Ok(()),
            Err(first) => first,
        };
        let (write, failure) = if first.1.is_passing() {
            // It never happened. If nobody else was quicker, it still can.
            let before = Head { seq: record.seq - 1, checksum: record.prev_checksum, ..Head::default() };
            let missed = self.begin(&before)?.missed;
            if !missed.is_empty() {
                self.rollback();
                return Err(Error::Unavailable(
                    "this node lost the log's lock; others have gone on".to_owned(),
                ));
            }
            match self.try_commit(record, writes) {
                Ok(()) => return Ok(()),
                Err(second) => second,
            }
        } else {
            first
        };
        Err(match (write, failure) {
            (Some(write), Failure::Store(Error::Row { reason, .. })) => Error::Row { write, reason },
            (Some(write), failure) => failure.in_statement(|reason| Error::Row { write, reason }),
            // Sent with the commit, so if the connection broke, it may have arrived.
            (None, failure) => failure.at_commit(),
        })
    }

    fn commit_nothing(&mut self) -> Result<(), Error> {
        self.rollback();
        self.flush()
    }

    fn rollback(&mut self) {
        if self.begun.is_some() {
            self.undo();
        }
    }

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let known = self.snapshot_seq;
        self.snapshot_seq = self.transact("", async |link| {
            if !is_mine(link).await? {
                return Ok(known);
            }
            // Another node was quicker: its snapshot serves as well.
            let newest = snapshots::newest(&link.session).await?;
            if newest > known {
                return Ok(newest);
            }
            if !snapshots::is_of_this_log(&link.session, snapshot).await? {
                let reason = format!("it has no record {} as it was read here", snapshot.head.seq);
                return Err(Error::Rewritten(reason).into());
            }
            snapshots::save(&link.session, snapshot).await?;
            Ok(snapshot.head.seq)
        })?;
        Ok(())
    }

    fn truncate(&mut self, keep: Keep, now_ms: u64) -> Result<bool, Error> {
        self.transact("", async |link| {
            Ok(is_mine(link).await? && log::truncate(&link.session, keep, now_ms).await?)
        })
    }

    fn maintain(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn probe(&mut self, bytes: usize) -> Result<(), Error> {
        self.transact("", async |link| snapshots::probe(&link.session, bytes).await)
    }

    fn missed(&mut self, applied: &Head) -> Result<Vec<Record>, Error> {
        let missed = self.again_if_it_died(|store| {
            let missed = store.talk(async |link| log::missed(&link.session, &link.statements, applied).await);
            if missed.is_err() {
                store.undo();
            }
            missed
        });
        let (missed, end) = missed.map_err(Failure::outside_commit)?;
        self.note_seen(&end, !missed.is_empty());
        // The log may have gone on between the two readings.
        if let Some(last) = missed.last().filter(|last| last.seq > end.durable_seq) {
            self.unflushed = Some(last.head());
        }
        self.flush()?;
        self.note_applied(missed.last().map_or(applied.seq, |last| last.seq));
        Ok(missed)
    }

    fn watch(&mut self, wake: Wake) -> Result<Option<Duration>, Error> {
        let (config, info) = (self.config.clone(), self.info.clone());
        self.watcher = Some(Watcher::start(config, self.path, info, Arc::clone(&self.board), wake)?);
        Ok(Some(POLL))
    }

    fn announce(&mut self) {
        if let Some(watcher) = &self.watcher {
            watcher.announce();
        }
    }

    fn common_format(&mut self) -> Result<Option<u16>, Error> {
        let info = self.info.clone();
        let common = self.talk(async |link| nodes::common_format(&link.session, &info).await);
        if common.is_err() {
            self.undo();
        }
        common.map_err(Failure::outside_commit)
    }

    fn note_load(&mut self, load: Load) {
        *self.board.load.lock().unwrap_or_else(PoisonError::into_inner) = Some(load);
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(PostgresReader::new(self.config.clone(), self.path)?))
    }
}

/// Whether this node may tidy up; if not, another one is at it.
async fn is_mine(link: &Link) -> Result<bool, Failure> {
    let answer = link.session.query("SELECT id FROM chores WHERE id = 1 FOR UPDATE SKIP LOCKED", &[]).await?;
    Ok(!answer.is_empty())
}

fn new_runtime() -> Result<Runtime, Error> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Unavailable(format!("no event loop for the database: {error}")))
}
