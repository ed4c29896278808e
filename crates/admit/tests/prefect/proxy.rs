//! Admit before a whole Prefect server: its limits here, everything else there.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use admit_testing::PrefectServer;
use tempfile::TempDir;

use crate::client::{Admit, run};
use crate::support::{admit, text, wait_until};

/// A Prefect server, and Admit before it.
struct Pair {
    admit: Admit,
    behind: PrefectServer,
    _home: TempDir,
}

impl Pair {
    fn start(settings: &[(&str, &str)]) -> Pair {
        let home = tempfile::tempdir().unwrap();
        let behind = PrefectServer::start(home.path(), None, settings).unwrap();
        let admit = Admit::start(&["--prefect-upstream", &format!("http://{}", behind.host)]);
        Pair { admit, behind, _home: home }
    }
}

#[test]
fn a_flow_runs_there_and_its_tags_are_limited_here() {
    let pair = Pair::start(&[]);
    pair.admit.server.ok(&["limit", "set", "tag:heavy", "--max", "1"]);
    let said = pair.admit.run("flow.py", &[]);
    assert!(said.contains("most at once: 1"), "{said}");
    // The run, its tasks and its logs are there; the limit is not.
    let behind = run(&pair.behind.url(), "flow_seen.py", &[]);
    assert!(
        behind.contains("flow run: COMPLETED, task runs: 4 COMPLETED, logs: yes, limits: []"),
        "{behind}"
    );
    assert_eq!(pair.admit.server.client().limit("tag:heavy").unwrap().used, 0);
}

#[test]
fn a_deployment_s_own_limit_is_kept_there() {
    let pair = Pair::start(&[]);
    let said = pair.admit.run("deployment.py", &[]);
    for line in ["limits: [('deployment', 1)]", "second: CANCELLED", "first: COMPLETED"] {
        assert!(said.lines().any(|said| said == line), "{line} is missing:\n{said}");
    }
}

#[test]
fn limits_of_both_are_listed_and_managed() {
    let pair = Pair::start(&[]);
    run(&pair.behind.url(), "make_limits.py", &["behind", "both"]);
    run(&pair.admit.api, "make_limits.py", &["here"]);
    pair.admit.server.ok(&["limit", "set", "both", "--max", "7"]);
    pair.admit.run("both.py", &[&pair.behind.url()]);
}

#[test]
fn who_is_known_there_is_known_here() {
    let pair = Pair::start(&[("PREFECT_SERVER_API_AUTH_STRING", "admin:secret")]);
    pair.admit.server.ok(&["limit", "set", "one", "--max", "1"]);
    let hold = |credentials: Option<&str>| {
        let home = tempfile::tempdir().unwrap();
        let mut command = crate::client::command(&home, &pair.admit.api, "hold.py", &["one"]);
        command.envs(credentials.map(|credentials| ("PREFECT_API_AUTH_STRING", credentials)));
        let output = command.output().unwrap();
        (output.status.success(), crate::client::said(&output))
    };
    let (is_held, said) = hold(Some("admin:secret"));
    assert!(is_held, "{said}");
    let (is_held, said) = hold(Some("admin:wrong"));
    assert!(!is_held && said.contains("401"), "{said}");
    is_told_that_nobody_could_look(&pair.admit, "401");
}

#[test]
fn slots_that_are_here_come_and_go_while_the_server_behind_is_away() {
    /// A client that asks in vain for what it asks first pauses for 2, 4, 8 s and so on.
    const SOON: Duration = Duration::from_secs(15);
    for settings in [&[][..], &[("PREFECT_SERVER_CSRF_PROTECTION_ENABLED", "true")]] {
        let Pair { admit, behind, _home } = Pair::start(settings);
        admit.server.ok(&["limit", "set", "one", "--max", "1"]);
        let used = || admit.server.client().limit("one").unwrap().used;
        let (home, end) = (tempfile::tempdir().unwrap(), admit.server.file("end"));
        let mut holder =
            crate::client::command(&home, &admit.api, "hold_until.py", &["one", end.to_str().unwrap()]);
        let holder = holder.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until("it holds", || used() == 1);
        let address = behind.host.clone();
        drop(behind);
        wait_until("it is away", || TcpStream::connect(&address).is_err());
        std::fs::write(&end, "").unwrap();
        let begun = Instant::now();
        wait_until("the slot is back", || used() == 0);
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        let output = holder.wait_with_output().unwrap();
        let said = crate::client::said(&output);
        assert!(output.status.success() && said.contains("given back"), "{said}");
        // Who comes now gets it, too.
        let said = admit.run("hold.py", &["one"]);
        assert!(said.contains("active 1, limit 1"), "{said}");
        assert_eq!(used(), 0);
    }
}

#[test]
fn a_server_that_wants_proof_of_no_other_site_gets_it() {
    let pair = Pair::start(&[("PREFECT_SERVER_CSRF_PROTECTION_ENABLED", "true")]);
    pair.admit.server.ok(&["limit", "set", "tag:heavy", "--max", "1"]);
    let said = pair.admit.run("flow.py", &[]);
    assert!(said.contains("most at once: 1"), "{said}");
    // The merged list is asked for with the client's proof.
    run(&pair.behind.url(), "make_limits.py", &["behind"]);
    run(&pair.admit.api, "make_limits.py", &["here"]);
    pair.admit.run("listed.py", &["behind", "here", "tag:heavy"]);
    is_told_that_nobody_could_look(&pair.admit, "403");
}

/// The server behind lets nobody look at the start, and that is said.
#[track_caller]
fn is_told_that_nobody_could_look(admit: &Admit, status: &str) {
    let is_it = |line: &str| {
        line.contains("WARN") && line.contains("did not say what limits it has") && line.contains(status)
    };
    wait_until("it is said that nobody could look", || admit.server.log().lines().any(is_it));
}

#[test]
fn a_server_behind_can_speak_tls() {
    let folder = tempfile::tempdir().unwrap();
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cert, key) =
        (file("cert.pem", issued.cert.pem()), file("key.pem", issued.signing_key.serialize_pem()));
    // Another server of ours is as good as Prefect's, which does not speak TLS by itself.
    let behind = Admit::start_with(&[], &[("ADMIT_TLS_CERT", &cert), ("ADMIT_TLS_KEY", &key)]);
    let upstream = behind.api.replace("http://127.0.0.1", "https://localhost");
    let flags = ["--prefect-upstream", upstream.as_str()];
    let flows = |variables: &[(&str, &str)]| {
        let admit = Admit::start_with(&flags, variables);
        get(&format!("{}/flows", admit.api))
    };
    let said = flows(&[("SSL_CERT_FILE", &cert)]);
    assert!(said.starts_with("HTTP/1.1 404") && said.contains("belongs to a whole Prefect server"), "{said}");
    let said = flows(&[]);
    assert!(said.starts_with("HTTP/1.1 502"), "{said}");
    assert!(said.contains("certificate is not trusted") && said.contains("SSL_CERT_FILE"), "{said}");
}

/// An answer as it comes.
fn get(url: &str) -> String {
    use std::io::{Read, Write};
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_server_does_not_stand_before_itself() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command: Command = admit(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--prefect", &format!("127.0.0.1:{port}")]);
    let output =
        command.args(["--prefect-upstream", &format!("http://localhost:{port}/api")]).output().unwrap();
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("is where this server itself listens"), "{said}");
}

#[test]
fn limits_of_one_name_on_both_are_told() {
    let home = tempfile::tempdir().unwrap();
    let behind = PrefectServer::start(home.path(), None, &[]).unwrap();
    run(&behind.url(), "make_limits.py", &["both"]);
    let upstream = format!("http://{}", behind.host);
    let before = Admit::start(&[]);
    before.server.ok(&["limit", "set", "both", "--max", "1"]);
    let (mut server, address) = (before.server, before.api.replace("http://", "").replace("/api", ""));
    server.stop(libc::SIGTERM);
    let folder = std::mem::replace(&mut server.folder, tempfile::tempdir().unwrap());
    let flags = ["--listen", "127.0.0.1:0", "--prefect", &address, "--prefect-upstream", &upstream];
    let server = crate::support::Server::start_in(folder, &flags);
    wait_until("the two limits are told", || {
        server.log().lines().any(|line| line.contains("WARN") && line.contains("limit=\"both\""))
    });
}
