//! What every route works with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{SystemTime, UNIX_EPOCH};

use admit_engine::{Engine, Stats};
use admit_http::{Connections, Problem, Shutdown, Tokens};
use admit_kernel::{State, Time};

use crate::problems;

/// What the native API serves. Clones share the engine, the tokens and the wish to stop.
#[derive(Clone)]
pub struct App {
    pub(crate) engine: Engine,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) shutdown: Shutdown,
    pub(crate) about: Arc<About>,
}

/// What the server says of itself.
#[derive(Debug, Default)]
pub struct About {
    /// Its version.
    pub version: String,
    /// Where its data is.
    pub location: String,
    /// Its listeners, those that are off included.
    pub listeners: Vec<ListenerInfo>,
    /// When it was started.
    started_at: Time,
    /// Event streams that are open.
    pub(crate) streams: AtomicUsize,
    /// Changes that were audited since the start.
    pub(crate) changes: AtomicU64,
}

/// What is said of a listener.
#[derive(Debug, Clone)]
pub struct ListenerInfo {
    /// What it is called.
    pub name: String,
    /// Its address, with the port that was bound; none: it is off.
    pub address: Option<std::net::SocketAddr>,
    /// Why it is off, and the way out.
    pub off_because: Option<String>,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Its connections.
    pub connections: Option<Arc<Connections>>,
}

impl About {
    /// A server of this version, started now, with its data there.
    #[must_use]
    pub fn new(
        version: impl Into<String>,
        location: impl Into<String>,
        listeners: Vec<ListenerInfo>,
    ) -> About {
        About {
            version: version.into(),
            location: location.into(),
            listeners,
            started_at: wall(),
            ..About::default()
        }
    }

    pub(crate) fn started_at(&self) -> Time {
        self.started_at
    }
}

impl App {
    /// The API of this engine.
    #[must_use]
    pub fn new(engine: Engine, tokens: Arc<Tokens>, shutdown: Shutdown, about: About) -> App {
        App { engine, tokens, shutdown, about: Arc::new(about) }
    }

    /// The log's time, as far as it is known without asking the engine.
    pub(crate) fn now(&self) -> Time {
        self.engine.now()
    }

    /// Reads the state and the log's time. Be brief: everybody else waits meanwhile.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State, Time) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let now = self.now();
        self.engine.read(move |state| look(state, now.max(state.now()))).await.map_err(problems::engine)
    }

    /// What the engine counted.
    pub(crate) async fn stats(&self) -> Result<Stats, Problem> {
        self.engine.stats().await.map_err(problems::engine)
    }
}

/// This machine's clock.
pub(crate) fn wall() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
