//! The log's time, where this engine's own clocks give it: steps, silence, outages. (With PostgreSQL the
//! database's clock does: nodes.rs.)
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use admit_engine::Options;
use admit_kernel::{Acquire, Command, Outcome, Patience, Time};
use support::*;

#[test]
fn an_outage_takes_nothing_from_holders_that_come_back() {
    let (folder, hands) = (folder(), Hands::at(1_000_000));
    let mut live = core(&folder, &hands, Options::new(1)).unwrap();
    let short = |n| Command::Acquire(Box::new(Acquire { ttl_ms: Some(2_000), ..request(n, Patience::None) }));
    run(&mut live, [set_limit("db", 2), short(1), short(2)]);
    drop(live);
    hands.pass(8_000);
    let mut live = core(&folder, &hands, Options::new(2)).unwrap();
    assert_eq!(live.tick_in_ms(), Some(0));
    run(&mut live, [Command::Tick]);
    assert_eq!(live.stats().outages, 1);
    let outcomes = run(&mut live, [Command::Renew { id: id(1), ttl_ms: None }, short(3)]);
    assert!(matches!(outcomes[0], Outcome::Renewed(_)), "{outcomes:?}");
    assert!(matches!(outcomes[1], Outcome::Denied(_)), "{outcomes:?}");
    for _ in 0..5 {
        hands.pass(1_000);
        run(&mut live, [Command::Renew { id: id(1), ttl_ms: None }]);
    }
    let outcomes = run(&mut live, [short(4)]);
    assert!(
        matches!(outcomes[0], Outcome::Granted(_)),
        "the one that did not come back is freed: {outcomes:?}"
    );
}

#[test]
fn a_short_restart_of_the_only_node_takes_nothing_from_holders_that_come_back() {
    let (folder, hands) = (folder(), Hands::at(1_000_000));
    let options = |node| Options { is_alone: true, ..Options::new(node) };
    let hold = |n, ttl_ms| {
        Command::Acquire(Box::new(Acquire { ttl_ms: Some(ttl_ms), ..request(n, Patience::None) }))
    };
    let mut live = core(&folder, &hands, options(1)).unwrap();
    run(&mut live, [set_limit("db", 3), hold(1, 2_000), hold(2, 2_000), hold(3, 60_000)]);
    drop(live);
    hands.pass(3_000);
    let mut live = core(&folder, &hands, options(2)).unwrap();
    assert_eq!(live.tick_in_ms(), Some(0));
    run(&mut live, [Command::Tick]);
    let left_ms = |live: &TestCore, n| {
        let state = live.state().unwrap();
        state.lease(id(n)).and_then(|lease| lease.expires_at).map(|at| at.since(state.now()))
    };
    // Who has longer than the grace already gets no more.
    assert_eq!([1, 2, 3].map(|n| left_ms(&live, n)), [Some(2_000), Some(2_000), Some(57_000)]);
    assert_eq!(live.stats().outages, 1);
    for _ in 0..3 {
        hands.pass(1_000);
        let outcomes = run(&mut live, [Command::Renew { id: id(1), ttl_ms: None }]);
        assert!(matches!(outcomes[0], Outcome::Renewed(_)), "{outcomes:?}");
    }
    assert_eq!(left_ms(&live, 2), None, "who does not come back is out when its grace is over");
    // Where nobody could have lost anything there is nothing to say.
    run(&mut live, [release(1), release(3)]);
    let seq = live.seq();
    drop(live);
    hands.pass(3_000);
    let mut live = core(&folder, &hands, options(3)).unwrap();
    assert_eq!(live.tick_in_ms(), None);
    run(&mut live, [hold(4, 2_000)]);
    assert_eq!((live.seq(), live.stats().outages), (seq + 1, 0));
}

#[test]
fn an_idle_engine_writes_only_while_somebody_holds() {
    let (folder, hands) = (folder(), Hands::at(1_000_000));
    let mut live = core(&folder, &hands, Options::new(1)).unwrap();
    run(&mut live, [set_limit("db", 1)]);
    assert_eq!(live.tick_in_ms(), None);
    run(&mut live, [acquire(1, Patience::None)]);
    let seq = live.seq();
    for beats in 1..=10 {
        let tick_in_ms = live.tick_in_ms().unwrap();
        assert!((1..=2_000).contains(&tick_in_ms), "{tick_in_ms}");
        hands.pass(tick_in_ms);
        run(&mut live, [Command::Tick]);
        assert_eq!(live.seq(), seq + beats);
    }
    assert_eq!(live.stats().outages, 0);
    run(&mut live, [release(1)]);
    let seq = live.seq();
    hands.pass(60_000);
    run(&mut live, [Command::Tick]);
    assert!(live.seq() <= seq + 1, "at most the key is forgotten");
}

/// Somebody sets the wall clock.
fn set(hands: &Hands, by_ms: i64) {
    hands.wall_ms.fetch_add(by_ms.cast_unsigned(), std::sync::atomic::Ordering::SeqCst);
}

#[test]
fn the_log_is_not_moved_by_a_clock_that_is() {
    let (folder, hands) = (folder(), Hands::at(100_000_000));
    let mut live = core(&folder, &hands, Options::new(1)).unwrap();
    run(&mut live, [set_limit("db", 1), acquire(1, Patience::None)]);
    for step_ms in [3_600_000, -7_200_000] {
        set(&hands, step_ms);
        run(&mut live, [Command::Tick]);
        assert!(live.state().unwrap().lease(id(1)).is_some(), "after {step_ms}");
        assert_eq!(live.state().unwrap().now(), Time(100_000_000));
    }
    assert_eq!((live.stats().clock_offset_ms, live.stats().clock_steps), (3_600_000, 2));
    drop(live);
    // Opened again, the log goes on from its end although the wall clock is an hour behind.
    let mut live = core(&folder, &hands, Options::new(2)).unwrap();
    hands.pass(1_000);
    run(&mut live, [Command::Renew { id: id(1), ttl_ms: None }]);
    assert_eq!(live.state().unwrap().now(), Time(100_001_000));
}

#[test]
fn a_step_of_the_clock_ends_no_lease_early_and_a_restart_remembers_it() {
    for (step_ms, offset_ms) in [(3_600_000, -3_600_000), (4_000, -4_000), (-3_600_000, 3_600_000)] {
        for by_snapshot in [false, true] {
            let (folder, hands) = (folder(), Hands::at(100_000_000));
            let mut live = core(&folder, &hands, Options::new(1)).unwrap();
            // It lives for longer than an outage spares it.
            let long = Acquire { ttl_ms: Some(120_000), ..request(1, Patience::None) };
            run(&mut live, [set_limit("db", 1), Command::Acquire(Box::new(long))]);
            set(&hands, step_ms);
            run(&mut live, [Command::Tick]);
            assert_eq!(live.state().unwrap().clock_offset_ms(), offset_ms);
            if by_snapshot {
                live.snapshot().unwrap();
            }
            drop(live);
            hands.pass(1_000);
            let mut live = core(&folder, &hands, Options::new(2)).unwrap();
            run(&mut live, [Command::Tick]);
            assert_eq!(live.state().unwrap().now(), Time(100_001_000), "after {step_ms}");
            let mut pass = |seconds| {
                for _ in 0..seconds {
                    hands.pass(1_000);
                    run(&mut live, [Command::Tick]);
                }
                live.state().unwrap().lease(id(1)).is_some()
            };
            assert!(pass(118), "after {step_ms}");
            assert!(!pass(2), "after {step_ms}");
        }
    }
}
