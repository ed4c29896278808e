//! When the store fails: nothing wrong is answered, nothing acknowledged is lost, and it goes on when it can.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::sync::atomic::Ordering::SeqCst;

use admit_engine::{Bounds, Engine, Error, Migration, Next, Write};
use admit_kernel::{Command, Outcome, Patience};
use pollster::block_on;
use support::*;

const NOTES: Migration =
    Migration { component: "notes", version: 1, sql: "CREATE TABLE notes (id BIGINT PRIMARY KEY)" };

fn insert(n: i64) -> Write {
    Write::new("INSERT INTO notes (id) VALUES ($1)", vec![n.into()])
}

fn notes(engine: &Engine) -> Vec<i64> {
    let rows = block_on(engine.query("SELECT id FROM notes ORDER BY id", vec![])).unwrap();
    rows.iter().map(|row| row.int(0).unwrap()).collect()
}

fn acquire(n: u128) -> Command {
    Command::Acquire(Box::new(request(n, Patience::None)))
}

fn is_unavailable(error: &Error) -> bool {
    matches!(error, Error::Unavailable { retry_in_ms, .. } if *retry_in_ms <= 1_000)
}

#[test]
fn a_full_disk_refuses_until_there_is_room_and_loses_nothing() {
    let folder = folder();
    let (engine, faults) = open_failing(&folder, &[], Bounds::default());
    hold(&engine, 1);
    faults.max_bytes.store(1, SeqCst);
    let error = (1..10_000)
        .find_map(|n| block_on(engine.execute(set_limit(&format!("limit {n} {}", "x".repeat(400)), 1))).err())
        .unwrap();
    assert!(is_unavailable(&error) && error.to_string().contains("no room"), "{error}");
    let (recoveries, probes) = (faults.recoveries.load(SeqCst), faults.probes.load(SeqCst));
    for n in 100..400 {
        let error = block_on(engine.execute(acquire(n))).unwrap_err();
        assert!(is_unavailable(&error), "{error}");
    }
    assert_eq!(faults.recoveries.load(SeqCst), recoveries, "no reading back per attempt");
    assert!(faults.probes.load(SeqCst) <= probes + 2, "a probe a second");
    assert!(is_held(&engine, 1), "reading goes on");

    faults.max_bytes.store(0, SeqCst);
    until("there is room again", || block_on(engine.execute(set_limit("after", 1))).is_ok());
    assert!(is_held(&engine, 1));
    assert!(matches!(try_acquire(&engine, 2), Outcome::Denied(_)));
    execute(&engine, release(1));
    hold(&engine, 3);
    let live = digest(&engine);
    drop(engine);
    assert_eq!(digest(&open(&folder)), live);
}

#[test]
fn a_lost_answer_to_a_commit_is_found_in_the_log() {
    let folder = folder();
    let (engine, faults) = open_failing(&folder, &[], Bounds::default());
    faults.lose_answer.store(true, SeqCst);
    let lease = hold(&engine, 1);
    assert_eq!(faults.recoveries.load(SeqCst), 1, "the state stands");
    execute(&engine, Command::Renew { id: id(1), ttl_ms: None });
    drop(engine);
    let found = block_on(open(&folder).read(|state| state.lease(id(1)).map(|lease| lease.token))).unwrap();
    assert_eq!(found, Some(lease.token));
}

#[test]
fn a_lost_commit_is_answered_with_unavailable_and_never_happened() {
    let folder = folder();
    let (engine, faults) = open_failing(&folder, &[], Bounds::default());
    faults.lose_commit.store(true, SeqCst);
    let error = block_on(engine.execute(acquire(1))).unwrap_err();
    assert!(is_unavailable(&error), "{error}");
    assert!(!is_held(&engine, 1));
    until("it is served again", || block_on(engine.execute(acquire(1))).is_ok());
    assert!(is_held(&engine, 1));
}

#[test]
fn who_waits_is_woken_although_the_state_was_dropped_meanwhile() {
    let folder = folder();
    let (engine, faults) = open_failing(&folder, &[], Bounds::default());
    hold(&engine, 1);
    let waiter = {
        let engine = engine.clone();
        let request = request(2, Patience::For { wait_ms: 60_000 });
        std::thread::spawn(move || block_on(engine.acquire(request, 0)).unwrap())
    };
    until("2 waits", || is_waiting(&engine, 2));
    faults.lose_commit.store(true, SeqCst);
    assert!(block_on(engine.execute(release(1))).is_err());
    until("1 is released", || block_on(engine.execute(release(1))).is_ok());
    assert!(matches!(waiter.join().unwrap(), Outcome::Granted(_)));
}

#[test]
fn who_waits_is_told_of_a_grant_that_only_the_log_knows_once_it_can_be_asked() {
    let folder = folder();
    let (engine, faults) = open_failing(&folder, &[], Bounds::default());
    hold(&engine, 1);
    let waiter = {
        let engine = engine.clone();
        let request = request(2, Patience::For { wait_ms: 10_000 });
        std::thread::spawn(move || block_on(engine.acquire(request, 0)))
    };
    until("2 waits", || is_waiting(&engine, 2));
    // The record is written; then neither its answer comes through, nor the question what became of it. The
    // state is read back, and for a while nothing more is tried.
    let gate = faults.gate.lock().unwrap();
    let mut releasing = Box::pin(engine.execute(release(1)));
    start(&mut releasing);
    until("the engine is at the gate", || faults.at_gate.load(SeqCst) > 0);
    faults.lose_answer.store(true, SeqCst);
    faults.away.store(true, SeqCst);
    drop(gate);
    assert!(is_unavailable(&block_on(releasing).unwrap_err()));
    faults.away.store(false, SeqCst);
    let told = waiter.join().unwrap();
    assert!(matches!(told, Ok(Outcome::Granted(_))), "{told:?}");
}

#[test]
fn a_store_that_is_away_is_come_back_to() {
    let folder = folder();
    let (engine, faults) = open_failing(&folder, &[], Bounds::default());
    faults.away.store(true, SeqCst);
    assert!(is_unavailable(&block_on(engine.execute(acquire(1))).unwrap_err()));
    assert_eq!(faults.recoveries.load(SeqCst), 1, "nothing was decided, nothing is dropped");
    faults.away.store(false, SeqCst);
    until("it is back", || block_on(engine.execute(acquire(1))).is_ok());
}

#[test]
fn a_failed_sync_stops_the_engine_and_says_so() {
    let folder = folder();
    let (engine, faults) = open_failing(&folder, &[], Bounds::default());
    let mut subscription = engine.subscribe().unwrap();
    faults.fail_sync.store(true, SeqCst);
    let error = block_on(engine.execute(acquire(1))).unwrap_err();
    assert!(error.to_string().contains("the sync failed"), "{error}");
    let error = block_on(engine.stopped()).unwrap_err();
    assert!(error.to_string().contains("the sync failed"), "{error}");
    assert_eq!(block_on(engine.execute(Command::Tick)).unwrap_err(), Error::Stopping);
    assert!(matches!(block_on(subscription.next()), Next::Ended));
}

#[test]
fn rows_are_written_with_their_command() {
    let folder = folder();
    let (engine, _) = open_failing(&folder, &[NOTES], Bounds::default());
    let outcome = block_on(engine.execute_with(Some(acquire(1)), |outcome, now| {
        assert!(now.0 > 0);
        if matches!(outcome, Some(Outcome::Granted(_))) { vec![insert(1)] } else { vec![] }
    }));
    assert!(matches!(outcome, Ok(Some(Outcome::Granted(_)))), "{outcome:?}");
    assert_eq!(block_on(engine.execute_with(None, |_, _| vec![insert(2)])), Ok(None));
    assert_eq!(notes(&engine), [1, 2]);
}

#[test]
fn a_command_whose_rows_are_refused_is_the_only_one_that_fails() {
    let folder = folder();
    let (engine, faults) = open_failing(&folder, &[NOTES], Bounds::default());
    execute(&engine, set_limit("db", 100));
    block_on(engine.execute_with(None, |_, _| vec![insert(7)])).unwrap();
    let commits = faults.commits.load(SeqCst);
    // While the gate is shut, all of these gather for one batch.
    let gate = faults.gate.lock().unwrap();
    let mut first = Box::pin(engine.execute(set_limit("other", 1)));
    start(&mut first);
    until("the engine is at the gate", || faults.at_gate.load(SeqCst) > 0);
    let mut all: Vec<_> = (1..=20)
        .map(|n| Box::pin(engine.execute_with(Some(acquire(n)), move |_, _| vec![insert(n as i64)])))
        .collect();
    for future in &mut all {
        start(future);
    }
    drop(gate);
    block_on(first).unwrap();
    for (future, n) in all.into_iter().zip(1..) {
        match block_on(future) {
            Ok(Some(Outcome::Granted(_))) => assert_ne!(n, 7),
            Err(Error::Rows(reason)) => {
                assert!(n == 7 && reason.to_lowercase().contains("unique"), "{n}: {reason}")
            }
            other => panic!("{n}: {other:?}"),
        }
        assert_eq!(is_held(&engine, n), n != 7);
    }
    assert_eq!(notes(&engine), (1..=20).collect::<Vec<_>>());
    assert!(faults.commits.load(SeqCst) - commits <= 3, "in one batch");
}

#[test]
fn patience_that_cannot_be_ended_in_the_log_is_answered_all_the_same() {
    let folder = folder();
    let (engine, faults) = open_failing(&folder, &[], Bounds::default());
    hold(&engine, 1);
    let mut waiter = Box::pin(engine.acquire(request(2, Patience::For { wait_ms: 100 }), 0));
    start(&mut waiter);
    until("2 waits", || is_waiting(&engine, 2));
    faults.away.store(true, SeqCst);
    assert!(is_unavailable(&block_on(waiter).unwrap_err()));
    faults.away.store(false, SeqCst);
    until("2 has ended", || !is_waiting(&engine, 2));
}

#[test]
fn a_read_that_panics_stops_nobody_else() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    assert!(block_on(engine.read(|_| -> u8 { panic!("a bug in a reader") })).is_err());
    hold(&engine, 1);
}
