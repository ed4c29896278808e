//! Acquire + release pairs a second through a durable engine, callers on other threads.
//!
//! `cargo bench -p admit-engine`

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use admit_engine::{Config, Engine};
use admit_kernel::{Acquire, Claim, Command, Outcome, Part, Terms};
use uuid::Uuid;

/// Threads that call, as many as listeners have on a small machine.
const THREADS: u64 = 2;
/// How long each load is measured.
const SPAN: Duration = Duration::from_secs(3);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs `callers` loops on one thread until the time is over; gives the pairs done.
fn drive(engine: &Engine, thread: u64, callers: u64) -> u64 {
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let until = Instant::now() + SPAN;
    let mut loops: Vec<Pin<Box<dyn Future<Output = u64>>>> = (0..callers)
        .map(|caller| {
            let engine = engine.clone();
            Box::pin(pairs(engine, (thread << 16) + caller, until)) as Pin<Box<dyn Future<Output = u64>>>
        })
        .collect();
    let mut done = 0;
    while !loops.is_empty() {
        loops.retain_mut(|future| match future.as_mut().poll(&mut context) {
            Poll::Ready(pairs) => {
                done += pairs;
                false
            }
            Poll::Pending => true,
        });
        if !loops.is_empty() {
            thread::park();
        }
    }
    done
}

async fn pairs(engine: Engine, caller: u64, until: Instant) -> u64 {
    let mut pairs = 0;
    while Instant::now() < until {
        let id = Uuid::from_u64_pair(caller, pairs);
        let claim = Claim::inline(format!("key/{caller}"), Terms::concurrent(1), 1);
        let outcome = engine.acquire(Acquire::new(id, vec![claim]), 0).await;
        assert!(matches!(outcome, Ok(Outcome::Granted(_))), "{outcome:?}");
        let release = Command::Release { id, part: Part::All, counts: true };
        let outcome = engine.execute(release).await;
        assert!(matches!(outcome, Ok(Outcome::Released { changed: true })), "{outcome:?}");
        pairs += 1;
    }
    pairs
}

fn main() {
    for callers in [1, 8, 64, 512] {
        let folder = tempfile::tempdir().expect("a folder for the data");
        let engine = Engine::open(Config::new(folder.path())).expect("an engine in a new folder");
        let threads = THREADS.min(callers);
        let total: u64 = thread::scope(|scope| {
            let engine = &engine;
            let drives: Vec<_> =
                (0..threads).map(|n| scope.spawn(move || drive(engine, n, callers / threads))).collect();
            drives.into_iter().map(|drive| drive.join().expect("no caller fails")).sum()
        });
        let stats = pollster::block_on(engine.stats()).expect("the engine lives");
        println!(
            "{callers:4} callers: {:7.0} pairs/s, {:5.1} commands a batch, commit p50 {:?} us p99 {:?} us, batch p99 {:?} us",
            total as f64 / SPAN.as_secs_f64(),
            stats.commands as f64 / stats.batches as f64,
            stats.commit_us.quantile(0.5),
            stats.commit_us.quantile(0.99),
            stats.batch_us.quantile(0.99),
        );
    }
}
