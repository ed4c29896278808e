//! A check says what is there, and finds what does not agree.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use admit_engine::{Config, Core, Engine, Migration, Options, Outdated, TableCheck, Verdict, check};
use admit_kernel::{Command, FORMAT, Patience};
use pollster::block_on;
use support::*;
use tempfile::TempDir;

const NOTES: Migration = Migration {
    component: "notes",
    version: 1,
    sql: "CREATE TABLE notes (name TEXT PRIMARY KEY, worth BIGINT NOT NULL)",
};
const WORTHLESS: TableCheck =
    TableCheck { problem: "it is worth nothing", sql: "SELECT name FROM notes WHERE worth = 0 LIMIT 10" };

fn judge(folder: &TempDir) -> Verdict {
    check(home(folder), &[NOTES], &[WORTHLESS]).unwrap()
}

/// A log of twice as many records with two snapshots, one of them somewhere in it, and a table.
fn some_log(rounds: u128) -> TempDir {
    let (folder, hands) = (folder(), Hands::at(1_000_000));
    let (store, _) = FailingStore::open(&folder, &[NOTES]);
    let mut core = Core::open(store, hands.clone(), Options::new(1)).unwrap();
    run(&mut core, [Command::RaiseFormat { format: FORMAT }, set_limit("db", 2)]);
    for n in 0..rounds {
        run(&mut core, [acquire(n, Patience::Forever), Command::Tick]);
        run(&mut core, [release(n.saturating_sub(2))]);
        hands.pass(100);
        if n == rounds / 3 {
            core.snapshot().unwrap();
        }
    }
    core.snapshot().unwrap();
    folder
}

#[test]
fn what_agrees_is_well() {
    let folder = some_log(502);
    let verdict = judge(&folder);
    assert_eq!(verdict.problems, [""; 0]);
    assert_eq!(
        (verdict.log.first_seq, verdict.log.records, verdict.format),
        (1, verdict.log.last_seq, FORMAT)
    );
    assert_eq!((verdict.log.snapshots.len(), verdict.totals.leases), (2, 2));
    // Two snapshots, and the digest of record 1,000.
    assert_eq!(verdict.agreed, 3);
    // Nothing before the older snapshot is needed.
    tamper(&folder, "DELETE FROM log WHERE seq <= (SELECT min(seq) FROM snapshots)");
    let verdict = judge(&folder);
    assert_eq!((verdict.problems.len(), verdict.agreed), (0, 2), "{verdict:?}");
}

#[test]
fn what_does_not_agree_is_found() {
    let (old, new) = ("seq < (SELECT max(seq) FROM snapshots)", "seq = (SELECT max(seq) FROM snapshots)");
    let same = format!(
        "UPDATE snapshot_parts SET bytes = (SELECT bytes FROM snapshot_parts WHERE {old}) WHERE {new};
         UPDATE snapshots SET hash = (SELECT hash FROM snapshots WHERE {old}) WHERE {new}"
    );
    for (sql, expected) in [
        (&*same, "replaying the records gives another state"),
        ("UPDATE log SET payload = CAST('x' AS BLOB) WHERE seq = 30", "record 30: its checksum"),
        ("UPDATE log SET format = 99 WHERE seq = 30", "record 30 of the log is in format 99"),
        ("DELETE FROM log WHERE seq < 10; DELETE FROM snapshots", "no whole snapshot is there"),
        (
            "UPDATE snapshots SET hash = hash - 1 WHERE hash = (SELECT max(hash) FROM snapshots)",
            "its hash does not fit",
        ),
        ("INSERT INTO notes (name, worth) VALUES ('a penny', 0)", "a penny: it is worth nothing"),
        ("UPDATE schema_versions SET version = 7 WHERE component = 'notes'", "`notes` are at version 7"),
        ("DROP TABLE notes", "notes"),
    ] {
        let folder = some_log(20);
        tamper(&folder, sql);
        let problems = judge(&folder).problems;
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{sql}: {problems:?}");
    }
}

#[test]
fn tables_that_an_upgrade_would_bring_up_to_date_are_no_damage() {
    let folder = some_log(20);
    let further = Migration { version: 2, sql: "ALTER TABLE notes ADD COLUMN text TEXT", ..NOTES };
    let verdict = check(home(&folder), &[NOTES, further], &[WORTHLESS]).unwrap();
    assert_eq!(verdict.outdated, [Outdated { component: "notes".to_owned(), from: 1, to: 2 }]);
    assert_eq!(verdict.problems, [""; 0]);
}

#[test]
fn a_check_beside_an_engine_that_writes_finds_nothing_wrong() {
    let folder = folder();
    let engine = Engine::open(Config { migrations: vec![NOTES], ..Config::at(home(&folder)) }).unwrap();
    execute(&engine, set_limit("db", 1));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (0..).take_while(|_| !stop.load(SeqCst)) {
                hold(&engine, n);
                execute(&engine, release(n));
            }
        });
        for _ in 0..10 {
            let verdict = judge(&folder);
            if !verdict.problems.is_empty() {
                stop.store(true, SeqCst);
                panic!("{verdict:?}");
            }
        }
        stop.store(true, SeqCst);
    });
    block_on(engine.shutdown()).unwrap();
}
