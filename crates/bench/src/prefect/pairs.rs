//! Lease and release, over and over, by clients of our own: the same against every server.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::peers::{Peer, Peers};
use crate::Result;
use crate::connection::Connection;
use crate::stats::{median, percentile};

const CLIENTS: [usize; 3] = [1, 8, 32];
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
/// How long one request may take; Prefect's server stalls for longer at times.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a client rests after an error. Prefect's own rests for 2 s and more.
const REST: Duration = Duration::from_millis(50);

/// What came of a round.
#[derive(Default)]
struct Round {
    pairs_per_s: f64,
    errors: usize,
    p50_ms: f64,
    p99_ms: f64,
}

/// What one client did.
#[derive(Default)]
struct Done {
    times_ms: Vec<f64>,
    errors: usize,
}

/// Runs the benchmark.
pub async fn run(peers: &Peers) -> Result<()> {
    println!(
        "{:>8} {:<20} {:>9} {:>10} {:>10} {:>8}  Admit is faster by",
        "clients", "server", "pairs/s", "p50 ms", "p99 ms", "errors"
    );
    for clients in CLIENTS {
        let mut rounds: Vec<Vec<Round>> = peers.all.iter().map(|_| Vec::new()).collect();
        // Interleaved, so that whatever else the machine does falls on all.
        for _ in 0..ROUNDS {
            for (peer, rounds) in peers.all.iter().zip(&mut rounds) {
                rounds.push(round(peer, clients).await?);
            }
        }
        let of = |rounds: &[Round], what: fn(&Round) -> f64| {
            median(&mut rounds.iter().map(what).collect::<Vec<_>>())
        };
        for (peer, theirs) in peers.all.iter().zip(&rounds) {
            let ratio = |(ours, theirs): (&Round, &Round)| ours.pairs_per_s / theirs.pairs_per_s;
            let mut ratios: Vec<f64> = rounds[0].iter().zip(theirs).map(ratio).collect();
            println!(
                "{clients:>8} {:<20} {:>9.1} {:>10.2} {:>10.2} {:>8}  {:.1}",
                peer.name,
                of(theirs, |round| round.pairs_per_s),
                of(theirs, |round| round.p50_ms),
                of(theirs, |round| round.p99_ms),
                theirs.iter().map(|round| round.errors).sum::<usize>(),
                median(&mut ratios),
            );
        }
    }
    println!("(at 8 clients SQLite has to be beaten by 100 and more, and at 32 Admit may have no errors)");
    Ok(())
}

async fn round(peer: &Peer, clients: usize) -> Result<Round> {
    let started = Instant::now();
    let tasks: Vec<_> = (0..clients).map(|_| tokio::spawn(closed_loop(peer.host.clone()))).collect();
    let mut all = Done::default();
    for task in tasks {
        let done = task.await?;
        all.times_ms.extend(done.times_ms);
        all.errors += done.errors;
    }
    Ok(Round {
        pairs_per_s: all.times_ms.len() as f64 / started.elapsed().as_secs_f64(),
        errors: all.errors,
        p50_ms: percentile(&mut all.times_ms, 0.5),
        p99_ms: percentile(&mut all.times_ms, 0.99),
    })
}

/// One client that does pair after pair, and tries again what failed.
async fn closed_loop(host: String) -> Done {
    let (started, mut done) = (Instant::now(), Done::default());
    let mut connection = None;
    while started.elapsed() < ROUND {
        let begun = Instant::now();
        let is_done = matches!(timeout(PATIENCE, pair(&host, &mut connection)).await, Ok(Ok(())));
        if is_done {
            done.times_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        } else {
            done.errors += 1;
            connection = None;
            tokio::time::sleep(REST).await;
        }
    }
    done
}

async fn pair(host: &str, connection: &mut Option<Connection>) -> Result<()> {
    const ACQUIRE: &str = r#"{"names":["many"],"slots":1,"mode":"concurrency","lease_duration":60}"#;
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(host).await?),
    };
    let tree = "/api/v2/concurrency_limits";
    let (status, answer) = connection.call("POST", &format!("{tree}/increment-with-lease"), ACQUIRE).await?;
    if status != 200 {
        return Err(format!("{status}").into());
    }
    let lease: serde_json::Value = serde_json::from_slice(answer)?;
    let release = format!(r#"{{"lease_id":{}}}"#, lease["lease_id"]);
    // What failed to be given back is tried until it is: it would fill the limit in the end.
    loop {
        let (status, _) = connection.call("POST", &format!("{tree}/decrement-with-lease"), &release).await?;
        if status == 204 {
            return Ok(());
        }
        tokio::time::sleep(REST).await;
    }
}
