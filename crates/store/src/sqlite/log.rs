//! The table `log`: one row per record.

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, TransactionBehavior, params};
use uuid::Uuid;

use super::{error, rows};
use crate::{Error, Head, Keep, Record, Write};

pub(super) const SCHEMA: &str = "
CREATE TABLE log (
    seq INTEGER PRIMARY KEY,
    batch BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    format INTEGER NOT NULL,
    prev_checksum INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    state_digest INTEGER,
    -- bytes of payload that the log ever had, up to the end of this record
    position INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE TABLE log_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- the greatest epoch that was committed
    epoch INTEGER NOT NULL,
    -- 1: the end of the original's log may be missing
    copy INTEGER NOT NULL
) STRICT;
INSERT INTO log_head (id, epoch, copy) VALUES (1, 0, 0);
";

/// Records that one call of `truncate` looks at: a transaction that nobody notices.
const TRUNCATE_RECORDS: u64 = 512;
const COLUMNS: &str = "seq, batch, epoch, time_ms, format, prev_checksum, checksum, state_digest, payload";

/// What the log ends with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct End {
    pub head: Head,
    pub position: u64,
}

pub(super) fn end(connection: &Connection) -> Result<End, Error> {
    let found = connection
        .prepare_cached("SELECT seq, checksum, epoch, time_ms, position FROM log ORDER BY seq DESC LIMIT 1")
        .and_then(|mut statement| {
            statement
                .query_row([], |row| {
                    let head = Head {
                        seq: unsigned(row, 0)?,
                        checksum: unsigned(row, 1)?,
                        epoch: row.get(2)?,
                        time_ms: unsigned(row, 3)?,
                    };
                    Ok(End { head, position: unsigned(row, 4)? })
                })
                .optional()
        })
        .map_err(error::outside_commit)?;
    Ok(found.unwrap_or_default())
}

/// The first record that is kept.
pub(super) fn oldest(connection: &Connection) -> Result<Option<u64>, Error> {
    connection
        .query_row("SELECT seq FROM log ORDER BY seq LIMIT 1", [], |row| unsigned(row, 0))
        .optional()
        .map_err(error::outside_commit)
}

pub(super) fn is_copy(connection: &Connection) -> Result<bool, Error> {
    connection
        .query_row("SELECT copy FROM log_head", [], |row| row.get::<_, i64>(0))
        .map(|copy| copy != 0)
        .map_err(error::outside_commit)
}

/// Marks a database as a copy of another that may have gone on since.
pub(super) fn mark_copy(connection: &Connection) -> Result<(), Error> {
    connection.execute("UPDATE log_head SET copy = 1", []).map(|_| ()).map_err(error::outside_commit)
}

pub(super) fn records_after(
    connection: &Connection,
    seq: u64,
    max_bytes: usize,
) -> Result<Vec<Record>, Error> {
    let mut found = Vec::new();
    let mut bytes = 0;
    let mut read = || -> rusqlite::Result<()> {
        let mut statement =
            connection.prepare_cached(&format!("SELECT {COLUMNS} FROM log WHERE seq > ?1 ORDER BY seq"))?;
        let mut rows = statement.query([signed(seq)])?;
        while let Some(row) = rows.next()? {
            let record = record(row)?;
            bytes += record.payload.len() + size_of::<Record>();
            found.push(record);
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(())
    };
    read().map_err(error::outside_commit)?;
    Ok(found)
}

/// One transaction: the record and its rows.
pub(super) fn append(
    connection: &Connection,
    end: &End,
    record: &Record,
    writes: &[Write],
) -> Result<End, Error> {
    execute(connection, "BEGIN IMMEDIATE").map_err(error::outside_commit)?;
    let new_end = End { head: record.head(), position: end.position + record.payload.len() as u64 };
    let result = insert(connection, end, &new_end, record)
        .and_then(|()| rows::execute_all(connection, writes))
        .and_then(|()| execute(connection, "COMMIT").map_err(error::at_commit));
    if result.is_err() && !connection.is_autocommit() {
        // If even that fails, the transaction ends with the connection; the error that counts is the first.
        let _ = execute(connection, "ROLLBACK");
    }
    result.map(|()| new_end)
}

fn insert(connection: &Connection, end: &End, new_end: &End, record: &Record) -> Result<(), Error> {
    let insert = || -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO log (seq, batch, epoch, time_ms, format, prev_checksum, checksum, state_digest,
                    position, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                signed(record.seq),
                record.batch.as_bytes().as_slice(),
                record.epoch,
                signed(record.time_ms),
                record.format,
                signed(record.prev_checksum),
                signed(record.checksum),
                record.state_digest.map(signed),
                signed(new_end.position),
                record.payload,
            ])?;
        if record.epoch > end.head.epoch {
            connection
                .execute("UPDATE log_head SET epoch = ?1, copy = 0 WHERE epoch < ?1", [record.epoch])?;
        }
        Ok(())
    };
    insert().map_err(error::outside_commit)
}

pub(super) fn truncate(
    connection: &mut Connection,
    end: &End,
    keep: Keep,
    now_ms: u64,
) -> Result<bool, Error> {
    let run = |connection: &mut Connection| -> rusqlite::Result<bool> {
        // The floor: the last but one snapshot; without it everything is needed.
        let floor = connection
            .query_row("SELECT seq FROM snapshots ORDER BY seq DESC LIMIT 1 OFFSET 1", [], |row| {
                unsigned(row, 0)
            })
            .optional()?;
        let Some(floor) = floor else { return Ok(false) };
        let (mut last, mut looked_at) = (None, 0);
        {
            let mut statement = connection.prepare_cached(
                "SELECT seq, time_ms, position FROM log WHERE seq <= ?1 ORDER BY seq LIMIT ?2",
            )?;
            let mut rows = statement.query([signed(floor), signed(TRUNCATE_RECORDS)])?;
            while let Some(row) = rows.next()? {
                let (seq, time_ms, position) = (unsigned(row, 0)?, unsigned(row, 1)?, unsigned(row, 2)?);
                let young = time_ms.saturating_add(keep.age_ms) >= now_ms;
                let near = end.position.saturating_sub(position) < keep.bytes;
                if young && near {
                    break;
                }
                last = Some(seq);
                looked_at += 1;
            }
        }
        if let Some(last) = last {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM log WHERE seq <= ?1", [signed(last)])?;
            transaction.commit()?;
        }
        Ok(looked_at == TRUNCATE_RECORDS)
    };
    run(connection).map_err(error::outside_commit)
}

/// Writes and removes as many bytes.
pub(super) fn probe(connection: &mut Connection, bytes: usize) -> Result<(), Error> {
    let run = |connection: &mut Connection| -> rusqlite::Result<()> {
        let write = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write.execute(
            "INSERT INTO snapshot_parts (seq, part, bytes) VALUES (-1, 0, zeroblob(?1))",
            [signed(bytes as u64)],
        )?;
        write.commit()?;
        connection.execute("DELETE FROM snapshot_parts WHERE seq = -1", [])?;
        Ok(())
    };
    run(connection).map_err(error::outside_commit)
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

fn record(row: &SqlRow<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        seq: unsigned(row, 0)?,
        batch: Uuid::from_bytes(row.get(1)?),
        epoch: row.get(2)?,
        time_ms: unsigned(row, 3)?,
        format: row.get(4)?,
        prev_checksum: unsigned(row, 5)?,
        checksum: unsigned(row, 6)?,
        state_digest: row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
        payload: row.get(8)?,
    })
}

/// SQLite's numbers are signed; the bits are ours.
pub(super) fn signed(value: u64) -> i64 {
    value.cast_signed()
}

pub(super) fn unsigned(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}
