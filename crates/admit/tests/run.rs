//! `admit run`, the real binary against a real server: its exit codes, what its command gets, who goes when,
//! and that nothing that happens to it leaves a slot taken or a command running.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::{Running, Server, admit, content, runs, signal, text, wait_until};

fn run(server: &Server, args: &[&str]) -> Command {
    let mut command = server.admit();
    command.arg("run").args(args);
    command
}

#[test]
fn the_exit_code_is_the_commands() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    std::fs::write(server.file("not-executable"), "").unwrap();
    let check = |args: &[&str], code: i32| {
        let output = run(&server, args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
        server.wait_for("db", 0, 0);
    };
    check(&["db", "--", "true"], 0);
    check(&["db", "--", "sh", "-c", "exit 7"], 7);
    check(&["db", "--", "sh", "-c", "kill -TERM $$"], 128 + 15);
    check(&["db", "--", "sh", "-c", "kill -KILL $$"], 128 + 9);
    check(&["db", "--", "there-is-no-such-command"], 127);
    check(&["db", "--", "./not-executable"], 126);
    check(&["db", "--slots", "2", "--", "true"], 1);
    check(&["no-such-limit", "--", "true"], 1);
    check(&["db"], 2);
    check(&["db", "--slots", "0", "--", "true"], 2);
    check(&["db", "--wait", "5", "--", "true"], 2);
    check(&["db", "--max", "2", "--", "true"], 2);
}

#[test]
fn the_command_knows_its_lease() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let script = "echo $ADMIT_LEASE_ID $ADMIT_FENCING_TOKEN > env; while [ ! -e go ]; do sleep 0.01; done";
    let job = Running::start(&mut run(&server, &["db", "--", "sh", "-c", script]));
    let said = content(&server, "env");
    let (id, token) = said.split_once(' ').unwrap();
    let lease = server.client().lease(id.parse().unwrap()).unwrap();
    assert_eq!(lease.token.to_string(), token);
    assert!(lease.holder.unwrap().ends_with(" sh"));
    std::fs::write(server.file("go"), "").unwrap();
    assert_eq!(job.end().0, Some(0));
    server.wait_for("db", 0, 0);
}

#[test]
fn no_slot_in_time_is_75_and_says_who_holds() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    server.ok(&["acquire", "db", "--ttl", "10m"]);
    let check = |wait: &str| {
        let output = run(&server, &["db", "--wait", wait, "--", "touch", "ran"]).output().unwrap();
        assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("db 1/1, held by "), "{}", text(&output.stderr));
        assert!(!server.file("ran").exists());
    };
    check("0");
    check("100ms");
    server.ok(&["limit", "set", "db", "--on-full", "reject"]);
    check("10m");
    server.wait_for("db", 1, 0);
}

#[test]
fn whose_place_a_newer_request_took_is_out() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1", "--on-full", "keep_newest"]);
    let held = server.ok(&["acquire", "db", "--ttl", "10m"]);
    let old = Running::start(&mut run(&server, &["db", "--", "touch", "ran"]));
    server.wait_for("db", 1, 1);
    let new = Running::start(&mut run(&server, &["db", "--", "true"]));
    let (code, said) = old.end();
    assert_eq!(code, Some(75), "{said}");
    assert!(said.contains("a newer request"), "{said}");
    assert!(!server.file("ran").exists());
    server.ok(&["release", held.trim()]);
    assert_eq!(new.end().0, Some(0));
}

#[test]
fn the_patience_of_the_limit_is_75() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1", "--max-wait", "500ms"]);
    server.ok(&["acquire", "db", "--ttl", "10m"]);
    for args in [&["run", "db", "--", "touch", "ran"][..], &["acquire", "db", "--ttl", "1m", "--wait", "1m"]]
    {
        let output = server.call(args);
        assert_eq!(output.status.code(), Some(75), "{args:?}: {}", text(&output.stderr));
    }
    assert!(!server.file("ran").exists());
    server.wait_for("db", 1, 0);
}

#[test]
fn a_key_has_slots_of_its_own_without_a_limit() {
    let server = Server::start();
    for args in [&["--key", "k", "--max", "1"][..], &["nightly", "--key", "k", "--max", "1"]] {
        let held = server.ok(&[&["acquire", "--ttl", "10m"], args].concat());
        let waits = [&["run", "--wait", "0"], args, &["--", "true"]].concat();
        assert_eq!(server.call(&waits).status.code(), Some(75), "{args:?}");
        server.ok(&["release", held.trim()]);
        server.ok(&waits);
    }
}

#[test]
fn what_is_set_up_wrong_is_neither_looked_for_nor_taken_for_a_server_that_is_away() {
    let server = Server::start();
    let check = |url: &str, code: i32, says: &str| {
        let start = Instant::now();
        let mut command = server.admit();
        command.env("ADMIT_URL", url).args(["run", "db", "--if-unreachable", "fail", "--", "true"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{url}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(says), "{url}: {}", text(&output.stderr));
        // The resolver may take its time; a server that was there is looked for for a minute.
        assert!(start.elapsed() < Duration::from_secs(40), "{url}");
    };
    check(&server.url.replace("http://", "https://"), 78, "does it want http://?");
    check("http://nosuch.invalid", 69, "nosuch.invalid");
    check("nosuch", 78, "nosuch");
    check(&format!("{},nosuch", server.url), 78, "'nosuch' is not an address of a server");
    check(&format!("{},", server.url), 78, "an address is missing beside one of its commas");
    let mut command = server.admit();
    command.env("ADMIT_URL", server.url.replace("http://", "https://"));
    let output =
        command.args(["run", "db", "--if-unreachable", "run", "--", "touch", "ran"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    assert!(!server.file("ran").exists());
}

#[test]
fn no_server_is_69_or_no_slot_needed() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = |flags: &[&str]| {
        let mut command = admit(folder.path());
        command.env("ADMIT_URL", format!("http://127.0.0.1:{port}")).args(["run", "db"]).args(flags);
        command.args(["--", "sh", "-c", "echo ${ADMIT_LEASE_ID:-none}; exit 3"]).output().unwrap()
    };
    let output = away(&[]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(69), ""));
    assert!(text(&output.stderr).contains(&format!("127.0.0.1:{port}")), "{}", text(&output.stderr));
    let output = away(&["--if-unreachable", "run"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(3), "none\n"));
}

#[test]
fn sigkill_leaves_no_command_running() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let script = "echo $$ > pid; exec sleep 1000";
    let job = Running::start(&mut run(&server, &["db", "--ttl", "1s", "--", "sh", "-c", script]));
    let child = content(&server, "pid").parse().unwrap();
    assert!(runs(child));
    signal(job.pid(), libc::SIGKILL);
    wait_until("the command is dead", || !runs(child));
    server.wait_for("db", 0, 0);
}

#[test]
fn sigkill_leaves_nothing_running_that_the_command_has_started() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let script = "sleep 1000 & echo $! > pid; wait; true";
    let job = Running::start(&mut run(&server, &["db", "--ttl", "1s", "--", "sh", "-c", script]));
    let grandchild = content(&server, "pid").parse().unwrap();
    signal(job.pid(), libc::SIGKILL);
    wait_until("the command's child is dead", || !runs(grandchild));
    server.wait_for("db", 0, 0);
}

/// A command that does not stop when told, nor does what it has started: that one's process id is in `pid`.
const STUBBORN: &str =
    "trap '' TERM; sleep 1000 & echo $! > pid; echo $ADMIT_LEASE_ID > lease; wait; sleep 1000";

/// Starts a stubborn command, lets `lose` lose its slot, and gives how long what it has started lived on.
fn outlived(flags: &[&str], lose: impl FnOnce(&Server, &Running)) -> Duration {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let mut command = run(&server, &["db"]);
    let job = Running::start(command.args(flags).args(["--", "sh", "-c", STUBBORN]));
    let grandchild = content(&server, "pid").parse().unwrap();
    content(&server, "lease");
    let start = Instant::now();
    lose(&server, &job);
    wait_until("the command's child is dead", || !runs(grandchild));
    let lived = start.elapsed();
    signal(server.process.id(), libc::SIGCONT);
    signal(job.pid(), libc::SIGCONT);
    assert_eq!(job.end().0, Some(128 + libc::SIGKILL));
    lived
}

#[test]
fn nothing_runs_on_when_another_may_hold_the_slot() {
    let ttl = Duration::from_secs(2);
    // The last renewal was sent before, and so the lease ends sooner than a whole time to live from now.
    let lived = outlived(&["--ttl", "2s"], |server, _| signal(server.process.id(), libc::SIGSTOP));
    assert!(lived < ttl, "lived for {lived:?} when no renewal reached the server");
    let lived = outlived(&["--ttl", "2s"], |_, job| signal(job.pid(), libc::SIGSTOP));
    assert!(lived < ttl, "lived for {lived:?} when `admit run` was stopped");
}

#[test]
fn nothing_runs_on_for_long_when_an_operator_takes_the_slot() {
    let take = |server: &Server, _: &Running| {
        server.ok(&["release", &content(server, "lease")]);
    };
    // A renewal, which tells it, is due every two seconds; then the command has one second.
    let lived = outlived(&["--ttl", "6s"], take);
    assert!(lived < Duration::from_secs(5), "lived for {lived:?}");
}

#[test]
fn signals_are_passed_on() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    for (number, name) in
        [(libc::SIGTERM, "TERM"), (libc::SIGINT, "INT"), (libc::SIGHUP, "HUP"), (libc::SIGUSR1, "USR1")]
    {
        let _ = std::fs::remove_file(server.file("ready"));
        let script = format!("trap 'exit 42' {name}; echo ready > ready; while true; do sleep 0.01; done");
        let job = Running::start(&mut run(&server, &["db", "--", "sh", "-c", &script]));
        content(&server, "ready");
        signal(job.pid(), number);
        assert_eq!(job.end().0, Some(42), "{name}");
        server.wait_for("db", 0, 0);
    }
}

#[test]
fn a_signal_ends_the_wait_and_leaves_the_queue() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    server.ok(&["acquire", "db", "--ttl", "10m"]);
    for number in [libc::SIGTERM, libc::SIGINT] {
        let job = Running::start(&mut run(&server, &["db", "--", "true"]));
        server.wait_for("db", 1, 1);
        signal(job.pid(), number);
        assert_eq!(job.end().0, Some(128 + number));
        server.wait_for("db", 1, 0);
    }
    // Nothing can be sent after SIGKILL: the closed connection says it.
    let job = Running::start(&mut run(&server, &["db", "--", "true"]));
    server.wait_for("db", 1, 1);
    signal(job.pid(), libc::SIGKILL);
    server.wait_for("db", 1, 0);
}

#[test]
fn a_lost_slot_ends_the_command_or_warns() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let lose = |flags: &[&str], script: &str| {
        let _ = std::fs::remove_file(server.file("lease"));
        let mut command = run(&server, &["db", "--ttl", "1s"]);
        let job = Running::start(command.args(flags).args(["--", "sh", "-c", script]));
        server.ok(&["release", &content(&server, "lease")]);
        job.end()
    };
    let (code, said) = lose(&[], "echo $ADMIT_LEASE_ID > lease; exec sleep 1000");
    assert_eq!(code, Some(128 + 15));
    assert!(said.contains("the slot is lost, the command is ended"), "{said}");
    let (code, said) = lose(&["--on-lost", "warn"], "echo $ADMIT_LEASE_ID > lease; sleep 1.5; exit 5");
    assert_eq!(code, Some(5));
    assert!(said.contains("the slot is lost, the command runs on"), "{said}");
}

#[test]
fn a_server_that_hangs_costs_the_slot_when_the_lease_must_have_ended() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let script =
        "trap 'echo ended > ended; exit 9' TERM; echo ready > ready; while true; do sleep 0.01; done";
    let job = Running::start(&mut run(&server, &["db", "--ttl", "1s", "--", "sh", "-c", script]));
    content(&server, "ready");
    let start = Instant::now();
    signal(server.process.id(), libc::SIGSTOP);
    content(&server, "ended");
    assert!(start.elapsed() > Duration::from_millis(300), "a renewal was due at a third of a second");
    signal(server.process.id(), libc::SIGCONT);
    assert_eq!(job.end().0, Some(9));
}

#[test]
fn the_lease_is_renewed_for_as_long_as_the_command_runs() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let output = run(&server, &["db", "--ttl", "1s", "--", "sleep", "2.5"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
}

/// Two wait while the server ends by a signal and comes back; the first goes first.
fn wait_through(number: i32) {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let held = server.ok(&["acquire", "db", "--ttl", "10m"]);
    let wait = |name: &str| {
        Running::start(&mut run(&server, &["db", "--", "sh", "-c", &format!("echo {name} >> order")]))
    };
    let first = wait("first");
    server.wait_for("db", 1, 1);
    let second = wait("second");
    server.wait_for("db", 1, 2);
    let server = server.restart(number);
    server.wait_for("db", 1, 2);
    server.ok(&["release", held.trim()]);
    let (code, said) = first.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(second.end().0, Some(0));
    assert_eq!(std::fs::read_to_string(server.file("order")).unwrap(), "first\nsecond\n");
}

#[test]
fn a_wait_survives_a_crash_of_the_server_and_keeps_its_place() {
    wait_through(libc::SIGKILL);
}

#[test]
fn a_wait_survives_a_restart_of_the_server_and_keeps_its_place() {
    wait_through(libc::SIGTERM);
}

#[test]
fn a_holder_that_is_asked_to_stop_is_told_by_sigterm() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1", "--on-full", "cancel_oldest"]);
    let script = "trap 'exit 6' TERM; echo ready > ready; while true; do sleep 0.01; done";
    let old = Running::start(&mut run(&server, &["db", "--ttl", "1s", "--", "sh", "-c", script]));
    content(&server, "ready");
    let new = Running::start(&mut run(&server, &["db", "--", "true"]));
    let (code, said) = old.end();
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("the server asks for the slot"), "{said}");
    assert_eq!(new.end().0, Some(0));
}

#[test]
fn the_wait_is_told() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let held = server.ok(&["acquire", "db", "--ttl", "10m"]);
    let mut job = Running::start(&mut run(&server, &["db", "--", "true"]));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(job.0.stderr.take().unwrap()), &mut line)
        .unwrap();
    assert!(line.starts_with("admit: waiting for db: position 1, "), "{line}");
    assert!(line.contains("; db 1/1, held by "), "{line}");
    server.ok(&["release", held.trim()]);
    assert_eq!(job.0.wait().unwrap().code(), Some(0));
}

/// Starts twenty jobs that tell when they start and end, each when the one before has arrived; lets them go
/// when all are there; gives what they told, in order.
fn twenty(max: u64) -> Vec<String> {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", &max.to_string()]);
    let script =
        "echo start $0 >> told; while [ ! -e go ]; do sleep 0.01; done; sleep 0.02; echo end $0 >> told";
    let jobs: Vec<Running> = (0..20)
        .map(|n: u64| {
            let job = Running::start(&mut run(&server, &["db", "--", "sh", "-c", script, &n.to_string()]));
            let waiting = (n + 1).saturating_sub(max);
            server.wait_for("db", (n + 1).min(max), u32::try_from(waiting).unwrap());
            job
        })
        .collect();
    std::fs::write(server.file("go"), "").unwrap();
    for job in jobs {
        assert_eq!(job.end().0, Some(0));
    }
    std::fs::read_to_string(server.file("told")).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn twenty_jobs_on_one_slot_run_one_at_a_time_in_order_of_arrival() {
    let expect: Vec<String> = (0..20).flat_map(|n| [format!("start {n}"), format!("end {n}")]).collect();
    assert_eq!(twenty(1), expect);
}

#[test]
fn twenty_jobs_on_five_slots_are_never_six_at_a_time() {
    let (mut now, mut most, mut ended) = (0, 0, 0);
    for line in twenty(5) {
        if line.starts_with("start") {
            now += 1;
            most = most.max(now);
        } else {
            now -= 1;
            ended += 1;
        }
    }
    assert_eq!((now, most, ended), (0, 5, 20));
}
