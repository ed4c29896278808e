//! Making sure that what was committed is on disk.
//!
//! While several nodes write, a batch gives the log's lock up as soon as it is committed, and waits for the disk
//! afterwards (`synchronous_commit = off` for its transaction alone). So the next node decides while the disk is
//! at work, and what several nodes wrote goes to it at once. The wait is an ordinary transaction: its own commit
//! is on disk only when all that was committed before it is, on the standbys too if it has to wait for those.
//! A database that knows no such setting waits at the first commit already.

use tokio_postgres::types::Type;

use super::PostgresConfig;
use super::error::Failure;
use super::log::signed;
use super::session::{Prepared, Session};
use crate::{Error, Head};

pub(super) const SCHEMA: &str = "
-- Up to where each node has seen the log on disk.
CREATE TABLE flushes (node BIGINT PRIMARY KEY, seq BIGINT NOT NULL);
";

/// Forgets nodes that are gone; within a transaction. One that still writes comes back by itself.
pub(super) const FORGET: &str = "DELETE FROM flushes WHERE node NOT IN (SELECT node FROM nodes)";

/// The statement of a flush, prepared. It is a transaction of its own, outside of which there is no search path
/// behind a pooler, hence the schema. It says whether the record was there to be flushed: a crash of the database
/// may have undone it since it was read.
pub(super) async fn prepare(session: &Session, config: &PostgresConfig) -> Result<Prepared, Failure> {
    let schema = config.quoted_schema();
    let sql = format!(
        "INSERT INTO {schema}.flushes (node, seq)
        SELECT $1, seq FROM {schema}.log WHERE seq = $2 AND checksum = $3
        ON CONFLICT (node) DO UPDATE SET seq = excluded.seq RETURNING seq"
    );
    session.prepare(&sql, &[Type::INT8, Type::INT8, Type::INT8]).await
}

/// Returns when the log is on disk up to this record.
pub(super) async fn flush(
    session: &Session,
    statement: &Prepared,
    node: u64,
    to: &Head,
) -> Result<(), Failure> {
    let (node, seq, checksum) = (signed(node), signed(to.seq), signed(to.checksum));
    let params = [(&node as _, Type::INT8), (&seq as _, Type::INT8), (&checksum as _, Type::INT8)];
    if session.run(statement, &params, usize::MAX).await?.is_empty() {
        let reason = format!("record {} was undone before it was on disk", to.seq);
        return Err(Error::Rewritten(reason).into());
    }
    Ok(())
}
