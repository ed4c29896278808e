//! What people write by hand: a row per key, an update to take a slot and one to give it back, each its own
//! transaction. No queue, no order, no wake-up, and nothing is given back for who dies.

use std::time::Duration;

use admit_testing::Postgres;
use tokio_postgres::{Client, NoTls, Statement};

use crate::Result;
use crate::load::{self, Round};

/// A connection with its statements.
struct Counters {
    client: Client,
    take: Statement,
    give: Statement,
    /// Makes the keys go round.
    turn: u128,
}

/// Runs so many clients, each with a connection of its own.
pub async fn round(postgres: &Postgres, clients: usize, keys: u128, span: Duration) -> Result<Round> {
    let schema = postgres.new_schema();
    postgres.sql(
        "public",
        &format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.counters (key BIGINT PRIMARY KEY, used BIGINT, max BIGINT);
             INSERT INTO {schema}.counters SELECT n, 0, 1000000 FROM generate_series(0, {}) n",
            keys - 1
        ),
    );
    let url = postgres.url(&schema);
    let url = url.split('?').next().unwrap_or_default().to_owned();
    let open = async move |client| Counters::open(&url, &schema, client).await;
    load::round(clients, span, open, async move |counters: &mut Counters| counters.pair(keys).await).await
}

impl Counters {
    async fn open(url: &str, schema: &str, client: usize) -> Result<Counters> {
        let (connected, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        let take = format!("UPDATE {schema}.counters SET used = used + 1 WHERE key = $1 AND used < max");
        let give = format!("UPDATE {schema}.counters SET used = used - 1 WHERE key = $1");
        let (take, give) = (connected.prepare(&take).await?, connected.prepare(&give).await?);
        Ok(Counters { client: connected, take, give, turn: client as u128 * 7_919 })
    }

    async fn pair(&mut self, keys: u128) -> Result<()> {
        self.turn += 104_729;
        let key = i64::try_from(self.turn % keys)?;
        if self.client.execute(&self.take, &[&key]).await? != 1 {
            return Err("no slot was free".into());
        }
        self.client.execute(&self.give, &[&key]).await?;
        Ok(())
    }
}
