//! Brings tables up to date, component by component, whoever else is doing the same.

use std::collections::HashMap;

use tokio_postgres::types::Type;

use super::error::Failure;
use super::session::Session;
use super::{PostgresConfig, flush, log, nodes, snapshots};
use crate::{Error, Migration};

/// How often two nodes that create the same thing at once may get in each other's way.
const MAX_TRIES: usize = 5;

/// The store's own tables.
pub(super) const OWN: [Migration; 4] = [
    Migration { component: "store", version: 1, sql: log::SCHEMA },
    Migration { component: "store", version: 2, sql: snapshots::SCHEMA },
    Migration { component: "store", version: 3, sql: nodes::SCHEMA },
    Migration { component: "store", version: 4, sql: flush::SCHEMA },
];

/// Runs what is missing of the store's own migrations, then of those given.
pub(super) async fn run(
    session: &Session,
    config: &PostgresConfig,
    migrations: &[Migration],
) -> Result<(), Error> {
    let all: Vec<&Migration> = OWN.iter().chain(migrations).collect();
    let mut tries = 1;
    let found = loop {
        match versions(session, config).await {
            Ok(found) => break found,
            // Another node was quicker to create the schema or the table.
            Err(_) if tries < MAX_TRIES => tries += 1,
            Err(failure) => return Err(failure.opening()),
        }
    };
    for (component, found) in &found {
        let known = all.iter().filter(|step| step.component == component).map(|step| step.version).max();
        if let Some(known) = known.filter(|known| found > known) {
            return Err(Error::TooNew { what: format!("the schema of `{component}`"), found: *found, known });
        }
    }
    for migration in all {
        if found.get(migration.component).is_none_or(|found| *found < migration.version) {
            step(session, migration).await?;
        }
    }
    Ok(())
}

/// The versions that are there. What is needed to say so is created if it is not.
async fn versions(session: &Session, config: &PostgresConfig) -> Result<HashMap<String, u32>, Failure> {
    // Asked first, because it may be there for somebody who may not create it.
    let schema = config.schema();
    if !is_there(session, config).await? {
        let asked = "SELECT 1 FROM information_schema.schemata WHERE schema_name = $1";
        if session.query(asked, &[(&schema, Type::TEXT)]).await?.is_empty() {
            let create = format!("CREATE SCHEMA IF NOT EXISTS {}", config.quoted_schema());
            session.script(&create).await.map_err(|failure| with_way_out(failure, config))?;
        }
        session.begin("").await?;
        let created = session
            .script(
                "CREATE TABLE IF NOT EXISTS schema_versions (
                    component TEXT NOT NULL PRIMARY KEY, version BIGINT NOT NULL);
                 INSERT INTO schema_versions (component, version) VALUES ('store', 0)
                    ON CONFLICT (component) DO NOTHING;
                 COMMIT",
            )
            .await;
        undo(session, created).await?;
    }
    session.begin("READ ONLY").await?;
    let all = found(session).await;
    let all = undo(session, all).await?;
    session.script("COMMIT").await?;
    Ok(all.into_iter().collect())
}

/// A role that may not create its schema is told what an administrator can do about it.
fn with_way_out(failure: Failure, config: &PostgresConfig) -> Failure {
    if !failure.is_for_want_of_a_right() {
        return failure;
    }
    let (schema, role) = (config.quoted_schema(), config.quoted_role());
    let role = role.as_deref().unwrap_or("ROLE");
    let refused = |reason: String| {
        Error::Refused(format!(
            "{reason}: this role has no schema {schema} and may not create it; let an administrator run \
             CREATE SCHEMA {schema} AUTHORIZATION {role}, or, if another role has it, \
             ALTER SCHEMA {schema} OWNER TO {role}"
        ))
    };
    Failure::Store(failure.in_statement(refused))
}

/// Whether there is anything of ours.
pub(super) async fn is_there(session: &Session, config: &PostgresConfig) -> Result<bool, Failure> {
    let asked =
        "SELECT 1 FROM information_schema.tables WHERE table_schema = $1 AND table_name = 'schema_versions'";
    Ok(!session.query(asked, &[(&config.schema(), Type::TEXT)]).await?.is_empty())
}

/// How far the tables of each component are; within a transaction.
pub(super) async fn found(session: &Session) -> Result<Vec<(String, u32)>, Failure> {
    let found =
        session.query("SELECT component, version FROM schema_versions ORDER BY component", &[]).await?;
    found.iter().map(|row| Ok((row.try_get(0)?, log::small(row, 1)?))).collect()
}

/// One step in a transaction of its own, one node at a time.
async fn step(session: &Session, migration: &Migration) -> Result<(), Error> {
    session.begin("").await.map_err(Failure::opening)?;
    let stepped = locked_step(session, migration).await;
    undo(session, stepped).await.map_err(Failure::opening)
}

async fn locked_step(session: &Session, migration: &Migration) -> Result<(), Failure> {
    let Migration { component, version, sql } = *migration;
    // Building an index may take longer than a batch; whoever waits for it waits as long.
    session.script("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0").await?;
    session.query("SELECT version FROM schema_versions WHERE component = 'store' FOR UPDATE", &[]).await?;
    let current = session
        .query("SELECT version FROM schema_versions WHERE component = $1", &[(&component, Type::TEXT)])
        .await?;
    let current: u32 = current.first().map(|row| log::small(row, 0)).transpose()?.unwrap_or(0);
    if version <= current {
        return session.script("COMMIT").await;
    }
    let failed = |reason: String| {
        Error::Fatal(format!("migration of `{component}` from version {current} to {version}: {reason}"))
    };
    if version != current + 1 {
        return Err(failed("a step is missing between them".to_owned()).into());
    }
    session.script(&in_postgres(sql)).await.map_err(|failure| failure.in_statement(failed))?;
    let done = "INSERT INTO schema_versions (component, version) VALUES ($1, $2)
        ON CONFLICT (component) DO UPDATE SET version = excluded.version";
    session.query(done, &[(&component, Type::TEXT), (&i64::from(version), Type::INT8)]).await?;
    session.script("COMMIT").await
}

/// Ends the transaction of what failed.
async fn undo<T>(session: &Session, result: Result<T, Failure>) -> Result<T, Failure> {
    if result.as_ref().is_err_and(|failure| !failure.ends_the_connection()) {
        // If even that fails, the transaction ends with the connection; the error that counts is the first.
        let _ = session.script("ROLLBACK").await;
    }
    result
}

/// The one type that goes by another name here.
fn in_postgres(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len() + 16);
    for word in sql.split_inclusive(|char: char| !char.is_alphanumeric() && char != '_') {
        match word.strip_prefix("BLOB") {
            Some(end) if !end.starts_with(|char: char| char.is_alphanumeric() || char == '_') => {
                text.extend(["BYTEA", end]);
            }
            _ => text.push_str(word),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_type_is_translated() {
        assert_eq!(
            in_postgres("CREATE TABLE a (b BLOB NOT NULL, BLOBS TEXT, c BLOB)"),
            "CREATE TABLE a (b BYTEA NOT NULL, BLOBS TEXT, c BYTEA)"
        );
    }
}
