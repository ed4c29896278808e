//! Everything that listens: a further front end is one more row of [`rows`].

use std::net::SocketAddr;
use std::sync::Arc;

use admit_api::{About, App, ListenerInfo};
use admit_engine::{Engine, Migration};
use admit_http::{Access, Hosts, Listener, ListenerConfig, Serving, Shutdown, TlsFiles, Tokens};
use axum::Router;

use crate::config::Config;
use crate::exit::Failure;

/// One listener: where it is to be, who may use it, what it serves.
struct Row {
    listener: ListenerConfig,
    /// Its setting, and flag, for what goes wrong.
    setting: &'static str,
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
}

/// The listeners of this configuration.
fn rows(config: &Config, tokens: &Arc<Tokens>) -> Vec<Row> {
    vec![Row {
        listener: ListenerConfig {
            tls: config.tls.clone().map(|(cert, key)| TlsFiles { cert, key }),
            allow_hosts: Some(config.allow_hosts.clone()),
            ..ListenerConfig::new("native", config.listen, Access::by_address(config.listen, tokens.clone()))
        },
        setting: "listen",
        router: native_router,
        try_it: try_native,
    }]
}

fn native_router(parts: &Parts) -> RouterMaker {
    let about = About::new(env!("CARGO_PKG_VERSION"), &parts.location, parts.listeners.clone());
    let app = App::new(parts.engine.clone(), parts.tokens.clone(), parts.shutdown.clone(), about);
    Box::new(move || admit_api::router(&app))
}

fn try_native(url: &str) -> Vec<String> {
    let server = if url == crate::remote::DEFAULT_URL { String::new() } else { format!("ADMIT_URL={url} ") };
    vec![
        format!("curl {url}/api/v1/status"),
        format!("{server}admit limit set db --max 1 && {server}admit run db -- echo it runs"),
    ]
}

/// The tables of all that listens.
pub fn migrations() -> Vec<Migration> {
    admit_http::MIGRATIONS.to_vec()
}

/// Bound addresses that nobody serves yet.
pub struct Listening {
    bound: Vec<(Row, Listener)>,
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
    pub fn bind(config: &Config, tokens: &Arc<Tokens>) -> Result<Listening, Failure> {
        let bind = |row: Row| match Listener::bind(row.listener.clone()) {
            Ok(listener) => Ok((row, listener)),
            Err(error) => {
                let flag = row.setting.replace('_', "-");
                Err(Failure::Other(format!("{error} (--{flag} ADDR)")))
            }
        };
        let bound = rows(config, tokens).into_iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Listening { bound })
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
    ) -> Result<Vec<Serving>, Failure> {
        let info = |(_, listener): &(Row, Listener)| ListenerInfo {
            name: listener.name().to_owned(),
            address: Some(listener.address()),
            off_because: None,
            tls: listener.is_tls(),
            connections: Some(listener.connections()),
        };
        let listeners = self.bound.iter().map(info).collect();
        let parts = Parts { engine: engine.clone(), tokens, shutdown: shutdown.clone(), location, listeners };
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
