//! The server under test: the real binary, as a process of its own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::connection::Connection;

/// A running `admit serve`. Ends when it is dropped.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub host: String,
}

/// How long a server may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

impl Server {
    /// Starts a server with these flags on the data in `folder` and waits until it is ready.
    pub async fn start(binary: &str, folder: &Path, flags: &[&str]) -> Result<Server> {
        let folder = folder.to_str().ok_or("the folder's name is not UTF-8")?;
        Server::start_on(binary, &[&["--data", folder], flags].concat()).await
    }

    /// Starts a node on a database that it shares, and waits until it is ready.
    pub async fn start_node(binary: &str, database: &str) -> Result<Server> {
        Server::start_on(binary, &["--database", database]).await
    }

    async fn start_on(binary: &str, flags: &[&str]) -> Result<Server> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let host = format!("127.0.0.1:{port}");
        let child = Command::new(binary)
            .args(["serve", "--listen", &host])
            // Other listeners only where a flag asks for them.
            .env("ADMIT_PREFECT", "off")
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Server { child, host };
        let started = Instant::now();
        loop {
            if let Ok(mut connection) = Connection::open(&server.host).await
                && matches!(connection.call("GET", "/readyz", "").await, Ok((200, _)))
            {
                return Ok(server);
            }
            if started.elapsed() > READY_WITHIN {
                return Err("the server did not become ready".into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends the server as a power cut would.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Seconds of processor time that the server has used.
    pub fn cpu_s(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks: u64 =
            fields.get(11..13).ok_or("no times in stat")?.iter().flat_map(|field| field.parse::<u64>()).sum();
        // SAFETY: sysconf reads a constant of the system and touches no memory of ours.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Ok(ticks as f64 / per_second as f64)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
