//! `admit serve`: what it says when it starts, what it refuses, how it stops.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Running, Server, admit, signal, text, wait_until};

#[test]
fn the_banner_says_what_listens_where_the_data_is_and_what_to_try() {
    let server = Server::start();
    let url = &server.url;
    let data = server.folder.path().canonicalize().unwrap().join("admit-data");
    // It is not on the PATH.
    let admit = env!("CARGO_BIN_EXE_admit");
    let expect = [
        concat!("admit ", env!("CARGO_PKG_VERSION")).to_owned(),
        String::new(),
        format!("  native      {url}"),
        format!("  data        {}", data.display()),
        "  durability  full: what is acknowledged survives a power cut".to_owned(),
        String::new(),
        format!("  $ curl {url}/api/v1/status"),
        format!(
            "  $ ADMIT_URL={url} {admit} limit set db --max 1 && ADMIT_URL={url} {admit} run db -- echo it runs"
        ),
    ];
    assert_eq!(server.banner, expect);
    let pasted = server.banner[7].trim_start_matches("  $ ");
    let output = std::process::Command::new("sh").args(["-c", pasted]).output().unwrap();
    assert!(text(&output.stdout).ends_with("it runs\n"), "{}", text(&output.stderr));
}

#[test]
fn sigterm_and_sigint_end_it_in_order_within_five_seconds() {
    for number in [libc::SIGTERM, libc::SIGINT] {
        let mut server = Server::start();
        server.ok(&["limit", "set", "db", "--max", "1"]);
        let held = server.ok(&["acquire", "db", "--ttl", "10m"]);
        let waits = Running::start(server.admit().args(["run", "db", "--wait", "1s", "--", "true"]));
        server.wait_for("db", 1, 1);
        let start = Instant::now();
        assert_eq!(server.stop(number).code(), Some(0), "{}", server.log());
        assert!(start.elapsed() < Duration::from_secs(5));
        drop(waits);
        // What was acknowledged is there again.
        let folder = std::mem::replace(&mut server.folder, tempfile::tempdir().unwrap());
        let server = Server::start_in(folder, &["--listen", "127.0.0.1:0"]);
        assert!(server.ok(&["leases"]).contains(held.trim()));
    }
}

#[test]
fn damage_in_the_history_that_no_start_needs_is_said_at_the_start() {
    let mut server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let held = server.ok(&["acquire", "db", "--key", "of the damaged record", "--ttl", "1m"]);
    server.ok(&["release", held.trim()]);
    // Whoever stops in order leaves a snapshot, so the records before it are not read again.
    server.stop(libc::SIGTERM);
    server.ok(&["db", "backup", "copy"]);
    let whole = std::fs::read(server.file("copy")).unwrap();
    let mut damaged = whole.clone();
    let needle = b"of the damaged record";
    let places = (0..whole.len() - needle.len()).filter(|&at| whole[at..].starts_with(needle));
    assert_eq!(places.map(|at| damaged[at] ^= 1).count(), 1, "the record alone");
    for (bytes, is_damaged) in [(damaged, true), (whole, false)] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("admit-data")).unwrap();
        std::fs::write(folder.path().join("admit-data/admit.db"), bytes).unwrap();
        std::fs::write(folder.path().join("admit.toml"), "log_level = \"debug\"").unwrap();
        let flags = ["--listen", "127.0.0.1:0", "--config", "admit.toml"];
        let server = Server::start_in(folder, &flags);
        wait_until("the history is looked through", || server.log().contains("history"));
        assert_eq!(server.log().contains("admit db check"), is_damaged, "{}", server.log());
    }
}

#[test]
fn what_cannot_be_served_is_refused_with_the_way_out() {
    let server = Server::start();
    let taken = server.url.trim_start_matches("http://");
    let elsewhere = tempfile::tempdir().unwrap();
    let check = |flags: &[&str], code: i32, expect: &[&str]| {
        let mut command = admit(elsewhere.path());
        let output = command.arg("serve").args(flags).stdout(Stdio::null()).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {said}");
        for part in expect {
            assert!(said.contains(part), "{flags:?}: {said:?} lacks {part:?}");
        }
        assert!(!elsewhere.path().join("admit-data").exists(), "{flags:?}: a refused start leaves a folder");
    };
    check(&["--listen", taken], 1, &[taken, "taken", "--listen ADDR"]);
    check(&["--listen", "0.0.0.0:0"], 1, &["0.0.0.0:0", "admit token create"]);
    let in_use = server.file("admit-data");
    let in_use = in_use.to_str().unwrap();
    check(&["--listen", "127.0.0.1:0", "--data", in_use], 1, &[in_use, &server.process.id().to_string()]);
    check(&["--listen", "7070"], 78, &["--listen", "'7070' is no address"]);
    check(&["--durability", "some"], 78, &["--durability", "'some' is none of full, normal"]);
    check(&["--no-such-flag"], 2, &["--no-such-flag"]);
}

#[test]
fn beyond_loopback_a_token_is_asked_for() {
    let mut server = Server::start();
    let token = server.ok(&["token", "create", "--role", "admin", "--name", "me"]);
    server.stop(libc::SIGTERM);
    let folder = std::mem::replace(&mut server.folder, tempfile::tempdir().unwrap());
    let server = Server::start_in(folder, &["--listen", "0.0.0.0:0"]);
    let output = server.call(&["limit", "ls"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("ADMIT_TOKEN"), "{}", text(&output.stderr));
    let output = server.admit().env("ADMIT_TOKEN", token.trim()).args(["limit", "ls"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_and_how_to_trust_one() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, flags: &[&str]| {
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        let mut openssl = std::process::Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
        ]);
        openssl.args([
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-out",
            &cert,
            "-keyout",
            &key,
        ]);
        let output = openssl.args(flags).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    make("authority", &[]);
    make("server", &["-addext", "basicConstraints=critical,CA:FALSE"]);
    for (name, trusted) in [("authority", "basicConstraints=critical,CA:FALSE"), ("server", "")] {
        let in_folder = |file: String| folder.path().join(file).display().to_string();
        let (cert, key) = (in_folder(format!("{name}.pem")), in_folder(format!("{name}.key")));
        let served = tempfile::tempdir().unwrap();
        let file = format!("tls_cert = \"{cert}\"\ntls_key = \"{key}\"\n");
        std::fs::write(served.path().join("admit.toml"), file).unwrap();
        let server = Server::start_in(served, &["--listen", "127.0.0.1:0"]);
        let output = server.call(&["limit", "ls"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("SSL_CERT_FILE") && !said.contains("admit serve"), "{said}");
        let output = server.admit().env("SSL_CERT_FILE", &cert).args(["limit", "ls"]).output().unwrap();
        assert_eq!(output.status.success(), trusted.is_empty(), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(trusted), "{}", text(&output.stderr));
    }
}

/// The status of a request that calls the server by another name.
fn http_status(url: &str, host: &str) -> u16 {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(stream, "GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn sighup_takes_over_what_can_be_and_names_what_cannot() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admit.toml"), "listen = \"127.0.0.1:0\"\n").unwrap();
    let server = Server::start_in(folder, &[]);
    std::fs::write(
        server.file("admit.toml"),
        "listen = \"127.0.0.1:1\"\nlog_level = \"debug\"\nallow_hosts = [\"admit.example\"]\n",
    )
    .unwrap();
    let by_name = || http_status(&server.url, "admit.example");
    assert_eq!(by_name(), 403);
    signal(server.process.id(), libc::SIGHUP);
    wait_until("the file is read again", || server.log().contains("configuration read again"));
    let log = server.log();
    assert!(log.contains("changed, but takes a restart") && log.contains("\"listen\""), "{log}");
    assert!(log.contains("applied=\"allow_hosts, log_level\""), "{log}");
    assert_eq!(by_name(), 200);
    server.ok(&["limit", "ls"]);
    wait_until("requests are logged", || server.log().contains("request_id"));
    std::fs::write(server.file("admit.toml"), "lisen = \"127.0.0.1:1\"\n").unwrap();
    signal(server.process.id(), libc::SIGHUP);
    wait_until("the wrong file is named", || server.log().contains("did you mean 'listen'"));
    server.ok(&["limit", "ls"]);
}

#[test]
fn logs_are_json_where_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = admit(folder.path());
    command.env("ADMIT_LOG_FORMAT", "json").args(["serve", "--listen", "127.0.0.1:0", "--prefect", "off"]);
    let mut server = Running::start(&mut command);
    let mut log = std::io::BufReader::new(server.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert!(
            std::io::BufRead::read_line(&mut log, &mut line).unwrap() > 0,
            "no line says that it listens"
        );
        let _: serde_json::Value = serde_json::from_str(&line).unwrap();
    }
    signal(server.pid(), libc::SIGTERM);
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
    let mut out = String::new();
    std::io::Read::read_to_string(server.0.stdout.as_mut().unwrap(), &mut out).unwrap();
    assert_eq!(out, "");
}

#[test]
fn the_data_is_checked_and_backed_up_while_a_server_uses_it() {
    let mut server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "7"]);
    let output = server.call(&["db", "check"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).ends_with("all is well\n"), "{}", text(&output.stdout));
    let in_use = format!("in use by a server (process {})", server.process.id());
    assert!(text(&output.stderr).contains(&in_use), "{}", text(&output.stderr));

    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("admit-data")).unwrap();
    let file = copy.path().join("admit-data/admit.db");
    server.ok(&["db", "backup", file.to_str().unwrap()]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds the hashes of tokens");
    let again = server.call(&["db", "backup", file.to_str().unwrap()]);
    assert!(text(&again.stderr).contains("exists already"), "{}", text(&again.stderr));
    server.stop(libc::SIGTERM);
    let output = server.call(&["db", "check", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["in_use_by"], &report["problems"]),
        (&serde_json::Value::Null, &serde_json::json!([]))
    );

    let restored = Server::start_in(copy, &["--listen", "127.0.0.1:0"]);
    assert!(restored.ok(&["limit", "get", "db"]).contains("max          7"));
    let nothing = admit(server.folder.path()).args(["db", "check", "--data", "nowhere"]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).contains("nowhere"), "{}", text(&nothing.stderr));
}

#[test]
fn a_dialect_nobody_asked_for_is_off_where_its_port_is_taken() {
    // Whoever has Prefect's usual port, it is taken from here on.
    let _taken = std::net::TcpListener::bind("127.0.0.1:4200");
    let folder = tempfile::tempdir().unwrap();
    let mut command = admit(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Running(command.spawn().unwrap());
    let mut out = std::io::BufReader::new(server.0.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("prefect") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut out, &mut line).unwrap() > 0, "the banner does not name it");
    }
    assert!(line.contains("off: 127.0.0.1:4200 is taken; --prefect ADDR"), "{line}");
    signal(server.pid(), libc::SIGTERM);
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_dialect_that_was_named_or_served_before_must_listen() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let refused = |folder: &std::path::Path, flags: &[&str]| {
        let mut command = admit(folder);
        let output = command.args(["serve", "--listen", "127.0.0.1:0"]).args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        assert!(text(&output.stderr).contains("--prefect ADDR"), "{}", text(&output.stderr));
    };
    refused(folder.path(), &["--prefect", &address]);
    let mut server = Server::start_in(folder, &["--listen", "127.0.0.1:0", "--prefect", "127.0.0.1:0"]);
    assert!(server.banner.iter().any(|line| line.contains("prefect") && line.contains("http://127.0.0.1:")));
    server.stop(libc::SIGTERM);
    let folder = std::mem::replace(&mut server.folder, tempfile::tempdir().unwrap());
    // Its usual port is taken now, and this data was served there.
    let _taken = std::net::TcpListener::bind("127.0.0.1:4200");
    refused(folder.path(), &[]);
}
