//! PostgreSQL does what every store has to do, and what is its own.
#![allow(clippy::unwrap_used, reason = "in a test it says what is wrong")]

mod suite;

use admit_store::{Error, Migration, NodeInfo, PostgresConfig, PostgresStore, Store};
use admit_testing::{Postgres, shared};
use suite::{Home, store_suite};

struct Schema {
    postgres: &'static Postgres,
    name: String,
}

impl Schema {
    fn new() -> Schema {
        let postgres = shared();
        Schema { postgres, name: postgres.new_schema() }
    }

    fn open_as(&self, number: u64, migrations: &[Migration]) -> Result<PostgresStore, Error> {
        let config = PostgresConfig::parse(&self.postgres.url(&self.name))?;
        PostgresStore::open(config, info(number), migrations)
    }
}

fn info(number: u64) -> NodeInfo {
    NodeInfo { number, name: format!("node {number}"), address: String::new(), version: "1.2.3".into() }
}

impl Home for Schema {
    fn open(&self, migrations: &[Migration]) -> Result<Box<dyn Store>, Error> {
        Ok(Box::new(self.open_as(1, migrations)?))
    }

    fn tamper(&self, sql: &str) {
        self.postgres.sql(&self.name, &sql.replace("BLOB", "BYTEA"));
    }

    /// With PostgreSQL's own tools; what goes on afterwards is another schema.
    fn back_up(&self, _: &dyn Store) {
        let dump = self.postgres.run("pg_dump", &["--schema", &self.name]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, dump.replace(&self.name, &format!("{}_copy", self.name))).unwrap();
        let path = file.path().to_str().unwrap();
        self.postgres.run("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", path]);
    }

    fn open_restored(&self) -> Result<Box<dyn Store>, Error> {
        Schema { postgres: self.postgres, name: format!("{}_copy", self.name) }.open(&[])
    }
}

store_suite!(Schema::new());
