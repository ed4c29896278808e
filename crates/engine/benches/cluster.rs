//! Acquire + release pairs a second through 1, 2 and 3 nodes on one PostgreSQL, beside what people write by
//! hand: a row per key that counts. Every round measures each once, so that whatever else the machine does
//! falls on all.
//!
//! `cargo bench -p admit-engine --bench cluster`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use admit_engine::{Config, Engine, Home, PostgresConfig, Stats};
use admit_kernel::{Acquire, Claim, Command, Limit, Outcome, Part, Patience, Terms};
use admit_testing::Postgres;
use pollster::block_on;
use tokio::runtime::Builder;
use tokio_postgres::NoTls;
use uuid::Uuid;

const ROUNDS: usize = 3;
const SPAN: Duration = Duration::from_millis(2_000);
/// How often a wake-up is measured.
const WAKEUPS: usize = 200;
/// One hot key, and as many as make it no bottleneck.
const KEYS: [usize; 2] = [1, 1_000];

/// What a round of one load gave.
struct Round {
    pairs_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    ops_per_batch: f64,
}

fn main() {
    compare("disk as it is", "", &[64, 512]);
    compare("2 ms more per commit", "-c commit_delay=2000 -c commit_siblings=0", &[64]);
}

fn compare(what: &str, options: &str, clients: &[usize]) {
    let postgres = Postgres::start(options);
    let schema = postgres.new_schema();
    let mut rounds: BTreeMap<(usize, String), Vec<Round>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for clients in clients.iter().copied() {
            for keys in KEYS {
                let name = if keys == 1 { "counter row, hot key" } else { "counter rows, 1000 keys" };
                // A client of its own connection each; more than 64 only wait for each other.
                let round = by_hand(&postgres, clients.min(64), keys);
                rounds.entry((clients, format!("    {name}"))).or_default().push(round);
            }
            for nodes in 1..=3 {
                let round = by_nodes(&postgres, &schema, nodes, clients);
                rounds.entry((clients, format!("{nodes} nodes"))).or_default().push(round);
            }
        }
    }
    println!("\n{what}");
    println!(
        "{:>8}  {:<28} {:>9} {:>8} {:>8} {:>10}",
        "clients", "", "pairs/s", "p50 ms", "p99 ms", "ops/batch"
    );
    for ((clients, name), rounds) in &rounds {
        let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
        println!(
            "{clients:>8}  {name:<28} {:>9.0} {:>8.2} {:>8.2} {:>10.1}",
            of(|round| round.pairs_per_s),
            of(|round| round.p50_ms),
            of(|round| round.p99_ms),
            of(|round| round.ops_per_batch),
        );
    }
    let mut times = wakeups(&postgres);
    times.sort_by(f64::total_cmp);
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("release on one node to grant on another: p50 {p50:.2} ms, p99 {p99:.2} ms");
}

fn open(postgres: &Postgres, schema: &str) -> Engine {
    let database = PostgresConfig::parse(&postgres.url(schema)).expect("a good URL");
    Engine::open(Config::at(Home::Postgres(database))).expect("a node")
}

fn set_limit(engine: &Engine, max: u32) {
    let limit = Box::new(Limit::new("hot", Terms::concurrent(max)));
    block_on(engine.execute(Command::SetLimit { limit, if_revision: None })).expect("a limit");
}

/// Clients spread over nodes, all on one key.
fn by_nodes(postgres: &Postgres, schema: &str, nodes: usize, clients: usize) -> Round {
    let nodes: Vec<Engine> = (0..nodes).map(|_| open(postgres, schema)).collect();
    set_limit(&nodes[0], 1_000_000);
    let before: Vec<Stats> = nodes.iter().map(|node| block_on(node.stats()).expect("stats")).collect();
    let started = Instant::now();
    let times: Vec<f64> = thread::scope(|scope| {
        let threads: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(index, node)| {
                let share = clients / nodes.len() + usize::from(index < clients % nodes.len());
                scope.spawn(move || {
                    let run = |_| closed_loop(node.clone());
                    run_all((0..share).map(run).collect())
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no client fails")).collect()
    });
    let spent = started.elapsed();
    let after: Vec<Stats> = nodes.iter().map(|node| block_on(node.stats()).expect("stats")).collect();
    let sum = |of: fn(&Stats) -> u64| -> f64 {
        after.iter().zip(&before).map(|(after, before)| (of(after) - of(before)) as f64).sum()
    };
    Round { ops_per_batch: sum(|stats| stats.commands) / sum(|stats| stats.batches), ..round(times, spent) }
}

async fn closed_loop(engine: Engine) -> Vec<f64> {
    let (until, mut times) = (Instant::now() + SPAN, Vec::new());
    while Instant::now() < until {
        let started = Instant::now();
        let id = Uuid::new_v4();
        let outcome = engine.acquire(Acquire::new(id, vec![Claim::limit("hot", 1)]), 0).await;
        assert!(matches!(outcome, Ok(Outcome::Granted(_))), "{outcome:?}");
        let outcome = engine.execute(Command::Release { id, part: Part::All, counts: true }).await;
        assert!(matches!(outcome, Ok(Outcome::Released { changed: true })), "{outcome:?}");
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times
}

/// A row per key, an update to take a slot and one to give it back, each its own transaction.
fn by_hand(postgres: &Postgres, clients: usize, keys: usize) -> Round {
    let schema = postgres.new_schema();
    postgres.sql(
        "public",
        &format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.counters (key BIGINT PRIMARY KEY, used BIGINT, max BIGINT);
             INSERT INTO {schema}.counters SELECT n, 0, 1000000 FROM generate_series(0, {}) n",
            keys - 1
        ),
    );
    let url = postgres.url(&schema);
    let url = url.split('?').next().unwrap_or_default();
    let started = Instant::now();
    let half = clients / 2;
    let schema = Arc::<str>::from(schema);
    let times: Vec<f64> = thread::scope(|scope| {
        let threads: Vec<_> = [0..half, half..clients]
            .into_iter()
            .map(|share| {
                let schema = Arc::clone(&schema);
                scope.spawn(move || {
                    let run = |client| counting_loop(url.to_owned(), Arc::clone(&schema), client, keys);
                    run_all(share.map(run).collect())
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no client fails")).collect()
    });
    round(times, started.elapsed())
}

async fn counting_loop(url: String, schema: Arc<str>, client: usize, keys: usize) -> Vec<f64> {
    let (connected, connection) = tokio_postgres::connect(&url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    let take = format!("UPDATE {schema}.counters SET used = used + 1 WHERE key = $1 AND used < max");
    let give = format!("UPDATE {schema}.counters SET used = used - 1 WHERE key = $1");
    let (take, give) =
        (connected.prepare(&take).await.expect("SQL"), connected.prepare(&give).await.expect("SQL"));
    let (until, mut times, mut n) = (Instant::now() + SPAN, Vec::new(), client * 7_919);
    while Instant::now() < until {
        let started = Instant::now();
        n += 104_729;
        let key = (n % keys) as i64;
        assert_eq!(connected.execute(&take, &[&key]).await.expect("a slot"), 1);
        connected.execute(&give, &[&key]).await.expect("it back");
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times
}

/// Milliseconds from the release on one node to the grant that a client of another node gets.
fn wakeups(postgres: &Postgres) -> Vec<f64> {
    let schema = postgres.new_schema();
    let (one, other) = (open(postgres, &schema), open(postgres, &schema));
    set_limit(&one, 1);
    let mut held = Uuid::new_v4();
    block_on(one.acquire(Acquire::new(held, vec![Claim::limit("hot", 1)]), 0)).expect("a free slot");
    let mut times = Vec::new();
    for _ in 0..WAKEUPS {
        let id = Uuid::new_v4();
        let patience = Patience::For { wait_ms: 60_000 };
        let waiter = {
            let other = other.clone();
            let acquire = Acquire { patience, ..Acquire::new(id, vec![Claim::limit("hot", 1)]) };
            thread::spawn(move || {
                let outcome = block_on(other.acquire(acquire, 0));
                assert!(matches!(outcome, Ok(Outcome::Granted(_))), "{outcome:?}");
                Instant::now()
            })
        };
        while !block_on(one.read(move |state| state.ticket(id).is_some())).expect("a state") {
            thread::sleep(Duration::from_micros(200));
        }
        let started = Instant::now();
        block_on(one.execute(Command::Release { id: held, part: Part::All, counts: true }))
            .expect("a release");
        let woken = waiter.join().expect("a grant");
        times.push(woken.duration_since(started).as_secs_f64() * 1e3);
        held = id;
    }
    times
}

/// Runs clients on this thread, gives all their times.
fn run_all<F: Future<Output = Vec<f64>> + Send + 'static>(clients: Vec<F>) -> Vec<f64> {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let tasks: Vec<_> = clients.into_iter().map(|client| tokio::spawn(client)).collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.expect("no client fails"));
        }
        times
    })
}

fn round(mut times: Vec<f64>, spent: Duration) -> Round {
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    Round {
        pairs_per_s: times.len() as f64 / spent.as_secs_f64(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        ops_per_batch: 0.0,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
