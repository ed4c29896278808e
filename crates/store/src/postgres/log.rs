//! The table `log`, one row per record, and `log_head`, one row whose lock is the right to append.

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::error::Failure;
use super::rows;
use super::session::{Prepared, Session, in_order};
use super::{Link, PostgresConfig, flush};
use crate::{Error, Head, Keep, Record, Write};

pub(super) const SCHEMA: &str = "
CREATE TABLE log (
    seq BIGINT PRIMARY KEY,
    batch BYTEA NOT NULL,
    epoch BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    format BIGINT NOT NULL,
    prev_checksum BIGINT NOT NULL,
    checksum BIGINT NOT NULL,
    state_digest BIGINT,
    -- bytes of payload that the log ever had, up to the end of this record
    position BIGINT NOT NULL,
    payload BYTEA NOT NULL
);
CREATE TABLE log_head (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL,
    checksum BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    position BIGINT NOT NULL,
    -- the format of the last record
    format BIGINT NOT NULL,
    -- which database this was when the epoch last rose; another: it was restored or failed over
    home TEXT NOT NULL,
    -- a record up to which the log was on disk when the head was moved
    durable_seq BIGINT NOT NULL
);
INSERT INTO log_head (id, seq, checksum, epoch, time_ms, position, format, home, durable_seq)
    VALUES (1, 0, 0, 0, 0, 0, 1, '', 0);
";

/// Missed records that are read while the log is locked: what others add between two batches, with room.
const MAX_MISSED: usize = 64;
/// Bytes of their payloads: what a connection takes even if its reader is paused. Were the database to wait until
/// it can send more, no time limit of its own would end that, and the log would stay locked.
const MAX_MISSED_BYTES: i64 = 64 << 10;
/// Records that are read at a time without the lock.
const PAGE_RECORDS: usize = 64;
/// Records that one call of `truncate` looks at: a transaction that nobody notices.
const TRUNCATE_RECORDS: usize = 512;

const LOCK: &str =
    "SELECT seq, checksum, epoch, time_ms, position, home, durable_seq FROM log_head WHERE id = 1 FOR UPDATE";
const HEAD: &str = "SELECT seq, checksum, epoch, time_ms, position, home,
    GREATEST(durable_seq, (SELECT max(seq) FROM flushes)) FROM log_head WHERE id = 1";
const RECORDS: &str =
    "SELECT seq, batch, epoch, time_ms, format, prev_checksum, checksum, state_digest, payload
    FROM log WHERE seq > $1 ORDER BY seq LIMIT $2";
/// The database's time comes in a row of its own, without a batch. This is a statement after the lock's,
/// because the lock's own sees the log as it was before the lock was had.
const CLOCK_AND_MISSED: &str = "
    SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS seq, CAST(NULL AS BYTEA) AS batch,
        0 AS epoch, 0 AS time_ms, 0 AS format, 0 AS prev_checksum, 0 AS checksum,
        CAST(NULL AS BIGINT) AS state_digest, CAST(NULL AS BYTEA) AS payload
    UNION ALL
    (SELECT seq, batch, epoch, time_ms, format, prev_checksum, checksum, state_digest, payload
        FROM log WHERE seq > $1 AND position - COALESCE((SELECT position FROM log WHERE seq = $1), 0) <= $3
        ORDER BY seq LIMIT $2)";
const INSERT: &str =
    "INSERT INTO log (seq, batch, epoch, time_ms, format, prev_checksum, checksum, state_digest,
    position, payload) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const MOVE_HEAD: &str =
    "UPDATE log_head SET seq = $1, checksum = $2, epoch = $3, time_ms = $4, position = $5,
    home = $6, durable_seq = $7, format = $8 WHERE id = 1";
/// A commit that waits for a standby must not be called done because its time is over.
const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";
/// A commit that is seen by others, and gives the log's lock up, before it is on disk.
const COMMIT_EARLY: &str = "SET LOCAL statement_timeout = 0; SET LOCAL synchronous_commit = off; COMMIT";

/// What the log ends with, and what lies beside its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub head: Head,
    position: u64,
    pub home: String,
    /// The log is on disk at least up to this record.
    pub durable_seq: u64,
}

impl End {
    /// What has yet to be flushed before anything is answered from the log up to here.
    pub fn unflushed(&self) -> Option<Head> {
        (self.head.seq > self.durable_seq).then_some(self.head)
    }
}

/// The statements of a batch, prepared.
pub(super) struct Statements {
    lock: Prepared,
    missed: Prepared,
    insert: Prepared,
    move_head: Prepared,
    head: Prepared,
    records: Prepared,
    pub flush: Prepared,
}

impl Statements {
    pub async fn prepare(session: &Session, config: &PostgresConfig) -> Result<Statements, Failure> {
        let numbers = |count| vec![Type::INT8; count];
        let mut insert = numbers(10);
        (insert[1], insert[9]) = (Type::BYTEA, Type::BYTEA);
        let mut move_head = numbers(8);
        move_head[5] = Type::TEXT;
        Ok(Statements {
            lock: session.prepare(LOCK, &[]).await?,
            missed: session.prepare(CLOCK_AND_MISSED, &numbers(3)).await?,
            insert: session.prepare(INSERT, &insert).await?,
            move_head: session.prepare(MOVE_HEAD, &move_head).await?,
            head: session.prepare(HEAD, &[]).await?,
            records: session.prepare(RECORDS, &numbers(2)).await?,
            flush: flush::prepare(session, config).await?,
        })
    }
}

/// A transaction that has the log's lock.
pub(super) struct Begun {
    pub end: End,
    /// The database's clock.
    pub now_ms: i64,
    pub missed: Vec<Record>,
    /// They are at it, so the lock is better given up early.
    pub others_write: bool,
}

pub(super) async fn end(session: &Session) -> Result<End, Failure> {
    let answer = session.query(HEAD, &[]).await?;
    end_of(&answer)
}

fn end_of(answer: &[Row]) -> Result<End, Failure> {
    let Some(row) = answer.first() else {
        return Err(Error::Corrupt { seq: 0, reason: "the table log_head is empty".to_owned() }.into());
    };
    let head = Head {
        seq: number(row, 0)?,
        checksum: number(row, 1)?,
        epoch: small(row, 2)?,
        time_ms: number(row, 3)?,
    };
    Ok(End { head, position: number(row, 4)?, home: row.try_get(5)?, durable_seq: number(row, 6)? })
}

/// Records after `seq`: as many as fit in `max_bytes`, at least one if there is one.
pub(super) async fn records_after(
    session: &Session,
    seq: u64,
    max_bytes: usize,
) -> Result<Vec<Record>, Failure> {
    let (mut found, mut bytes, mut after): (Vec<Record>, usize, u64) = (Vec::new(), 0, seq);
    loop {
        let (first, limit) = (signed(after), PAGE_RECORDS.cast_signed() as i64);
        let page = session.query(RECORDS, &[(&first, Type::INT8), (&limit, Type::INT8)]).await?;
        let is_last = page.len() < PAGE_RECORDS;
        for row in &page {
            let record = record(row)?;
            after = record.seq;
            bytes += record.payload.len() + size_of::<Record>();
            found.push(record);
            if bytes >= max_bytes {
                return Ok(found);
            }
        }
        if is_last {
            return Ok(found);
        }
    }
}

/// The next records after what was applied, if the log still goes on from there, and where it ended just before
/// they were read: one round trip.
pub(super) async fn missed(
    session: &Session,
    statements: &Statements,
    applied: &Head,
) -> Result<(Vec<Record>, End), Failure> {
    let (after, limit) = (signed(applied.seq), PAGE_RECORDS.cast_signed() as i64);
    let params = [(&after as _, Type::INT8), (&limit as _, Type::INT8)];
    let (begun, head, records, committed) = tokio::join!(
        biased;
        session.begin("READ ONLY"),
        session.run(&statements.head, &[], usize::MAX),
        session.run(&statements.records, &params, usize::MAX),
        session.script("COMMIT"),
    );
    begun?;
    let end = end_of(&head?)?;
    let records = records?.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    committed?;
    follows(&records, applied, &end.head)?;
    Ok((records, end))
}

/// Takes the log's lock, then looks at what others wrote, then at the clock: one round trip.
pub(super) async fn begin(
    session: &Session,
    statements: &Statements,
    applied: &Head,
) -> Result<Begun, Failure> {
    let (after, limit) = (signed(applied.seq), MAX_MISSED.cast_signed() as i64 + 1);
    let missed_params =
        [(&after as _, Type::INT8), (&limit as _, Type::INT8), (&MAX_MISSED_BYTES as _, Type::INT8)];
    let (begun, locked, missed) = tokio::join!(
        biased;
        session.begin("ISOLATION LEVEL READ COMMITTED"),
        session.run(&statements.lock, &[], usize::MAX),
        session.run(&statements.missed, &missed_params, usize::MAX),
    );
    begun?;
    let end = end_of(&locked?)?;
    let (mut now_ms, mut records) = (0, Vec::new());
    for row in &missed? {
        match row.try_get::<_, Option<&[u8]>>(1)? {
            None => now_ms = row.try_get(0)?,
            Some(_) => records.push(record(row)?),
        }
    }
    // More than is read here, or gone: reading without the lock tells which.
    if end.head.seq > records.last().map_or(applied.seq, |last| last.seq) {
        return Err(Error::Behind.into());
    }
    follows(&records, applied, &end.head)?;
    Ok(Begun { end, now_ms, others_write: !records.is_empty(), missed: records })
}

/// Whether a record that was on disk is in the log no more, and the epoch has not risen for that. One that is too
/// old to be kept does not count.
pub(super) async fn has_lost(session: &Session, end: &End, written: &Head) -> Result<bool, Failure> {
    if end.head.epoch > written.epoch || end.head.seq < written.seq {
        return Ok(end.head.epoch <= written.epoch);
    }
    let sql = "SELECT checksum FROM log WHERE seq = $1";
    let there = session.query(sql, &[(&signed(written.seq), Type::INT8)]).await?;
    there.first().map_or(Ok(false), |row| Ok(number(row, 0)? != written.checksum))
}

/// Whether these records, or the head where there are none, come after what was applied.
fn follows(records: &[Record], applied: &Head, head: &Head) -> Result<(), Failure> {
    let rewritten = |reason: String| Err(Error::Rewritten(reason).into());
    let is_other = || format!("record {} is not the one that was there before", applied.seq);
    match records.first() {
        _ if head.seq < applied.seq => {
            rewritten(format!("the log ends at {}, {} was there before", head.seq, applied.seq))
        }
        Some(first) if first.seq != applied.seq + 1 => {
            rewritten(format!("it begins at {} now, {} is gone", first.seq, applied.seq + 1))
        }
        Some(first) if first.prev_checksum != applied.checksum => rewritten(is_other()),
        None if head.seq > applied.seq => {
            rewritten(format!("records {} to {} are gone", applied.seq + 1, head.seq))
        }
        None if head.checksum != applied.checksum => rewritten(is_other()),
        _ => Ok(()),
    }
}

/// Inserts the record, moves the head, writes the rows, commits and waits for the disk: one round trip. Where others
/// write too, `early` lets them go on before the disk is done. The error says which write was refused, if it was one.
pub(super) async fn commit(
    link: &Link,
    begun: &Begun,
    record: &Record,
    writes: &[Write],
    early: bool,
) -> Result<End, (Option<usize>, Failure)> {
    let Link { session, statements, home, .. } = link;
    let mut bound = Vec::with_capacity(writes.len());
    for (index, write) in writes.iter().enumerate() {
        bound.push(rows::bind(session, write).await.map_err(|failure| (Some(index), failure))?);
    }
    let (known, epoch) = (&begun.end.home, begun.end.head.epoch);
    let home = if record.epoch > epoch || known.is_empty() { home } else { known };
    let end = End {
        head: record.head(),
        position: begun.end.position + record.payload.len() as u64,
        home: home.to_owned(),
        durable_seq: if early { begun.end.durable_seq } else { record.seq },
    };
    let seq = signed(record.seq);
    let (batch, payload) = (record.batch.as_bytes().as_slice(), record.payload.as_slice());
    let (epoch, time_ms, format) =
        (i64::from(record.epoch), signed(record.time_ms), i64::from(record.format));
    let (prev_checksum, checksum) = (signed(record.prev_checksum), signed(record.checksum));
    let (digest, position) = (record.state_digest.map(signed), signed(end.position));
    let durable_seq = signed(end.durable_seq);
    let int = Type::INT8;
    let insert = [
        (&seq as _, int.clone()),
        (&batch as _, Type::BYTEA),
        (&epoch as _, int.clone()),
        (&time_ms as _, int.clone()),
        (&format as _, int.clone()),
        (&prev_checksum as _, int.clone()),
        (&checksum as _, int.clone()),
        (&digest as _, int.clone()),
        (&position as _, int.clone()),
        (&payload as _, Type::BYTEA),
    ];
    let move_head = [
        (&seq as _, int.clone()),
        (&checksum as _, int.clone()),
        (&epoch as _, int.clone()),
        (&time_ms as _, int.clone()),
        (&position as _, int.clone()),
        (&end.home as _, Type::TEXT),
        (&durable_seq as _, int.clone()),
        (&format as _, int),
    ];
    let (inserted, moved, written, committed, flushed) = tokio::join!(
        biased;
        session.run(&statements.insert, &insert, usize::MAX),
        session.run(&statements.move_head, &move_head, usize::MAX),
        in_order(bound.iter().map(|bound| bound.run(session))),
        session.script(if early { COMMIT_EARLY } else { COMMIT }),
        async { if early { link.flush(&end.head).await } else { Ok(()) } },
    );
    // After the first refusal the database refuses all that follows and undoes the rest, so only that counts.
    inserted.map_err(|failure| (None, failure))?;
    moved.map_err(|failure| (None, failure))?;
    for (index, result) in written.into_iter().enumerate() {
        result.map_err(|failure| (Some(index), failure))?;
    }
    committed.map_err(|failure| (None, Failure::Store(failure.at_commit())))?;
    // It happened, but only a later flush can tell whether it stays.
    flushed
        .map_err(|failure| (None, Failure::Store(Error::Unknown(failure.outside_commit().to_string()))))?;
    Ok(end)
}

/// Drops the oldest records that nobody needs; within a transaction.
pub(super) async fn truncate(session: &Session, keep: Keep, now_ms: u64) -> Result<bool, Failure> {
    // The floor: the last but one snapshot; without it everything is needed.
    let floor = session.query("SELECT seq FROM snapshots ORDER BY seq DESC LIMIT 1 OFFSET 1", &[]).await?;
    let Some(floor) = floor.first() else { return Ok(false) };
    let (floor, limit): (i64, i64) = (floor.try_get(0)?, TRUNCATE_RECORDS.cast_signed() as i64);
    let end = end(session).await?;
    let sql = "SELECT seq, time_ms, position FROM log WHERE seq <= $1 ORDER BY seq LIMIT $2";
    let oldest = session.query(sql, &[(&floor, Type::INT8), (&limit, Type::INT8)]).await?;
    let (mut last, mut looked_at) = (None, 0);
    for row in &oldest {
        let young = number(row, 1)?.saturating_add(keep.age_ms) >= now_ms;
        let near = end.position.saturating_sub(number(row, 2)?) < keep.bytes;
        if young && near {
            break;
        }
        last = Some(row.try_get::<_, i64>(0)?);
        looked_at += 1;
    }
    if let Some(last) = last {
        session.query("DELETE FROM log WHERE seq <= $1", &[(&last, Type::INT8)]).await?;
    }
    Ok(looked_at == TRUNCATE_RECORDS)
}

fn record(row: &Row) -> Result<Record, Failure> {
    let batch: &[u8] = row.try_get(1)?;
    let seq = number(row, 0)?;
    let batch = Uuid::from_slice(batch)
        .map_err(|error| Error::Corrupt { seq, reason: format!("its batch id: {error}") })?;
    Ok(Record {
        seq,
        batch,
        epoch: small(row, 2)?,
        time_ms: number(row, 3)?,
        format: small(row, 4)?,
        prev_checksum: number(row, 5)?,
        checksum: number(row, 6)?,
        state_digest: row.try_get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
        payload: row.try_get(8)?,
    })
}

/// PostgreSQL's numbers are signed; the bits are ours.
pub(super) fn signed(value: u64) -> i64 {
    value.cast_signed()
}

pub(super) fn number(row: &Row, column: usize) -> Result<u64, Failure> {
    Ok(row.try_get::<_, i64>(column)?.cast_unsigned())
}

pub(super) fn small<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<T, Failure> {
    let value: i64 = row.try_get(column)?;
    T::try_from(value).map_err(|_| {
        Error::Corrupt { seq: 0, reason: format!("{value} in column {column} is out of range") }.into()
    })
}
