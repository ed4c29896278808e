//! Clients that do pair after pair (take a slot, give it back) for a while, each on a connection of its own.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::Result;
use crate::stats::{median, percentile};

/// How long one pair may take; Prefect's own server stalls for longer at times.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a client rests after an error.
pub const REST: Duration = Duration::from_millis(50);

/// What came of a round.
#[derive(Default)]
pub struct Round {
    /// Pairs of all clients.
    pub pairs: usize,
    /// And in a second.
    pub pairs_per_s: f64,
    /// Milliseconds that half of the pairs took at most.
    pub p50_ms: f64,
    /// Milliseconds that 99 % of the pairs took at most.
    pub p99_ms: f64,
    /// Pairs that failed.
    pub errors: usize,
    /// Why the first of them did.
    pub error: Option<String>,
    /// Microseconds of the servers' processor time for a pair, where that was measured.
    pub server_cpu_us: f64,
}

/// What one client did.
#[derive(Default)]
struct Done {
    times_ms: Vec<f64>,
    errors: usize,
    error: Option<String>,
}

/// Runs so many clients. `open` connects the client of a number, `pair` does one pair.
pub async fn round<C: 'static>(
    clients: usize,
    span: Duration,
    open: impl AsyncFn(usize) -> Result<C> + 'static,
    pair: impl AsyncFn(&mut C) -> Result<()> + 'static,
) -> Result<Round> {
    // Connecting is not part of the load.
    let mut connections = Vec::new();
    for client in 0..clients {
        connections.push(open(client).await?);
    }
    let (open, pair) = (Rc::new(open), Rc::new(pair));
    let (all, started) = (LocalSet::new(), Instant::now());
    let tasks: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(client, connection)| {
            let (open, pair) = (open.clone(), pair.clone());
            all.spawn_local(async move { closed_loop(span, connection, || open(client), &*pair).await })
        })
        .collect();
    all.await;
    let seconds = started.elapsed().as_secs_f64();
    let mut sum = Done::default();
    for task in tasks {
        let done = task.await?;
        sum.times_ms.extend(done.times_ms);
        sum.errors += done.errors;
        sum.error = sum.error.or(done.error);
    }
    Ok(Round {
        pairs: sum.times_ms.len(),
        pairs_per_s: sum.times_ms.len() as f64 / seconds,
        p50_ms: percentile(&mut sum.times_ms, 0.5),
        p99_ms: percentile(&mut sum.times_ms, 0.99),
        errors: sum.errors,
        error: sum.error,
        server_cpu_us: 0.0,
    })
}

/// One client that does pair after pair, and connects anew after an error.
async fn closed_loop<C>(
    span: Duration,
    connection: C,
    open: impl AsyncFn() -> Result<C>,
    pair: &impl AsyncFn(&mut C) -> Result<()>,
) -> Done {
    let (started, mut done, mut connection) = (Instant::now(), Done::default(), Some(connection));
    while started.elapsed() < span {
        let begun = Instant::now();
        let result = match &mut connection {
            None => open().await.map(|opened| connection = Some(opened)),
            Some(open) => match timeout(PATIENCE, pair(open)).await {
                Ok(Ok(())) => {
                    done.times_ms.push(begun.elapsed().as_secs_f64() * 1e3);
                    Ok(())
                }
                Ok(Err(error)) => Err(error),
                Err(late) => Err(late.into()),
            },
        };
        if let Err(error) = result {
            done.errors += 1;
            done.error.get_or_insert_with(|| error.to_string());
            connection = None;
            tokio::time::sleep(REST).await;
        }
    }
    done
}

/// The median over rounds.
pub fn typical(rounds: &[Round], what: impl Fn(&Round) -> f64) -> f64 {
    median(&mut rounds.iter().map(what).collect::<Vec<_>>())
}

/// The median of the ratios of rounds that were run one beside the other.
pub fn ratio(ours: &[Round], theirs: &[Round]) -> f64 {
    let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours.pairs_per_s / theirs.pairs_per_s);
    median(&mut ratios.collect::<Vec<_>>())
}
