//! Signals: before the command runs they end the wait, afterwards they are passed on to it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use admit_client::Client;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use uuid::Uuid;

use super::child::{Interrupted, Job};
use crate::exit::code;

/// Signals that end things unless the command decides otherwise.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
/// Signals that mean something to the command only.
const OTHER: [i32; 2] = [SIGUSR1, SIGUSR2];
/// How long an ended wait may take to give back what it asked for. The closed connection does it as well,
/// only not for a grant that is on its way.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the thread that takes signals.
///
/// # Errors
/// The handlers cannot be set.
pub fn start(job: &Arc<Job>, client: &Client) -> io::Result<()> {
    let mut signals = Signals::new(ENDING.iter().chain(&OTHER))?;
    let (job, client) = (Arc::clone(job), client.with_timeout(GIVE_BACK_TIMEOUT));
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in &mut signals {
            if !ENDING.contains(&signal) {
                job.signal_command(signal);
                continue;
            }
            match job.interrupt() {
                Interrupted::Waiting(id) => end_wait(&client, id, signal),
                Interrupted::Again => exit(signal),
                Interrupted::Running => job.signal(signal),
            }
        }
    })?;
    Ok(())
}

/// Gives the request back on a thread of its own, so that a second signal still ends us at once.
fn end_wait(client: &Client, id: Option<Uuid>, signal: i32) {
    let client = client.clone();
    let give_back = move || {
        if let Some(id) = id {
            // Either may find nothing to do; whatever fails ends with the connection or the lease.
            let _ = client.withdraw(id);
            let _ = client.release(id);
        }
        exit(signal)
    };
    if std::thread::Builder::new().spawn(give_back).is_err() {
        exit(signal);
    }
}

fn exit(signal: i32) -> ! {
    std::process::exit(i32::from(code::SIGNAL_BASE) + signal)
}

/// Leaves the exit to the thread that a signal has started for it: its calls are bounded, and so is this.
pub fn wait_for_exit() -> ! {
    loop {
        std::thread::park();
    }
}
