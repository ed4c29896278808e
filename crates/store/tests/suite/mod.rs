//! What every store has to do, whatever its database. A database joins with `store_suite!(its home)`.
#![allow(clippy::unwrap_used, reason = "in a test it says what is wrong")]

use admit_store::{Error, Head, Keep, Migration, Record, Snapshot, Store, Value, Write};
use uuid::Uuid;

/// A place for one store, fresh for each case.
pub trait Home {
    /// Opens the store with the tables of these migrations.
    fn open(&self, migrations: &[Migration]) -> Result<Box<dyn Store>, Error>;
    /// Runs statements behind the store's back.
    fn tamper(&self, sql: &str);
    /// Makes a backup of what the store has by now.
    fn back_up(&self, store: &dyn Store);
    /// Opens what was restored from it.
    fn open_restored(&self) -> Result<Box<dyn Store>, Error>;
}

/// Makes a test of every case.
macro_rules! store_suite {
    ($home:expr) => {
        store_suite!(@ $home;
            an_empty_log_has_no_end,
            a_committed_record_is_there_after_reopening,
            records_come_in_order_and_in_pages,
            begin_gives_what_was_missed,
            rows_are_written_with_their_record,
            a_refused_row_names_itself_and_undoes_the_batch,
            a_statement_that_is_wrong_is_refused_like_a_row,
            what_is_rolled_back_was_never_there,
            values_come_back_as_they_went,
            parameters_go_by_their_numbers,
            a_query_that_is_wrong_is_an_error_of_its_own,
            a_query_without_a_limit_is_stopped,
            a_snapshot_comes_back_whole,
            a_damaged_snapshot_is_passed_over,
            a_damaged_snapshot_does_not_count_as_the_last_but_one,
            only_two_snapshots_stay,
            nothing_is_dropped_before_the_last_but_one_snapshot,
            young_history_stays,
            history_above_its_bytes_goes,
            truncation_goes_in_bounded_steps,
            migrations_run_once_and_in_order,
            an_old_schema_is_brought_up_to_date_with_its_rows,
            a_schema_of_a_newer_version_is_refused,
            a_missing_migration_is_refused,
            a_failing_migration_changes_nothing,
            a_backup_is_a_copy_until_its_epoch_rises,
            probing_leaves_nothing_behind,
        );
    };
    (@ $home:expr; $($case:ident),* $(,)?) => {
        $(#[test]
        fn $case() {
            $crate::suite::$case(&$home);
        })*
    };
}
pub(crate) use store_suite;

const NOTES: Migration = Migration {
    component: "notes",
    version: 1,
    sql: "CREATE TABLE notes (id BIGINT PRIMARY KEY, text TEXT NOT NULL)",
};
const NO_BYTES: Keep = Keep { age_ms: u64::MAX, bytes: 0 };

/// The record after `head` with this payload, at a time of a second per record.
fn record(head: &Head, payload: &[u8]) -> Record {
    let seq = head.seq + 1;
    Record::after(head, Uuid::from_u128(seq.into()), 0, 1, seq * 1_000, None, payload.to_vec())
}

/// Appends a record, and gives it.
fn append(store: &mut dyn Store, payload: &[u8], writes: &[Write]) -> Record {
    let head = store.head().unwrap();
    store.begin(&head).unwrap();
    let record = record(&head, payload);
    store.commit(&record, writes).unwrap();
    record
}

fn fill(store: &mut dyn Store, records: u64) {
    for _ in 0..records {
        append(store, b"some ten b", &[]);
    }
}

fn save_snapshot(store: &mut dyn Store, bytes: &[u8]) -> Snapshot {
    let snapshot = Snapshot { head: store.head().unwrap(), format: 1, bytes: bytes.to_vec() };
    store.save_snapshot(&snapshot).unwrap();
    snapshot
}

fn note(id: i64, text: &str) -> Write {
    let sql =
        "INSERT INTO notes (id, text) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET text = excluded.text";
    Write::new(sql, vec![id.into(), text.into()])
}

fn notes(store: &dyn Store) -> Vec<(i64, String)> {
    let rows = store.reader().unwrap().query("SELECT id, text FROM notes ORDER BY id", &[]).unwrap();
    rows.iter().map(|row| (row.int(0).unwrap(), row.text(1).unwrap().to_owned())).collect()
}

fn first_seq(store: &mut dyn Store) -> u64 {
    store.records_after(0, 1).unwrap()[0].seq
}

pub fn an_empty_log_has_no_end(home: &dyn Home) {
    let mut store = home.open(&[]).unwrap();
    assert_eq!(store.head().unwrap(), Head::default());
    assert_eq!(store.latest_snapshot().unwrap(), None);
    assert_eq!(store.records_after(0, usize::MAX).unwrap(), []);
    assert!(!store.is_copy().unwrap());
}

pub fn a_committed_record_is_there_after_reopening(home: &dyn Home) {
    let mut store = home.open(&[]).unwrap();
    let head = store.head().unwrap();
    let digest = Some(u64::MAX - 1);
    let record =
        Record::after(&head, Uuid::from_u128(u128::MAX), 7, 3, u64::MAX / 4, digest, vec![0, 255, 3]);
    store.begin(&Head::default()).unwrap();
    store.commit(&record, &[]).unwrap();
    drop(store);

    let mut store = home.open(&[]).unwrap();
    assert_eq!(store.head().unwrap(), record.head());
    assert_eq!(store.records_after(0, usize::MAX).unwrap(), [record]);
}

pub fn records_come_in_order_and_in_pages(home: &dyn Home) {
    let mut store = home.open(&[]).unwrap();
    let written: Vec<Record> = (0..20u8).map(|n| append(&mut *store, &[n; 1_000], &[])).collect();
    let mut read: Vec<Record> = Vec::new();
    loop {
        let page = store.records_after(read.len() as u64, 3_000).unwrap();
        assert!(page.len() <= 3, "a page of {} records", page.len());
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }
    assert_eq!(read, written);
    assert_eq!(store.records_after(0, 1).unwrap().len(), 1, "at least one");
}

pub fn begin_gives_what_was_missed(home: &dyn Home) {
    let mut store = home.open(&[]).unwrap();
    let records: Vec<Record> = (0..3).map(|n| append(&mut *store, &[n], &[])).collect();
    assert_eq!(store.begin(&records[0].head()).unwrap().missed, records[1..]);
    store.rollback();
    assert_eq!(store.begin(&records[2].head()).unwrap().missed, []);
    store.commit_nothing().unwrap();
}

pub fn rows_are_written_with_their_record(home: &dyn Home) {
    let mut store = home.open(&[NOTES]).unwrap();
    append(&mut *store, b"1", &[note(1, "one"), note(2, "two"), note(1, "one again")]);
    assert_eq!(notes(&*store), [(1, "one again".into()), (2, "two".into())]);
    drop(store);
    let mut store = home.open(&[NOTES]).unwrap();
    assert_eq!(notes(&*store).len(), 2);
    assert_eq!(store.head().unwrap().seq, 1);
}

pub fn a_refused_row_names_itself_and_undoes_the_batch(home: &dyn Home) {
    let mut store = home.open(&[NOTES]).unwrap();
    let head = store.head().unwrap();
    store.begin(&Head::default()).unwrap();
    let twice =
        Write::new("INSERT INTO notes (id, text) VALUES ($1, $2)", vec![1.into_value(), "again".into()]);
    let error = store.commit(&record(&head, b""), &[note(1, "one"), note(2, "two"), twice]).unwrap_err();
    assert!(matches!(error, Error::Row { write: 2, .. }), "{error}");
    assert_eq!(store.head().unwrap().seq, 0);
    assert_eq!(notes(&*store), []);
    append(&mut *store, b"the next one", &[note(3, "three")]);
    assert_eq!(notes(&*store), [(3, "three".into())]);
}

pub fn a_statement_that_is_wrong_is_refused_like_a_row(home: &dyn Home) {
    let mut store = home.open(&[NOTES]).unwrap();
    for wrong in [
        Write::new("INSERT INTO nowhere (id) VALUES ($1)", vec![1.into_value()]),
        Write::new("no SQL at all", vec![]),
        Write::new("DELETE FROM notes WHERE id = $1", vec![]),
        Write::new("DELETE FROM notes WHERE id = $1", vec![1.into_value(), 2.into_value()]),
    ] {
        let head = store.head().unwrap();
        store.begin(&head).unwrap();
        let error = store.commit(&record(&head, b""), &[note(1, "one"), wrong.clone()]).unwrap_err();
        assert!(matches!(error, Error::Row { write: 1, .. }), "{wrong:?}: {error}");
    }
}

pub fn what_is_rolled_back_was_never_there(home: &dyn Home) {
    let mut store = home.open(&[]).unwrap();
    fill(&mut *store, 1);
    let head = store.head().unwrap();
    store.begin(&head).unwrap();
    store.rollback();
    assert_eq!(store.head().unwrap().seq, 1);
    fill(&mut *store, 1);
    assert_eq!(store.head().unwrap().seq, 2);
}

pub fn values_come_back_as_they_went(home: &dyn Home) {
    let table = Migration {
        component: "values",
        version: 1,
        sql: "CREATE TABLE vals (a BIGINT, b DOUBLE PRECISION, c TEXT, d BLOB, e BIGINT)",
    };
    let mut store = home.open(&[table]).unwrap();
    let values = vec![
        Value::Int(i64::MIN),
        Value::Real(0.1),
        Value::Text("a\u{1F980}'; DROP TABLE vals; --".into()),
        Value::Blob(vec![0, 1, 255]),
        Value::Null,
    ];
    let insert = Write::new("INSERT INTO vals (a, b, c, d, e) VALUES ($1, $2, $3, $4, $5)", values.clone());
    append(&mut *store, b"", &[insert]);
    let rows = store.reader().unwrap().query("SELECT a, b, c, d, e FROM vals", &[]).unwrap();
    assert_eq!(rows[0].values, values);
    assert_eq!(rows[0].opt_int(4).unwrap(), None);
    assert!(rows[0].int(2).is_err(), "a text is no number");
}

pub fn parameters_go_by_their_numbers(home: &dyn Home) {
    let mut store = home.open(&[NOTES]).unwrap();
    let sql = "INSERT INTO notes (text, id) VALUES ($2, $1)";
    append(&mut *store, b"", &[Write::new(sql, vec![7.into_value(), "seven".into()])]);
    let rows = store
        .reader()
        .unwrap()
        .query(
            "SELECT id FROM notes WHERE text = $2 AND id = $1 AND id <> length($2) + $1",
            &[7.into_value(), "seven".into()],
        )
        .unwrap();
    assert_eq!(rows[0].int(0).unwrap(), 7);
}

pub fn a_query_that_is_wrong_is_an_error_of_its_own(home: &dyn Home) {
    let store = home.open(&[NOTES]).unwrap();
    let reader = store.reader().unwrap();
    for (sql, params) in [
        ("SELECT nothing FROM notes", vec![]),
        ("SELECT id FROM notes WHERE id = $1", vec![]),
        ("DELETE FROM notes", vec![]),
    ] {
        let error = reader.query(sql, &params).unwrap_err();
        assert!(matches!(error, Error::Query(_)), "{sql}: {error}");
    }
    assert_eq!(reader.query("SELECT id FROM notes", &[]).unwrap(), []);
}

pub fn a_query_without_a_limit_is_stopped(home: &dyn Home) {
    let store = home.open(&[]).unwrap();
    let sql =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT i FROM n";
    let error = store.reader().unwrap().query(sql, &[]).unwrap_err();
    assert!(error.to_string().contains("LIMIT"), "{error}");
}

pub fn a_snapshot_comes_back_whole(home: &dyn Home) {
    let mut store = home.open(&[]).unwrap();
    fill(&mut *store, 2);
    let large: Vec<u8> = (0..10_000_000u32).map(|n| (n % 251) as u8).collect();
    let saved = save_snapshot(&mut *store, &large);
    drop(store);
    let mut store = home.open(&[]).unwrap();
    assert!(store.latest_snapshot().unwrap() == Some(saved));
}

pub fn a_damaged_snapshot_is_passed_over(home: &dyn Home) {
    let mut store = home.open(&[]).unwrap();
    fill(&mut *store, 1);
    let first = save_snapshot(&mut *store, b"first");
    fill(&mut *store, 1);
    save_snapshot(&mut *store, b"second");
    home.tamper("UPDATE snapshot_parts SET bytes = CAST('secund' AS BLOB) WHERE seq = 2");
    assert_eq!(store.latest_snapshot().unwrap(), Some(first));
}

pub fn a_damaged_snapshot_does_not_count_as_the_last_but_one(home: &dyn Home) {
    let mut store = home.open(&[]).unwrap();
    fill(&mut *store, 1);
    let first = save_snapshot(&mut *store, b"first");
    fill(&mut *store, 1);
    save_snapshot(&mut *store, b"second");
    home.tamper("UPDATE snapshot_parts SET bytes = CAST('secund' AS BLOB) WHERE seq = 2");
    store.latest_snapshot().unwrap();
    fill(&mut *store, 1);
    save_snapshot(&mut *store, b"third");
    store.truncate(NO_BYTES, 0).unwrap();
    home.tamper("UPDATE snapshot_parts SET bytes = CAST('thrid' AS BLOB) WHERE seq = 3");
    assert_eq!(store.latest_snapshot().unwrap(), Some(first));
    assert_eq!(first_seq(&mut *store), 2, "what the first does not have is still there");
}

pub fn only_two_snapshots_stay(home: &dyn Home) {
    let mut store = home.open(&[]).unwrap();
    for _ in 0..4 {
        fill(&mut *store, 1);
        save_snapshot(&mut *store, b"state");
    }
    let rows = store.reader().unwrap().query("SELECT seq FROM snapshots ORDER BY seq", &[]).unwrap();
    assert_eq!(rows.iter().map(|row| row.int(0).unwrap()).collect::<Vec<_>>(), [3, 4]);
    let rows =
        store.reader().unwrap().query("SELECT DISTINCT seq FROM snapshot_parts ORDER BY seq", &[]).unwrap();
    assert_eq!(rows.len(), 2);
}

pub fn nothing_is_dropped_before_the_last_but_one_snapshot(home: &dyn Home) {
    let mut store = home.open(&[]).unwrap();
    fill(&mut *store, 5);
    assert!(!store.truncate(NO_BYTES, 0).unwrap());
    save_snapshot(&mut *store, b"at 5");
    store.truncate(NO_BYTES, 0).unwrap();
    assert_eq!(first_seq(&mut *store), 1, "there is no last but one snapshot yet");
    fill(&mut *store, 5);
    save_snapshot(&mut *store, b"at 10");
    store.truncate(NO_BYTES, 0).unwrap();
    assert_eq!(first_seq(&mut *store), 6);
    assert_eq!(store.head().unwrap().seq, 10);
}

/// Ten records a second apart, the last two snapshots at the end.
fn ten_records(home: &dyn Home) -> Box<dyn Store> {
    let mut store = home.open(&[]).unwrap();
    fill(&mut *store, 9);
    save_snapshot(&mut *store, b"at 9");
    fill(&mut *store, 1);
    save_snapshot(&mut *store, b"at 10");
    store
}

pub fn young_history_stays(home: &dyn Home) {
    let mut store = ten_records(home);
    store.truncate(Keep { age_ms: 4_000, bytes: u64::MAX }, 10_000).unwrap();
    assert_eq!(first_seq(&mut *store), 6, "record 6 is 4 s old");
}

pub fn history_above_its_bytes_goes(home: &dyn Home) {
    let mut store = ten_records(home);
    store.truncate(Keep { age_ms: u64::MAX, bytes: 30 }, 10_000).unwrap();
    assert_eq!(first_seq(&mut *store), 8, "three records of ten bytes");
}

pub fn truncation_goes_in_bounded_steps(home: &dyn Home) {
    let mut store = home.open(&[]).unwrap();
    fill(&mut *store, 1_200);
    save_snapshot(&mut *store, b"at 1200");
    fill(&mut *store, 1);
    save_snapshot(&mut *store, b"at 1201");
    let mut steps = 1;
    while store.truncate(NO_BYTES, 0).unwrap() {
        steps += 1;
    }
    assert!(steps > 1, "all at once");
    assert_eq!(first_seq(&mut *store), 1_201);
}

const SECOND: Migration = Migration {
    component: "notes",
    version: 2,
    sql: "ALTER TABLE notes ADD COLUMN author TEXT NOT NULL DEFAULT 'nobody'",
};

pub fn migrations_run_once_and_in_order(home: &dyn Home) {
    for _ in 0..2 {
        let store = home.open(&[NOTES, SECOND]).unwrap();
        store.reader().unwrap().query("SELECT id, text, author FROM notes", &[]).unwrap();
    }
}

pub fn an_old_schema_is_brought_up_to_date_with_its_rows(home: &dyn Home) {
    let mut store = home.open(&[NOTES]).unwrap();
    append(&mut *store, b"old", &[note(1, "one")]);
    drop(store);
    let mut store = home.open(&[NOTES, SECOND]).unwrap();
    let rows = store.reader().unwrap().query("SELECT text, author FROM notes", &[]).unwrap();
    assert_eq!((rows[0].text(0).unwrap(), rows[0].text(1).unwrap()), ("one", "nobody"));
    assert_eq!(store.head().unwrap().seq, 1);
}

pub fn a_schema_of_a_newer_version_is_refused(home: &dyn Home) {
    drop(home.open(&[NOTES, SECOND]).unwrap());
    let error = home.open(&[NOTES]).err().unwrap();
    assert_eq!(error, Error::TooNew { what: "the schema of `notes`".into(), found: 2, known: 1 });
}

pub fn a_missing_migration_is_refused(home: &dyn Home) {
    let error = home.open(&[SECOND]).err().unwrap();
    assert!(error.to_string().contains("`notes` from version 0 to 2"), "{error}");
}

pub fn a_failing_migration_changes_nothing(home: &dyn Home) {
    let half = Migration {
        component: "notes",
        version: 2,
        sql: "CREATE TABLE half (id BIGINT); INSERT INTO nowhere VALUES (1)",
    };
    let error = home.open(&[NOTES, half]).err().unwrap();
    assert!(matches!(error, Error::Fatal(_)), "{error}");
    let store = home.open(&[NOTES, SECOND]).unwrap();
    assert!(store.reader().unwrap().query("SELECT id FROM half", &[]).is_err());
}

pub fn a_backup_is_a_copy_until_its_epoch_rises(home: &dyn Home) {
    let mut store = home.open(&[NOTES]).unwrap();
    let written = append(&mut *store, b"payload", &[note(1, "one")]);
    let snapshot = save_snapshot(&mut *store, b"state");
    home.back_up(&*store);
    append(&mut *store, b"later", &[note(2, "two")]);
    assert!(!store.is_copy().unwrap());

    let mut copy = home.open_restored().unwrap();
    assert!(copy.is_copy().unwrap());
    assert_eq!(copy.records_after(0, usize::MAX).unwrap(), std::slice::from_ref(&written));
    assert_eq!(copy.latest_snapshot().unwrap(), Some(snapshot));
    assert_eq!(notes(&*copy), [(1, "one".into())]);
    append(&mut *copy, b"of the same epoch", &[]);
    assert!(copy.is_copy().unwrap());
    let head = copy.head().unwrap();
    copy.begin(&head).unwrap();
    copy.commit(&Record::after(&head, Uuid::from_u128(9), 1, 1, 9_000, None, vec![]), &[]).unwrap();
    assert!(!copy.is_copy().unwrap());
}

pub fn probing_leaves_nothing_behind(home: &dyn Home) {
    let mut store = home.open(&[]).unwrap();
    store.probe(1 << 20).unwrap();
    store.probe(1 << 20).unwrap();
    assert_eq!(store.head().unwrap().seq, 0);
    assert_eq!(store.latest_snapshot().unwrap(), None);
    let rows = store.reader().unwrap().query("SELECT seq FROM snapshot_parts", &[]).unwrap();
    assert_eq!(rows, []);
}

trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for i64 {
    fn into_value(self) -> Value {
        self.into()
    }
}
