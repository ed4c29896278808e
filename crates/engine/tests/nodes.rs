//! Several nodes on one PostgreSQL: one log, one count, one order; none of them is needed by the others.

mod support;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use admit_engine::{Config, Engine, Error, Home, PostgresConfig};
use admit_kernel::{Acquire, Claim, Command, End, Outcome, Patience};
use admit_testing::{Postgres, Proxy, shared};
use pollster::block_on;
use support::*;
use uuid::Uuid;

const FOR_LONG: Patience = Patience::For { wait_ms: 60_000 };

fn node_at(url: &str, name: &str) -> Engine {
    let database = PostgresConfig::parse(url).unwrap();
    let address = format!("http://{name}:7070");
    Engine::open(Config::at(Home::Postgres { database, name: name.into(), address })).unwrap()
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
    assert!(listed.iter().all(|node| node.seen_ms_ago < 5_000 && node.format == 1), "{listed:?}");
    let mut nodes = nodes;
    nodes.nodes.pop();
    until("who left is gone", || block_on(nodes[0].nodes()).unwrap().len() == 1);
}
