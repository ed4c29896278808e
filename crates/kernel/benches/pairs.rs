//! How fast the kernel is on one core, and how much memory a waiting ticket takes. Plain figures, medians of
//! several rounds, in time on a core: `cargo bench -p admit-kernel`.
#![allow(missing_docs, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use admit_kernel::{Acquire, Claim, Command, Event, Limit, Outcome, Part, Patience, State, Terms, Time};
use uuid::Uuid;

/// Pairs of one round.
const PAIRS: u64 = 300_000;
const ROUNDS: usize = 7;
const KEYS: u64 = 1_000;
const BACKLOG: u64 = 100_000;

struct Counting;
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator unchanged; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `ptr` came from `alloc` above with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A kernel under load: ids are fresh, time goes on, events are dropped as an engine drops what it has written.
struct Bench {
    state: State,
    events: Vec<Event>,
    now: u64,
    ids: u64,
}

impl Bench {
    fn new(limits: u64, max: u32) -> Bench {
        let mut bench = Bench { state: State::new(), events: Vec::new(), now: 1_000_000, ids: 0 };
        for n in 0..limits {
            let limit = Box::new(Limit::new(format!("limit-{n}"), Terms::concurrent(max)));
            bench.run(&Command::SetLimit { limit, if_revision: None });
        }
        bench
    }

    fn run(&mut self, command: &Command) -> Outcome {
        self.events.clear();
        self.state.step(Time(self.now), command, &mut self.events)
    }

    /// Asks for these claims, willing to wait; gives the id.
    fn acquire(&mut self, claims: Vec<Claim>) -> Uuid {
        self.ids += 1;
        // Ids look random, as real ones do.
        let high = self.ids.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let id = Uuid::from_u64_pair(high, self.ids);
        // A batch of a loaded engine has many commands to the millisecond.
        self.now += u64::from(self.ids.is_multiple_of(256));
        let acquire = Acquire { patience: Patience::Forever, ..Acquire::new(id, claims) };
        self.run(&Command::Acquire(Box::new(acquire)));
        id
    }

    fn release(&mut self, id: Uuid) {
        self.run(&Command::Release { id, part: Part::All, counts: true });
    }
}

fn name(n: u64) -> String {
    format!("limit-{n}")
}

/// How long this process was on a core: what others do on the machine is not the kernel's time.
fn on_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("Linux tells how long a process was on a core"))
}

/// The median of rounds, in nanoseconds for each of `count`.
fn median(count: u64, mut round: impl FnMut() -> Duration) -> f64 {
    let mut took: Vec<Duration> = (0..ROUNDS).map(|_| round()).collect();
    took.sort_unstable();
    took[ROUNDS / 2].as_nanos() as f64 / count as f64
}

fn report(what: &str, nanos: f64) {
    println!("{what:<52} {:>9.0} pairs/s {nanos:>8.0} ns", 1e9 / nanos);
}

fn pairs(what: &str, mut bench: Bench, claims: impl Fn(u64) -> Vec<Claim>) {
    let claims: Vec<Vec<Claim>> = (0..KEYS).map(claims).collect();
    let nanos = median(PAIRS, || {
        let start = on_cpu();
        for n in 0..PAIRS {
            let id = bench.acquire(claims[(n % KEYS) as usize].clone());
            bench.release(id);
        }
        on_cpu() - start
    });
    report(what, nanos);
}

fn hot_key() {
    let mut bench = Bench::new(1, 1);
    let claims = vec![Claim::limit("limit-0", 1)];
    let mut order: std::collections::VecDeque<Uuid> =
        (0..=1_000).map(|_| bench.acquire(claims.clone())).collect();
    let nanos = median(PAIRS, || {
        let start = on_cpu();
        for _ in 0..PAIRS {
            if let Some(holder) = order.pop_front() {
                bench.release(holder);
            }
            order.push_back(bench.acquire(claims.clone()));
        }
        on_cpu() - start
    });
    report("a hot key, 1,000 waiting, each release grants", nanos);
}

/// One pair on a free key, with and without a backlog elsewhere, in turns.
fn beside_a_backlog() {
    let free = vec![Claim::limit("limit-1", 1)];
    let mut quiet = Bench::new(2, 1);
    let mut busy = Bench::new(2, 1);
    let hot = vec![Claim::limit("limit-0", 1)];
    let mut limit = Limit::new("limit-0", Terms::concurrent(1));
    limit.max_len = 1_000_000;
    busy.run(&Command::SetLimit { limit: Box::new(limit), if_revision: None });
    busy.acquire(hot.clone());
    let before = ALLOCATED.load(Ordering::Relaxed);
    for _ in 0..BACKLOG {
        busy.acquire(hot.clone());
    }
    let bytes = (ALLOCATED.load(Ordering::Relaxed) - before) as u64 / BACKLOG;
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS * 3 {
        for (bench, took) in [&mut quiet, &mut busy].into_iter().zip(&mut took) {
            let start = on_cpu();
            for _ in 0..PAIRS / 30 {
                let id = bench.acquire(free.clone());
                bench.release(id);
            }
            took.push(on_cpu() - start);
        }
    }
    took.iter_mut().for_each(|took| took.sort_unstable());
    let [quiet, busy] = took.map(|took| took[took.len() / 2].as_nanos() as f64 / (PAIRS / 30) as f64);
    report("a free key, nobody waits elsewhere", quiet);
    report("a free key, 100,000 wait at another", busy);
    println!("{:<52} {:>9.2}", "ratio of the two", busy / quiet);
    println!("{:<52} {bytes:>9} bytes", "a waiting ticket");
}

fn main() {
    pairs("free keys, 1,000 limits in turn", Bench::new(KEYS, 10), |n| vec![Claim::limit(name(n), 1)]);
    pairs("free keys, 1,000 keys under inline terms", Bench::new(0, 0), |n| {
        vec![Claim::inline(name(n), Terms::concurrent(10), 1)]
    });
    pairs("two claims each", Bench::new(KEYS, 10), |n| {
        vec![Claim::limit(name(n), 1), Claim::limit(name((n + 1) % KEYS), 1)]
    });
    hot_key();
    beside_a_backlog();
}
