//! A real server in a temporary folder, and the real command line against it.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use admit_client::Client;
use tempfile::TempDir;

/// How long anything is waited for that must come: long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The binary, in a folder of its own and without settings from outside.
pub fn admit(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_admit"));
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ADMIT_") {
            command.env_remove(name);
        }
    }
    command
}

/// Waits for a condition.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a file in the server's folder has content, and gives it.
#[track_caller]
pub fn content(server: &Server, name: &str) -> String {
    let path = server.file(name);
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    wait_until(&format!("{name} is written"), || read().ends_with('\n'));
    read().trim().to_owned()
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: kill takes numbers only.
    let sent = unsafe { libc::kill(pid.cast_signed(), signal) };
    assert_eq!(sent, 0, "signal {signal} to {pid}");
}

/// Whether a process runs; one that nobody has reaped yet does not.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running server.
pub struct Server {
    pub process: Child,
    pub url: String,
    pub folder: TempDir,
    pub banner: Vec<String>,
    lines: Receiver<String>,
}

impl Server {
    /// A server on a free port.
    pub fn start() -> Server {
        Server::start_in(tempfile::tempdir().unwrap(), &["--listen", "127.0.0.1:0"])
    }

    /// A server with these flags, its data in this folder.
    pub fn start_in(folder: TempDir, flags: &[&str]) -> Server {
        Server::start_with(folder, flags, &[])
    }

    /// The same with these variables in its environment.
    pub fn start_with(folder: TempDir, flags: &[&str], variables: &[(&str, &str)]) -> Server {
        let mut command = admit(folder.path());
        command.envs(variables.iter().copied());
        let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
        // Tests run side by side, and Prefect's usual port is one.
        if !flags.contains(&"--prefect") {
            command.env("ADMIT_PREFECT", "off");
        }
        command.arg("serve").args(flags).stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let (mut banner, mut url) = (Vec::new(), None);
        // The banner ends with what to try.
        while url.is_none() || !banner.last().is_some_and(|line: &String| line.contains("admit run")) {
            let Ok(line) = lines.recv_timeout(PATIENCE) else {
                panic!(
                    "no banner: {}",
                    std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
                );
            };
            url = url.or_else(|| line.trim().strip_prefix("native").map(|url| url.trim().to_owned()));
            banner.push(line);
        }
        Server { process, url: url.unwrap(), folder, banner, lines }
    }

    /// The command line against this server.
    pub fn admit(&self) -> Command {
        let mut command = admit(self.folder.path());
        command.env("ADMIT_URL", &self.url);
        command
    }

    /// Runs a command line to its end.
    pub fn call(&self, args: &[&str]) -> Output {
        self.admit().args(args).output().unwrap()
    }

    /// Runs a command line that must succeed, and gives what it prints.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// A client of this server.
    pub fn client(&self) -> Client {
        Client::new(&self.url, None).unwrap()
    }

    /// A file in the folder in which commands run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Waits until so many hold slots of a limit and so many wait.
    #[track_caller]
    pub fn wait_for(&self, limit: &str, used: u64, waiting: u32) {
        let client = self.client();
        wait_until(&format!("{used} hold {limit} and {waiting} wait"), || {
            let now = client.limit(limit).unwrap();
            (now.used, now.waiting) == (used, waiting)
        });
    }

    /// Ends it by a signal.
    pub fn stop(&mut self, number: i32) -> ExitStatus {
        signal(self.process.id(), number);
        self.process.wait().unwrap()
    }

    /// Ends it by SIGKILL and starts another on its data and address.
    pub fn crash_and_restart(self) -> Server {
        self.restart(libc::SIGKILL)
    }

    /// Ends it by a signal and starts another on its data and address.
    pub fn restart(mut self, number: i32) -> Server {
        self.stop(number);
        let listen = self.url.trim_start_matches("http://").to_owned();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        Server::start_in(folder, &["--listen", &listen])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A process that is killed when the test ends before it does.
pub struct Running(pub Child);

impl Running {
    /// Starts it, its standard error in a pipe.
    pub fn start(command: &mut Command) -> Running {
        Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end, and gives its exit code and standard error.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut errors = String::new();
        let mut pipe = self.0.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut pipe, &mut errors).unwrap();
        (self.0.wait().unwrap().code(), errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
