//! `admit serve --database`: several servers, one limit.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use admit_testing::shared;
use support::{Server, admit, text, wait_until};

fn node(url: &str) -> Server {
    Server::start_in(tempfile::tempdir().unwrap(), &["--listen", "127.0.0.1:0", "--database", url])
}

#[test]
fn a_slot_taken_through_one_server_is_taken_on_the_other_also_when_the_first_dies() {
    let postgres = shared();
    let url = postgres.url(&postgres.new_schema());
    let (mut one, other) = (node(&url), node(&url));
    one.ok(&["limit", "set", "db", "--max", "1"]);
    let id = one.ok(&["acquire", "db", "--ttl", "10m", "--json"]);
    let id: serde_json::Value = serde_json::from_str(&id).unwrap();
    other.wait_for("db", 1, 0);
    assert!(!other.call(&["acquire", "db", "--ttl", "10m"]).status.success());
    one.process.kill().unwrap();
    one.process.wait().unwrap();
    assert!(!other.call(&["acquire", "db", "--ttl", "10m"]).status.success());
    other.ok(&["release", id["id"].as_str().unwrap()]);
    wait_until("it is free", || other.call(&["acquire", "db", "--ttl", "10m"]).status.success());
}

#[test]
fn the_nodes_are_listed_and_one_that_died_is_shown_as_gone() {
    let postgres = shared();
    let schema = postgres.new_schema();
    let url = postgres.url(&schema);
    let (mut one, other) = (node(&url), node(&url));
    let listed =
        || -> Vec<serde_json::Value> { serde_json::from_str(&other.ok(&["nodes", "--json"])).unwrap() };
    wait_until("both are there", || listed().iter().filter(|node| node["live"] == true).count() == 2);
    assert_eq!(listed().iter().filter(|node| node["self"] == true).count(), 1);
    one.process.kill().unwrap();
    one.process.wait().unwrap();
    // As if it had been a minute ago.
    postgres.sql(&schema, "UPDATE nodes SET seen_at = seen_at - 60000");
    wait_until("one is gone", || listed().iter().filter(|node| node["live"] == true).count() == 1);
    let shown = other.ok(&["nodes"]);
    assert!(shown.starts_with("NODE") && shown.contains("(asked)") && shown.contains("gone, "), "{shown}");
}

#[test]
fn a_server_on_a_folder_is_the_one_node_of_its_log() {
    let server = Server::start();
    let shown = || server.ok(&["nodes"]);
    assert!(shown().contains("(asked)") && shown().contains("http://127.0.0.1:0"), "{}", shown());
    wait_until("nothing keeps the format from rising", || !shown().contains("it rises by itself"));
}

#[test]
fn a_database_that_is_not_there_is_named_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let url = "postgres://me:s3cret@127.0.0.1:1/nowhere";
    let output = admit(folder.path()).args(["serve", "--database", url]).output().unwrap();
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("postgres://me:***@127.0.0.1:1/nowhere") && !said.contains("s3cret"), "{said}");
}
