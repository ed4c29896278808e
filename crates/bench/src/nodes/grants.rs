//! From a release at one server to the grant of who waits at another.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use uuid::Uuid;

use crate::Result;
use crate::connection::Connection;
use crate::server::Server;
use crate::stats::percentile;

const GRANTS: usize = 200;
/// How often it is looked whether the next one waits.
const LOOK_EVERY: Duration = Duration::from_micros(500);
const WITHIN: Duration = Duration::from_secs(20);

/// Releases at the first server what somebody waits for at the last one; the first may be the last.
pub async fn measure(servers: &[Server]) -> Result<String> {
    let [first, last] =
        [servers.first(), servers.last()].map(|server| server.map(|server| server.host.clone()));
    let (first, last) = (first.ok_or("no server")?, last.ok_or("no server")?);
    let mut control = Connection::open(&first).await?;
    control.expect(&[200, 201], "PUT", "/api/v1/limits/one", r#"{"max":1}"#).await?;
    let mut held = Uuid::new_v4();
    control.expect(&[201], "POST", "/api/v1/leases", &acquire(held, 0)).await?;
    let mut times = Vec::new();
    for _ in 0..GRANTS {
        let (id, host) = (Uuid::new_v4(), last.clone());
        let waiter = tokio::spawn(async move {
            let waited = async {
                let mut connection = Connection::open(&host).await?;
                connection.expect(&[201], "POST", "/api/v1/leases", &acquire(id, 60_000)).await
            };
            waited.await.map(|()| Instant::now()).map_err(|error| error.to_string())
        });
        timeout(WITHIN, until_it_waits(&mut control)).await??;
        let released = Instant::now();
        control.expect(&[204], "DELETE", &format!("/api/v1/leases/{held}"), "").await?;
        times.push(timeout(WITHIN, waiter).await???.duration_since(released).as_secs_f64() * 1e3);
        held = id;
    }
    Ok(format!("p50 {:>5.2} ms, p99 {:>5.2} ms", percentile(&mut times, 0.5), percentile(&mut times, 0.99)))
}

fn acquire(id: Uuid, wait_ms: u64) -> String {
    format!(r#"{{"id":"{id}","claims":[{{"limit":"one"}}],"ttl_ms":600000,"wait_ms":{wait_ms}}}"#)
}

async fn until_it_waits(control: &mut Connection) -> Result<()> {
    loop {
        let (_, answer) = control.call("GET", "/api/v1/keys/one", "").await?;
        let key: serde_json::Value = serde_json::from_slice(answer)?;
        if key["waiting"] == 1 {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
