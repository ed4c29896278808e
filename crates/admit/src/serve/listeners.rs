//! Everything that listens: a further front end is one more row of [`rows`].

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use admit_api::{About, App, ListenerInfo};
use admit_engine::{Engine, Migration, TableCheck};
use admit_http::{Access, Hosts, ListenError, Listener, ListenerConfig, Serving, Shutdown, TlsFiles, Tokens};
use admit_prefect::Prefect;
use axum::Router;

use super::served;
use crate::config::Config;
use crate::exit::Failure;

/// One listener: where it is to be, who may use it, what it serves.
struct Row {
    listener: ListenerConfig,
    /// Its setting, and flag, for what goes wrong.
    setting: &'static str,
    /// Whether it is off where its address is taken: nobody asked for it.
    may_be_off: bool,
    router: fn(&Parts) -> RouterMaker,
    /// What to paste to see that it works.
    try_it: fn(&str) -> Vec<String>,
}

/// Makes the router of each worker.
type RouterMaker = Box<dyn Fn() -> Router + Send + Sync>;

/// What routers are made of.
struct Parts {
    engine: Engine,
    tokens: Arc<Tokens>,
    shutdown: Shutdown,
    location: String,
    listeners: Vec<ListenerInfo>,
    prefect: Prefect,
}

/// The listeners of this configuration; `served` are those that this data was served by before.
fn rows(config: &Config, tokens: &Arc<Tokens>, served: &[String]) -> Vec<Row> {
    let listener = |name, address| ListenerConfig {
        tls: config.tls.clone().map(|(cert, key)| TlsFiles { cert, key }),
        allow_hosts: Some(config.allow_hosts.clone()),
        ..ListenerConfig::new(name, address, Access::by_address(address, tokens.clone()))
    };
    let native = Row {
        listener: listener("native", config.listen),
        setting: "listen",
        may_be_off: false,
        router: native_router,
        try_it: try_native,
    };
    let prefect = config.prefect.address.map(|address| Row {
        listener: listener("prefect", address),
        setting: "prefect",
        may_be_off: !config.prefect.is_named && !served.iter().any(|name| name == "prefect"),
        router: prefect_router,
        try_it: try_prefect,
    });
    [native].into_iter().chain(prefect).collect()
}

fn prefect_router(parts: &Parts) -> RouterMaker {
    let prefect = parts.prefect.clone();
    Box::new(move || prefect.router())
}

fn try_prefect(url: &str) -> Vec<String> {
    vec![format!("PREFECT_API_URL={url}/api prefect gcl create db --limit 1")]
}

fn native_router(parts: &Parts) -> RouterMaker {
    let about = About::new(env!("CARGO_PKG_VERSION"), &parts.location, parts.listeners.clone());
    let app = App::new(parts.engine.clone(), parts.tokens.clone(), parts.shutdown.clone(), about);
    Box::new(move || admit_api::router(&app))
}

fn try_native(url: &str) -> Vec<String> {
    let server = if url == crate::remote::DEFAULT_URL { String::new() } else { format!("ADMIT_URL={url} ") };
    let admit = binary();
    vec![
        format!("curl {url}/api/v1/status"),
        format!("{server}{admit} limit set db --max 1 && {server}{admit} run db -- echo it runs"),
    ]
}

/// How this program is called from a shell: by its name where the shell would find it, else by its path.
fn binary() -> String {
    let found = |running: &Path| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let first =
            std::env::split_paths(&path).map(|folder| folder.join("admit")).find(|file| file.is_file());
        first.and_then(|file| file.canonicalize().ok()).is_some_and(|file| file == running)
    };
    match std::env::current_exe().and_then(|running| running.canonicalize()) {
        Ok(running) if !found(&running) => {
            let path = running.display().to_string();
            if path.contains([' ', '\'', '"', '$', '&']) {
                format!("'{}'", path.replace('\'', r"'\''"))
            } else {
                path
            }
        }
        _ => "admit".to_owned(),
    }
}

/// The tables of all that listens.
pub fn migrations() -> Vec<Migration> {
    [admit_http::MIGRATIONS, admit_prefect::MIGRATIONS, served::MIGRATIONS].concat()
}

/// What can be judged of them.
pub fn table_checks() -> Vec<TableCheck> {
    [admit_http::TABLE_CHECKS, admit_prefect::TABLE_CHECKS].concat()
}

/// Bound addresses that nobody serves yet.
pub struct Listening {
    bound: Vec<(Row, Listener)>,
    off: Vec<Off>,
}

/// A listener that is off because its address is taken.
#[derive(Clone)]
pub struct Off {
    /// What it is called.
    pub name: &'static str,
    /// Why, and the way out.
    pub because: String,
}

/// Where something listens.
pub struct Address {
    /// What it is called.
    pub name: &'static str,
    /// Its address as a client takes it.
    pub url: String,
    /// What to paste to see that it works.
    pub try_it: Vec<String>,
}

impl Listening {
    /// Binds all addresses.
    ///
    /// # Errors
    /// One is taken, or may not be served as it is.
    pub fn bind(config: &Config, tokens: &Arc<Tokens>, served: &[String]) -> Result<Listening, Failure> {
        let (mut bound, mut off) = (Vec::new(), Vec::new());
        for row in rows(config, tokens, served) {
            let flag = row.setting.replace('_', "-");
            match Listener::bind(row.listener.clone()) {
                Ok(listener) => bound.push((row, listener)),
                Err(ListenError::Taken { name, address }) if row.may_be_off => {
                    let because = format!(
                        "{address} is taken; --{flag} ADDR listens elsewhere, --{flag} off says no more"
                    );
                    off.push(Off { name, because });
                }
                Err(error) => return Err(Failure::Other(format!("{error} (--{flag} ADDR)"))),
            }
        }
        Ok(Listening { bound, off })
    }

    /// Those that are off because their address is taken.
    pub fn off(&self) -> Vec<Off> {
        self.off.clone()
    }

    /// What those that listen are called.
    pub fn names(&self) -> Vec<&'static str> {
        self.bound.iter().map(|(_, listener)| listener.name()).collect()
    }

    /// Where they listen.
    pub fn addresses(&self) -> Vec<Address> {
        let address = |(row, listener): &(Row, Listener)| {
            let scheme = if listener.is_tls() { "https" } else { "http" };
            let url = format!("{scheme}://{}", reachable(listener.address()));
            Address { name: listener.name(), try_it: (row.try_it)(&url), url }
        };
        self.bound.iter().map(address).collect()
    }

    /// The hosts that they answer for, to be changed while they are served.
    pub fn hosts(&self) -> Vec<Hosts> {
        self.bound.iter().filter_map(|(_, listener)| listener.hosts()).collect()
    }

    /// Serves them all until `shutdown`.
    ///
    /// # Errors
    /// A thread cannot start.
    pub fn serve(
        self,
        engine: &Engine,
        tokens: Arc<Tokens>,
        shutdown: &Shutdown,
        location: String,
        prefect: Prefect,
    ) -> Result<Vec<Serving>, Failure> {
        let info = |(_, listener): &(Row, Listener)| ListenerInfo {
            name: listener.name().to_owned(),
            address: Some(listener.address()),
            off_because: None,
            tls: listener.is_tls(),
            connections: Some(listener.connections()),
        };
        let off = |off: &Off| ListenerInfo {
            name: off.name.to_owned(),
            address: None,
            off_because: Some(off.because.clone()),
            tls: false,
            connections: None,
        };
        let listeners = self.bound.iter().map(info).chain(self.off.iter().map(off)).collect();
        let (engine, shutdown_wish) = (engine.clone(), shutdown.clone());
        let parts = Parts { engine, tokens, shutdown: shutdown_wish, location, listeners, prefect };
        let serve = |(row, listener): (Row, Listener)| {
            listener.serve((row.router)(&parts), shutdown).map_err(|e| Failure::Other(e.to_string()))
        };
        self.bound.into_iter().map(serve).collect()
    }
}

/// An address that a client on this machine can use.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], v6.port()))
        }
        other => other,
    }
}
