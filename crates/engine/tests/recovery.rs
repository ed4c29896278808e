//! What was acknowledged is on disk; what is read back is what was.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use admit_engine::{Batch, Config, Core, Engine, Error, Keep, Op, Options, check};
use admit_kernel::{Acquire, Claim, Command, Counts, Limit, Outcome, Patience, Refill, Terms, Time};
use admit_store::{Durability, SqliteStore, Store};
use pollster::block_on;
use support::*;
use tempfile::TempDir;

type TestCore = Core<SqliteStore, Hands>;

fn core(folder: &TempDir, hands: &Hands, options: Options) -> Result<TestCore, Error> {
    let store = SqliteStore::open(folder.path(), Durability::Normal, &[]).unwrap();
    Core::open(store, hands.clone(), options)
}

fn run(core: &mut TestCore, commands: impl IntoIterator<Item = Command>) -> Vec<Outcome> {
    let ops: Vec<Op> = commands.into_iter().map(Op::new).collect();
    let mut batch = Batch::default();
    let mut outcomes = Vec::new();
    while outcomes.len() < ops.len() {
        core.run(&ops[outcomes.len()..], &mut |_| false, &mut batch);
        outcomes.extend(batch.answers.drain(..).map(|answer| answer.unwrap().unwrap()));
    }
    outcomes
}

fn acquire(n: u128, patience: Patience) -> Command {
    Command::Acquire(Box::new(request(n, patience)))
}

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
fn a_clean_restart_keeps_leases_tickets_and_limits() {
    let folder = folder();
    let engine = open_with_db(&folder, 1);
    hold(&engine, 1);
    execute(&engine, acquire(2, Patience::Forever));
    let before = plain(&engine);
    block_on(engine.shutdown()).unwrap();
    let engine = open(&folder);
    assert!(plain(&engine) == before);
    execute(&engine, release(1));
    assert!(is_held(&engine, 2));
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
    assert_eq!(check(folder.path()).unwrap().snapshots.len(), 1, "a snapshot at the end");
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
fn a_damaged_log_is_refused_with_the_place() {
    for (sql, expected) in [
        ("UPDATE log SET payload = CAST('x' AS BLOB) WHERE seq = 2", "damaged at record 2: its checksum"),
        ("DELETE FROM log WHERE seq = 2", "damaged at record 2: a gap"),
        ("UPDATE log SET format = 99 WHERE seq = 2", "the format of record 2 is 99"),
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
    let mut store = SqliteStore::open(folder.path(), Durability::Normal, &[]).unwrap();
    let payload = postcard_of_no_events();
    let record = admit_store::Record::after(&store.head().unwrap(), id(1), 0, 5, Some(0xdead_beef), payload);
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
    let report = check(folder.path()).unwrap();
    assert_eq!(report.problems, [""; 0]);
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

fn tamper(folder: &TempDir, sql: &str) {
    rusqlite::Connection::open(folder.path().join("admit.db")).unwrap().execute_batch(sql).unwrap();
}
