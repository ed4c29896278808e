//! The command line: a command, a file.

mod acquire;
mod claims;
pub mod config;
mod db;
mod explain;
mod leases;
mod limit;
mod nodes;
mod release;
mod renew;
mod run;
mod serve;
mod status;
mod token;

use clap::{Parser, Subcommand};

use crate::exit::{self, Outcome};

/// Concurrency limits for everything that shares a scarce resource
#[derive(Debug, Parser)]
#[command(name = "admit", version, after_help = exit::HELP, max_term_width = 100)]
#[command(arg_required_else_help = true, propagate_version = false)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print JSON, for programs
    #[arg(long, global = true, display_order = 1_000)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Run(run::Args),
    Acquire(acquire::Args),
    Renew(renew::Args),
    Release(release::Args),
    #[command(subcommand)]
    Limit(limit::Action),
    #[command(subcommand)]
    Token(token::Action),
    Status(status::Args),
    Leases(leases::Args),
    Nodes(nodes::Args),
    Explain(explain::Args),
    #[command(subcommand)]
    Config(config::Action),
    #[command(subcommand)]
    Db(db::Action),
}

impl Cli {
    /// Runs the command that was given.
    ///
    /// # Errors
    /// Whatever keeps the command from being done.
    pub fn run(&self) -> Outcome {
        let json = self.json;
        match &self.command {
            Command::Serve(args) => serve::run(args),
            Command::Run(args) => run::run(args),
            Command::Acquire(args) => acquire::run(args, json),
            Command::Renew(args) => renew::run(args, json),
            Command::Release(args) => release::run(args, json),
            Command::Limit(action) => limit::run(action, json),
            Command::Token(action) => token::run(action, json),
            Command::Status(args) => status::run(args, json),
            Command::Leases(args) => leases::run(args, json),
            Command::Nodes(args) => nodes::run(args, json),
            Command::Explain(args) => explain::run(args, json),
            Command::Config(action) => config::run(action, json),
            Command::Db(action) => db::run(action, json),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
