//! Which limits are changed, by whomever, for those who wait: what they wait for may have become impossible.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use admit_engine::{Engine, Next, Subscription};
use admit_kernel::{Event, Name};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::bounds::MAX_CHANGES;

/// How often is looked whether anybody still listens.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Watches the log while somebody listens.
pub(crate) struct LimitChanges {
    /// Names of limits; none: it may have been any.
    names: broadcast::Sender<Option<Name>>,
    is_watching: Arc<Mutex<bool>>,
}

/// The changes from now on.
pub(crate) struct Changes(broadcast::Receiver<Option<Name>>);

impl Default for LimitChanges {
    fn default() -> LimitChanges {
        LimitChanges { names: broadcast::Sender::new(MAX_CHANGES), is_watching: Arc::default() }
    }
}

impl LimitChanges {
    /// The changes from now on. Where the log cannot be watched there are none.
    pub(crate) fn listen(&self, engine: &Engine) -> Changes {
        let changes = Changes(self.names.subscribe());
        let mut is_watching = lock(&self.is_watching);
        if !*is_watching {
            match engine.subscribe() {
                Ok(log) => {
                    *is_watching = true;
                    let ending = Ending(Arc::clone(&self.is_watching));
                    tokio::spawn(watch(log, self.names.clone(), ending));
                }
                Err(error) => tracing::warn!(%error, "who waits does not see that a limit is changed"),
            }
        }
        changes
    }
}

impl Changes {
    /// Waits until one of these limits was changed.
    pub(crate) async fn of(&mut self, limits: &[Name]) {
        loop {
            match self.0.recv().await {
                Ok(Some(name)) if !limits.contains(&name) => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                // Nobody says anything any more.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// Whatever ends the watch, the next one who listens begins another.
struct Ending(Arc<Mutex<bool>>);

impl Drop for Ending {
    fn drop(&mut self) {
        *lock(&self.0) = false;
    }
}

async fn watch(mut log: Subscription, names: broadcast::Sender<Option<Name>>, ending: Ending) {
    loop {
        match tokio::time::timeout(LOOK_EVERY, log.next()).await {
            Ok(Next::Record(record)) => {
                for name in record.events.iter().filter_map(changed) {
                    // Without listeners there is nobody to tell.
                    let _ = names.send(Some(name));
                }
            }
            Ok(Next::Lagged { .. }) => drop(names.send(None)),
            Ok(Next::Ended) => return,
            Err(_) => {
                // Who begins to listen is counted before it looks whether somebody watches.
                let mut is_watching = lock(&ending.0);
                if names.receiver_count() == 0 {
                    *is_watching = false;
                    drop(is_watching);
                    return;
                }
            }
        }
    }
}

fn changed(event: &Event) -> Option<Name> {
    match event {
        Event::LimitSet(limit) => Some(limit.name.clone()),
        Event::LimitRemoved { name } => Some(name.clone()),
        _ => None,
    }
}

fn lock(is_watching: &Mutex<bool>) -> MutexGuard<'_, bool> {
    is_watching.lock().unwrap_or_else(PoisonError::into_inner)
}
