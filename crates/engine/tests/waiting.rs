//! Who waits is woken; who goes away leaves nothing behind that it should not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use admit_engine::Engine;
use admit_kernel::{Acquire, Claim, Command, Denial, End, Outcome, Patience, Terms};
use pollster::block_on;
use support::*;

const LONG_MS: u64 = 60_000;
const FOR_LONG: Patience = Patience::For { wait_ms: LONG_MS };
const POLLED: Patience = Patience::Polled { poll_ttl_ms: LONG_MS };

/// Acquires on a thread of its own.
fn acquire_elsewhere(engine: &Engine, acquire: Acquire, within_ms: u64) -> thread::JoinHandle<Outcome> {
    let engine = engine.clone();
    thread::spawn(move || block_on(engine.acquire(acquire, within_ms)).unwrap())
}

fn granted(outcome: &Outcome, n: u128) -> bool {
    matches!(outcome, Outcome::Granted(lease) if lease.id == id(n))
}

#[test]
fn the_one_that_can_go_is_found_behind_2000_that_cannot_in_a_few_commits() {
    const TENANTS: u128 = 2_000;
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    let own = |n: u128| Claim::inline(format!("tenant/{n}"), Terms::concurrent(1), 1);
    let acquire =
        |n: u128, claims| Command::Acquire(Box::new(Acquire { claims, ..request(n, Patience::Forever) }));
    let busy = (2..TENANTS).map(|n| acquire(10_000 + n, vec![own(n)]));
    let waiting = (2..=TENANTS).map(|n| acquire(n, vec![Claim::limit("db", 1), own(n)]));
    block_on(engine.execute_all(busy.chain(waiting).collect())).unwrap();
    let before = block_on(engine.stats()).unwrap().records;
    execute(&engine, release(1));
    until("the last one holds", || is_held(&engine, TENANTS));
    let commits = block_on(engine.stats()).unwrap().records - before;
    assert!(commits <= 8, "{commits} commits");
}

#[test]
fn a_waiter_wakes_on_release_and_its_grant_is_claimed() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    let waiter = acquire_elsewhere(&engine, request(2, FOR_LONG), 0);
    until("2 waits", || is_waiting(&engine, 2));
    execute(&engine, release(1));
    let outcome = waiter.join().unwrap();
    assert!(granted(&outcome, 2), "{outcome:?}");
    let claim_by = block_on(engine.read(|state| state.lease(id(2)).unwrap().claim_by)).unwrap();
    assert_eq!(claim_by, None, "it is claimed");
}

#[test]
fn one_slot_freed_wakes_one_in_the_order_of_arrival() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    let mut waiters = Vec::new();
    for n in 2..10 {
        waiters.push(acquire_elsewhere(&engine, request(n, FOR_LONG), 0));
        until("it waits", || is_waiting(&engine, n));
    }
    for (waiter, n) in waiters.into_iter().zip(2..) {
        execute(&engine, release(n - 1));
        assert!(granted(&waiter.join().unwrap(), n));
        let held = block_on(engine.read(|state| state.totals().leases)).unwrap();
        assert_eq!(held, 1);
    }
}

#[test]
fn patience_that_ends_is_a_denial_at_its_time() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    let started = Instant::now();
    let outcome = block_on(engine.acquire(request(2, Patience::For { wait_ms: 50 }), 0)).unwrap();
    assert!(
        matches!(&outcome, Outcome::Denied(denial) if matches!(**denial, Denial::Ended { how: End::TimedOut, .. })),
        "{outcome:?}"
    );
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[test]
fn who_repeats_a_request_with_less_patience_leaves_its_ticket_alone() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    let brief = Patience::For { wait_ms: 20 };
    let repeat = |n| block_on(engine.acquire(request(n, brief), 0)).unwrap();

    assert_eq!(block_on(engine.acquire(request(2, POLLED), 0)).unwrap(), Outcome::Waiting { id: id(2) });
    assert_eq!(repeat(2), Outcome::Waiting { id: id(2) }, "of a kept ticket");
    let mut gone = Box::pin(engine.acquire(request(2, FOR_LONG), 0));
    start(&mut gone);
    drop(gone);
    assert_eq!(repeat(2), Outcome::Waiting { id: id(2) }, "one that goes away does not take it along");

    let waiter = acquire_elsewhere(&engine, request(3, FOR_LONG), 0);
    until("3 waits", || is_waiting(&engine, 3));
    assert_eq!(repeat(3), Outcome::Waiting { id: id(3) }, "of one that somebody else still waits for");
    execute(&engine, release(1));
    assert!(granted(&block_on(engine.ask(id(2), 0)).unwrap(), 2));
    execute(&engine, release(2));
    assert!(granted(&waiter.join().unwrap(), 3));
}

#[test]
fn a_polled_ticket_is_answered_in_time_and_stays() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    for within_ms in [0, 30] {
        let outcome = block_on(engine.acquire(request(2, POLLED), within_ms)).unwrap();
        assert_eq!(outcome, Outcome::Waiting { id: id(2) });
    }
    let outcome = block_on(engine.ask(id(2), 30)).unwrap();
    assert_eq!(outcome, Outcome::Waiting { id: id(2) });
    execute(&engine, release(1));
    let outcome = block_on(engine.ask(id(2), LONG_MS)).unwrap();
    assert!(granted(&outcome, 2), "{outcome:?}");
}

#[test]
fn asking_wakes_on_release() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    execute(&engine, Command::Acquire(Box::new(request(2, POLLED))));
    let asker = {
        let engine = engine.clone();
        thread::spawn(move || block_on(engine.ask(id(2), LONG_MS)).unwrap())
    };
    until("somebody asks", || block_on(engine.stats()).unwrap().waiters == 1);
    execute(&engine, release(1));
    assert!(granted(&asker.join().unwrap(), 2));
}

#[test]
fn two_who_wait_for_one_ticket_are_both_told() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    let waiters = [0; 2].map(|_| acquire_elsewhere(&engine, request(2, FOR_LONG), 0));
    until("both wait", || block_on(engine.stats()).unwrap().waiters == 2);
    execute(&engine, release(1));
    for waiter in waiters {
        assert!(granted(&waiter.join().unwrap(), 2));
    }
}

#[test]
fn a_dropped_waiter_withdraws_its_ticket() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    let mut waiter = Box::pin(engine.acquire(request(2, FOR_LONG), 0));
    start(&mut waiter);
    until("2 waits", || is_waiting(&engine, 2));
    drop(waiter);
    until("2 is withdrawn", || !is_waiting(&engine, 2));
    assert_eq!(block_on(engine.read(|state| state.ended(id(2)).unwrap().0)).unwrap(), End::Withdrawn);
}

#[test]
fn a_dropped_waiter_whose_ticket_another_waits_for_withdraws_nothing() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    let mut dropped = Box::pin(engine.acquire(request(2, FOR_LONG), 0));
    start(&mut dropped);
    let other = acquire_elsewhere(&engine, request(2, FOR_LONG), 0);
    until("both wait", || block_on(engine.stats()).unwrap().waiters == 2);
    drop(dropped);
    until("one waits", || block_on(engine.stats()).unwrap().waiters == 1);
    execute(&engine, release(1));
    assert!(granted(&other.join().unwrap(), 2));
}

#[test]
fn a_polled_ticket_stays_when_its_waiter_is_dropped() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    let mut waiter = Box::pin(engine.acquire(request(2, POLLED), LONG_MS));
    start(&mut waiter);
    until("2 waits", || is_waiting(&engine, 2));
    drop(waiter);
    until("nobody listens", || block_on(engine.stats()).unwrap().waiters == 0);
    assert!(is_waiting(&engine, 2));
}

#[test]
fn a_grant_that_nobody_took_note_of_is_given_back() {
    for patience in [Patience::None, FOR_LONG] {
        let folder = folder();
        let engine = open_with_db(&folder, 1);
        let mut waiter = Box::pin(engine.acquire(request(2, patience), 0));
        start(&mut waiter);
        // Answered, but the answer is never read.
        until("2 is granted", || is_held(&engine, 2));
        drop(waiter);
        until("2 is given back", || !is_held(&engine, 2));
        hold(&engine, 3);
    }
}

#[test]
fn a_request_dropped_before_it_was_decided_is_never_made() {
    let folder = folder();
    let (engine, faults) = open_failing(&folder, &[], admit_engine::Bounds::default());
    let gate = faults.gate.lock().unwrap();
    // The engine is busy with a commit meanwhile.
    let mut busy = Box::pin(engine.execute(set_limit("other", 1)));
    start(&mut busy);
    until("the engine is at the gate", || faults.at_gate.load(SeqCst) > 0);
    let mut waiter = Box::pin(engine.acquire(request(2, Patience::None), 0));
    start(&mut waiter);
    drop(waiter);
    drop(gate);
    block_on(busy).unwrap();
    assert!(!is_held(&engine, 2));
    hold(&engine, 3);
}

#[test]
fn a_repeated_request_that_is_dropped_does_not_end_the_lease() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    let lease = hold(&engine, 1);
    until("time passes", || {
        execute(&engine, Command::Tick);
        block_on(engine.read(|state| state.now())).unwrap() > lease.granted_at
    });
    // The engine may be quicker than who drops; then it is dropped too late to matter, and asked again.
    until("it is dropped before it is answered", || {
        let mut repeated = Box::pin(engine.acquire(request(1, Patience::None), 0));
        let is_early = poll(&mut repeated).is_pending();
        block_on(engine.read(|_| ())).unwrap();
        is_early
    });
    block_on(engine.execute(Command::Tick)).unwrap();
    assert!(is_held(&engine, 1));
}

#[test]
fn an_expired_lease_wakes_the_next_in_time() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    let short = Acquire { ttl_ms: Some(1_000), ..request(1, Patience::None) };
    assert!(granted(&block_on(engine.acquire(short, 0)).unwrap(), 1));
    let started = Instant::now();
    let outcome = block_on(engine.acquire(request(2, FOR_LONG), 0)).unwrap();
    assert!(granted(&outcome, 2), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn a_removed_limit_tells_those_who_wait_for_it() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    let waiter = acquire_elsewhere(&engine, request(2, FOR_LONG), 0);
    until("2 waits", || is_waiting(&engine, 2));
    execute(&engine, Command::RemoveLimit { name: "db".into(), if_revision: None });
    let outcome = waiter.join().unwrap();
    assert!(
        matches!(&outcome, Outcome::Denied(denial) if matches!(**denial, Denial::Ended { how: End::LimitRemoved, .. })),
        "{outcome:?}"
    );
}

#[test]
fn subscribers_see_every_record_in_order() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    let mut subscription = engine.subscribe().unwrap();
    for n in 1..=20 {
        hold(&engine, n);
        execute(&engine, release(n));
    }
    block_on(engine.shutdown()).unwrap();
    let (mut seqs, mut events) = (Vec::new(), 0);
    while let admit_engine::Next::Record(record) = block_on(subscription.next()) {
        seqs.push(record.seq);
        events += record.events.len();
    }
    assert_eq!(seqs.len(), 40);
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    assert!(events >= 40);
}
