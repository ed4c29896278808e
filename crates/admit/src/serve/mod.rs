//! `admit serve`, from the configuration to the last commit.

mod banner;
mod history;
mod listeners;
mod logging;
mod reload;
mod served;

use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use admit_engine::{Durability, Engine, Home, Keep};
use admit_http::{Shutdown, Tokens};
use admit_prefect::{Behind, Prefect};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::runtime::Runtime;

use self::listeners::Listening;
pub use self::listeners::{migrations, table_checks};
use self::logging::Logs;
use crate::commands::config::environment;
use crate::config::{Config, Flags, mistyped_variables};
use crate::exit::{Failure, Outcome, code};

/// How long stopping may take in all; after it the process ends with an error. What was acknowledged is on
/// disk by then in any case.
const STOP_TIMEOUT: Duration = Duration::from_millis(4_700);

/// Serves until a signal ends it.
///
/// # Errors
/// The configuration is wrong, the data cannot be opened, an address is taken.
pub fn serve(flags: &Flags) -> Outcome {
    let env = environment();
    let config = Config::load(flags, &env).map_err(Failure::Config)?;
    let logs = Logs::start(config.log_level.clone(), config.is_log_json).map_err(Failure::Other)?;
    for warning in mistyped_variables(&env) {
        tracing::warn!("{warning}");
    }
    // Before anything is open: a signal that comes during the start ends it in order, too.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(Failure::io("watching for signals"))?;
    let runtime = runtime()?;
    let opening = Instant::now();
    let is_new = config.database.is_none() && !config.data.exists();
    let engine = open(&config)?;
    let tokens = runtime.block_on(Tokens::load(&engine)).map_err(|e| Failure::Other(e.to_string()))?;
    let shutdown = Shutdown::new();
    let tokens = Arc::new(tokens);
    let failed = |error: admit_engine::Error| Failure::Other(error.to_string());
    let served = runtime.block_on(served::before(&engine)).map_err(failed)?;
    let listening = Listening::bind(&config, &tokens, &served).inspect_err(|_| {
        // A start that is refused leaves nothing behind. There is nothing in it, as nobody was served.
        if is_new && runtime.block_on(engine.shutdown()).is_ok() {
            let _ = std::fs::remove_dir_all(&config.data);
        }
    })?;
    let newly =
        listening.names().into_iter().filter(|name| !served.iter().any(|known| known == name)).collect();
    runtime.block_on(served::remember(&engine, newly)).map_err(failed)?;
    let prefect = Prefect::open(engine.clone(), tokens.clone(), prefect_options(&config)?);
    let prefect = runtime.block_on(prefect).map_err(failed)?;
    let (addresses, off, hosts) = (listening.addresses(), listening.off(), listening.hosts());
    let data = place(&config)?;
    look_behind(prefect.clone())?;
    if config.database.is_some() {
        follow_tokens(&tokens, &engine)?;
    }
    let serving = listening.serve(&engine, tokens, &shutdown, data.clone(), prefect)?;
    let took_ms = u64::try_from(opening.elapsed().as_millis()).unwrap_or(u64::MAX);
    banner::show(&config, &addresses, &off, &data, took_ms)?;
    exit_when_the_engine_does(&engine)?;
    history::check(&config)?;

    let mut reloader = reload::Reloader { flags: flags.clone(), config, logs, engine: engine.clone(), hosts };
    for signal in signals.forever() {
        if signal == SIGHUP {
            reloader.reload();
            continue;
        }
        tracing::info!(signal = name(signal), "stopping");
        break;
    }
    exit_at_the_next_signal(signals)?;
    limit_the_stop()?;
    // Who waits is told by the engine, and so the listeners' requests end.
    shutdown.trigger();
    let result = runtime.block_on(engine.shutdown());
    serving.into_iter().for_each(admit_http::Serving::join);
    result.map_err(|e| Failure::Other(format!("the data could not be closed in order: {e}")))?;
    tracing::info!("stopped");
    Ok(code::OK)
}

/// A runtime for the few questions that the main thread itself asks the engine.
pub fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::io("starting a runtime"))
}

/// Where the data is, as people are told.
pub fn place(config: &Config) -> Result<String, Failure> {
    let named = config.values.iter().find(|(setting, _)| setting.name == "database");
    match (&config.database, named) {
        (Some(_), Some((setting, value))) => Ok(setting.shown(&value.texts.concat())),
        _ => {
            let data = std::path::absolute(&config.data).map_err(Failure::io("finding the data's folder"))?;
            Ok(data.display().to_string())
        }
    }
}

fn open(config: &Config) -> Result<Engine, Failure> {
    let place = place(config)?;
    Engine::open(engine(config)).map_err(|e| Failure::Other(format!("{place}: {e}")))
}

/// What its engine needs to know.
pub fn engine(config: &Config) -> admit_engine::Config {
    admit_engine::Config {
        durability: if config.is_durability_full { Durability::Full } else { Durability::Normal },
        keep: keep(config),
        migrations: migrations(),
        name: host_name(),
        address: address(config),
        ..admit_engine::Config::at(home(config))
    }
}

/// Where its log is.
pub fn home(config: &Config) -> Home {
    match config.database.clone() {
        None => Home::Folder(config.data.clone()),
        Some(database) => Home::Postgres(database),
    }
}

/// Where this server's own API is, as it was configured.
fn address(config: &Config) -> String {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", config.listen)
}

/// What this machine is called.
fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let told = told.or_else(|| std::env::var("HOSTNAME").ok()).or_else(|| std::env::var("COMPUTERNAME").ok());
    told.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unnamed".to_owned())
}

fn prefect_options(config: &Config) -> Result<admit_prefect::Options, Failure> {
    let behind = config.prefect_upstream.clone().map(Behind::new).transpose();
    Ok(admit_prefect::Options {
        hold: Duration::from_millis(config.prefect_hold_ms),
        is_tls: config.tls.is_some(),
        behind: behind.map_err(|error| Failure::Other(error.to_string()))?.map(Arc::new),
    })
}

/// Looks at the Prefect server behind while the start goes on: it need not be there yet.
fn look_behind(prefect: Prefect) -> Result<(), Failure> {
    let runtime = runtime()?;
    spawn("prefect-behind", move || runtime.block_on(prefect.look_behind()))
}

/// A token that is made or revoked through another node is so here, too.
fn follow_tokens(tokens: &Arc<Tokens>, engine: &Engine) -> Result<(), Failure> {
    let (tokens, engine, runtime) = (Arc::clone(tokens), engine.clone(), runtime()?);
    spawn("tokens", move || runtime.block_on(tokens.follow(&engine)))
}

fn keep(config: &Config) -> Keep {
    Keep { age_ms: config.history_age_ms, bytes: config.history_bytes }
}

/// Where the storage fails, the engine stops by itself, and a server that can store nothing is of no use.
fn exit_when_the_engine_does(engine: &Engine) -> Result<(), Failure> {
    let (engine, runtime) = (engine.clone(), runtime()?);
    let wait = move || {
        if let Err(error) = runtime.block_on(engine.stopped()) {
            tracing::error!(%error, "the engine has stopped; restart the server");
            process::exit(i32::from(code::FAILED));
        }
    };
    spawn("engine-watch", wait)
}

/// A second signal does not wait for the stop to end.
fn exit_at_the_next_signal(mut signals: Signals) -> Result<(), Failure> {
    spawn("signals", move || {
        if let Some(signal) = signals.forever().find(|signal| *signal != SIGHUP) {
            tracing::warn!(signal = name(signal), "stopping at once");
            process::exit(i32::from(code::SIGNAL_BASE) + signal);
        }
    })
}

fn limit_the_stop() -> Result<(), Failure> {
    spawn("stop-limit", || {
        thread::sleep(STOP_TIMEOUT);
        tracing::error!(
            after_ms = STOP_TIMEOUT.as_millis(),
            "stopping took too long; what was acknowledged is stored"
        );
        process::exit(i32::from(code::FAILED));
    })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(Failure::io("starting a thread"))
}

fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}
