//! Admit alone: nothing of Prefect runs but its client.

use std::path::Path;

use crate::client::{Admit, is_quiet};
use crate::places::Asked;

#[test]
fn the_command_line_manages_limits() {
    let admit = Admit::start(&[]);
    admit.run("command_line.py", &[]);
    // A limit that was made there is the native limit of that name.
    let listed = admit.server.ok(&["limit", "ls"]);
    assert!(listed.contains("tag:other") && listed.contains("db"), "{listed}");
}

#[test]
fn limits_made_here_are_seen_and_held_there() {
    let admit = Admit::start(&[]);
    admit.server.ok(&["limit", "set", "one", "--max", "1"]);
    let said = admit.run("hold.py", &["one"]);
    is_quiet(&said);
    // The client says so of its last event wherever it works, at home too.
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("Still processing items")).collect();
    assert_eq!(lines, ["active 1, limit 1"]);
    assert_eq!(admit.server.client().limit("one").unwrap().used, 0);
}

#[test]
fn slots_and_rates_are_taken_and_given_back() {
    let admit = Admit::start(&[]);
    admit.run("slots.py", &[]);
    for limit in ["one", "two"] {
        let now = admit.server.client().limit(limit).unwrap();
        assert_eq!((now.used, now.waiting), (0, 0), "{limit}");
    }
}

#[test]
fn who_comes_first_goes_first_and_alone() {
    let admit = Admit::start(&[]);
    admit.server.ok(&["limit", "set", "one", "--max", "1"]);
    is_quiet(&admit.run("order.py", &[]));
}

#[test]
fn who_holds_a_slot_is_listed() {
    let admit = Admit::start(&[]);
    admit.server.ok(&["limit", "set", "tag:heavy", "--max", "2"]);
    let holder = serde_json::json!({ "type": "task_run", "id": "00000000-0000-4000-8000-000000000001" });
    let wanted = serde_json::json!({ "names": ["tag:heavy"], "slots": 1, "holder": holder });
    let taken = Asked::send(&admit.api, "increment-with-lease", &wanted).lease();
    let listed = admit.server.ok(&["leases", "--key", "tag:heavy"]);
    assert!(listed.contains(taken.as_str().unwrap()), "{listed}");
    assert!(listed.contains("task_run:00000000-0000-4000-8000-000000000001"), "{listed}");
}

#[test]
fn the_rest_of_prefect_is_not_here_and_says_where_it_is() {
    let admit = Admit::start(&[]);
    let said = admit.run("flows.py", &[]);
    assert!(said.contains("404") && said.contains("--prefect-upstream"), "{said}");
}

#[test]
fn generated_clients_read_every_answer() {
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../prefect/tests/seed-openapi.yaml");
    Admit::start(&[]).run("generated_client.py", &[seed.canonicalize().unwrap().to_str().unwrap()]);
}
