//! Random bodies at every route that takes one: the answer may be anything but a failure of the server.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;

use std::time::Duration;

use common::{Server, send};
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
