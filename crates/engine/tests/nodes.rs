//! Several nodes on one PostgreSQL: one log, one count, one order; none of them is needed by the others.
#![allow(clippy::unwrap_used, reason = "in a test it says what is wrong")]

mod support;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use admit_engine::{Bounds, Clock, Config, Engine, Error, Home, NodeInfo, Options, PostgresConfig};
use admit_kernel::{Acquire, Command, FORMAT, Outcome, Patience};
use admit_store::PostgresStore;
use admit_testing::{Postgres, Proxy, shared};
use pollster::block_on;
use support::*;

const FOR_LONG: Patience = Patience::For { wait_ms: 60_000 };

fn node_at(url: &str, name: &str) -> Engine {
    let database = PostgresConfig::parse(url).unwrap();
    let address = format!("http://{name}:7070");
    Engine::open(Config { name: name.into(), address, ..Config::at(Home::Postgres(database)) }).unwrap()
}

/// Nodes of one schema that nobody else uses.
struct Nodes {
    postgres: &'static Postgres,
    schema: String,
    nodes: Vec<Engine>,
}

impl Nodes {
    /// With the limit `db`.
    fn new(count: usize, max: u32) -> Nodes {
        let postgres = shared();
        let mut nodes = Nodes { postgres, schema: postgres.new_schema(), nodes: Vec::new() };
        nodes.nodes = (0..count).map(|n| nodes.add(&format!("node {n}"))).collect();
        execute(&nodes.nodes[0], set_limit("db", max));
        nodes
    }

    fn add(&self, name: &str) -> Engine {
        node_at(&self.postgres.url(&self.schema), name)
    }
}

impl std::ops::Index<usize> for Nodes {
    type Output = Engine;

    fn index(&self, index: usize) -> &Engine {
        &self.nodes[index]
    }
}

fn wait_elsewhere(engine: &Engine, acquire: Acquire) -> std::thread::JoinHandle<Result<Outcome, Error>> {
    let engine = engine.clone();
    std::thread::spawn(move || block_on(engine.acquire(acquire, 60_000)))
}

fn is_granted(outcome: &Outcome, n: u128) -> bool {
    matches!(outcome, Outcome::Granted(lease) if lease.id == id(n))
}

#[test]
fn a_slot_held_through_one_node_is_taken_on_every_other() {
    let nodes = Nodes::new(3, 1);
    let lease = hold(&nodes[0], 1);
    for node in &nodes.nodes {
        assert!(matches!(try_acquire(node, 2), Outcome::Denied(_)));
        assert!(is_held(node, 1), "a read looks at the log first");
        assert!(matches!(execute(node, Command::Renew { id: id(1), ttl_ms: None }), Outcome::Renewed(_)));
    }
    assert!(matches!(execute(&nodes[2], release(1)), Outcome::Released { changed: true }));
    assert!(hold(&nodes[1], 2).token > lease.token);
}

#[test]
fn a_ticket_is_woken_on_the_node_where_its_client_waits() {
    let nodes = Nodes::new(3, 1);
    hold(&nodes[0], 1);
    let mut waiting = Vec::new();
    for (n, at) in [(2, 1), (3, 2), (4, 1), (5, 0)] {
        waiting.push(wait_elsewhere(&nodes[at], request(n, FOR_LONG)));
        until("it waits", || is_waiting(&nodes[0], n));
    }
    for (waiter, n) in waiting.into_iter().zip(2..) {
        let started = Instant::now();
        execute(&nodes[(n % 3) as usize], release(n - 1));
        assert!(is_granted(&waiter.join().unwrap().unwrap(), n), "in the order of arrival");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        let lease = block_on(nodes[0].read(move |state| state.lease(id(n)).cloned())).unwrap().unwrap();
        assert_eq!(lease.claim_by, None, "it is claimed");
    }
}

#[test]
fn the_nodes_know_each_other() {
    let nodes = Nodes::new(2, 1);
    until("both are listed", || block_on(nodes[0].nodes()).unwrap().len() == 2);
    let seq = block_on(nodes[1].stats()).unwrap().seq;
    until("both have seen all", || {
        block_on(nodes[0].nodes()).unwrap().iter().all(|node| node.applied_seq >= seq)
    });
    let listed = block_on(nodes[0].nodes()).unwrap();
    assert_eq!(listed[0].info.name, "node 0");
    assert_eq!(listed[1].info.address, "http://node 1:7070");
    assert!(listed.iter().all(|node| node.is_live && node.info.format == FORMAT), "{listed:?}");
    let mut nodes = nodes;
    nodes.nodes.pop();
    until("who left is gone", || block_on(nodes[0].nodes()).unwrap().len() == 1);
}

fn is_unavailable(error: &Error) -> bool {
    matches!(error, Error::Unavailable { retry_in_ms, .. } if *retry_in_ms <= 1_000)
}

/// A node whose connections a test can cut, beside one that sees all.
fn behind_a_proxy() -> (Proxy, Engine, Nodes) {
    let nodes = Nodes::new(1, 1);
    let proxy = Proxy::start(nodes.postgres.socket());
    let engine = node_at(&nodes.postgres.url_through(&proxy, &nodes.schema), "behind");
    (proxy, engine, nodes)
}

/// What a node sends to commit a batch, and nothing else does.
const COMMIT: &str = "statement_timeout = 0; COMMIT";

#[test]
fn an_answer_lost_in_the_middle_of_a_commit_is_found_in_the_log() {
    let (proxy, engine, nodes) = behind_a_proxy();
    proxy.cut_after(COMMIT);
    let lease = hold(&engine, 1);
    assert!(!proxy.is_to_cut());
    let seen = block_on(nodes[0].read(|state| state.lease(id(1)).cloned())).unwrap();
    assert_eq!(seen.map(|lease| lease.token), Some(lease.token));
    assert_eq!(block_on(engine.stats()).unwrap().reloads, 0, "the state stands");
    execute(&engine, release(1));
    hold(&nodes[0], 2);
}

#[test]
fn a_commit_that_was_cut_off_never_happened() {
    let (proxy, engine, nodes) = behind_a_proxy();
    proxy.cut_before(COMMIT);
    let error = block_on(engine.acquire(request(1, Patience::None), 0)).unwrap_err();
    assert!(is_unavailable(&error), "{error}");
    assert!(!is_held(&nodes[0], 1));
    until("it is served again", || block_on(engine.acquire(request(1, Patience::None), 0)).is_ok());
    assert!(is_held(&nodes[0], 1));
}

#[test]
fn a_node_that_cannot_reach_the_database_says_so_and_comes_back_by_itself() {
    let (proxy, engine, nodes) = behind_a_proxy();
    hold(&engine, 1);
    proxy.close();
    let error = block_on(engine.execute(Command::Renew { id: id(1), ttl_ms: None })).unwrap_err();
    assert!(is_unavailable(&error), "{error}");
    let error = block_on(engine.read(|_| ())).unwrap_err();
    assert!(is_unavailable(&error), "a state that may be old is not shown: {error}");
    assert!(!block_on(engine.stats()).unwrap().serving);
    until("it lags", || block_on(engine.stats()).unwrap().lag_ms > 2_000);
    execute(&nodes[0], release(1));
    proxy.open();
    until("it is back without being asked anything", || {
        let stats = block_on(engine.stats()).unwrap();
        stats.serving && stats.lag_ms < 2_000
    });
    assert!(!is_held(&engine, 1), "and knows what happened meanwhile");
}

#[test]
fn who_waits_survives_a_crash_of_the_database() {
    let postgres = Postgres::start("");
    let url = postgres.url(&postgres.new_schema());
    let (one, other) = (node_at(&url, "one"), node_at(&url, "other"));
    execute(&one, set_limit("db", 1));
    let lease = hold(&one, 1);
    let waiter = wait_elsewhere(&other, request(2, FOR_LONG));
    until("2 waits", || is_waiting(&one, 2));
    postgres.stop("immediate");
    assert!(is_unavailable(&block_on(one.execute(release(1))).unwrap_err()));
    postgres.start_again("");
    until("it is back", || block_on(one.execute(Command::Tick)).is_ok());
    let found = block_on(one.read(|state| state.lease(id(1)).cloned())).unwrap();
    assert_eq!(found.map(|lease| lease.token), Some(lease.token), "what was acknowledged is there");
    execute(&one, release(1));
    assert!(is_granted(&waiter.join().unwrap().unwrap(), 2));
}

#[test]
fn an_outage_of_the_database_takes_nothing_from_holders_that_come_back() {
    // Longer than the time to live, and than a silence that counts as an outage by itself, or not.
    for (ttl_ms, outage_ms) in [(4_000, 4_800), (4_000, 6_000)] {
        holders_come_back_after(ttl_ms, Duration::from_millis(outage_ms));
    }
}

fn holders_come_back_after(ttl_ms: u64, outage: Duration) {
    let postgres = Postgres::start("");
    let url = postgres.url(&postgres.new_schema());
    let (one, other) = (node_at(&url, "one"), node_at(&url, "other"));
    execute(&one, set_limit("db", 1));
    let short = Acquire { ttl_ms: Some(ttl_ms), ..request(1, Patience::None) };
    assert!(is_granted(&block_on(one.acquire(short, 0)).unwrap(), 1));
    postgres.stop("fast");
    std::thread::sleep(outage);
    postgres.start_again("");
    until("it is renewed", || match block_on(one.execute(Command::Renew { id: id(1), ttl_ms: None })) {
        Ok(outcome) => {
            assert!(matches!(outcome, Outcome::Renewed(_)), "{outcome:?}");
            true
        }
        Err(_) => false,
    });
    until("somebody else asks", || match block_on(other.acquire(request(2, Patience::None), 0)) {
        Ok(outcome) => {
            assert!(matches!(outcome, Outcome::Denied(_)), "{outcome:?}");
            true
        }
        Err(_) => false,
    });
}

/// A machine whose wall clock is off by what the hands say.
struct Off {
    started: Instant,
    hands: Hands,
}

impl Clock for Off {
    fn wall_ms(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(now.as_millis()).unwrap().wrapping_add(self.hands.wall_ms.load(SeqCst))
    }
    fn mono_ms(&mut self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap()
    }
}

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_clock_that_is_an_hour_off_or_steps_by_one_on_one_node_moves_no_time() {
    for (at_first_ms, then_ms) in [(0, HOUR_MS), (0, -HOUR_MS), (HOUR_MS, 0), (-HOUR_MS, HOUR_MS)] {
        let nodes = Nodes::new(1, 1);
        let hands = Hands::at(at_first_ms.cast_unsigned());
        let (name, address, version) = ("off".to_owned(), String::new(), String::new());
        let info = NodeInfo { number: 9, name, address, version, format: 1 };
        let config = PostgresConfig::parse(&nodes.postgres.url(&nodes.schema)).unwrap();
        let store = PostgresStore::open(config, info, &[]).unwrap();
        let clock = Off { started: Instant::now(), hands: hands.clone() };
        let off = Engine::start(store, clock, Options::new(9), Bounds::default()).unwrap();
        let differ_ms = || off.now().0.abs_diff(nodes[0].now().0);
        assert!(differ_ms() < 5_000, "{} ms before the first command", differ_ms());
        let minute = Acquire { ttl_ms: Some(60_000), ..request(1, Patience::None) };
        assert!(is_granted(&block_on(off.acquire(minute, 0)).unwrap(), 1));
        hands.wall_ms.store(then_ms.cast_unsigned(), SeqCst);
        execute(&off, Command::Tick);
        execute(&off, set_limit("other", 1));
        assert!(is_held(&nodes[0], 1) && is_held(&off, 1));
        assert!(differ_ms() < 5_000, "{} ms after the step", differ_ms());
        let Outcome::Renewed(lease) = execute(&off, Command::Renew { id: id(1), ttl_ms: None }) else {
            panic!("it is alive")
        };
        let left_ms = lease.expires_at.unwrap().since(nodes[0].now());
        assert!(left_ms.abs_diff(60_000) < 5_000, "{left_ms} ms left of a minute");
    }
}

#[test]
fn a_node_that_was_away_for_long_catches_up_before_it_says_anything() {
    let (proxy, engine, nodes) = behind_a_proxy();
    proxy.close();
    for n in 0..400 {
        hold(&nodes[0], n);
        execute(&nodes[0], release(n));
    }
    hold(&nodes[0], 1_000);
    proxy.open();
    until("it is back", || block_on(engine.execute(Command::Tick)).is_ok());
    assert!(matches!(try_acquire(&engine, 1_001), Outcome::Denied(_)));
    assert_eq!(block_on(engine.stats()).unwrap().reloads, 0, "record by record");
}

#[test]
fn a_node_that_is_behind_a_truncated_log_reads_the_snapshot() {
    let (proxy, engine, nodes) = behind_a_proxy();
    proxy.close();
    hold(&nodes[0], 1);
    for n in 0..20 {
        execute(&nodes[0], set_limit(&format!("limit {n}"), 1));
    }
    // A snapshot of another node, and a log that begins after it.
    block_on(nodes[0].shutdown()).unwrap();
    nodes.postgres.sql(&nodes.schema, "DELETE FROM log WHERE seq <= (SELECT max(seq) FROM snapshots)");
    proxy.open();
    until("it is back", || block_on(engine.execute(Command::Tick)).is_ok());
    assert!(is_held(&engine, 1));
    assert!(block_on(engine.stats()).unwrap().reloads > 0);
}

#[test]
fn a_read_only_database_is_said_to_be_one() {
    let postgres = Postgres::start("");
    let url = postgres.url("admit");
    let engine = node_at(&url, "alone");
    execute(&engine, set_limit("db", 1));
    // What a connection begins with stays with it, so all have to be new.
    postgres.sql("admit", "ALTER DATABASE postgres SET default_transaction_read_only = on");
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'postgres'";
    postgres.sql("admit", others);
    until("it says so", || {
        let error = block_on(engine.acquire(request(1, Patience::None), 0)).unwrap_err();
        assert!(is_unavailable(&error), "{error}");
        error.to_string().contains("read-only")
    });
    postgres.sql(
        "admit",
        "BEGIN READ WRITE; ALTER DATABASE postgres RESET default_transaction_read_only; COMMIT",
    );
    until("it can be written again", || block_on(engine.acquire(request(1, Patience::None), 0)).is_ok());
}
