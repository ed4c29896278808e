//! `admit run`: hold a slot while a command runs.
//!
//! The main thread asks for the slot, starts the command, waits for it and gives the slot back. It must be
//! the main thread that starts it: the kernel sends the parent-death signal when the *thread* that forked
//! dies. Beside it: [`signals`] passes signals on, [`keep`] renews the lease, [`watch`] tells the user how
//! long the queue is, and [`guard`], a process, kills the command when we cannot.

mod child;
mod guard;
mod keep;
mod signals;
mod terminal;
mod wait;
mod watch;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use admit_client::{Client, Lease};
use clap::{Args as ClapArgs, ValueEnum};

use self::child::Job;
use super::claims::{ClaimArgs, holder};
use crate::duration;
use crate::exit::{Failure, Outcome, code};
use crate::output::note;
use crate::remote;

/// Attempts to give the slot back before it is left to the lease's end.
const RELEASE_TRIES: u32 = 3;
/// How long one of them may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between them.
const RELEASE_PAUSE: Duration = Duration::from_millis(300);

/// Hold a slot while a command runs, and give its exit code
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    claims: ClaimArgs,
    /// How long to wait for a slot; without it, as long as it takes
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_ms)]
    wait: Option<u64>,
    /// How long the slot outlives an `admit run` that cannot renew it, also because Ctrl-Z has stopped both (1s to
    /// 7d); a command that is stopped for longer is ended with it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_ttl_ms, default_value = "30s")]
    ttl: u64,
    /// What to do when the slot is lost while the command runs
    #[arg(long, value_name = "WHAT", default_value = "kill")]
    on_lost: OnLost,
    /// What to do when no server answers
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    if_unreachable: IfUnreachable,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What to do when the slot is lost while the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnLost {
    /// End the command, and all that it has started, before another may hold the slot: SIGTERM when a fifth
    /// of --ttl is left (10s at most) and no renewal succeeds, SIGKILL before the end. Where an operator took
    /// the slot: SIGTERM at once, SIGKILL a second later
    Kill,
    /// Say so and let it run on
    Warn,
}

/// What to do when no server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IfUnreachable {
    /// Exit with 69
    Fail,
    /// Run the command without a slot
    Run,
}

/// A slot that is held.
#[derive(Debug)]
struct Held {
    lease: Lease,
    /// When it ends if it is never renewed, by this process's own clock: never later than on the server.
    deadline: Instant,
}

/// Runs the command in its slot.
///
/// # Errors
/// No slot came, or no server answered.
pub fn run(args: &Args) -> Outcome {
    let client = remote::client()?;
    let program = args.command.first().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    let job = Arc::new(Job::new());
    signals::start(&job, &client).map_err(Failure::io("watching for signals"))?;
    let held = match wait::for_slot(&client, &job, args, &holder(&program)) {
        Ok(held) => held,
        // A signal ended the wait: the thread that took it gives everything back and exits.
        Err(_) if job.is_interrupted() => signals::wait_for_exit(),
        Err(Failure::Client(error)) if error.is_away() && args.if_unreachable == IfUnreachable::Run => {
            note(format_args!("{error}; running without a slot (--if-unreachable run)"));
            return Ok(run_child(&job, args, None, || ()));
        }
        Err(failure) => return Err(failure),
    };
    let lease = held.lease.clone();
    let ttl = Duration::from_millis(args.ttl);
    let keeper = || keep::start(&client, &job, &held, ttl, args.on_lost == OnLost::Kill);
    let code = run_child(&job, args, Some(&lease), keeper);
    if job.is_interrupted() {
        signals::wait_for_exit();
    }
    give_back(&client, &lease);
    Ok(code)
}

/// Starts the command, keeps what `keeper` makes while it runs, and gives its exit code.
fn run_child<K>(job: &Job, args: &Args, lease: Option<&Lease>, keeper: impl FnOnce() -> K) -> u8 {
    match job.start(&args.command, lease) {
        Ok(started) => {
            let keeper = keeper();
            let code = job.wait(started);
            drop(keeper);
            code
        }
        Err(error) => {
            let program = args.command.first().map(|p| p.to_string_lossy()).unwrap_or_default();
            note(format_args!("cannot run '{program}': {error}"));
            if error.kind() == std::io::ErrorKind::NotFound { code::NOT_FOUND } else { code::NOT_EXECUTABLE }
        }
    }
}

/// Gives the slot back: at once, and again if that fails.
fn give_back(client: &Client, lease: &Lease) {
    let client = client.with_timeout(RELEASE_TIMEOUT);
    let mut tries = 0;
    while let Err(error) = client.release(lease.id) {
        tries += 1;
        if !error.is_away() || tries == RELEASE_TRIES {
            note(format_args!(
                "the slot could not be given back, it comes back when its lease ends: {error}"
            ));
            return;
        }
        std::thread::sleep(RELEASE_PAUSE);
    }
}
