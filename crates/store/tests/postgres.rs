//! PostgreSQL does what every store has to do, and what is its own.
#![allow(clippy::unwrap_used, reason = "in a test it says what is wrong")]

mod suite;

use admit_store::{Error, Head, Migration, NodeInfo, PostgresConfig, PostgresStore, Record, Snapshot, Store};
use admit_testing::{Postgres, shared};
use suite::{Home, store_suite};

struct Schema {
    postgres: &'static Postgres,
    name: String,
    /// Further options of the URL.
    options: &'static str,
}

impl Schema {
    fn new() -> Schema {
        let postgres = shared();
        Schema { postgres, name: postgres.new_schema(), options: "" }
    }

    fn open_as(&self, number: u64, migrations: &[Migration]) -> Result<PostgresStore, Error> {
        let config = PostgresConfig::parse(&(self.postgres.url(&self.name) + self.options))?;
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
        Schema { name: format!("{}_copy", self.name), ..*self }.open(&[])
    }
}

store_suite!(Schema::new());

/// As behind a pooler in transaction mode: nothing is left in a session.
mod pooled {
    use super::*;

    store_suite!(Schema { options: "&pool_mode=transaction", ..Schema::new() });
}

#[test]
fn two_nodes_may_create_everything_at_once() {
    let schema = Schema::new();
    std::thread::scope(|scope| {
        let nodes: Vec<_> = (0..6)
            .map(|n| {
                let schema = &schema;
                scope.spawn(move || schema.open_as(n, &[]).map(|_| ()))
            })
            .collect();
        for node in nodes {
            node.join().unwrap().unwrap();
        }
    });
}

#[test]
fn what_others_wrote_is_missed_until_it_is_read() {
    let schema = Schema::new();
    let (mut one, mut other) = (schema.open_as(1, &[]).unwrap(), schema.open_as(2, &[]).unwrap());
    append(&mut one, 3);
    assert_eq!(other.missed(1).unwrap().len(), 2);
    assert_eq!(other.begin(0).unwrap().missed.len(), 3);
    other.rollback();
    append(&mut one, 100);
    assert_eq!(other.begin(3).unwrap_err(), Error::Behind);
    assert_eq!(other.missed(3).unwrap().len(), 100, "nobody waits meanwhile");
    let error = other.begin(500).unwrap_err();
    assert!(matches!(error, Error::Rewritten(_)), "{error}");
    assert!(matches!(other.missed(500), Err(Error::Rewritten(_))));
    schema.postgres.sql(&schema.name, "DELETE FROM log WHERE seq < 50");
    assert!(matches!(other.begin(30), Err(Error::Rewritten(_))));
    assert!(matches!(other.missed(30), Err(Error::Rewritten(_))));
    assert_eq!(other.begin(103).unwrap().missed, []);
    other.rollback();
}

#[test]
fn the_second_node_finds_the_snapshot_of_the_first_and_stores_none() {
    let schema = Schema::new();
    let (mut one, mut other) = (schema.open_as(1, &[]).unwrap(), schema.open_as(2, &[]).unwrap());
    append(&mut one, 5);
    for (store, bytes) in [(&mut one, b"one"), (&mut other, b"two")] {
        let head = store.head().unwrap();
        store.save_snapshot(&Snapshot { head, format: 1, bytes: bytes.to_vec() }).unwrap();
    }
    assert_eq!(other.latest_snapshot().unwrap().unwrap().bytes, b"one");
}

/// A record that nobody else writes.
fn own(head: &Head) -> Record {
    Record::after(head, uuid::Uuid::from_u128(u128::MAX), 0, head.seq, None, vec![1])
}

#[test]
fn a_paused_holder_of_the_log_loses_it_and_nobody_is_refused() {
    let schema = Schema::new();
    let (mut paused, mut other) = (schema.open_as(1, &[]).unwrap(), schema.open_as(2, &[]).unwrap());
    let head = paused.head().unwrap();
    paused.begin(0).unwrap();
    append(&mut other, 1);
    let error = paused.commit(&own(&head), &[]).unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable(reason) if reason.contains("others have gone on")),
        "{error}"
    );
    assert_eq!(paused.records_after(0, usize::MAX).unwrap().len(), 1);
}

#[test]
fn a_paused_holder_whose_place_nobody_took_goes_on() {
    let schema = Schema::new();
    let (mut paused, mut other) = (schema.open_as(1, &[]).unwrap(), schema.open_as(2, &[]).unwrap());
    let head = paused.head().unwrap();
    paused.begin(0).unwrap();
    other.begin(0).unwrap();
    other.rollback();
    paused.commit(&own(&head), &[]).unwrap();
    assert_eq!(other.missed(0).unwrap(), [own(&head)]);
}

#[test]
fn who_may_not_is_told_so() {
    let schema = Schema::new();
    let postgres = schema.postgres;
    for (sql, url, expected) in [
        ("SELECT 1", postgres.url("x").replace("/postgres?", "/nowhere?"), "\"nowhere\" does not exist"),
        (
            "CREATE ROLE nobody LOGIN",
            postgres.url("of_nobody").replace("admit@", "nobody@"),
            "permission denied",
        ),
    ] {
        postgres.sql("public", sql);
        let error = PostgresStore::open(PostgresConfig::parse(&url).unwrap(), info(1), &[]).err().unwrap();
        assert!(matches!(error, Error::Fatal(_)) && error.to_string().contains(expected), "{error}");
    }
}

fn append(store: &mut PostgresStore, records: u64) {
    for _ in 0..records {
        let head = store.head().unwrap();
        store.begin(head.seq).unwrap();
        let batch = uuid::Uuid::from_u128(head.seq.into());
        store.commit(&Record::after(&head, batch, 0, head.seq, None, vec![0]), &[]).unwrap();
    }
}
