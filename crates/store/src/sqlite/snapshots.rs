//! Snapshots: a row each that says what it is, and its bytes in parts.

use rusqlite::{Connection, TransactionBehavior, params};

use super::error;
use super::log::{signed, unsigned};
use crate::{Error, Head, Listed, Snapshot};

pub(super) const SCHEMA: &str = "
CREATE TABLE snapshots (
    seq INTEGER PRIMARY KEY,
    checksum INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    format INTEGER NOT NULL,
    hash INTEGER NOT NULL
) STRICT;
CREATE TABLE snapshot_parts (
    seq INTEGER NOT NULL,
    part INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (seq, part)
) STRICT;
";

/// Bytes of a part: far below what SQLite takes in one value, so a state of any size fits.
const PART_BYTES: usize = 4 << 20;
/// Snapshots that are kept: the newest, and the one before it should that be damaged.
const KEPT: i64 = 2;

pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<Listed>> {
    connection
        .prepare("SELECT seq, checksum, epoch, time_ms, format, hash FROM snapshots ORDER BY seq DESC")?
        .query_map([], |row| {
            let head = Head {
                seq: unsigned(row, 0)?,
                checksum: unsigned(row, 1)?,
                epoch: row.get(2)?,
                time_ms: unsigned(row, 3)?,
            };
            Ok(Listed { head, format: row.get(4)?, hash: unsigned(row, 5)? })
        })?
        .collect()
}

pub(super) fn bytes(connection: &Connection, seq: u64) -> rusqlite::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut statement =
        connection.prepare("SELECT bytes FROM snapshot_parts WHERE seq = ?1 ORDER BY part")?;
    let mut rows = statement.query([signed(seq)])?;
    while let Some(row) = rows.next()? {
        bytes.extend_from_slice(row.get_ref(0)?.as_blob()?);
    }
    Ok(bytes)
}

pub(super) fn latest(connection: &Connection) -> Result<Option<Snapshot>, Error> {
    for Listed { head, format, hash } in list(connection).map_err(error::outside_commit)? {
        let bytes = bytes(connection, head.seq).map_err(error::outside_commit)?;
        if Snapshot::hash(&bytes) == hash {
            return Ok(Some(Snapshot { head, format, bytes }));
        }
        tracing::warn!(seq = head.seq, "a snapshot is damaged; going back to the one before it");
        drop_damaged(connection, head.seq);
    }
    Ok(None)
}

/// It must not be counted on, lest the log be cut that only it could replace.
fn drop_damaged(connection: &Connection, seq: u64) {
    let run = || -> rusqlite::Result<()> {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute("DELETE FROM snapshots WHERE seq = ?1", [signed(seq)])?;
        transaction.execute("DELETE FROM snapshot_parts WHERE seq = ?1", [signed(seq)])?;
        transaction.commit()
    };
    if let Err(error) = run() {
        // A full disk keeps nobody from reading what is there.
        tracing::warn!(seq, %error, "the damaged snapshot could not be dropped");
    }
}

pub(super) fn save(connection: &mut Connection, snapshot: &Snapshot) -> Result<(), Error> {
    let run = |connection: &mut Connection| -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Snapshot { head, format, bytes } = snapshot;
        transaction.execute("DELETE FROM snapshot_parts WHERE seq = ?1", [signed(head.seq)])?;
        for (part, bytes) in (0_i64..).zip(bytes.chunks(PART_BYTES)) {
            transaction.execute(
                "INSERT INTO snapshot_parts (seq, part, bytes) VALUES (?1, ?2, ?3)",
                params![signed(head.seq), part, bytes],
            )?;
        }
        transaction.execute(
            "INSERT OR REPLACE INTO snapshots (seq, checksum, epoch, time_ms, format, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                signed(head.seq),
                signed(head.checksum),
                head.epoch,
                signed(head.time_ms),
                format,
                signed(Snapshot::hash(bytes))
            ],
        )?;
        transaction.execute(
            "DELETE FROM snapshots WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT ?1)",
            [KEPT],
        )?;
        transaction.execute("DELETE FROM snapshot_parts WHERE seq NOT IN (SELECT seq FROM snapshots)", [])?;
        transaction.commit()
    };
    run(connection).map_err(error::outside_commit)
}
