//! Which listeners this data was served by before: their clients rely on them, so they must not be off unsaid.

use admit_engine::{Engine, Error, Migration, Write};

/// The table of this module.
pub const MIGRATIONS: &[Migration] =
    &[Migration { component: "admit", version: 1, sql: "CREATE TABLE served (listener TEXT PRIMARY KEY)" }];

/// Their names.
///
/// # Errors
/// The table cannot be read.
pub async fn before(engine: &Engine) -> Result<Vec<String>, Error> {
    let rows = engine.query("SELECT listener FROM served", Vec::new()).await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned).map_err(Error::Store)).collect()
}

/// Remembers those that listen now.
///
/// # Errors
/// The table cannot be written.
pub async fn remember(engine: &Engine, names: Vec<&'static str>) -> Result<(), Error> {
    let row = |name: &&str| {
        Write::new(
            "INSERT INTO served (listener) VALUES ($1) ON CONFLICT (listener) DO NOTHING",
            vec![(*name).into()],
        )
    };
    engine.execute_with(None, move |_, _| names.iter().map(row).collect()).await?;
    Ok(())
}
