//! What was acknowledged is in the log; what is read back is what was.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::sync::atomic::Ordering;

use admit_engine::{Core, Error, Options};
use admit_kernel::{Acquire, Claim, Command, Counts, Limit, Patience, Refill, Terms};
use admit_store::{Keep, Store};
use pollster::block_on;
use support::*;

/// A little of everything, over some 20 s.
fn live_a_little(core: &mut TestCore, hands: &Hands) {
    let windowed = Terms { max: 3, refill: Refill::Window { ms: 10_000, counts: Counts::Runs } };
    let limit = Box::new(Limit { patterns: vec!["tenant/*".into()], ..Limit::new("windowed", windowed) });
    run(core, [set_limit("db", 2), Command::SetLimit { limit, if_revision: None }]);
    for round in 0..40u128 {
        let n = round * 10;
        let tenant = Claim::inline(format!("tenant/{}", round % 3), Terms::concurrent(2), 1);
        let mixed = Acquire {
            claims: vec![Claim::limit("db", 1), tenant],
            patience: Patience::Forever,
            priority: (round % 3) as i32,
            group: Some(format!("group {}", round % 2).into()),
            ..request(n + 2, Patience::None)
        };
        run(
            core,
            [
                acquire(n, Patience::Forever),
                acquire(n + 1, Patience::For { wait_ms: 4_000 }),
                Command::Acquire(Box::new(mixed)),
                Command::Renew { id: id(n), ttl_ms: Some(5_000) },
            ],
        );
        hands.pass(500);
        run(core, [release(n), release(n.saturating_sub(18)), Command::Tick]);
    }
}

#[test]
fn the_recovered_state_is_the_live_one() {
    let (folder, hands) = (folder(), Hands::at(1_000_000));
    let mut live = core(&folder, &hands, Options::new(1)).unwrap();
    live_a_little(&mut live, &hands);
    let (before, seq) = (live.state().unwrap().snapshot(), live.seq());
    drop(live);
    let recovered = core(&folder, &hands, Options::new(2)).unwrap();
    assert_eq!(recovered.seq(), seq);
    assert!(recovered.state().unwrap().snapshot() == before, "the log alone");
}

#[test]
fn the_state_recovered_from_a_snapshot_and_the_log_is_the_live_one() {
    let (folder, hands) = (folder(), Hands::at(1_000_000));
    let mut live = core(&folder, &hands, Options::new(1)).unwrap();
    live_a_little(&mut live, &hands);
    live.snapshot().unwrap();
    run(&mut live, [acquire(9_001, Patience::Forever), release(9_001), acquire(9_002, Patience::Forever)]);
    let before = live.state().unwrap().snapshot();
    drop(live);
    let mut recovered = core(&folder, &hands, Options::new(2)).unwrap();
    assert!(recovered.state().unwrap().snapshot() == before);
    // And it decides the same from there on.
    let outcomes = run(&mut recovered, [release(9_002), acquire(9_003, Patience::None)]);
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn what_others_truncate_while_it_is_read_is_read_again() {
    let (folder, hands) = (folder(), Hands::at(1_000_000));
    let mut live = core(&folder, &hands, Options::new(1)).unwrap();
    live_a_little(&mut live, &hands);
    for n in 0..2 {
        live.snapshot().unwrap();
        run(&mut live, [acquire(9_000 + n, Patience::Forever)]);
    }
    let nothing = Keep { age_ms: 0, bytes: 0 };
    while live.store().truncate(nothing, u64::MAX).unwrap() {}
    let before = live.state().unwrap().snapshot();
    drop(live);
    let recover = |early: u64| {
        let (store, faults) = FailingStore::open(&folder, &[]);
        faults.early_recoveries.store(early, Ordering::SeqCst);
        let recovered = Core::open(store, hands.clone(), Options::new(2));
        (recovered, faults.recoveries.load(Ordering::SeqCst))
    };
    let (recovered, tries) = recover(1);
    assert!(recovered.unwrap().state().unwrap().snapshot() == before);
    assert_eq!(tries, 2);
    // What is gone for good is said at once.
    let (recovered, tries) = recover(u64::MAX);
    let error = recovered.err().unwrap().to_string();
    assert!(error.contains("damaged at record 1: a gap"), "{error}");
    assert_eq!(tries, 2);
}

#[test]
fn a_clean_restart_keeps_leases_tickets_and_limits() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    execute(&engine, acquire(2, Patience::Forever));
    let before = digest(&engine);
    block_on(engine.shutdown()).unwrap();
    let engine = open(&folder);
    assert_eq!(digest(&engine), before);
    execute(&engine, release(1));
    assert!(is_held(&engine, 2));
}

#[test]
fn a_damaged_log_is_refused_with_the_place() {
    for (sql, expected) in [
        ("UPDATE log SET payload = CAST('x' AS BLOB) WHERE seq = 2", "damaged at record 2: its checksum"),
        ("DELETE FROM log WHERE seq = 2", "damaged at record 2: a gap"),
        ("UPDATE log SET format = 99 WHERE seq = 2", "record 2 of the log is in format 99"),
    ] {
        let (folder, hands) = (folder(), Hands::at(1_000_000));
        let mut live = core(&folder, &hands, Options::new(1)).unwrap();
        for n in 0..3 {
            run(&mut live, [set_limit(&format!("limit {n}"), 1)]);
        }
        drop(live);
        tamper(&folder, sql);
        let error = core(&folder, &hands, Options::new(2)).err().unwrap().to_string();
        assert!(error.contains(expected), "{sql}: {error}");
    }
}

#[test]
fn a_state_that_is_not_the_recorded_one_is_refused() {
    let (folder, hands) = (folder(), Hands::at(1_000_000));
    let mut store = FailingStore::open(&folder, &[]).0;
    let payload = postcard_of_no_events();
    let record =
        admit_store::Record::after(&store.head().unwrap(), id(1), 0, 1, 5, Some(0xdead_beef), payload);
    store.begin(&admit_store::Head::default()).unwrap();
    store.commit(&record, &[]).unwrap();
    drop(store);
    let error = core(&folder, &hands, Options::new(2)).err().unwrap();
    assert!(matches!(error, Error::Diverged { seq: 1, recorded: 0xdead_beef, .. }), "{error}");
}

/// An empty list.
fn postcard_of_no_events() -> Vec<u8> {
    vec![0]
}

#[test]
fn every_thousandth_record_carries_a_digest_that_replaying_agrees_with() {
    let (folder, hands) = (folder(), Hands::at(1_000_000));
    let mut live = core(&folder, &hands, Options::new(1)).unwrap();
    run(&mut live, [set_limit("db", 1)]);
    while live.seq() < 2_010 {
        let n = u128::from(live.seq());
        run(&mut live, [acquire(n, Patience::None)]);
        run(&mut live, [release(n)]);
        hands.pass(1);
    }
    drop(live);
    let mut live = core(&folder, &hands, Options::new(2)).unwrap();
    let records = live.store().records_after(0, usize::MAX).unwrap();
    let with_digest: Vec<u64> =
        records.iter().filter(|record| record.state_digest.is_some()).map(|record| record.seq).collect();
    assert_eq!(with_digest, [1_000, 2_000]);
}
