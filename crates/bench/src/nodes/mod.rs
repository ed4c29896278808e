//! Several servers on one PostgreSQL, over HTTP, beside one server on SQLite and beside what people write by hand:
//! a row per key that counts.

mod counters;
mod grants;

use std::time::Duration;

use admit_testing::Postgres;

use crate::Result;
use crate::connection::Connection;
use crate::lease;
use crate::load::{self, Round, ratio, typical};
use crate::server::Server;

const CLIENTS: usize = 64;
/// One hot key, and as many as make it no bottleneck.
const KEYS: [u128; 2] = [1, 1_000];
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_500);

/// Servers that share a log.
pub struct Cluster {
    name: String,
    servers: Vec<Server>,
}

/// Runs the benchmark.
pub fn run(binary: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        compare(binary, "disk as it is", "").await?;
        compare(binary, "2 ms more for each commit of PostgreSQL", "-c commit_delay=2000 -c commit_siblings=0").await?;
        println!(
            "\n(three nodes: at least 8,000 pairs/s and no errors, and a release on one has to be a grant on another within \
             5 ms (p50), with the disk as it is)"
        );
        Ok(())
    })
}

async fn compare(binary: &str, what: &str, options: &str) -> Result<()> {
    let (postgres, folder) = (Postgres::start(options), tempfile::tempdir()?);
    let mut clusters = Vec::new();
    // Each its own log, so that none has to follow what another is measured with.
    for nodes in 1..=3 {
        clusters.push(Cluster::start(binary, &postgres, nodes).await?);
    }
    let sqlite = Server::start(binary, folder.path(), &[]).await?;
    clusters.push(Cluster { name: "1 server on SQLite".to_owned(), servers: vec![sqlite] });
    for cluster in &clusters {
        lease::make_limit(&cluster.servers[0]).await?;
    }
    println!("\n{what}, {CLIENTS} clients");
    println!(
        "{:>5}  {:<20} {:>9} {:>8} {:>8} {:>7} {:>12}  beside SQL by hand",
        "keys", "", "pairs/s", "p50 ms", "p99 ms", "errors", "cpu us/pair"
    );
    for keys in KEYS {
        let mut by_hand = Vec::new();
        let mut rounds: Vec<Vec<Round>> = clusters.iter().map(|_| Vec::new()).collect();
        // Interleaved, so that whatever else the machine does falls on all.
        for _ in 0..ROUNDS {
            for (cluster, rounds) in clusters.iter().zip(&mut rounds) {
                rounds.push(cluster.round(keys).await?);
            }
            by_hand.push(counters::round(&postgres, CLIENTS, keys, ROUND).await?);
        }
        for (cluster, rounds) in clusters.iter().zip(&rounds) {
            println!("{keys:>5}  {:<20} {}", cluster.name, shown(rounds, &by_hand));
        }
        println!("{keys:>5}  {:<20} {}", "SQL by hand", shown(&by_hand, &by_hand));
    }
    for cluster in &clusters {
        println!("release to grant, {:<20} {}", cluster.name, grants::measure(&cluster.servers).await?);
    }
    Ok(())
}

impl Cluster {
    async fn start(binary: &str, postgres: &Postgres, nodes: usize) -> Result<Cluster> {
        let database = postgres.url(&postgres.new_schema());
        let mut servers = Vec::new();
        for _ in 0..nodes {
            servers.push(Server::start_node(binary, &database).await?);
        }
        let name = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
        Ok(Cluster { name, servers })
    }

    /// Clients spread over the servers.
    async fn round(&self, keys: u128) -> Result<Round> {
        let cpu_s = || self.servers.iter().map(Server::cpu_s).sum::<Result<f64>>();
        let hosts: Vec<String> = self.servers.iter().map(|server| server.host.clone()).collect();
        let cpu = cpu_s()?;
        let open = async move |client: usize| Connection::open(&hosts[client % hosts.len()]).await;
        let pair = async move |connection: &mut Connection| lease::pair(connection, keys).await;
        let round = load::round(CLIENTS, ROUND, open, pair).await?;
        Ok(Round { server_cpu_us: (cpu_s()? - cpu) * 1e6 / round.pairs as f64, ..round })
    }
}

fn shown(rounds: &[Round], by_hand: &[Round]) -> String {
    let error = rounds.iter().find_map(|round| round.error.as_deref());
    format!(
        "{:>9.0} {:>8.2} {:>8.2} {:>7} {:>12.1}  {:.1}{}",
        typical(rounds, |round| round.pairs_per_s),
        typical(rounds, |round| round.p50_ms),
        typical(rounds, |round| round.p99_ms),
        rounds.iter().map(|round| round.errors).sum::<usize>(),
        typical(rounds, |round| round.server_cpu_us),
        ratio(rounds, by_hand),
        error.map(|error| format!("  {error}")).unwrap_or_default(),
    )
}
