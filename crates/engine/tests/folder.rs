//! What a folder has that a database has not: one owner, files to copy, a history of its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use admit_engine::{Config, Engine, Error, Keep, Options, check};
use admit_kernel::{Command, Outcome, Patience};
use admit_store::Store;
use pollster::block_on;
use support::*;

#[test]
fn an_acknowledged_grant_survives_a_crash() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    let lease = hold(&engine, 1);
    // What the files hold at this moment is what a crash would leave.
    let crashed = tempfile::tempdir().unwrap();
    for name in ["admit.db", "admit.db-wal"] {
        std::fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
    }
    let engine = open(&crashed);
    let found = block_on(engine.read(|state| state.lease(id(1)).cloned())).unwrap();
    assert_eq!(found, Some(lease));
    assert!(matches!(try_acquire(&engine, 2), Outcome::Denied(_)));
}

#[test]
fn shutdown_frees_the_folder_and_refuses_what_comes_later() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    let mut waiter = {
        hold(&engine, 1);
        Box::pin(engine.acquire(request(2, Patience::For { wait_ms: 60_000 }), 0))
    };
    start(&mut waiter);
    until("2 waits", || is_waiting(&engine, 2));
    block_on(engine.shutdown()).unwrap();
    assert_eq!(block_on(waiter).unwrap_err(), Error::Stopping);
    assert_eq!(block_on(engine.execute(Command::Tick)).unwrap_err(), Error::Stopping);
    assert_eq!(check(home(&folder), &[], &[]).unwrap().log.snapshots.len(), 1, "a snapshot at the end");
    open(&folder);
}

#[test]
fn dropping_the_last_handle_frees_the_folder() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    let clone = engine.clone();
    drop(engine);
    hold(&clone, 1);
    drop(clone);
    assert!(is_held(&open(&folder), 1));
}

#[test]
fn a_second_engine_is_told_which_process_has_the_folder() {
    let folder = folder();
    let _engine = open(&folder);
    let error = Engine::open(Config::new(folder.path())).err().unwrap();
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())), "{error}");
}

#[test]
fn compaction_keeps_the_history_asked_for() {
    let (folder, hands) = (folder(), Hands::at(1_000_000));
    let keep = Keep { age_ms: u64::MAX, bytes: 5_000 };
    let options = Options { keep, snapshot_bytes: 20_000, ..Options::new(1) };
    let mut live = core(&folder, &hands, options).unwrap();
    run(&mut live, [set_limit("db", 1)]);
    for n in 0..3_000 {
        run(&mut live, [acquire(n, Patience::None)]);
        run(&mut live, [release(n)]);
        hands.pass(10);
        while live.maintain() {}
    }
    assert!(live.stats().snapshots >= 3, "{:?}", live.stats().snapshots);
    let before = live.state().unwrap().snapshot();
    drop(live);
    let verdict = check(home(&folder), &[], &[]).unwrap();
    assert_eq!(verdict.problems, [""; 0]);
    assert!(verdict.agreed > 1, "{verdict:?}");
    let report = verdict.log;
    assert!(report.first_seq > 1, "nothing was dropped");
    assert!(report.first_seq <= report.snapshots[1] + 1, "{report:?}");
    let mut live = core(&folder, &hands, options).unwrap();
    assert!(live.state().unwrap().snapshot() == before);
    let kept: usize =
        live.store().records_after(0, usize::MAX).unwrap().iter().map(|r| r.payload.len()).sum();
    assert!(kept >= 5_000, "{kept} bytes of history");
}

#[test]
fn a_restored_backup_gives_tokens_above_all_that_were_given() {
    let folder = folder();
    let engine = open_with_db(&folder, 5);
    hold(&engine, 1);
    let restored = tempfile::tempdir().unwrap();
    block_on(engine.backup(&restored.path().join("admit.db"))).unwrap();
    let later = hold(&engine, 2).token;
    drop(engine);
    let engine = open(&restored);
    assert!(is_held(&engine, 1) && !is_held(&engine, 2));
    assert!(hold(&engine, 3).token > later);
    let token = hold(&engine, 4).token;
    drop(engine);
    let next = hold(&open(&restored), 5).token;
    assert_eq!(next, token + 1, "the epoch rises once");
}
