//! Which data: a folder or a database.

use std::path::PathBuf;

use admit_engine::Home;
use clap::Args as ClapArgs;

use crate::commands::config::environment;
use crate::config::{Config, Flags};
use crate::exit::Failure;
use crate::serve;

/// Which data.
#[derive(Debug, ClapArgs)]
pub struct Place {
    /// The folder of the data [default: what `admit serve` would use]
    #[arg(long, value_name = "DIR", conflicts_with = "database")]
    data: Option<PathBuf>,
    /// The PostgreSQL database; postgres://... (ADMIT_DATABASE keeps its password to itself)
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The configuration's file that names it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Data that was found.
pub struct Found {
    /// The configuration of a server on it.
    pub config: Config,
    /// Where it is, without a password.
    pub shown: String,
}

impl Place {
    /// Finds it: what is named, or what `admit serve` would use.
    pub fn find(&self) -> Result<Found, Failure> {
        let data = self.data.as_ref().map(|data| data.display().to_string());
        let flags = Flags::of_data(self.config.clone(), data, self.database.clone());
        let mut config = Config::load(&flags, &environment()).map_err(Failure::Config)?;
        if let Some(data) = &self.data {
            // A folder that is named is meant, whatever the environment says of databases.
            (config.data, config.database) = (data.clone(), None);
        }
        let shown = serve::place(&config)?;
        Ok(Found { config, shown })
    }
}

impl Found {
    /// As the engine knows it.
    pub fn home(&self) -> Home {
        serve::home(&self.config)
    }
}
