//! Acquire + release over HTTP, on disk, beside pairs of requests to a route that does nothing.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::Result;
use crate::connection::Connection;
use crate::server::Server;
use crate::stats::{median, percentile};

const CONNECTIONS: [usize; 3] = [1, 8, 64];
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1_500);

#[derive(Clone, Copy, PartialEq)]
enum Load {
    /// Two requests that do nothing.
    Bare,
    /// Acquire, then release.
    Durable,
}

struct Round {
    pairs_per_s: f64,
    p99_ms: f64,
    server_cpu_us: f64,
}

/// Runs the benchmark.
pub fn run(binary: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let server = Server::start(binary, folder.path(), &[]).await?;
        let mut setup = Connection::open(&server.host).await?;
        setup.expect(&[200, 201], "PUT", "/api/v1/limits/bench", r#"{"max":1000000}"#).await?;
        println!(
            "{:>11} {:>14} {:>14} {:>7} {:>12} {:>22}",
            "connections", "durable/s", "bare/s", "ratio", "p99 ms", "server cpu us/pair"
        );
        for connections in CONNECTIONS {
            let (mut durable, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            // Interleaved, so that whatever else the machine does falls on both.
            for _ in 0..ROUNDS {
                let plain = round(&server, connections, Load::Bare).await?;
                let real = round(&server, connections, Load::Durable).await?;
                ratios.push(real.pairs_per_s / plain.pairs_per_s);
                bare.push(plain);
                durable.push(real);
            }
            let of = |rounds: &[Round], what: fn(&Round) -> f64| {
                median(&mut rounds.iter().map(what).collect::<Vec<_>>())
            };
            println!(
                "{connections:>11} {:>14.0} {:>14.0} {:>7.2} {:>5.2} / {:<4.2} {:>10.1} / {:<9.1}",
                of(&durable, |round| round.pairs_per_s),
                of(&bare, |round| round.pairs_per_s),
                median(&mut ratios),
                of(&durable, |round| round.p99_ms),
                of(&bare, |round| round.p99_ms),
                of(&durable, |round| round.server_cpu_us),
                of(&bare, |round| round.server_cpu_us),
            );
        }
        println!("(p99 and cpu: durable / bare; at 64 connections the ratio has to be at least 0.6)");
        Ok(())
    })
}

async fn round(server: &Server, connections: usize, load: Load) -> Result<Round> {
    let (cpu, started) = (server.cpu_s()?, Instant::now());
    let tasks: Vec<_> =
        (0..connections).map(|_| tokio::spawn(closed_loop(server.host.clone(), load))).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await?.map_err(|error| error.to_string())?);
    }
    let pairs = times.len() as f64;
    Ok(Round {
        pairs_per_s: pairs / started.elapsed().as_secs_f64(),
        p99_ms: percentile(&mut times, 0.99),
        server_cpu_us: (server.cpu_s()? - cpu) * 1e6 / pairs,
    })
}

/// One client that does pair after pair; the time of each in milliseconds.
async fn closed_loop(host: String, load: Load) -> std::result::Result<Vec<f64>, String> {
    let run = async {
        let mut connection = Connection::open(&host).await?;
        let (started, mut times) = (Instant::now(), Vec::new());
        while started.elapsed() < ROUND {
            let begun = Instant::now();
            match load {
                Load::Bare => {
                    connection.expect(&[200], "GET", "/healthz", "").await?;
                    connection.expect(&[200], "GET", "/healthz", "").await?;
                }
                Load::Durable => {
                    let id = Uuid::new_v4();
                    let body =
                        format!(r#"{{"id":"{id}","claims":[{{"limit":"bench","slots":1}}],"ttl_ms":60000}}"#);
                    connection.expect(&[201], "POST", "/api/v1/leases", &body).await?;
                    connection.expect(&[204], "DELETE", &format!("/api/v1/leases/{id}"), "").await?;
                }
            }
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok::<_, Box<dyn std::error::Error>>(times)
    };
    run.await.map_err(|error| error.to_string())
}
