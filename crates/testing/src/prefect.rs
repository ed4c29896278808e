//! Prefect's own client and server, as they come from PyPI.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::python;

/// How long a server of Prefect's may take to start: it makes its tables first.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A Python that runs Prefect's client against the API at `url`, its settings in `home` alone: nothing of the
/// machine's, and nothing that asks the network.
///
/// # Errors
///
/// If there is no Python environment.
pub fn prefect_client(home: &Path, url: &str) -> Result<Command, String> {
    let python = python()?;
    let mut command = Command::new(&python);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if [
            "PREFECT_",
            "ADMIT_",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(&*name);
        }
    }
    // What the client starts by name is to be of the same environment.
    let mut path = vec![python.parent().unwrap_or(Path::new("/")).to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    command
        .current_dir(home)
        .stdin(Stdio::null())
        .env("PATH", std::env::join_paths(path).unwrap_or_default())
        .env("PREFECT_HOME", home.join("prefect"))
        .env("PREFECT_API_URL", url)
        .env("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        .env("PREFECT_CLI_COLORS", "false")
        .env("DO_NOT_TRACK", "1")
        .env("PYTHONUNBUFFERED", "1")
        // Tables are shown whole.
        .env("COLUMNS", "200");
    Ok(command)
}

/// A running Prefect server. It is killed when this is dropped.
pub struct PrefectServer {
    child: Child,
    /// Where it listens, as `127.0.0.1:4200`.
    pub host: String,
}

impl PrefectServer {
    /// Starts one with its settings, its log and, unless a database is named, its SQLite in `home`, and waits until
    /// it is healthy. `settings` are further variables of its environment.
    ///
    /// # Errors
    ///
    /// If there is no Python environment, or the server does not become healthy; then what it said.
    pub fn start(
        home: &Path,
        database: Option<&str>,
        settings: &[(&str, &str)],
    ) -> Result<PrefectServer, String> {
        let failed = |error: std::io::Error| format!("Prefect's server cannot be started: {error}");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map_err(failed)?.port();
        let host = format!("127.0.0.1:{port}");
        let log_path = home.join("prefect-server.log");
        let log = std::fs::File::create(&log_path).map_err(failed)?;
        let mut command = prefect_client(home, &format!("http://{host}/api"))?;
        command
            .args(["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--no-ui", "--log-level", "WARNING"])
            .envs(settings.iter().copied())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log);
        if let Some(database) = database {
            command.env("PREFECT_SERVER_DATABASE_CONNECTION_URL", database);
        }
        let mut server = PrefectServer { child: command.spawn().map_err(failed)?, host };
        let begun = Instant::now();
        while !server.is_healthy() {
            let ended = server.child.try_wait().map_err(failed)?;
            if ended.is_some() || begun.elapsed() > READY_WITHIN {
                let said = std::fs::read_to_string(&log_path).unwrap_or_default();
                return Err(format!("Prefect's server did not become healthy: {said}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// The address of its API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/api", self.host)
    }

    fn is_healthy(&self) -> bool {
        let answer = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.host)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET /api/health HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.host)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        answer().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }
}

impl Drop for PrefectServer {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
