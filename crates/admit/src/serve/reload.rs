//! SIGHUP: reads the configuration again, takes over what a running server can, names what it cannot.

use admit_engine::Engine;
use admit_http::Hosts;

use super::logging::Logs;
use crate::commands::config::environment;
use crate::config::{Config, Flags};

/// What is needed to read the configuration again, and what takes it over.
pub struct Reloader {
    pub flags: Flags,
    pub config: Config,
    pub logs: Logs,
    pub engine: Engine,
    /// Those of each listener.
    pub hosts: Vec<Hosts>,
}

impl Reloader {
    /// Reads the configuration again; a wrong one changes nothing.
    pub fn reload(&mut self) {
        let new = match Config::load(&self.flags, &environment()) {
            Ok(new) => new,
            Err(error) => {
                for line in error.lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("the configuration is wrong and changes nothing");
                return;
            }
        };
        let (live, fixed) = self.config.changes(&new);
        for setting in &fixed {
            tracing::warn!(setting, "changed, but takes a restart");
        }
        self.logs.set_level(new.log_level.clone());
        self.hosts.iter().for_each(|hosts| hosts.set_names(&new.allow_hosts));
        if let Err(error) = self.engine.set_keep(super::keep(&new)) {
            tracing::warn!(%error, "the history cannot be changed just now; send SIGHUP again");
        }
        // Certificates are looked at whenever their files change.
        tracing::info!(
            applied = live.join(", "),
            needs_restart = fixed.join(", "),
            "configuration read again"
        );
        // What takes a restart stays as it is, so that the next reload names it again.
        self.config.take_live_from(new);
    }
}
