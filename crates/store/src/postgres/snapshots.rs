//! Snapshots: a row each that says what it is, and its bytes in parts.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::error::Failure;
use super::log::{number, signed, small};
use super::session::Session;
use crate::{Head, Listed, Snapshot};

pub(super) const SCHEMA: &str = "
CREATE TABLE snapshots (
    seq BIGINT PRIMARY KEY,
    checksum BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    format BIGINT NOT NULL,
    hash BIGINT NOT NULL
);
CREATE TABLE snapshot_parts (
    seq BIGINT NOT NULL,
    part BIGINT NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY (seq, part)
);
";

/// Bytes of a part: each is a statement, which has to be done within its time on a slow line too.
const PART_BYTES: usize = 1 << 20;
/// Snapshots that are kept: the newest, and the one before it should that be damaged.
const KEPT: i64 = 2;

/// The snapshots, newest first.
pub(super) async fn list(session: &Session) -> Result<Vec<Listed>, Failure> {
    let sql = "SELECT seq, checksum, epoch, time_ms, format, hash FROM snapshots ORDER BY seq DESC";
    let listed = |row: &Row| {
        let head = Head {
            seq: number(row, 0)?,
            checksum: number(row, 1)?,
            epoch: small(row, 2)?,
            time_ms: number(row, 3)?,
        };
        Ok(Listed { head, format: small(row, 4)?, hash: number(row, 5)? })
    };
    session.query(sql, &[]).await?.iter().map(listed).collect()
}

/// The newest snapshot that is whole, and the records of newer ones that are not; within a transaction that sees
/// the tables as they were at one moment.
pub(super) async fn latest(session: &Session) -> Result<(Option<Snapshot>, Vec<u64>), Failure> {
    let mut damaged = Vec::new();
    for Listed { head, format, hash } in list(session).await? {
        let bytes = bytes(session, head.seq).await?;
        if Snapshot::hash(&bytes) == hash {
            return Ok((Some(Snapshot { head, format, bytes }), damaged));
        }
        tracing::warn!(seq = head.seq, "a snapshot is damaged; going back to the one before it");
        damaged.push(head.seq);
    }
    Ok((None, damaged))
}

/// Drops damaged snapshots: they must not be counted on, lest the log be cut that only they could replace.
pub(super) async fn drop_damaged(session: &Session, damaged: &[u64]) -> Result<(), Failure> {
    for &seq in damaged {
        let seq = signed(seq);
        for sql in ["DELETE FROM snapshots WHERE seq = $1", "DELETE FROM snapshot_parts WHERE seq = $1"] {
            session.query(sql, &[(&seq, Type::INT8)]).await?;
        }
    }
    Ok(())
}

/// The bytes of a snapshot.
pub(super) async fn bytes(session: &Session, seq: u64) -> Result<Vec<u8>, Failure> {
    let sql = "SELECT bytes FROM snapshot_parts WHERE seq = $1 AND part = $2";
    let (seq, mut bytes) = (signed(seq), Vec::new());
    for part in 0_i64.. {
        let answer = session.query(sql, &[(&seq, Type::INT8), (&part, Type::INT8)]).await?;
        let Some(row) = answer.first() else { break };
        bytes.extend_from_slice(row.try_get(0)?);
    }
    Ok(bytes)
}

/// The record of the newest snapshot; 0: there is none.
pub(super) async fn newest(session: &Session) -> Result<u64, Failure> {
    let answer = session.query("SELECT max(seq) FROM snapshots", &[]).await?;
    let found = answer.first().map(|row| row.try_get::<_, Option<i64>>(0)).transpose()?;
    Ok(found.flatten().unwrap_or(0).cast_unsigned())
}

/// Whether the log has the record that a snapshot is of. A node that has not noticed yet that the database was
/// restored has the state of another log, which nobody must read back.
pub(super) async fn is_of_this_log(session: &Session, snapshot: &Snapshot) -> Result<bool, Failure> {
    let (seq, checksum) = (signed(snapshot.head.seq), signed(snapshot.head.checksum));
    let sql = "SELECT seq FROM log WHERE seq = $1 AND checksum = $2";
    Ok(!session.query(sql, &[(&seq, Type::INT8), (&checksum, Type::INT8)]).await?.is_empty())
}

/// Stores a snapshot and drops what is older than the one before it; within a transaction.
pub(super) async fn save(session: &Session, snapshot: &Snapshot) -> Result<(), Failure> {
    let Snapshot { head, format, bytes } = snapshot;
    let seq = signed(head.seq);
    let int = Type::INT8;
    session.query("DELETE FROM snapshot_parts WHERE seq = $1", &[(&seq, int.clone())]).await?;
    let insert = "INSERT INTO snapshot_parts (seq, part, bytes) VALUES ($1, $2, $3)";
    for (part, bytes) in (0_i64..).zip(bytes.chunks(PART_BYTES)) {
        session.query(insert, &[(&seq, int.clone()), (&part, int.clone()), (&bytes, Type::BYTEA)]).await?;
    }
    let (checksum, epoch, time_ms) = (signed(head.checksum), i64::from(head.epoch), signed(head.time_ms));
    let (format, hash) = (i64::from(*format), signed(Snapshot::hash(bytes)));
    let listed = [seq, checksum, epoch, time_ms, format, hash];
    let params: Vec<_> = listed.iter().map(|value| (value as _, int.clone())).collect();
    session
        .query(
            "INSERT INTO snapshots (seq, checksum, epoch, time_ms, format, hash) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (seq) DO UPDATE SET checksum = excluded.checksum, epoch = excluded.epoch,
                time_ms = excluded.time_ms, format = excluded.format, hash = excluded.hash",
            &params,
        )
        .await?;
    session
        .query(
            "DELETE FROM snapshots WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT $1)",
            &[(&KEPT, int)],
        )
        .await?;
    session.query("DELETE FROM snapshot_parts WHERE seq NOT IN (SELECT seq FROM snapshots)", &[]).await?;
    Ok(())
}

/// Writes and removes as many bytes.
pub(super) async fn probe(session: &Session, bytes: usize) -> Result<(), Failure> {
    // It has to be written, so it must not be compressible to nothing.
    let noise: Vec<u8> =
        (0..bytes as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let insert = "INSERT INTO snapshot_parts (seq, part, bytes) VALUES (-1, 0, $1)
        ON CONFLICT (seq, part) DO UPDATE SET bytes = excluded.bytes";
    session.query(insert, &[(&noise, Type::BYTEA)]).await?;
    session.query("DELETE FROM snapshot_parts WHERE seq = -1", &[]).await?;
    Ok(())
}
