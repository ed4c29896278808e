//! SQLite does what every store has to do, and what is its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod suite;

use std::path::Path;

use admit_store::{
    Durability, Error, Head, Migration, Record, Report, Snapshot, SqliteStore, Store, check, check_history,
};
use suite::{Home, store_suite};
use tempfile::TempDir;
use uuid::Uuid;

struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> std::path::PathBuf {
        self.0.path().join("data")
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.data(), Durability::Full, &[]).unwrap()
    }
}

impl Home for Folder {
    fn open(&self, migrations: &[Migration]) -> Result<Box<dyn Store>, Error> {
        Ok(Box::new(SqliteStore::open(&self.data(), Durability::Full, migrations)?))
    }

    fn tamper(&self, sql: &str) {
        tamper(&self.data(), sql);
    }

    fn back_up(&self, store: &dyn Store) {
        store.reader().unwrap().backup(&self.0.path().join("backup")).unwrap();
    }

    fn open_restored(&self) -> Result<Box<dyn Store>, Error> {
        let folder = self.0.path().join("restored");
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(self.0.path().join("backup"), folder.join("admit.db")).unwrap();
        Ok(Box::new(SqliteStore::open(&folder, Durability::Normal, &[])?))
    }
}

fn tamper(data: &Path, sql: &str) {
    rusqlite::Connection::open(data.join("admit.db")).unwrap().execute_batch(sql).unwrap();
}

store_suite!(Folder::new());

fn append(store: &mut SqliteStore, payload: &[u8]) -> Result<(), Error> {
    let head = store.head()?;
    store.begin(&head)?;
    let record =
        Record::after(&head, Uuid::from_u128(u128::from(head.seq) + 1), 0, 1, 1, None, payload.to_vec());
    store.commit(&record, &[])
}

#[test]
fn a_second_opener_is_told_which_process_has_the_folder() {
    let folder = Folder::new();
    let store = folder.store();
    let error = SqliteStore::open(&folder.data(), Durability::Full, &[]).unwrap_err();
    assert_eq!(error, Error::Locked { folder: folder.data(), pid: Some(std::process::id()) });
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(store);
    folder.store();
}

#[test]
fn a_backup_overwrites_nothing() {
    let folder = Folder::new();
    let file = folder.0.path().join("precious");
    std::fs::write(&file, "precious").unwrap();
    let error = folder.store().reader().unwrap().backup(&file).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[test]
fn a_full_disk_is_an_error_of_its_own_and_nothing_is_lost() {
    let folder = Folder::new();
    let mut store = folder.store();
    append(&mut store, b"before").unwrap();
    store.set_max_bytes(Some(256 << 10)).unwrap();
    let mut written = 1;
    let error = loop {
        match append(&mut store, &[7; 20_000]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Full(_)), "{error}");
    assert!(matches!(store.probe(100_000), Err(Error::Full(_))));
    assert_eq!(store.head().unwrap().seq, written);

    store.set_max_bytes(None).unwrap();
    store.probe(100_000).unwrap();
    append(&mut store, b"after").unwrap();
    drop(store);
    let records = folder.store().records_after(0, usize::MAX).unwrap();
    assert_eq!(records.len() as u64, written + 1);
    assert_eq!(records.last().unwrap().payload, b"after");
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_data() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let mut store = folder.store();
    append(&mut store, b"secret").unwrap();
    for (name, mode) in [("", 0o700), ("admit.db", 0o600), ("admit.db-wal", 0o600)] {
        let found = std::fs::metadata(folder.data().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "`{name}`");
    }
}

/// Three records and two snapshots, tampered with: what a check finds.
fn found_after(sql: &str) -> Vec<String> {
    let folder = Folder::new();
    let mut store = folder.store();
    for payload in [b"a", b"b", b"c"] {
        append(&mut store, payload).unwrap();
        let head = store.head().unwrap();
        store.save_snapshot(&Snapshot { head, format: 1, bytes: b"state".to_vec() }).unwrap();
    }
    tamper(&folder.data(), sql);
    // The server may run meanwhile.
    check(&folder.data()).unwrap().problems
}

#[test]
fn a_check_finds_what_was_tampered_with() {
    for (sql, problem) in [
        ("UPDATE log SET payload = CAST('x' AS BLOB) WHERE seq = 2", "record 2: its checksum does not fit"),
        ("UPDATE log SET time_ms = 77 WHERE seq = 1", "record 1: its checksum does not fit"),
        ("DELETE FROM log WHERE seq = 2", "record 2: a gap: the next record is 3"),
        ("UPDATE log SET format = 9 WHERE seq = 3", "record 3: its checksum does not fit"),
        ("DELETE FROM log WHERE seq = 3", "the log ends at 2, before snapshot 3"),
        (
            "UPDATE snapshot_parts SET bytes = CAST('x' AS BLOB) WHERE seq = 2",
            "snapshot 2: its hash does not fit",
        ),
        ("UPDATE snapshots SET checksum = 1 WHERE seq = 3", "snapshot 3: it was not taken at the record"),
    ] {
        let problems = found_after(sql);
        assert!(problems.iter().any(|found| found.contains(problem)), "{sql}: {problems:?}");
    }
    assert_eq!(found_after("SELECT 1"), [""; 0]);
}

#[test]
fn a_check_says_what_is_there() {
    let folder = Folder::new();
    let mut store = folder.store();
    append(&mut store, b"a").unwrap();
    append(&mut store, b"b").unwrap();
    let expected = Report { first_seq: 1, last_seq: 2, records: 2, snapshots: vec![], problems: vec![] };
    assert_eq!(check(&folder.data()).unwrap(), expected);
    assert!(check(folder.0.path()).is_err(), "no database there");
}

#[test]
fn what_a_server_cuts_off_during_a_check_is_not_missing() {
    let folder = Folder::new();
    let mut store = folder.store();
    // Each fills a page of the check.
    for _ in 0..4 {
        append(&mut store, &vec![7; 4 << 20]).unwrap();
    }
    let found_when = |sql: &str| {
        let mut once = Some(sql);
        let rest = &mut || once.take().into_iter().for_each(|sql| tamper(&folder.data(), sql));
        check_history(&folder.data(), rest).unwrap().problems
    };
    assert_eq!(found_when("DELETE FROM log WHERE seq <= 2"), [""; 0]);
    let found = found_when("UPDATE log SET time_ms = 77 WHERE seq = 4");
    assert!(found.len() == 1 && found[0].contains("record 4"), "{found:?}");
}

#[test]
fn a_record_fits_only_where_it_was_written() {
    let first = Record::after(&Head::default(), Uuid::from_u128(1), 0, 1, 5, None, b"first".to_vec());
    let second = Record::after(&first.head(), Uuid::from_u128(2), 0, 1, 6, None, b"second".to_vec());
    let other = Record::after(&Head::default(), Uuid::from_u128(3), 0, 1, 5, None, b"other".to_vec());
    assert_eq!(second.verify_after(&first.head()), Ok(()));
    let check = |record: &Record, head: &Head, problem: &str| {
        let error = record.verify_after(head).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    };
    check(&second, &Head::default(), "a gap");
    check(&second, &other.head(), "does not follow");
    check(&Record { payload: b"secund".to_vec(), ..second.clone() }, &first.head(), "checksum");
    check(&Record { state_digest: Some(0), ..second.clone() }, &first.head(), "checksum");
    check(&Record { epoch: 1, ..second.clone() }, &first.head(), "checksum");
    check(&Record { format: 2, ..second }, &first.head(), "checksum");
}
