//! The servers that are measured.

use std::net::TcpListener;
use std::panic::catch_unwind;
use std::path::Path;

use admit_testing::{Postgres, PrefectServer};

use crate::Result;
use crate::connection::Connection;
use crate::server::Server;

/// A server of Prefect's API.
pub struct Peer {
    /// What it is called.
    pub name: &'static str,
    /// Where it listens.
    pub host: String,
}

/// All of them; they end when this is dropped.
pub struct Peers {
    /// Admit first, then Prefect's own.
    pub all: Vec<Peer>,
    _admit: Server,
    _prefect: Vec<PrefectServer>,
    _postgres: Option<Postgres>,
}

impl Peers {
    /// Starts them with their data below `folder`, each with the limits `many`, which never fills, and `one`.
    pub async fn start(binary: &str, folder: &Path) -> Result<Peers> {
        let home = |name: &str| -> Result<_> {
            let home = folder.join(name);
            std::fs::create_dir(&home)?;
            Ok(home)
        };
        let host = format!("127.0.0.1:{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let admit = Server::start(binary, &home("admit")?, &["--prefect", &host]).await?;
        let mut all = vec![Peer { name: "Admit", host }];
        let mut prefect = vec![PrefectServer::start(&home("sqlite")?, None, &[])?];
        let postgres = postgres();
        if let Some(postgres) = &postgres {
            let folder = postgres.socket();
            let folder = folder.parent().unwrap_or(Path::new("/")).display();
            let url = format!("postgresql+asyncpg://admit@/postgres?host={folder}");
            prefect.push(PrefectServer::start(&home("postgres")?, Some(&url), &[])?);
        }
        let names = ["Prefect, SQLite", "Prefect, PostgreSQL"];
        all.extend(prefect.iter().zip(names).map(|(server, name)| Peer { name, host: server.host.clone() }));
        for peer in &all {
            let mut connection = Connection::open(&peer.host).await?;
            for (name, limit) in [("many", 100_000), ("one", 1)] {
                let body = format!(r#"{{"name":"{name}","limit":{limit}}}"#);
                connection.expect(&[201], "POST", "/api/v2/concurrency_limits/", &body).await?;
            }
        }
        Ok(Peers { all, _admit: admit, _prefect: prefect, _postgres: postgres })
    }
}

/// A PostgreSQL, where there is one.
fn postgres() -> Option<Postgres> {
    let started = catch_unwind(|| Postgres::start(""));
    if started.is_err() {
        println!("(without PostgreSQL, for the reason above)");
    }
    started.ok()
}
