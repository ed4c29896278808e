//! Brings tables up to date, component by component.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{error, log, snapshots};
use crate::{Error, Migration};

/// The store's own tables.
pub(super) const OWN: [Migration; 2] = [
    Migration { component: "store", version: 1, sql: log::SCHEMA },
    Migration { component: "store", version: 2, sql: snapshots::SCHEMA },
];

/// Runs what is missing of the store's own migrations, then of those given.
pub(super) fn run(connection: &mut Connection, migrations: &[Migration]) -> Result<(), Error> {
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS schema_versions (
                component TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL) STRICT",
        )
        .map_err(error::opening)?;
    let all = || OWN.iter().chain(migrations);
    for (component, found) in versions(connection)? {
        let known = all().filter(|step| step.component == component).map(|step| step.version).max();
        if let Some(known) = known.filter(|known| found > *known) {
            return Err(Error::TooNew { what: format!("the schema of `{component}`"), found, known });
        }
    }
    for migration in all() {
        step(connection, migration)?;
    }
    Ok(())
}

/// How far the tables of each component are.
pub(super) fn versions(connection: &Connection) -> Result<Vec<(String, u32)>, Error> {
    let read = || -> rusqlite::Result<Vec<(String, u32)>> {
        connection
            .prepare("SELECT component, version FROM schema_versions")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    };
    read().map_err(error::opening)
}

fn step(connection: &mut Connection, migration: &Migration) -> Result<(), Error> {
    let Migration { component, version, sql } = *migration;
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(error::opening)?;
    let current: u32 = transaction
        .query_row("SELECT version FROM schema_versions WHERE component = ?1", [component], |row| row.get(0))
        .optional()
        .map_err(error::opening)?
        .unwrap_or(0);
    if version <= current {
        return Ok(());
    }
    let failed = |reason: String| {
        Error::Fatal(format!("migration of `{component}` from version {current} to {version}: {reason}"))
    };
    if version != current + 1 {
        return Err(failed("a step is missing between them".to_owned()));
    }
    transaction.execute_batch(sql).map_err(|error| error::in_statement(error, failed))?;
    transaction
        .execute(
            "INSERT INTO schema_versions (component, version) VALUES (?1, ?2)
             ON CONFLICT (component) DO UPDATE SET version = excluded.version",
            params![component, version],
        )
        .and_then(|_| transaction.commit())
        .map_err(error::opening)
}
