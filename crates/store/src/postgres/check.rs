//! A database that is checked, whether or not nodes use it.

use tokio::runtime::Runtime;

use super::error::Failure;
use super::rows::PostgresReader;
use super::session::{Path, Session, Setup, find_path};
use super::{PostgresConfig, log, migrate, new_runtime, snapshots};
use crate::{Error, Head, Listed, Reader, Record, Source};

/// What is stored in a PostgreSQL database.
pub struct PostgresSource {
    runtime: Runtime,
    config: PostgresConfig,
    path: Path,
    session: Session,
}

impl PostgresSource {
    /// How far this program brings the store's own tables.
    pub const OWN_VERSION: u32 = migrate::OWN.len() as u32;

    /// Connects, for reading alone.
    pub fn open(config: PostgresConfig) -> Result<PostgresSource, Error> {
        let runtime = new_runtime()?;
        let (path, session) = runtime.block_on(async {
            let path = match config.path {
                Some(path) => path,
                None => find_path(&config).await.map_err(Failure::opening)?,
            };
            let setup = Setup::new(&config, path);
            let session = Session::open(&config, &setup, None).await.map_err(Failure::opening)?;
            if !migrate::is_there(&session, &config).await.map_err(Failure::opening)? {
                let schema = config.schema();
                return Err(Error::Refused(format!("there is nothing of Admit in the schema {schema}")));
            }
            Ok((path, session))
        })?;
        Ok(PostgresSource { runtime, config, path, session })
    }

    /// Reads in a short transaction of its own: a long one would slow the nodes down.
    fn read<T>(&mut self, read: impl AsyncFnOnce(&Session) -> Result<T, Failure>) -> Result<T, Error> {
        let PostgresSource { runtime, session, .. } = self;
        let result = runtime.block_on(async {
            session.begin("ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let found = read(session).await;
            session.script(if found.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
            found
        });
        result.map_err(Failure::outside_commit)
    }
}

/// What the head says of the last record, beside what that says of itself.
const HEAD_AND_LAST: &str = "
    SELECT h.seq, h.checksum, h.epoch, h.time_ms, h.position, h.format,
        l.seq, l.checksum, l.epoch, l.time_ms, l.position, l.format
    FROM log_head h LEFT JOIN log l ON l.seq = (SELECT max(seq) FROM log)";

impl Source for PostgresSource {
    fn storage_problems(&mut self) -> Result<Vec<String>, Error> {
        self.read(async |session| {
            let answer = session.query(HEAD_AND_LAST, &[]).await?;
            // Without a head there is no end of the log to go to, which whoever asks for it is told.
            let Some(row) = answer.first() else { return Ok(Vec::new()) };
            let mut problems = Vec::new();
            for (column, what) in
                ["last record", "checksum", "epoch", "time", "bytes", "format"].into_iter().enumerate()
            {
                let (head, last): (i64, Option<i64>) = (row.try_get(column)?, row.try_get(column + 6)?);
                // Of an empty log it says what there was at the beginning.
                let is_empty = last.is_none() && log::number(row, 0)? == 0;
                if last != Some(head) && !is_empty {
                    let last = last.map_or("none".to_owned(), |last| last.to_string());
                    problems.push(format!("the log's head says {what} {head}, the log itself {last}"));
                }
            }
            Ok(problems)
        })
    }

    fn versions(&mut self) -> Result<Vec<(String, u32)>, Error> {
        self.read(async |session| migrate::found(session).await)
    }

    fn own_version(&self) -> u32 {
        PostgresSource::OWN_VERSION
    }

    fn head(&mut self) -> Result<Head, Error> {
        self.read(async |session| Ok(log::end(session).await?.head))
    }

    fn oldest(&mut self) -> Result<Option<u64>, Error> {
        self.read(async |session| {
            let answer = session.query("SELECT min(seq) FROM log", &[]).await?;
            let found = answer.first().map(|row| row.try_get::<_, Option<i64>>(0)).transpose()?;
            Ok(found.flatten().map(i64::cast_unsigned))
        })
    }

    fn records_after(&mut self, seq: u64, max_bytes: usize) -> Result<Vec<Record>, Error> {
        self.read(async |session| log::records_after(session, seq, max_bytes).await)
    }

    fn snapshots(&mut self) -> Result<Vec<Listed>, Error> {
        self.read(async |session| snapshots::list(session).await)
    }

    fn snapshot_bytes(&mut self, seq: u64) -> Result<Vec<u8>, Error> {
        self.read(async |session| snapshots::bytes(session, seq).await)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(PostgresReader::new(self.config.clone(), self.path)?))
    }
}
