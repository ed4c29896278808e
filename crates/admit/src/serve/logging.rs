//! Logs: to standard error, as text or as JSON, at a level that can be changed while the server runs.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// The logs, once started.
pub struct Logs {
    level: Handle<Targets, Registry>,
}

impl Logs {
    /// Starts to log what libraries and we say at this level.
    ///
    /// # Errors
    /// Somebody else logs already.
    pub fn start(level: Targets, is_json: bool) -> Result<Logs, String> {
        let (level, handle) = reload::Layer::new(level);
        let colours =
            io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(colours);
        let lines = if is_json { lines.json().flatten_event(true).boxed() } else { lines.boxed() };
        let started = tracing_subscriber::registry().with(lines.with_filter(level)).try_init();
        started.map(|()| Logs { level: handle }).map_err(|e| e.to_string())
    }

    /// Logs at another level from now on.
    pub fn set_level(&self, level: Targets) {
        if let Err(error) = self.level.reload(level) {
            tracing::warn!(%error, "the level of the log cannot be changed");
        }
    }
}
