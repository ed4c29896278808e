//! How long a server that was killed takes to be ready again, with many live leases.

use std::time::Instant;

use uuid::Uuid;

use crate::Result;
use crate::connection::Connection;
use crate::server::Server;
use crate::stats::median;

const LEASES: usize = 100_000;
const BATCH: usize = 1_000;
const RESTARTS: usize = 5;

/// Runs the benchmark.
pub fn run(binary: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let mut server = Server::start(binary, folder.path(), &[]).await?;
        fill(&server).await?;
        let mut times = Vec::new();
        for _ in 0..RESTARTS {
            server.kill()?;
            let started = Instant::now();
            server = Server::start(binary, folder.path(), &[]).await?;
            times.push(started.elapsed().as_secs_f64());
        }
        let mut connection = Connection::open(&server.host).await?;
        let (_, answer) = connection.call("GET", "/api/v1/keys/many", "").await?;
        let key: serde_json::Value = serde_json::from_slice(answer)?;
        if key["running"] != LEASES {
            return Err(format!("{} of {LEASES} leases are left", key["running"]).into());
        }
        println!(
            "restart with {LEASES} leases, after SIGKILL: median {:.2} s (has to be at most 2 s)",
            median(&mut times)
        );
        Ok(())
    })
}

async fn fill(server: &Server) -> Result<()> {
    let mut connection = Connection::open(&server.host).await?;
    connection.expect(&[200, 201], "PUT", "/api/v1/limits/many", r#"{"max":1000000}"#).await?;
    for _ in 0..LEASES / BATCH {
        let op = |_| {
            format!(
                r#"{{"op":"acquire","id":"{}","claims":[{{"limit":"many"}}],"ttl_ms":3600000}}"#,
                Uuid::new_v4()
            )
        };
        let ops: Vec<String> = (0..BATCH).map(op).collect();
        connection
            .expect(&[200], "POST", "/api/v1/batch", &format!(r#"{{"ops":[{}]}}"#, ops.join(",")))
            .await?;
    }
    Ok(())
}
