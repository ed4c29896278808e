//! The nodes that use this log: each writes its row once a second.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::error::Failure;
use super::flush;
use super::log::{number, signed, small};
use super::session::Session;
use crate::{FORMAT, Node, NodeInfo};

pub(super) const SCHEMA: &str = "
CREATE TABLE nodes (
    node BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    version TEXT NOT NULL,
    -- the newest format of records that it knows
    format BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    applied_seq BIGINT NOT NULL
);
-- Whoever tidies up holds the lock of this row meanwhile.
CREATE TABLE chores (id BIGINT PRIMARY KEY CHECK (id = 1));
INSERT INTO chores (id) VALUES (1);
";

/// A node that was not seen for so long is forgotten.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;

pub(super) const LIST: &str = "
    SELECT n.node, n.name, n.address, n.version, n.format, n.applied_seq,
        CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) - n.seen_at, h.seq
    FROM nodes n CROSS JOIN log_head h ORDER BY n.name, n.node LIMIT 1000";

pub(super) fn node(row: &Row) -> Result<Node, Failure> {
    let info = NodeInfo {
        number: number(row, 0)?,
        name: row.try_get(1)?,
        address: row.try_get(2)?,
        version: row.try_get(3)?,
    };
    let (applied_seq, head_seq) = (number(row, 5)?, number(row, 7)?);
    let seen_ms_ago = row.try_get::<_, i64>(6)?.max(0).cast_unsigned();
    Ok(Node {
        info,
        format: small(row, 4)?,
        applied_seq,
        behind: head_seq.saturating_sub(applied_seq),
        seen_ms_ago,
    })
}

/// Says that this node is there.
pub(super) async fn beat(session: &Session, info: &NodeInfo, applied: u64) -> Result<(), Failure> {
    let sql = "
        INSERT INTO nodes (node, name, address, version, format, applied_seq, seen_at)
        VALUES ($1, $2, $3, $4, $5, $6, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT))
        ON CONFLICT (node) DO UPDATE SET seen_at = excluded.seen_at, applied_seq = excluded.applied_seq";
    let (number, format, applied) = (signed(info.number), i64::from(FORMAT), signed(applied));
    let params = [
        (&number as _, Type::INT8),
        (&info.name as _, Type::TEXT),
        (&info.address as _, Type::TEXT),
        (&info.version as _, Type::TEXT),
        (&format as _, Type::INT8),
        (&applied as _, Type::INT8),
    ];
    in_transaction(session, sql, &params).await
}

/// Forgets nodes that are long gone.
pub(super) async fn forget_the_gone(session: &Session) -> Result<(), Failure> {
    let sql =
        "DELETE FROM nodes WHERE seen_at < CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) - $1";
    in_transaction(session, sql, &[(&FORGOTTEN_AFTER_MS, Type::INT8)]).await?;
    in_transaction(session, flush::FORGET, &[]).await
}

/// Says that this node has gone.
pub(super) async fn leave(session: &Session, info: &NodeInfo) -> Result<(), Failure> {
    in_transaction(session, "DELETE FROM nodes WHERE node = $1", &[(&signed(info.number), Type::INT8)]).await
}

async fn in_transaction(
    session: &Session,
    sql: &str,
    params: &[super::session::Param<'_>],
) -> Result<(), Failure> {
    session.begin("").await?;
    let done = session.query(sql, params).await;
    session.script(if done.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    done.map(|_| ())
}
