//! Random bodies at every route that takes one: the answer may be anything but a failure of the server.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;

use std::time::Duration;

use admit_prefect::Options;
use common::{Door, Server, before, send};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Every route that takes a body, and a body that it takes.
const ROUTES: &[(&str, &str, &str)] = &[
    ("POST", "/concurrency_limits/", r#"{"tag":"db","concurrency_limit":3}"#),
    ("POST", "/concurrency_limits/filter", r#"{"limit":5,"offset":0}"#),
    (
        "POST",
        "/concurrency_limits/tag/db/reset",
        r#"{"slot_override":["00000000-0000-4000-8000-000000000001"]}"#,
    ),
    (
        "POST",
        "/concurrency_limits/increment",
        r#"{"names":["db"],"task_run_id":"00000000-0000-4000-8000-000000000001"}"#,
    ),
    (
        "POST",
        "/concurrency_limits/decrement",
        r#"{"names":["db"],"task_run_id":"00000000-0000-4000-8000-000000000001"}"#,
    ),
    (
        "POST",
        "/v2/concurrency_limits/",
        r#"{"name":"db","limit":3,"active_slots":1,"slot_decay_per_second":0.5}"#,
    ),
    ("POST", "/v2/concurrency_limits/filter", r#"{"limit":5,"offset":0}"#),
    ("PATCH", "/v2/concurrency_limits/db", r#"{"limit":3,"active":true,"active_slots":2}"#),
    ("PATCH", "/v2/concurrency_limits/rate", r#"{"slot_decay_per_second":1,"active_slots":2}"#),
    ("POST", "/v2/concurrency_limits/increment", r#"{"slots":1,"names":["db"]}"#),
    ("POST", "/v2/concurrency_limits/increment", r#"{"slots":1,"names":["rate"],"mode":"rate_limit"}"#),
    (
        "POST",
        "/v2/concurrency_limits/increment-with-lease",
        r#"{"slots":1,"names":["db","rate"],"lease_duration":60}"#,
    ),
    ("POST", "/v2/concurrency_limits/decrement", r#"{"slots":2,"names":["db","rate"]}"#),
    (
        "POST",
        "/v2/concurrency_limits/decrement-with-lease",
        r#"{"lease_id":"00000000-0000-4000-8000-000000000001"}"#,
    ),
    (
        "POST",
        "/v2/concurrency_limits/leases/00000000-0000-4000-8000-000000000001/renew",
        r#"{"lease_duration":60}"#,
    ),
];

/// Every field that any of them knows.
const FIELDS: &[&str] = &[
    "tag",
    "concurrency_limit",
    "limit",
    "offset",
    "slot_override",
    "names",
    "task_run_id",
    "active",
    "name",
    "active_slots",
    "denied_slots",
    "slot_decay_per_second",
    "slots",
    "mode",
    "create_if_missing",
    "lease_duration",
    "holder",
    "occupancy_seconds",
    "lease_id",
    "type",
    "id",
    "other",
];

/// Values that some field takes, and values at the edges of what any does.
fn scalar() -> impl Strategy<Value = Value> {
    let known = [
        json!("db"),
        json!("tag:db"),
        json!(["db"]),
        json!(["db", "rate"]),
        json!("00000000-0000-4000-8000-000000000001"),
        json!(["00000000-0000-4000-8000-000000000001"]),
        json!("concurrency"),
        json!("rate_limit"),
        json!("task_run"),
        json!(300),
        json!(1),
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e300),
        json!(-1e-300),
        json!(0.5),
        json!(""),
        json!("\u{0}"),
        json!("x".repeat(600)),
        json!("1_0.0"),
        json!("inf"),
    ];
    prop_oneof![
        4 => proptest::sample::select(known.to_vec()),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(|value| json!(value)),
        1 => ".{0,20}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((proptest::sample::select(FIELDS), inner), 0..6).prop_map(|members| {
                Value::Object(
                    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>(),
                )
            }),
        ]
    })
}

/// Members that a body gets, or gets otherwise.
fn members() -> impl Strategy<Value = Map<String, Value>> {
    let member = (proptest::sample::select(FIELDS), value());
    let name = |members: Vec<(&str, Value)>| {
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    proptest::collection::vec(member, 0..4).prop_map(name)
}

/// A body that this route takes, changed somewhat; or something else.
fn body(route: &'static str) -> impl Strategy<Value = String> {
    let changed = move || {
        members().prop_map(move |members| {
            let mut body: Value = serde_json::from_str(route).unwrap();
            body.as_object_mut().unwrap().extend(members);
            body.to_string()
        })
    };
    let broken = (changed(), any::<proptest::sample::Index>()).prop_map(|(text, at)| {
        let at = at.index(text.len() + 1);
        text.char_indices().take_while(|(place, _)| *place < at).map(|(_, char)| char).collect()
    });
    prop_oneof![6 => changed(), 1 => value().prop_map(|value| value.to_string()), 1 => broken, 1 => ".{0,40}"]
}

fn request() -> impl Strategy<Value = (&'static str, &'static str, String)> {
    proptest::sample::select(ROUTES)
        .prop_flat_map(|(method, path, taken)| (Just(method), Just(path), body(taken)))
}

#[test]
fn no_body_makes_the_server_fail() {
    let server = Server::start(Duration::ZERO);
    for name in ["db", "rate"] {
        let decay = f64::from(u8::from(name == "rate"));
        let made = server.post(
            "/v2/concurrency_limits/",
            json!({ "name": name, "limit": 5, "slot_decay_per_second": decay }),
        );
        assert_eq!(made.status, 201, "{}", made.text);
    }
    let config = ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() };
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    proptest!(config, |((method, path, body) in request())| {
        let answer = server.run(send(server.address, method, path, &headers, Some(body)));
        prop_assert!(!answer.status.is_server_error(), "{} {}", answer.status, answer.text);
        prop_assert!(answer.text.is_empty() || serde_json::from_str::<Value>(&answer.text).is_ok(), "{}", answer.text);
    });
}

/// Two limits, both full: one that a server before another has, one that the other has.
const HERE: &str = "here";
const THERE: &str = "there";
const LEASE: &str = "/v2/concurrency_limits/increment-with-lease";
const RELEASE: &str = "/v2/concurrency_limits/decrement-with-lease";

/// Makes a limit and takes its slot; the lease.
fn full(server: &Server, name: &str) -> String {
    assert_eq!(server.post("/v2/concurrency_limits/", json!({ "name": name, "limit": 1 })).status, 201);
    take(server, name)
}

fn take(server: &Server, name: &str) -> String {
    let taken = server.post(LEASE, json!({ "names": [name], "slots": 1 }));
    assert_eq!(taken.status, 200, "{}", taken.text);
    taken.json()["lease_id"].as_str().unwrap().to_owned()
}

fn is_full(server: &Server, name: &str) -> bool {
    server.get(&format!("/v2/concurrency_limits/{name}")).json()["active_slots"] == 1
}

/// The text of an object, written otherwise or with more in it: some read it as before, some do not.
fn twisted(text: String) -> impl Strategy<Value = String> {
    let members = [
        r#""names":["nobody"]"#,
        r#""names":["here"]"#,
        r#""names":["there"]"#,
        r#""names":[]"#,
        r#""names":"there""#,
        r#""n\u0061mes":["there"]"#,
        r#""slots":1"#,
        r#""slots":"1""#,
        r#""slots":1e400"#,
        r#""slots":1000000000000000000000000000000"#,
        r#""lease_id":"none""#,
        r#""lease_id":null"#,
        r#""x":NaN"#,
        r#""x":-Infinity"#,
        r#""x":"\ud800""#,
        r#""x":[[[[{"names":["here"]}]]]]"#,
        r#""x":"\q""#,
        r#""x":01"#,
    ];
    let member = (proptest::sample::select(members.to_vec()), any::<bool>());
    let around = proptest::sample::select(vec![
        ("", ""),
        ("\u{feff}", ""),
        (" \n", "\t"),
        ("", "}"),
        ("[", "]"),
        ("", "\u{0}"),
    ]);
    (proptest::collection::vec(member, 0..3), around, 0..120_usize).prop_map(
        move |(members, (before, after), depth)| {
            let mut inner = text.trim_start_matches('{').trim_end_matches('}').to_owned();
            for (member, is_first) in members {
                inner = if is_first { format!("{member},{inner}") } else { format!("{inner},{member}") };
            }
            // Seldom, more within one another than is read.
            let nested = if depth > 95 {
                format!(r#","z":{}{}"#, "[".repeat(depth), "]".repeat(depth))
            } else {
                String::new()
            };
            format!("{before}{{{inner}{nested}}}{after}")
        },
    )
}

/// The types that a body may say it is of.
fn content_type() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["application/json", "application/json", "application/x+json", "text/plain"])
}

/// Whatever a body looks like, a server that stands before another answers as one that has the limits of both: nobody
/// gets past a limit of either, and no lease of either stays.
#[test]
fn what_a_request_is_about_is_judged_as_it_is_read() {
    let whole = Server::start(Duration::ZERO);
    let behind = Server::start(Duration::ZERO);
    let options = Options { hold: Duration::ZERO, ..before(behind.address) };
    let pair = Server::start_with(tempfile::tempdir().unwrap(), options, Door::Open);
    full(&whole, HERE);
    full(&pair, HERE);
    let leases = [full(&whole, THERE), full(&behind, THERE)];

    let asks = prop_oneof![
        proptest::sample::select(vec![
            r#"["there"]"#,
            r#"["here"]"#,
            r#"["here","there"]"#,
            r#"["nobody","there"]"#
        ])
        .prop_map(|names| (LEASE, format!(r#"{{"names":{names},"slots":1}}"#))),
        Just((RELEASE, r#"{"lease_id":"$lease"}"#.to_owned())),
    ];
    let asks = asks.prop_flat_map(|(path, text)| (Just(path), twisted(text), content_type()));
    let config = ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let leases = std::cell::RefCell::new(leases);
    let ran = runner.run(&asks, |(path, text, content_type)| {
        let headers = [("content-type".to_owned(), content_type.to_owned())];
        let answer = |server: &Server, lease: &str| {
            let body = text.replace("$lease", lease);
            server.run(send(server.address, "POST", path, &headers, Some(body)))
        };
        let mut leases = leases.borrow_mut();
        let (one, two) = (answer(&whole, &leases[0]), answer(&pair, &leases[1]));
        prop_assert_eq!(one.status, two.status, "{} {}", one.text, two.text);
        prop_assert_eq!(one.json()["limits"].clone(), two.json()["limits"].clone());
        let stays = is_full(&whole, THERE);
        prop_assert_eq!(stays, is_full(&behind, THERE), "the lease");
        if !stays {
            leases[0] = take(&whole, THERE);
            leases[1] = take(&behind, THERE);
        }
        Ok(())
    });
    ran.unwrap();
}
