//! Acquire + release over HTTP, on disk, beside pairs of requests to a route that does nothing.

use std::time::Duration;

use crate::Result;
use crate::connection::Connection;
use crate::lease;
use crate::load::{self, Round, ratio, typical};
use crate::server::Server;

const CONNECTIONS: [usize; 3] = [1, 8, 64];
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1_500);

/// Runs the benchmark.
pub fn run(binary: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let server = Server::start(binary, folder.path(), &[]).await?;
        lease::make_limit(&server).await?;
        println!(
            "{:>11} {:>14} {:>14} {:>7} {:>12} {:>22}",
            "connections", "durable/s", "bare/s", "ratio", "p99 ms", "server cpu us/pair"
        );
        for connections in CONNECTIONS {
            let (mut durable, mut bare) = (Vec::new(), Vec::new());
            // Interleaved, so that whatever else the machine does falls on both.
            for _ in 0..ROUNDS {
                bare.push(round(&server, connections, nothing).await?);
                durable.push(round(&server, connections, async |client| lease::pair(client, 1).await).await?);
            }
            println!(
                "{connections:>11} {:>14.0} {:>14.0} {:>7.2} {:>5.2} / {:<4.2} {:>10.1} / {:<9.1}",
                typical(&durable, |round| round.pairs_per_s),
                typical(&bare, |round| round.pairs_per_s),
                ratio(&durable, &bare),
                typical(&durable, |round| round.p99_ms),
                typical(&bare, |round| round.p99_ms),
                typical(&durable, |round| round.server_cpu_us),
                typical(&bare, |round| round.server_cpu_us),
            );
        }
        println!("(p99 and cpu: durable / bare; at 64 connections the ratio has to be at least 0.6)");
        Ok(())
    })
}

async fn round(
    server: &Server,
    connections: usize,
    pair: impl AsyncFn(&mut Connection) -> Result<()> + 'static,
) -> Result<Round> {
    let (cpu, host) = (server.cpu_s()?, server.host.clone());
    let round = load::round(connections, ROUND, async move |_| Connection::open(&host).await, pair).await?;
    if let Some(error) = round.error {
        return Err(error.into());
    }
    Ok(Round { server_cpu_us: (server.cpu_s()? - cpu) * 1e6 / round.pairs as f64, ..round })
}

/// Two requests that do nothing.
async fn nothing(connection: &mut Connection) -> Result<()> {
    connection.expect(&[200], "GET", "/healthz", "").await?;
    connection.expect(&[200], "GET", "/healthz", "").await
}
