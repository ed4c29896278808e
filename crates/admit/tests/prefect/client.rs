//! A server that speaks Prefect, and Prefect's client for it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use admit_testing::prefect_client;
use tempfile::TempDir;

use crate::support::{Server, text};

/// A server on free ports with Prefect's API.
pub struct Admit {
    pub server: Server,
    /// The address of Prefect's API.
    pub api: String,
}

impl Admit {
    /// A server with these flags.
    pub fn start(flags: &[&str]) -> Admit {
        Admit::start_with(flags, &[])
    }

    /// The same with these variables in its environment.
    pub fn start_with(flags: &[&str], variables: &[(&str, &str)]) -> Admit {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let flags = [&["--listen", "127.0.0.1:0", "--prefect", &address], flags].concat();
        let server = Server::start_with(tempfile::tempdir().unwrap(), &flags, variables);
        Admit { server, api: format!("http://{address}/api") }
    }

    /// Ends it by a signal and starts another on its data and addresses.
    pub fn restart(mut self, signal: i32) -> Admit {
        self.server.stop(signal);
        let folder = std::mem::replace(&mut self.server.folder, tempfile::tempdir().unwrap());
        let address = self.api.trim_start_matches("http://").trim_end_matches("/api");
        let server = Server::start_in(folder, &["--listen", "127.0.0.1:0", "--prefect", address]);
        Admit { server, api: self.api }
    }

    /// Runs a script of `scripts/` with Prefect's client, its settings in a folder of its own; it must succeed.
    #[track_caller]
    pub fn run(&self, script: &str, arguments: &[&str]) -> String {
        run(&self.api, script, arguments)
    }
}

/// The same against any API.
#[track_caller]
pub fn run(api: &str, script: &str, arguments: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    let output = command(&home, api, script, arguments).output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{script}: {}\n{said}", output.status);
    said
}

/// A script, to be run.
pub fn command(home: &TempDir, api: &str, script: &str, arguments: &[&str]) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prefect/scripts").join(script);
    let mut command = prefect_client(home.path(), api).unwrap();
    command.arg(path).args(arguments);
    command
}

/// What a script said, in whichever way.
pub fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// That a client had nothing to complain about.
#[track_caller]
pub fn is_quiet(said: &str) {
    for word in ["WARNING", "Warning", "ERROR", "Traceback", "Unable to connect", "failed", "deprecated"] {
        assert!(!said.contains(word), "it says {word}:\n{said}");
    }
}
