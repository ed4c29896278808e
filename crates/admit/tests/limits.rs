//! Limits from the command line: set, show, pause, apply, export.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use serde_json::Value;
use support::{Server, text};

fn json(server: &Server, args: &[&str]) -> Value {
    serde_json::from_str(&server.ok(args)).unwrap()
}

#[test]
fn what_is_not_given_stays_as_it_is() {
    let server = Server::start();
    let output = server.call(&["limit", "set", "api"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no limit 'api' yet"), "{}", text(&output.stderr));
    server.ok(&["limit", "set", "api", "--max", "60", "--window", "1m", "--match", "a/*", "--match", "b"]);
    server.ok(&["limit", "set", "api", "--max", "90", "--mode", "observe"]);
    let limit = json(&server, &["limit", "get", "api", "--json"]);
    assert_eq!(limit["max"], 90);
    assert_eq!(limit["window"], serde_json::json!({"ms": 60_000, "counts": "starts"}));
    assert_eq!(limit["match"], serde_json::json!(["a/*", "b"]));
    assert_eq!(limit["mode"], "observe");
    server.ok(&["limit", "set", "api", "--window", "none", "--match", ""]);
    let limit = json(&server, &["limit", "get", "api", "--json"]);
    assert_eq!((&limit["window"], &limit["match"]), (&Value::Null, &serde_json::json!([])));
}

#[test]
fn a_pause_is_shown_and_ends() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    assert!(server.ok(&["limit", "pause", "db", "--for", "1h"]).contains("paused for "));
    assert_eq!(server.call(&["run", "db", "--wait", "0", "--", "true"]).status.code(), Some(75));
    assert!(server.ok(&["limit", "resume", "db"]).contains("enforce"));
    server.ok(&["run", "db", "--wait", "0", "--", "true"]);
    assert!(server.ok(&["limit", "pause", "db"]).contains("paused"));
}

#[test]
fn names_of_any_kind_come_through() {
    let server = Server::start();
    for name in ["tag:x", "a/b c", "über/%2F?#", "--dashes"] {
        server.ok(&["limit", "set", "--max", "1", "--", name]);
        assert_eq!(json(&server, &["limit", "get", "--json", "--", name])["name"], name);
        server.ok(&["limit", "rm", "--", name]);
        assert_eq!(server.call(&["limit", "get", "--", name]).status.code(), Some(1));
    }
}

#[test]
fn a_file_is_applied_with_a_diff_and_exported_as_it_was() {
    let server = Server::start();
    server.ok(&["limit", "set", "by-hand", "--max", "3"]);
    std::fs::write(
        server.file("limits.toml"),
        r#"
            [limits.openai]
            max = 10
            window = "60s"
            counts = "starts"
            match = ["windmill/openai", "apim/openai-*"]

            [limits."tag:db/main"]
            max = 2
            description = "the main database"
        "#,
    )
    .unwrap();
    let created = "\
+ openai
    match        windmill/openai apim/openai-*
    max          10
    window       1m of starts
+ tag:db/main
    description  the main database
    max          2
2 to create, 0 to change, 0 to remove, 0 unchanged, 1 not in the file
";
    assert_eq!(server.ok(&["limit", "apply", "limits.toml", "--dry-run"]), created);
    assert_eq!(json(&server, &["limit", "ls", "--json"]).as_array().unwrap().len(), 1);
    assert_eq!(server.ok(&["limit", "apply", "limits.toml"]), created);
    let unchanged = "0 to create, 0 to change, 0 to remove, 2 unchanged, 1 not in the file\n";
    assert_eq!(server.ok(&["limit", "apply", "limits.toml"]), unchanged);

    std::fs::write(server.file("exported.toml"), server.ok(&["limit", "export"])).unwrap();
    let same = "0 to create, 0 to change, 0 to remove, 3 unchanged, 0 not in the file\n";
    assert_eq!(server.ok(&["limit", "apply", "exported.toml", "--prune"]), same);
    std::fs::write(server.file("exported.json"), server.ok(&["limit", "export", "--json"])).unwrap();
    assert_eq!(server.ok(&["limit", "apply", "exported.json", "--prune"]), same);

    std::fs::write(server.file("less.toml"), "[limits.openai]\nmax = 20\n").unwrap();
    assert_eq!(
        server.ok(&["limit", "apply", "less.toml", "--prune"]),
        "\
~ openai
    match        windmill/openai apim/openai-* -> none
    max          10 -> 20
    window       1m of starts -> none
- tag:db/main
0 to create, 1 to change, 1 to remove, 0 unchanged, 1 not in the file
"
    );
    let names: Vec<Value> = json(&server, &["limit", "ls", "--json"])
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["name"].clone())
        .collect();
    assert_eq!(names, ["by-hand", "openai"]);
}

#[test]
fn a_wrong_file_changes_nothing() {
    let server = Server::start();
    std::fs::write(server.file("limits.toml"), "[limits.a]\nmax = 1\n[limits.b]\nmaxx = 1\n").unwrap();
    let output = server.call(&["limit", "apply", "limits.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("line 4"), "{}", text(&output.stderr));
    assert_eq!(json(&server, &["limit", "ls", "--json"]), serde_json::json!([]));
}

#[test]
fn a_file_of_which_one_limit_is_refused_changes_nothing_and_names_it() {
    let server = Server::start();
    server.ok(&["limit", "set", "b", "--max", "5"]);
    server.ok(&["limit", "pause", "b", "--for", "1h"]);
    let before = json(&server, &["limit", "get", "b", "--json"]);
    let file = "[limits.a]\nmax = 1\n[limits.b]\nmax = 9\n[limits.c]\nmax = 1\nmatch = [\"\"]\n[limits.d]\nmax = 1\n";
    std::fs::write(server.file("limits.toml"), file).unwrap();
    let output = server.call(&["limit", "apply", "limits.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("limit 'c': ") && said.contains("nothing is changed"), "{said}");
    let limits = json(&server, &["limit", "ls", "--json"]);
    assert_eq!(limits.as_array().unwrap().len(), 1, "{limits}");
    let field = |limit: &Value, field: &str| limit[field].clone();
    for name in ["name", "max", "paused_until"] {
        assert_eq!(field(&limits[0], name), field(&before, name), "{name}");
    }
}

#[test]
fn failures_are_json_where_asked_for() {
    let server = Server::start();
    let check = |args: &[&str], status: u16, code: i32| {
        let output = server.call(args);
        let problem: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {problem}");
        assert_eq!(problem["exit_code"], code);
        assert_eq!(problem["status"].as_u64().unwrap_or(0), u64::from(status), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    };
    check(&["limit", "get", "none", "--json"], 404, 1);
    check(&["acquire", "none", "--ttl", "1m", "--json"], 422, 1);
    check(&["limit", "apply", "no-such-file.toml", "--json"], 0, 1);
}

#[test]
fn what_is_wrong_is_said_in_the_words_of_the_command_line() {
    let server = Server::start();
    let check = |args: &[&str], says: &[&str], not: &str| {
        let said = text(&server.call(args).stderr);
        for part in says {
            assert!(said.contains(part), "{args:?}: {said} lacks {part:?}");
        }
        assert!(not.is_empty() || !said.contains(not), "{args:?}: {said}");
    };
    check(
        &["acquire", "none", "--ttl", "1m"],
        &["no limit 'none'", "admit limit set NAME --max N"],
        "if_missing",
    );
    check(&["limit", "set", "a", "--max", "99999999999"], &["1000000000"], "4294967295");
    check(&["limit", "set", "a", "--max", "-1"], &["-1", "1000000000"], "unexpected");
    check(&["acquire", "a", "--key", "k", "--max", "2000000000", "--ttl", "1m"], &["1000000000"], "");
    for decay in ["0", "-2", "1e-10", "5e9"] {
        let decay = ["limit", "set", "a", "--max", "1", "--decay", decay];
        check(&decay, &["0.000000001 to 1000000000 slots per second"], "above 0");
    }
    check(&["limit", "set", "a", "--max", "1", "--decay", "much"], &["'much'", "like 0.5"], "");
    check(&["limit", "set", "", "--max", "1"], &["a value is required"], "/api/v1");
    check(&["acquire", "a", "--ttl", "0.5s"], &["whole number", "250ms"], "no unit");
    check(&["run", "a", "--ttl", "500ms", "--", "true"], &["--ttl", "1s to 7d"], "ttl_ms");
}

#[test]
fn slots_are_held_across_commands() {
    let server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "2"]);
    let lease = json(&server, &["acquire", "db", "--ttl", "1m", "--slots", "2", "--json"]);
    let id = lease["id"].as_str().unwrap();
    assert_eq!(server.call(&["acquire", "db", "--ttl", "1m"]).status.code(), Some(75));
    assert!(server.ok(&["renew", id, "--ttl", "2m"]).starts_with("held for "));
    assert!(json(&server, &["renew", id, "--json"])["expires_in_ms"].as_u64().unwrap() > 60_000);
    assert!(server.ok(&["leases", "--key", "db"]).contains(id));
    assert!(server.ok(&["explain", id]).contains("db"));
    assert!(server.ok(&["status"]).contains("native"));
    server.ok(&["release", id]);
    server.ok(&["release", id]);
    assert_eq!(server.call(&["renew", id]).status.code(), Some(1));
    assert_eq!(server.ok(&["leases"]), "nobody holds a slot\n");
    // A limit per key, and a key of its own terms.
    server.ok(&["acquire", "db", "--ttl", "1m", "--key", "tenant/1", "--slots", "2"]);
    server.ok(&["acquire", "db", "--ttl", "1m", "--key", "tenant/2", "--slots", "2"]);
    server.ok(&["acquire", "db", "--ttl", "1m", "--key", "host/a", "--max", "1"]);
    assert_eq!(
        server.call(&["acquire", "db", "--ttl", "1m", "--key", "host/a", "--max", "1"]).status.code(),
        Some(75)
    );
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let server = Server::start();
    let token = server.ok(&["token", "create", "--role", "operate", "--name", "ci", "--expires", "90d"]);
    assert!(token.trim().len() > 30, "{token}");
    let listed = server.ok(&["token", "ls"]);
    assert!(
        listed.contains("ci") && listed.contains("operate") && !listed.contains(token.trim()),
        "{listed}"
    );
    server.ok(&["token", "revoke", "ci"]);
    assert_eq!(server.call(&["token", "revoke", "ci"]).status.code(), Some(1));
}
