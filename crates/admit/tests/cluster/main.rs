//! Three servers on one PostgreSQL while things go wrong: what each of them says is true, and nobody is over a max.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod failover;
mod holders;
mod load;
mod outage;
mod paused;
#[path = "../support/mod.rs"]
mod support;
mod tokens;

use admit_client::{Acquire, Acquired, Claim, Client, Error, Lease, LimitSpec};
use admit_testing::Postgres;
use support::{Server, wait_until};

/// Servers of one database that nobody else uses.
struct Cluster<'a> {
    postgres: &'a Postgres,
    url: String,
    nodes: Vec<Server>,
}

impl Cluster<'_> {
    fn start(postgres: &Postgres) -> Cluster<'_> {
        let url = postgres.url(&postgres.new_schema());
        let nodes = (0..3).map(|n| node(&url, n, "127.0.0.1:0")).collect();
        Cluster { postgres, url, nodes }
    }

    /// Ends a server by SIGKILL and starts another at its address.
    fn kill_and_restart(&mut self, n: usize) {
        self.nodes[n].stop(libc::SIGKILL);
        let listen = self.nodes[n].url.trim_start_matches("http://").to_owned();
        self.nodes[n] = node(&self.url, n, &listen);
    }

    /// A client of each server.
    fn clients(&self) -> [Client; 3] {
        [0, 1, 2].map(|n| self.nodes[n].client())
    }

    /// Stops a server in the middle of what it does.
    fn pause(&self, n: usize) {
        let pid = self.nodes[n].process.id();
        support::signal(pid, libc::SIGSTOP);
        // Threads that are about to work may go on until each has seen the signal.
        wait_until("every thread has stopped", || {
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            threads.flatten().all(|thread| {
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('T'))
            })
        });
    }

    /// Lets it go on.
    fn wake(&self, n: usize) {
        support::signal(self.nodes[n].process.id(), libc::SIGCONT);
    }

    /// Whether a server has the log's lock, or something else that it holds a transaction open for.
    fn is_in_a_transaction(&self, n: usize) -> bool {
        let schema = self.url.rsplit('=').next().unwrap();
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity
             WHERE application_name = '{schema} {n}' AND state = 'idle in transaction'"
        );
        self.postgres.sql("public", &sql) != "0"
    }
}

fn node(url: &str, n: usize, listen: &str) -> Server {
    let schema = url.rsplit('=').next().unwrap();
    let database = format!("{url}&application_name={schema}%20{n}");
    Server::start_in(tempfile::tempdir().unwrap(), &["--listen", listen, "--database", &database])
}

/// A limit of so many slots.
fn set_limit(client: &Client, name: &str, max: u32) {
    client.set_limit(&LimitSpec::new(name, max), None).unwrap();
}

/// What a server says once it can say something: a 503 is not the end.
fn insist<T>(mut call: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut said = None;
    wait_until("the server answers", || {
        said = Some(call()).filter(|said| !said.as_ref().is_err_and(Error::is_away));
        said.is_some()
    });
    said.unwrap()
}

/// A request for a slot of a limit.
fn request(limit: &str, ttl_ms: u64, wait_ms: u64) -> Acquire {
    Acquire { ttl_ms: Some(ttl_ms), wait_ms, ..Acquire::new(vec![Claim::limit(limit, 1)]) }
}

/// Takes a slot of a limit, waiting for it as long as is said.
fn take(client: &Client, limit: &str, ttl_ms: u64, wait_ms: u64) -> Result<Lease, Error> {
    match client.acquire(&request(limit, ttl_ms, wait_ms))? {
        Acquired::Granted(lease) => Ok(lease),
        Acquired::Waiting(ticket) => panic!("a request that was not to be kept waits: {ticket:?}"),
    }
}
