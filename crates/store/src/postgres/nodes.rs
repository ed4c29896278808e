//! The nodes that use this log: each writes its row once a second.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::error::Failure;
use super::flush;
use super::log::{number, signed, small};
use super::session::Session;
use crate::{Load, Node, NodeInfo};

pub(super) const SCHEMA: &str = "
CREATE TABLE nodes (
    node BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    version TEXT NOT NULL,
    -- the newest format of records that it knows
    format BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    -- since when it has been seen without a longer break
    live_since BIGINT NOT NULL,
    applied_seq BIGINT NOT NULL,
    batch_commands DOUBLE PRECISION,
    commit_ms DOUBLE PRECISION
);
-- Whoever tidies up holds the lock of this row meanwhile.
CREATE TABLE chores (id BIGINT PRIMARY KEY CHECK (id = 1));
INSERT INTO chores (id) VALUES (1);
";

/// A node that was not seen for so long does not count as live: several beats of a busy database, and little
/// enough for the format not to wait long for a node that died.
pub(super) const LIVE_MS: i64 = 10_000;
/// A node that was not seen for so long is forgotten.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;

/// Times here are the database's.
pub(super) const LIST: &str = "
    SELECT n.node, n.name, n.address, n.version, n.format, n.applied_seq,
        CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) - n.seen_at, h.seq, n.batch_commands, n.commit_ms
    FROM nodes n CROSS JOIN log_head h ORDER BY n.name, n.node LIMIT 1000";

/// Whoever has not been there for as long as others may be silent cannot tell yet who is there.
const COMMON_FORMAT: &str = "
    WITH clock AS (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now)
    SELECT min(format) FROM nodes CROSS JOIN clock WHERE seen_at >= now - $2
    HAVING bool_or(node = $1 AND live_since <= now - $2)";

pub(super) fn node(row: &Row) -> Result<Node, Failure> {
    let info = NodeInfo {
        number: number(row, 0)?,
        name: row.try_get(1)?,
        address: row.try_get(2)?,
        version: row.try_get(3)?,
        format: small(row, 4)?,
    };
    let (applied_seq, head_seq) = (number(row, 5)?, number(row, 7)?);
    let seen_ms_ago: i64 = row.try_get(6)?;
    let load = match (row.try_get(8)?, row.try_get(9)?) {
        (Some(batch_commands), Some(commit_ms)) => Some(Load { batch_commands, commit_ms }),
        _ => None,
    };
    Ok(Node {
        info,
        applied_seq,
        behind: head_seq.saturating_sub(applied_seq),
        seen_ms_ago: seen_ms_ago.max(0).cast_unsigned(),
        is_live: seen_ms_ago <= LIVE_MS,
        load,
    })
}

/// Says that this node is there.
pub(super) async fn beat(
    session: &Session,
    info: &NodeInfo,
    applied: u64,
    load: Option<Load>,
) -> Result<(), Failure> {
    let sql = "
        WITH clock AS (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now)
        INSERT INTO nodes (node, name, address, version, format, applied_seq, batch_commands, commit_ms,
            seen_at, live_since)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, now, now FROM clock
        ON CONFLICT (node) DO UPDATE SET seen_at = excluded.seen_at, applied_seq = excluded.applied_seq,
            batch_commands = excluded.batch_commands, commit_ms = excluded.commit_ms,
            live_since = CASE WHEN nodes.seen_at BETWEEN excluded.seen_at - $9 AND excluded.seen_at
                THEN nodes.live_since ELSE excluded.live_since END";
    let (number, format, applied) = (signed(info.number), i64::from(info.format), signed(applied));
    let (batch_commands, commit_ms) = (load.map(|load| load.batch_commands), load.map(|load| load.commit_ms));
    let params = [
        (&number as _, Type::INT8),
        (&info.name as _, Type::TEXT),
        (&info.address as _, Type::TEXT),
        (&info.version as _, Type::TEXT),
        (&format as _, Type::INT8),
        (&applied as _, Type::INT8),
        (&batch_commands as _, Type::FLOAT8),
        (&commit_ms as _, Type::FLOAT8),
        (&LIVE_MS as _, Type::INT8),
    ];
    in_transaction(session, sql, &params).await
}

/// The newest format that every live node knows; none: this node has not been there for long enough to tell.
pub(super) async fn common_format(session: &Session, info: &NodeInfo) -> Result<Option<u16>, Failure> {
    let params = [(&signed(info.number) as _, Type::INT8), (&LIVE_MS as _, Type::INT8)];
    let answer = session.query(COMMON_FORMAT, &params).await?;
    answer.first().map(|row| small(row, 0)).transpose()
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
