//! From a release to the next grant, with many who wait.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::Result;
use crate::connection::Connection;
use crate::server::Server;
use crate::stats::percentile;

const WAITERS: usize = 1_000;
const WITHIN: Duration = Duration::from_secs(120);

/// Runs the benchmark.
pub fn run(binary: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let server = Server::start(binary, folder.path(), &[]).await?;
        let mut control = Connection::open(&server.host).await?;
        control.expect(&[200, 201], "PUT", "/api/v1/limits/one", r#"{"max":1}"#).await?;
        let mut held = Uuid::new_v4();
        control.expect(&[201], "POST", "/api/v1/leases", &body(held, 0)).await?;
        let (granted, mut grants) = mpsc::unbounded_channel();
        for _ in 0..WAITERS {
            let (host, granted) = (server.host.clone(), granted.clone());
            tokio::spawn(async move {
                let id = Uuid::new_v4();
                let waited = async {
                    let mut connection = Connection::open(&host).await?;
                    connection.expect(&[201], "POST", "/api/v1/leases", &body(id, 600_000)).await
                };
                let outcome = waited.await.map_err(|error| error.to_string());
                // Whoever measures has gone only when the benchmark has ended.
                let _ = granted.send((Instant::now(), outcome.map(|()| id)));
            });
        }
        wait_for_waiters(&mut control).await?;
        let (mut times, started) = (Vec::new(), Instant::now());
        while times.len() < WAITERS {
            let released = Instant::now();
            control.expect(&[204], "DELETE", &format!("/api/v1/leases/{held}"), "").await?;
            let (at, outcome) = tokio::time::timeout(WITHIN, grants.recv()).await?.ok_or("nobody waits any more")?;
            held = outcome?;
            times.push(at.duration_since(released).as_secs_f64() * 1e3);
        }
        println!(
            "{WAITERS} waiters: release to grant p50 {:.2} ms, p99 {:.2} ms; {WAITERS} grants in {:.2} s (p50 has to be under 2 ms)",
            percentile(&mut times, 0.5),
            percentile(&mut times, 0.99),
            started.elapsed().as_secs_f64()
        );
        Ok(())
    })
}

fn body(id: Uuid, wait_ms: u64) -> String {
    format!(r#"{{"id":"{id}","claims":[{{"limit":"one"}}],"ttl_ms":600000,"wait_ms":{wait_ms}}}"#)
}

async fn wait_for_waiters(control: &mut Connection) -> Result<()> {
    let started = Instant::now();
    loop {
        let (_, answer) = control.call("GET", "/api/v1/keys/one", "").await?;
        let key: serde_json::Value = serde_json::from_slice(answer)?;
        if key["waiting"] == WAITERS {
            return Ok(());
        }
        if started.elapsed() > WITHIN {
            return Err(format!("only {} of {WAITERS} wait", key["waiting"]).into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
