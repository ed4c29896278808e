//! Lease and release, over and over, by clients of our own: the same against every server.

use std::time::Duration;

use super::goals::Goals;
use super::peers::{Peer, Peers};
use crate::Result;
use crate::connection::Connection;
use crate::load::{self, REST, Round, ratio, typical};

const CLIENTS: [usize; 3] = [1, 8, 32];
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
/// How many times as fast as Prefect's server on SQLite it is to be, with so many clients.
const FASTER: (usize, f64) = (8, 100.0);
/// With so many clients there are to be no errors.
const NO_ERRORS: usize = 32;

/// Runs the benchmark.
pub async fn run(peers: &Peers, goals: &mut Goals) -> Result<()> {
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
        let errors = |rounds: &[Round]| rounds.iter().map(|round| round.errors).sum::<usize>();
        if clients == FASTER.0 {
            // Prefect's own on SQLite comes after Admit.
            let faster = ratio(&rounds[0], &rounds[1]);
            let goal = format!(
                "{clients} clients: {} times as fast as {} ({faster:.1})",
                FASTER.1, peers.all[1].name
            );
            goals.note(goal, faster >= FASTER.1);
        }
        if clients == NO_ERRORS {
            let errors = errors(&rounds[0]);
            goals.note(format!("{clients} clients: no errors ({errors})"), errors == 0);
        }
        for (peer, theirs) in peers.all.iter().zip(&rounds) {
            println!(
                "{clients:>8} {:<20} {:>9.1} {:>10.2} {:>10.2} {:>8}  {:.1}",
                peer.name,
                typical(theirs, |round| round.pairs_per_s),
                typical(theirs, |round| round.p50_ms),
                typical(theirs, |round| round.p99_ms),
                errors(theirs),
                ratio(&rounds[0], theirs),
            );
        }
    }
    Ok(())
}

async fn round(peer: &Peer, clients: usize) -> Result<Round> {
    let host = peer.host.clone();
    load::round(clients, ROUND, async move |_| Connection::open(&host).await, pair).await
}

async fn pair(connection: &mut Connection) -> Result<()> {
    const ACQUIRE: &str = r#"{"names":["many"],"slots":1,"mode":"concurrency","lease_duration":60}"#;
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
