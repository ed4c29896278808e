//! Benchmarks of the real server over loopback. Figures are ratios against something that runs in the same
//! rounds: single timings say more about the machine than about Admit.
//!
//! `admit-bench ADMIT_BINARY [pairs|wakeup|restart|nodes|prefect]...`, all of them without a name.

mod connection;
mod lease;
mod load;
mod nodes;
mod pairs;
mod prefect;
mod restart;
mod server;
mod stats;
mod wakeup;

use std::error::Error;

/// What goes wrong here goes wrong for whoever runs it, so it is simply told.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A benchmark: its name, and what runs it with the binary under test.
type Bench = (&'static str, fn(&str) -> Result<()>);

const BENCHES: &[Bench] = &[
    ("pairs", pairs::run),
    ("wakeup", wakeup::run),
    ("restart", restart::run),
    ("nodes", nodes::run),
    ("prefect", prefect::run),
];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let binary = arguments.next().ok_or("usage: admit-bench ADMIT_BINARY [NAME]...")?;
    let names: Vec<String> = arguments.collect();
    if let Some(unknown) = names.iter().find(|name| !BENCHES.iter().any(|(known, _)| known == name)) {
        let known: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
        return Err(format!("no benchmark is named {unknown}; there are {}", known.join(", ")).into());
    }
    for (name, run) in BENCHES {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            println!("\n== {name}");
            run(&binary)?;
        }
    }
    Ok(())
}
