//! The server's configuration: defaults, then a file, then the environment, then flags; each wins over
//! those before it, and every value remembers where it came from.

mod file;
mod settings;
mod size;
mod source;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use admit_engine::PostgresConfig;
use admit_prefect::{NoUpstream, Upstream};
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::duration;

pub use settings::{SETTINGS, Setting};
pub use source::{Source, Value};

/// The file that is read where it lies in the current folder and no other is named.
pub const DEFAULT_FILE: &str = "admit.toml";

/// What the command line says of the configuration.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct Flags {
    /// The configuration's file; admit.toml in this folder is read without saying so
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the data [default: ./admit-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// The PostgreSQL database that several servers share, instead of the folder's own; postgres://...
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Where the native API listens [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where Prefect's API listens, or off [default: 127.0.0.1:4200]
    #[arg(long, value_name = "ADDR|off")]
    prefect: Option<String>,
    /// How long a request of Prefect's that finds its limit full is held open; 0 never [default: 25s]
    #[arg(long, value_name = "DURATION")]
    prefect_hold: Option<String>,
    /// A Prefect server to stand before: limits are served here, everything else there
    #[arg(long, value_name = "URL")]
    prefect_upstream: Option<String>,
    /// When a change counts as stored: full, it survives a power cut; normal, a crash of the process
    /// [default: full]
    #[arg(long, value_name = "full|normal")]
    durability: Option<String>,
    /// A name by which this server is called, besides its addresses; may be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    allow_hosts: Vec<String>,
}

impl Flags {
    /// No flags but those that say where the data is.
    pub fn of_data(config: Option<PathBuf>, data: Option<String>, database: Option<String>) -> Flags {
        Flags { config, data, database, ..Flags::default() }
    }

    fn given(&self, name: &str) -> Option<Vec<String>> {
        let one = |value: &Option<String>| value.clone().map(|value| vec![value]);
        match name {
            "data" => one(&self.data),
            "database" => one(&self.database),
            "listen" => one(&self.listen),
            "prefect" => one(&self.prefect),
            "prefect_hold" => one(&self.prefect_hold),
            "prefect_upstream" => one(&self.prefect_upstream),
            "durability" => one(&self.durability),
            "allow_hosts" if !self.allow_hosts.is_empty() => Some(self.allow_hosts.clone()),
            _ => None,
        }
    }
}

/// The configuration in force, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the native API listens.
    pub listen: SocketAddr,
    /// The certificate and key of the native API.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Names by which this server is called.
    pub allow_hosts: Vec<String>,
    /// Where Prefect's API listens.
    pub prefect: Dialect,
    /// How long a request of Prefect's is held open, in milliseconds.
    pub prefect_hold_ms: u64,
    /// The Prefect server to stand before.
    pub prefect_upstream: Option<Upstream>,
    /// The folder of the data.
    pub data: PathBuf,
    /// The database that several servers share; none: the data is in the folder.
    pub database: Option<PostgresConfig>,
    /// Whether a change is stored only when the disk says so.
    pub is_durability_full: bool,
    /// How much history of the log stays, in milliseconds.
    pub history_age_ms: u64,
    /// How much history of the log stays, in bytes.
    pub history_bytes: u64,
    /// What is logged.
    pub log_level: Targets,
    /// Whether logs are JSON.
    pub is_log_json: bool,
    /// Every setting with its value and where it came from, in the order of [`SETTINGS`].
    pub values: Vec<(&'static Setting, Value)>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

/// Where the API of another system listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Its address; none: it is off.
    pub address: Option<SocketAddr>,
    /// Whether somebody asked for it, so that it must not fail to listen.
    pub is_named: bool,
}

/// Names of environment variables that are not settings.
const OTHER_VARIABLES: [&str; 5] =
    ["ADMIT_URL", "ADMIT_TOKEN", "ADMIT_LEASE_ID", "ADMIT_FENCING_TOKEN", "ADMIT_CONFIG"];

impl Config {
    /// Puts the configuration together and checks all of it.
    ///
    /// # Errors
    /// Everything that is wrong with it, a line each.
    pub fn load(flags: &Flags, env: &[(String, String)]) -> Result<Config, String> {
        let variable = |name: &str| {
            env.iter()
                .find(|(known, value)| known == name && !value.is_empty())
                .map(|(_, value)| value.clone())
        };
        let named = flags.config.clone().or_else(|| variable("ADMIT_CONFIG").map(PathBuf::from));
        let file = named.or_else(|| Path::new(DEFAULT_FILE).is_file().then(|| DEFAULT_FILE.into()));
        let mut from_file = match &file {
            Some(path) => file::read(path)?,
            None => Default::default(),
        };
        let value_of = |setting: &'static Setting| {
            let value = if let Some(texts) = flags.given(setting.name) {
                Value { texts, source: Source::Flag(setting.flag()) }
            } else if let Some(text) = variable(&setting.env()) {
                Value { texts: setting.split(&text), source: Source::Env(setting.env()) }
            } else if let Some(value) = from_file.remove(setting.name) {
                value
            } else {
                Value { texts: setting.default_texts(), source: Source::Default }
            };
            (setting, value)
        };
        Config::check(SETTINGS.iter().map(value_of).collect(), file)
    }

    fn check(values: Vec<(&'static Setting, Value)>, file: Option<PathBuf>) -> Result<Config, String> {
        let mut wrong = Wrong { values: &values, lines: Vec::new() };
        let listen = wrong.read("listen", |text| address(text, "127.0.0.1:7070 or [::1]:7070"));
        let prefect = wrong.dialect("prefect", "127.0.0.1:4200");
        let prefect_hold_ms = wrong.read("prefect_hold", |text| {
            let most_ms = u64::try_from(admit_prefect::MAX_HOLD.as_millis()).unwrap_or(u64::MAX);
            let too_long = || {
                format!(
                    "'{text}' is too long: Prefect's client gives up after 60s; at most {}s",
                    most_ms / 1_000
                )
            };
            duration::parse_ms(text).and_then(|ms| if ms <= most_ms { Ok(ms) } else { Err(too_long()) })
        });
        let own = prefect.as_ref().and_then(|prefect| prefect.address);
        let prefect_upstream = wrong.read("prefect_upstream", |text| upstream(text, own));
        let durability = wrong.read("durability", one_of(&["full", "normal"]));
        let history_age_ms = wrong.read("history_age", duration::parse_ms);
        let history_bytes = wrong.read("history_bytes", size::parse_bytes);
        let log_level = wrong.read("log_level", parse_level);
        let log_format = wrong.read("log_format", one_of(&["text", "json"]));
        let tls = match (wrong.path("tls_cert"), wrong.path("tls_key")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => wrong.say("tls_key", "it is missing: a certificate (tls_cert) needs its key"),
            (None, Some(_)) => wrong.say("tls_cert", "it is missing: a key (tls_key) needs its certificate"),
        };
        let database = wrong.read("database", |url| match url {
            "" => Ok(None),
            url => PostgresConfig::parse(url).map(Some).map_err(|error| error.to_string()),
        });
        let data = wrong.path("data").or_else(|| wrong.say("data", "it is empty: name a folder"));
        let allow_hosts = wrong.texts("allow_hosts");
        let lines = wrong.lines;
        match (
            listen,
            prefect,
            prefect_hold_ms,
            prefect_upstream,
            durability,
            history_age_ms,
            history_bytes,
            log_level,
            log_format,
            data,
            database,
        ) {
            (
                Some(listen),
                Some(prefect),
                Some(prefect_hold_ms),
                Some(prefect_upstream),
                Some(durability),
                Some(age),
                Some(bytes),
                Some(level),
                Some(format),
                Some(data),
                Some(database),
            ) if lines.is_empty() => Ok(Config {
                listen,
                tls,
                allow_hosts,
                prefect,
                prefect_hold_ms,
                prefect_upstream,
                data,
                database,
                is_durability_full: durability == "full",
                history_age_ms: age,
                history_bytes: bytes,
                log_level: level,
                is_log_json: format == "json",
                values,
                file,
            }),
            _ => Err(lines.join("\n")),
        }
    }

    /// Settings whose values differ in `new`: those that a running server can take over, and those that it
    /// cannot.
    pub fn changes(&self, new: &Config) -> (Vec<&'static str>, Vec<&'static str>) {
        let (mut live, mut fixed) = (Vec::new(), Vec::new());
        for ((setting, old), (_, new)) in self.values.iter().zip(&new.values) {
            if old.texts != new.texts {
                if setting.is_live { live.push(setting.name) } else { fixed.push(setting.name) }
            }
        }
        (live, fixed)
    }

    /// Takes over what a running server can.
    pub fn take_live_from(&mut self, new: Config) {
        for ((setting, old), (_, new)) in self.values.iter_mut().zip(new.values) {
            if setting.is_live {
                *old = new;
            }
        }
        self.allow_hosts = new.allow_hosts;
        self.log_level = new.log_level;
        self.history_age_ms = new.history_age_ms;
        self.history_bytes = new.history_bytes;
    }
}

/// Variables of the environment that look like a mistyped setting: warned about, not refused, since an
/// orchestrator may set `ADMIT_...` of its own.
pub fn mistyped_variables(env: &[(String, String)]) -> Vec<String> {
    let is_known =
        |name: &str| OTHER_VARIABLES.contains(&name) || SETTINGS.iter().any(|setting| setting.env() == name);
    let warning = |(name, _): &(String, String)| {
        let word = name.strip_prefix("ADMIT_").filter(|_| !is_known(name))?.to_ascii_lowercase();
        let meant = nearest(&word, SETTINGS.iter().map(|setting| setting.name))?.to_ascii_uppercase();
        Some(format!("the variable {name} is no setting and is ignored; did you mean ADMIT_{meant}?"))
    };
    env.iter().filter_map(warning).collect()
}

/// The known name that is most like a mistyped one, if any is.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Names less alike than this are no likely typing errors.
    const ALIKE: f64 = 0.8;
    let scored = known.map(|known| (strsim::jaro_winkler(name, known), known));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

fn parse_level(text: &str) -> Result<Targets, String> {
    // A word alone would be taken for a module of which everything is logged.
    let is_sound =
        text.split(',').all(|part| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok());
    text.parse().ok().filter(|_| is_sound).ok_or_else(|| {
        format!(
            "'{text}' is no level; it is off, error, warn, info, debug or trace, or like info,admit_api=debug"
        )
    })
}

fn address(text: &str, like: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("'{text}' is no address; write it like {like}"))
}

/// The Prefect server to stand before, which is not the listener at `own`; an empty text is none.
fn upstream(text: &str, own: Option<SocketAddr>) -> Result<Option<Upstream>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let upstream: Upstream = text.parse().map_err(|error: NoUpstream| error.to_string())?;
    own.map_or(Ok(()), |own| upstream.is_not(own)).map_err(|error| error.to_string())?;
    Ok(Some(upstream))
}

fn one_of(words: &'static [&'static str]) -> impl Fn(&str) -> Result<&'static str, String> {
    move |text| {
        let found = words.iter().find(|word| **word == text);
        found.copied().ok_or_else(|| format!("'{text}' is none of {}", words.join(", ")))
    }
}

/// Collects what is wrong, so that everything is said at once.
struct Wrong<'a> {
    values: &'a [(&'static Setting, Value)],
    lines: Vec<String>,
}

impl Wrong<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(setting, _)| setting.name == name).map(|(_, value)| value)
    }

    fn texts(&self, name: &str) -> Vec<String> {
        self.value(name).map(|value| value.texts.clone()).unwrap_or_default()
    }

    fn read<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.texts(name).into_iter().next().unwrap_or_default();
        parse(&text).map_or_else(|why| self.say(name, &why), Some)
    }

    /// The address of a dialect, or `off`.
    fn dialect(&mut self, name: &'static str, example: &str) -> Option<Dialect> {
        let is_named = self.value(name).is_some_and(|value| !matches!(value.source, Source::Default));
        let address = self.read(name, |text| match text {
            "off" => Ok(None),
            _ => address(text, &format!("{example}, or off")).map(Some),
        })?;
        Some(Dialect { address, is_named })
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.texts(name).into_iter().next().filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    fn say<T>(&mut self, name: &str, why: &str) -> Option<T> {
        let line = match self.value(name).map(|value| &value.source) {
            Some(source @ Source::File { .. }) => format!("{source}, {name}: {why}"),
            Some(Source::Default) | None => format!("{name}: {why}"),
            Some(source) => format!("{source}: {why}"),
        };
        self.lines.push(line);
        None
    }
}
