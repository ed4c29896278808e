//! PostgreSQL does what every store has to do, and what is its own.
#![allow(clippy::unwrap_used, reason = "in a test it says what is wrong")]

mod suite;

use admit_store::{
    Error, Head, Migration, NodeInfo, PostgresConfig, PostgresSource, PostgresStore, Record, Snapshot, Store,
    check_log,
};
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
    let name = format!("node {number}");
    NodeInfo { number, name, address: String::new(), version: "1.2.3".into(), format: 1 }
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
    let first = append(&mut one, 3);
    assert_eq!(other.missed(&first[0]).unwrap().len(), 2);
    assert_eq!(other.begin(&Head::default()).unwrap().missed.len(), 3);
    other.rollback();
    let then = append(&mut one, 100);
    assert_eq!(other.begin(&first[2]).unwrap_err(), Error::Behind);
    let page = other.missed(&first[2]).unwrap();
    assert_eq!(page.len(), 64, "a reading");
    assert_eq!(other.missed(&page[63].head()).unwrap().len(), 36, "nobody waits meanwhile");
    assert_eq!(other.begin(&then[99]).unwrap().missed, []);
    other.rollback();
}

#[test]
fn a_log_that_does_not_go_on_from_what_was_there_is_told() {
    let schema = Schema::new();
    let (mut one, mut other) = (schema.open_as(1, &[]).unwrap(), schema.open_as(2, &[]).unwrap());
    let heads = append(&mut one, 10);
    let else_one = |seq| Head { seq, checksum: 1, ..Head::default() };
    let mut check = |applied: Head, what: &str| {
        let expected = |error: Error| matches!(&error, Error::Rewritten(reason) if reason.contains(what));
        assert!(other.begin(&applied).is_err_and(expected), "begin after {applied:?}: {what}");
        assert!(other.missed(&applied).is_err_and(expected), "missed after {applied:?}: {what}");
    };
    check(else_one(500), "the log ends at 10");
    check(else_one(10), "record 10 is not the one");
    check(else_one(7), "record 7 is not the one");
    schema.postgres.sql(&schema.name, "DELETE FROM log WHERE seq < 5");
    check(heads[1], "3 is gone");
    schema.postgres.sql(&schema.name, "DELETE FROM log");
    assert_eq!(other.begin(&heads[1]).unwrap_err(), Error::Behind);
    let error = other.missed(&heads[1]).unwrap_err();
    assert!(
        matches!(&error, Error::Rewritten(reason) if reason.contains("records 3 to 10 are gone")),
        "{error}"
    );
}

#[test]
fn what_a_paused_reader_could_not_take_is_not_sent_to_who_has_the_lock() {
    let schema = Schema::new();
    let (mut one, mut other) = (schema.open_as(1, &[]).unwrap(), schema.open_as(2, &[]).unwrap());
    let mut head = Head::default();
    for (bytes, expected) in [(60 << 10, Ok(1)), (70 << 10, Err(Error::Behind))] {
        let before = head;
        one.begin(&before).unwrap();
        let record =
            Record::after(&before, uuid::Uuid::from_u128(bytes as u128), 0, 1, 1, None, vec![0; bytes]);
        one.commit(&record, &[]).unwrap();
        assert_eq!(other.begin(&before).map(|begin| begin.missed.len()), expected, "{bytes} bytes");
        other.rollback();
        assert_eq!(other.missed(&before).unwrap().len(), 1);
        head = record.head();
    }
}

#[test]
fn a_log_that_was_put_back_under_its_nodes_is_a_copy() {
    let schema = Schema::new();
    let (mut one, mut other) = (schema.open_as(1, &[]).unwrap(), schema.open_as(2, &[]).unwrap());
    let heads = append(&mut one, 3);
    one.missed(&heads[1]).unwrap();
    let put_back = format!(
        "DELETE FROM log WHERE seq > 2; UPDATE log_head SET seq = 2, durable_seq = 2, checksum = {}",
        heads[1].checksum.cast_signed()
    );
    schema.postgres.sql(&schema.name, &put_back);
    assert!(one.is_copy().unwrap());
    // Who never saw the end has lost nothing; what others write in its place does not hide it.
    assert!(!other.is_copy().unwrap());
    other.begin(&heads[1]).unwrap();
    other.commit(&own(&heads[1]), &[]).unwrap();
    assert!(one.is_copy().unwrap());
    let end = one.head().unwrap();
    assert!(one.is_copy().unwrap(), "until the epoch rises");
    one.begin(&end).unwrap();
    one.commit(&Record::after(&end, uuid::Uuid::from_u128(4), 1, 9, 1, None, vec![0]), &[]).unwrap();
    assert!(!one.is_copy().unwrap());
    assert!(!other.is_copy().unwrap(), "the epoch has risen for it, too");
}

#[test]
fn what_was_promoted_is_another_database_at_once() {
    let postgres = Postgres::start("");
    let url = postgres.url("admit");
    let open = || PostgresStore::open(PostgresConfig::parse(&url).unwrap(), info(1), &[]).unwrap();
    let mut store = open();
    let head = append(&mut store, 1)[0];
    postgres.stop("fast");
    std::fs::write(postgres.socket().with_file_name("data").join("standby.signal"), "").unwrap();
    postgres.start_again("");
    assert!(store.begin(&head).unwrap_err().to_string().contains("read-only"));
    postgres.sql("admit", "SELECT pg_promote()");
    let error = store.begin(&head).unwrap_err();
    assert!(matches!(&error, Error::Rewritten(reason) if reason.contains("failed over")), "{error}");
    assert!(store.is_copy().unwrap());
    assert!(open().is_copy().unwrap());
}

#[test]
fn who_writes_alone_waits_for_the_disk_and_who_does_not_gives_the_lock_up_before() {
    let schema = Schema::new();
    let (mut one, mut other) = (schema.open_as(1, &[]).unwrap(), schema.open_as(2, &[]).unwrap());
    let on_disk = || schema.postgres.sql(&schema.name, "SELECT durable_seq FROM log_head");
    let flushed = || schema.postgres.sql(&schema.name, "SELECT node, seq FROM flushes ORDER BY node");
    let alone = append(&mut one, 2);
    assert_eq!((on_disk().as_str(), flushed().as_str()), ("2", ""));
    other.begin(&alone[0]).unwrap();
    other.commit(&own(&alone[1]), &[]).unwrap();
    assert_eq!((on_disk().as_str(), flushed().as_str()), ("2", "2|3"));
    // What is on disk already is not flushed again; what is not is, before anybody hears of it.
    one.missed(&alone[1]).unwrap();
    assert_eq!(flushed(), "2|3");
    schema.postgres.sql(&schema.name, "DELETE FROM flushes");
    one.missed(&alone[1]).unwrap();
    assert_eq!(flushed(), "1|3");
    schema.postgres.sql(&schema.name, "DELETE FROM flushes");
    other.begin(&alone[1]).unwrap();
    other.commit_nothing().unwrap();
    assert_eq!(flushed(), "2|3");
    schema.postgres.sql(&schema.name, "DELETE FROM flushes");
    one.head().unwrap();
    assert_eq!(flushed(), "1|3");
}

#[test]
fn what_the_disk_never_got_is_not_answered_from() {
    let schema = Schema::new();
    let (mut one, mut other) = (schema.open_as(1, &[]).unwrap(), schema.open_as(2, &[]).unwrap());
    let alone = append(&mut one, 2);
    // As it is when the last batch gave the lock up early.
    schema.postgres.sql(&schema.name, "UPDATE log_head SET durable_seq = 1");
    other.begin(&alone[0]).unwrap();
    // A crash takes it back.
    schema.postgres.sql(&schema.name, "DELETE FROM log WHERE seq = 2");
    let error = other.commit_nothing().unwrap_err();
    assert!(matches!(&error, Error::Rewritten(reason) if reason.contains("undone")), "{error}");
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
    Record::after(head, uuid::Uuid::from_u128(u128::MAX), 0, 1, head.seq, None, vec![1])
}

#[test]
fn a_paused_holder_of_the_log_loses_it_and_nobody_is_refused() {
    let schema = Schema::new();
    let (mut paused, mut other) = (schema.open_as(1, &[]).unwrap(), schema.open_as(2, &[]).unwrap());
    let head = paused.head().unwrap();
    paused.begin(&Head::default()).unwrap();
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
    paused.begin(&Head::default()).unwrap();
    other.begin(&Head::default()).unwrap();
    other.rollback();
    paused.commit(&own(&head), &[]).unwrap();
    assert_eq!(other.missed(&Head::default()).unwrap(), [own(&head)]);
}

#[test]
fn who_may_not_is_told_so() {
    let schema = Schema::new();
    let postgres = schema.postgres;
    let of_nobody = postgres.url("of_nobody").replace("admit@", "nobody@");
    let create = "run CREATE SCHEMA \"of_nobody\" AUTHORIZATION \"nobody\",";
    let hand_over = "ALTER SCHEMA \"of_nobody\" OWNER TO \"nobody\"";
    for (sql, url, expected) in [
        ("SELECT 1", postgres.url("x").replace("/postgres?", "/nowhere?"), "\"nowhere\" does not exist"),
        ("CREATE ROLE nobody LOGIN", of_nobody.clone(), create),
        ("CREATE SCHEMA of_nobody", of_nobody.clone(), hand_over),
    ] {
        postgres.sql("public", sql);
        let error = PostgresStore::open(PostgresConfig::parse(&url).unwrap(), info(1), &[]).err().unwrap();
        assert!(matches!(error, Error::Fatal(_) | Error::Refused(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    postgres.sql("public", "ALTER SCHEMA of_nobody OWNER TO nobody");
    let config = PostgresConfig::parse(&of_nobody).unwrap();
    assert!(PostgresStore::open(config, info(1), &[]).is_ok(), "the way out is one");
}

/// Appends records, and gives their heads.
fn append(store: &mut PostgresStore, records: u64) -> Vec<Head> {
    let one = |_| {
        let head = store.head().unwrap();
        store.begin(&head).unwrap();
        let batch = uuid::Uuid::from_u128(head.seq.into());
        let record = Record::after(&head, batch, 0, 1, head.seq, None, vec![0]);
        store.commit(&record, &[]).unwrap();
        record.head()
    };
    (0..records).map(one).collect()
}

#[test]
fn a_snapshot_of_another_log_is_refused() {
    let schema = Schema::new();
    let mut store = schema.open_as(1, &[]).unwrap();
    let heads = append(&mut store, 2);
    for head in [Head { seq: 3, ..heads[1] }, Head { checksum: 1, ..heads[1] }] {
        let refused = store.save_snapshot(&Snapshot { head, format: 1, bytes: b"state".to_vec() });
        assert!(matches!(refused, Err(Error::Rewritten(_))), "{refused:?}");
    }
    assert_eq!(store.latest_snapshot().unwrap(), None);
}

/// Three records and two snapshots, tampered with: what a check finds.
fn found_after(sql: &str) -> Vec<String> {
    let schema = Schema::new();
    let mut store = schema.open_as(1, &[]).unwrap();
    for _ in 0..3 {
        append(&mut store, 1);
        let head = store.head().unwrap();
        store.save_snapshot(&Snapshot { head, format: 1, bytes: b"state".to_vec() }).unwrap();
    }
    schema.tamper(sql);
    let config = PostgresConfig::parse(&schema.postgres.url(&schema.name)).unwrap();
    check_log(&mut PostgresSource::open(config).unwrap()).unwrap().problems
}

#[test]
fn a_check_finds_what_was_tampered_with() {
    for (sql, problem) in [
        ("UPDATE log SET payload = CAST('x' AS BLOB) WHERE seq = 2", "record 2: its checksum does not fit"),
        ("DELETE FROM log WHERE seq = 2", "record 2: a gap: the next record is 3"),
        ("DELETE FROM log WHERE seq = 3", "the log ends at 2, before snapshot 3"),
        ("UPDATE log_head SET format = 7", "the log's head says format 7, the log itself 1"),
        ("UPDATE log_head SET seq = 4", "the log's head says last record 4, the log itself 3"),
        ("UPDATE snapshot_parts SET bytes = CAST('x' AS BLOB) WHERE seq = 2", "snapshot 2: its hash"),
        ("UPDATE snapshots SET checksum = 1 WHERE seq = 3", "snapshot 3: it was not taken at the record"),
    ] {
        let problems = found_after(sql);
        assert!(problems.iter().any(|found| found.contains(problem)), "{sql}: {problems:?}");
    }
    assert_eq!(found_after("SELECT 1"), [""; 0]);
}

#[test]
fn where_nothing_is_there_is_nothing_to_check() {
    let postgres = shared();
    let config = PostgresConfig::parse(&postgres.url("of_nobody_at_all")).unwrap();
    let error = PostgresSource::open(config).err().unwrap().to_string();
    assert!(error.contains("there is nothing of Admit in the schema of_nobody_at_all"), "{error}");
}
