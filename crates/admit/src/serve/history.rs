//! A look at the log's history, which a start does not need: damage there waits for the day on which it is needed.

use std::path::Path;
use std::time::Instant;

use super::spawn;
use crate::config::Config;
use crate::exit::Failure;

/// Looks through what is kept while the server goes on. A PostgreSQL database checks its pages itself.
pub(super) fn check(config: &Config) -> Result<(), Failure> {
    if config.database.is_some() {
        return Ok(());
    }
    let folder = config.data.clone();
    spawn("history", move || look_through(&folder))
}

fn look_through(folder: &Path) {
    let mut began = Instant::now();
    // It takes half of one core and of the disk's time at most.
    let rest = &mut || {
        std::thread::sleep(began.elapsed());
        began = Instant::now();
    };
    match admit_store::check_history(folder, rest) {
        Ok(report) => match report.problems.first() {
            Some(problem) => tracing::error!(
                problem,
                problems = report.problems.len(),
                "the log's history is damaged. The state of this server is whole and it goes on, but an older one \
                 cannot be read back; `admit db check` says all of it"
            ),
            None => tracing::debug!(records = report.records, "the log's history is whole"),
        },
        Err(error) => tracing::warn!(%error, "the log's history could not be looked through"),
    }
}
