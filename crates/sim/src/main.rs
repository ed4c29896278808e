//! `admit-sim --seeds N --from S`: runs seeds on all cores, and says how to run the one that fails again.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use admit_sim::{Counts, Failure};
use clap::Parser;

/// How often a long run says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Simulates one or several nodes with crashes, lost answers, clock steps and outages; a seed decides everything.
#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
}

struct Runs {
    next: AtomicU64,
    end: u64,
    done: AtomicU64,
    failed: AtomicBool,
    found: Mutex<(Counts, Vec<Failure>)>,
}

impl Runs {
    fn work(&self) {
        let mut counts = Counts::default();
        while !self.failed.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                break;
            }
            match admit_sim::run(seed) {
                Ok(run) => counts.add(&run),
                Err(failure) => {
                    self.failed.store(true, Ordering::Relaxed);
                    self.found.lock().unwrap_or_else(PoisonError::into_inner).1.push(failure);
                }
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        self.found.lock().unwrap_or_else(PoisonError::into_inner).0.add(&counts);
    }
}

fn main() -> ExitCode {
    let Arguments { seeds, from } = Arguments::parse();
    let runs = Runs {
        next: AtomicU64::new(from),
        end: from.saturating_add(seeds),
        done: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        found: Mutex::default(),
    };
    let started = Instant::now();
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| runs.work())).collect();
        let mut told = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                eprintln!("{} of {seeds} seeds", runs.done.load(Ordering::Relaxed));
            }
        }
    });
    let done = runs.done.load(Ordering::Relaxed);
    let (counts, mut failures) = runs.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|failure| failure.seed);
    failures.iter().for_each(report);
    summary(&counts, done, started.elapsed());
    println!("{} passed, {} failed", done - failures.len() as u64, failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(failure: &Failure) {
    let Failure { seed, step, violation, trace } = failure;
    println!("seed {seed} breaks {:?} at step {step}: {}", violation.rule, violation.what);
    println!("the last of what happened (step, time):");
    trace.iter().for_each(|line| println!("  {line}"));
    println!("to see it again: cargo xtask sim --from {seed} --seeds 1\n");
}

fn summary(counts: &Counts, done: u64, took: Duration) {
    let per_second = done as f64 / took.as_secs_f64().max(0.001);
    println!("{done} seeds in {:.1} s ({per_second:.0} seeds/s):", took.as_secs_f64());
    for (name, count) in counts.all() {
        println!("{count:>12} {}", name.replace('_', " "));
    }
}
