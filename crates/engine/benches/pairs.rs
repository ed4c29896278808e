//! Acquire + release pairs a second through a durable engine, callers on other threads.
//!
//! `cargo bench -p admit-engine`

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use admit_engine::{Config, Durability, Engine};
use admit_kernel::{Acquire, Claim, Command, Outcome, Part, Terms};
use uuid::Uuid;

/// Threads that call, as many as listeners have on a small machine.
const THREADS: u64 = 2;
/// How long each load is measured.
const SPAN: Duration = Duration::from_secs(3);

/// Wakes one of the loops of a thread.
struct Wakeup {
    index: usize,
    ready: Arc<Mutex<Vec<usize>>>,
    thread: Thread,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.push(self.index);
        let is_first = ready.len() == 1;
        drop(ready);
        if is_first {
            self.thread.unpark();
        }
    }
}

/// Runs `callers` loops on one thread until the time is over; gives the pairs done.
fn drive(engine: &Engine, thread: u64, callers: u64) -> u64 {
    let until = Instant::now() + SPAN;
    let ready = Arc::new(Mutex::new(Vec::new()));
    let mut loops: Vec<_> = (0..callers)
        .map(|caller| {
            let index = caller as usize;
            let wakeup = Wakeup { index, ready: Arc::clone(&ready), thread: thread::current() };
            let waker = Waker::from(Arc::new(wakeup));
            waker.wake_by_ref();
            (waker, Box::pin(pairs(engine.clone(), (thread << 16) + caller, until)))
        })
        .collect();
    let (mut done, mut ended, mut awake) = (0, 0, Vec::new());
    while ended < callers {
        std::mem::swap(&mut awake, &mut *ready.lock().unwrap_or_else(PoisonError::into_inner));
        if awake.is_empty() {
            thread::park();
        }
        for index in awake.drain(..) {
            let (waker, future) = &mut loops[index];
            if let Poll::Ready(pairs) = future.as_mut().poll(&mut Context::from_waker(waker)) {
                done += pairs;
                ended += 1;
            }
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
    let loads = [1, 8, 64, 512].map(|callers| (callers, Durability::Full));
    for (callers, durability) in loads.into_iter().chain([(64, Durability::Normal)]) {
        let folder = tempfile::tempdir().expect("a folder for the data");
        let config = Config { durability, ..Config::new(folder.path()) };
        let engine = Engine::open(config).expect("an engine in a new folder");
        let threads = THREADS.min(callers);
        let total: u64 = thread::scope(|scope| {
            let engine = &engine;
            let drives: Vec<_> =
                (0..threads).map(|n| scope.spawn(move || drive(engine, n, callers / threads))).collect();
            drives.into_iter().map(|drive| drive.join().expect("no caller fails")).sum()
        });
        let stats = pollster::block_on(engine.stats()).expect("the engine lives");
        println!(
            "{callers:4} callers, {durability:?}: {:7.0} pairs/s, {:5.1} commands a batch, commit p50 {:?} us p99 {:?} us, batch p99 {:?} us",
            total as f64 / SPAN.as_secs_f64(),
            stats.commands as f64 / stats.batches as f64,
            stats.commit_us.quantile(0.5),
            stats.commit_us.quantile(0.99),
            stats.batch_us.quantile(0.99),
        );
    }
}
