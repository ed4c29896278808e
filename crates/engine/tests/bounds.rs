//! Everything that could pile up has a bound, and what is above it a clear error.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::sync::atomic::Ordering::SeqCst;

use admit_engine::{Bounds, Engine, Error, Next};
use admit_kernel::{Command, Outcome, Patience};
use pollster::block_on;
use support::*;

fn acquire(n: u128) -> Command {
    Command::Acquire(Box::new(request(n, Patience::None)))
}

/// Shuts the gate, makes the engine busy behind it, runs the test, opens it.
fn while_busy(bounds: Bounds, test: impl FnOnce(&Engine)) {
    let folder = folder();
    let (engine, faults) = open_failing(&folder, &[], bounds);
    let gate = faults.gate.lock().unwrap();
    let mut busy = Box::pin(engine.execute(set_limit("busy", 1)));
    start(&mut busy);
    until("the engine is at the gate", || faults.at_gate.load(SeqCst) > 0);
    test(&engine);
    drop(gate);
    block_on(busy).unwrap();
}

#[test]
fn a_full_queue_refuses_requests_and_still_takes_releases() {
    while_busy(Bounds { queue: 16, ..Bounds::default() }, |engine| {
        let mut queued: Vec<_> = (0..16).map(|n| Box::pin(engine.execute(acquire(n)))).collect();
        queued.iter_mut().for_each(start);
        let expected = Error::Overloaded { what: "commands queued", max: 16 };
        assert_eq!(block_on(engine.execute(acquire(99))), Err(expected.clone()));
        assert_eq!(block_on(engine.execute_all(vec![acquire(98)])), Err(expected.clone()));
        assert_eq!(block_on(engine.acquire(request(97, Patience::None), 0)), Err(expected));
        start(&mut Box::pin(engine.execute(release(1))));
        start(&mut Box::pin(engine.execute(Command::Renew { id: id(1), ttl_ms: None })));
    });
}

#[test]
fn many_commands_at_once_count_as_many() {
    while_busy(Bounds { queue: 16, ..Bounds::default() }, |engine| {
        let commands = |n| (0..n).map(acquire).collect::<Vec<_>>();
        assert!(block_on(engine.execute_all(commands(17))).is_err());
        start(&mut Box::pin(engine.execute_all(commands(16))));
    });
}

#[test]
fn callers_above_the_bound_are_not_let_wait() {
    let folder = folder();
    let (engine, _faults) = open_failing(&folder, &[], Bounds { waiters: 3, ..Bounds::default() });
    hold(&engine, 1);
    let forever = |n| Box::pin(engine.acquire(request(n, Patience::Forever), 60_000));
    let mut waiting = [forever(2), forever(3), forever(4)];
    waiting.iter_mut().for_each(start);
    until("all wait", || block_on(engine.stats()).unwrap().waiters == 3);
    let expected = Error::Overloaded { what: "callers waiting", max: 3 };
    assert_eq!(block_on(forever(5)), Err(expected));
    assert!(!is_waiting(&engine, 5), "nothing was done");
}

#[test]
fn subscribers_above_the_bound_are_refused_and_slow_ones_told() {
    let folder = folder();
    let bounds = Bounds { subscribers: 2, subscriber_lag: 4, ..Bounds::default() };
    let (engine, _faults) = open_failing(&folder, &[], bounds);
    let mut slow = engine.subscribe().unwrap();
    let other = engine.subscribe().unwrap();
    assert_eq!(engine.subscribe().unwrap_err(), Error::Overloaded { what: "subscribers", max: 2 });
    drop(other);
    engine.subscribe().unwrap();
    for n in 0..10 {
        execute(&engine, set_limit(&format!("limit {n}"), 1));
    }
    // Answers go out before records do.
    block_on(engine.read(|_| ())).unwrap();
    assert!(matches!(block_on(slow.next()), Next::Lagged { missed: 6 }));
    assert!(matches!(block_on(slow.next()), Next::Record(_)));
}

#[test]
fn more_commands_than_a_batch_takes_are_all_executed_in_order() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    let commands = (0..1_000).flat_map(|n| [acquire(n), release(n)]).collect();
    let outcomes = block_on(engine.execute_all(commands)).unwrap();
    assert_eq!(outcomes.len(), 2_000);
    for pair in outcomes.chunks(2) {
        assert!(matches!(pair, [Outcome::Granted(_), Outcome::Released { changed: true }]), "{pair:?}");
    }
    let stats = block_on(engine.stats()).unwrap();
    assert!(stats.batch_size.quantile(1.0).unwrap() <= 511, "{:?}", stats.batch_size);
    assert!((8..20).contains(&stats.records), "{}", stats.records);
}

#[test]
fn executing_nothing_is_fine() {
    let folder = folder();
    assert_eq!(block_on(open(&folder).execute_all(vec![])), Ok(vec![]));
}
