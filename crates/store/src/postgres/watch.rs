//! A second connection: it tells others of news, hears theirs, and says that this node is there.
//!
//! Nothing depends on it: a node that hears nothing looks at the log every second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_postgres::types::Type;

use super::error::Failure;
use super::session::{Path, Session, Setup};
use super::{PostgresConfig, new_runtime, nodes};
use crate::{Error, Load, NodeInfo, Wake};

/// How often a node says that it is there.
const BEAT: Duration = Duration::from_secs(1);
/// Every so many times it also looks for nodes that are gone.
const BEATS_PER_CLEANING: u64 = 60;
/// How long after a failure the connection is tried again: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What the store and the watcher share.
#[derive(Default)]
pub(super) struct Board {
    /// There is something for other nodes to look at.
    news: Notify,
    stop: Notify,
    /// The last record that this node has seen.
    pub applied: AtomicU64,
    /// How it has been writing.
    pub load: Mutex<Option<Load>>,
}

/// The thread of the second connection; it ends with this.
pub(super) struct Watcher {
    board: Arc<Board>,
    thread: Option<JoinHandle<()>>,
}

struct Watch {
    config: PostgresConfig,
    setup: Setup,
    info: NodeInfo,
    board: Arc<Board>,
    wake: Arc<Wake>,
}

impl Watcher {
    pub fn start(
        config: PostgresConfig,
        path: Path,
        info: NodeInfo,
        board: Arc<Board>,
        wake: Wake,
    ) -> Result<Watcher, Error> {
        let runtime = new_runtime()?;
        let setup = Setup::new(&config, path);
        let watch = Watch { config, setup, info, board: Arc::clone(&board), wake: Arc::new(wake) };
        let thread = thread::Builder::new()
            .name("admit-watch".to_owned())
            .spawn(move || runtime.block_on(watch.run()))
            .map_err(|error| Error::Unavailable(format!("no thread to watch the database: {error}")))?;
        Ok(Watcher { board, thread: Some(thread) })
    }

    /// Tells other nodes that there are news. Many at once become one.
    pub fn announce(&self) {
        self.board.news.notify_one();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.board.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Watch {
    async fn run(self) {
        let (mut retry, longest) = RETRY;
        while let Err(failure) = self.serve(&mut retry).await {
            let error = failure.outside_commit();
            tracing::debug!(%error, "the second connection broke; news from other nodes come by polling");
            tokio::select! {
                biased;
                () = self.board.stop.notified() => return,
                () = sleep(retry) => retry = longest.min(retry * 2),
            }
        }
    }

    /// Until it is told to stop, or something fails.
    async fn serve(&self, retry: &mut Duration) -> Result<(), Failure> {
        let own = format!("{:016x}", self.info.number);
        let (wake, own_name) = (Arc::clone(&self.wake), own.clone());
        let notified = move |from: &str| {
            if from != own_name {
                wake();
            }
        };
        let session = tokio::select! {
            biased;
            () = self.board.stop.notified() => return Ok(()),
            session = Session::open(&self.config, &self.setup, Some(Box::new(notified))) => session?,
        };
        let channel = self.config.schema();
        if self.setup.path == Path::Direct {
            let listen = session.script(&format!("LISTEN {}", self.config.quoted_schema())).await;
            unless_only_refused(listen)?;
        }
        *retry = RETRY.0;
        // Whatever was said while nobody listened.
        (self.wake)();
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats = 0_u64;
        loop {
            tokio::select! {
                biased;
                () = self.board.stop.notified() => {
                    // Who cannot say good-bye is forgotten in time.
                    let _ = nodes::leave(&session, &self.info).await;
                    return Ok(());
                }
                () = self.board.news.notified() => {
                    let params = [(&channel as _, Type::TEXT), (&own as _, Type::TEXT)];
                    unless_only_refused(session.query("SELECT pg_notify($1, $2)", &params).await.map(drop))?;
                }
                _ = beat.tick() => {
                    let applied = self.board.applied.load(Ordering::Relaxed);
                    let load = *self.board.load.lock().unwrap_or_else(PoisonError::into_inner);
                    unless_only_refused(nodes::beat(&session, &self.info, applied, load).await)?;
                    if beats.is_multiple_of(BEATS_PER_CLEANING) {
                        unless_only_refused(nodes::forget_the_gone(&session).await)?;
                    }
                    beats += 1;
                }
            }
        }
    }
}

/// A database that will not or cannot do this is no reason to connect anew.
fn unless_only_refused(result: Result<(), Failure>) -> Result<(), Failure> {
    match result {
        Err(failure) if !failure.ends_the_connection() => {
            tracing::debug!(error = %failure.outside_commit(), "the second connection was refused something");
            Ok(())
        }
        other => other,
    }
}
