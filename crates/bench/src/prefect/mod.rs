//! Prefect's API here beside Prefect's own server, on SQLite and on PostgreSQL, in the same rounds.

mod goals;
mod holders;
mod pairs;
mod peers;

use crate::Result;
use goals::Goals;
use peers::Peers;

/// Runs the benchmark.
pub fn run(binary: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let peers = runtime.block_on(Peers::start(binary, folder.path()))?;
    let mut goals = Goals::default();
    runtime.block_on(pairs::run(&peers, &mut goals))?;
    holders::run(&peers, &mut goals)?;
    goals.show();
    Ok(())
}
