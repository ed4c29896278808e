//! What the project does to itself: `cargo xtask --help`.

mod bench;
mod command;
mod postgres;
mod python;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use command::cargo;

/// What the project does to itself.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Format check, lints and every test; what a fresh machine lacks for them is installed first.
    Test,
    /// Measure the kernel, the log and the real server, side by side with what does nothing or is used instead.
    Bench {
        /// Only these: kernel, cluster (the log alone), pairs, wakeup, restart, nodes (over HTTP), prefect.
        names: Vec<String>,
    },
    /// Run the simulator: kernel, engine and a model of the store, with crashes and clock steps.
    Sim {
        /// How many seeds.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The first seed; a failing run names the one to replay.
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Make the Python environment that tests of real clients use, under .cache/python.
    Python,
    /// Write docs/openapi.json and docs/prefect-openapi.json from the code.
    Openapi,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test => test::run(),
        Task::Bench { names } => bench::run(&names),
        Task::Sim { seeds, from } => {
            let (seeds, from) = (seeds.to_string(), from.to_string());
            cargo(&["run", "--release", "-p", "admit-sim", "--", "--seeds", &seeds, "--from", &from])
        }
        Task::Python => python::environment(),
        Task::Openapi => [("admit-api", "openapi"), ("admit-prefect", "prefect_openapi")]
            .into_iter()
            .try_for_each(|(package, example)| cargo(&["run", "-p", package, "--example", example])),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}
