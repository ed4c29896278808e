//! What Prefect's published description of "create concurrency limit" promises, statement by statement.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;

use std::time::Duration;

use common::{Server, send};
use serde_json::{Value, json};

const CREATE: &str = "/concurrency_limits/";

fn server() -> Server {
    Server::start(Duration::ZERO)
}

#[test]
fn a_tag_and_a_number_make_a_limit() {
    let server = server();
    let made = server.post(CREATE, json!({ "tag": "database", "concurrency_limit": 10 }));
    assert_eq!(made.status, 201);
    assert_eq!(made.header("content-type"), Some("application/json"));
    let read = server.get("/concurrency_limits/tag/database");
    assert_eq!(read.json(), made.json(), "and it stays");
}

#[test]
fn the_limit_is_about_task_runs_with_the_tag() {
    let server = server();
    server.post(CREATE, json!({ "tag": "database", "concurrency_limit": 1 }));
    let run =
        |n: u32| json!({ "names": ["database"], "task_run_id": format!("00000000-0000-4000-8000-{n:012}") });
    assert_eq!(server.post("/concurrency_limits/increment", run(1)).status, 200);
    assert_eq!(server.post("/concurrency_limits/increment", run(2)).status, 423);
    let holders = server.get("/concurrency_limits/tag/database").json()["active_slots"].clone();
    assert_eq!(holders, json!(["00000000-0000-4000-8000-000000000001"]), "the runs that use a slot");
}

#[test]
fn the_version_header_is_optional() {
    let server = server();
    for version in [None, Some("0.8.4"), Some("99.0.0")] {
        let headers: Vec<_> =
            version.map(|v| ("x-prefect-api-version".to_owned(), v.to_owned())).into_iter().collect();
        let body = json!({ "tag": "t", "concurrency_limit": 1 }).to_string();
        let answer = server.run(send(server.address, "POST", CREATE, &headers, Some(body)));
        assert!(answer.status.is_success(), "{version:?}: {}", answer.text);
    }
}

#[test]
fn a_body_is_required_with_both_fields_and_no_others() {
    let server = server();
    let check = |body: Option<Value>, expect: &[(&str, Value)]| {
        let answer = server.run(send(server.address, "POST", CREATE, &[], body.map(|body| body.to_string())));
        assert_eq!(answer.status, 422);
        let faults = answer.json()["detail"].as_array().unwrap().clone();
        let faults: Vec<_> =
            faults.iter().map(|fault| (fault["type"].as_str().unwrap(), fault["loc"].clone())).collect();
        assert_eq!(faults, expect);
    };
    check(None, &[("missing", json!(["body"]))]);
    check(Some(json!({ "concurrency_limit": 1 })), &[("missing", json!(["body", "tag"]))]);
    check(Some(json!({ "tag": "t" })), &[("missing", json!(["body", "concurrency_limit"]))]);
    let extra = json!({ "tag": "t", "concurrency_limit": 1, "more": 1 });
    check(Some(extra), &[("extra_forbidden", json!(["body", "more"]))]);
}

#[test]
fn the_tag_is_a_text_and_the_limit_a_whole_number() {
    let server = server();
    let check = |tag: Value, limit: Value, expect: &str| {
        let answer = server.post(CREATE, json!({ "tag": tag, "concurrency_limit": limit }));
        assert_eq!(
            (answer.status.as_u16(), answer.json()["detail"][0]["type"].as_str()),
            (422, Some(expect))
        );
    };
    check(json!(7), json!(1), "string_type");
    check(json!("t"), json!("many"), "int_parsing");
    check(json!("t"), json!(1.5), "int_from_float");
}

#[test]
fn the_answer_is_a_limit_with_its_id_and_times() {
    let server = server();
    let made = server.post(CREATE, json!({ "tag": "t", "concurrency_limit": 2 })).json();
    let fields: Vec<&str> = made.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["active_slots", "concurrency_limit", "created", "id", "tag", "updated"]);
    assert!(made["id"].as_str().unwrap().parse::<uuid::Uuid>().is_ok());
    for time in ["created", "updated"] {
        assert!(made[time].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{}", made[time]);
    }
    assert_eq!(
        (&made["tag"], &made["concurrency_limit"], &made["active_slots"]),
        (&json!("t"), &json!(2), &json!([]))
    );
}

#[test]
fn a_limit_that_exists_is_answered_with_200() {
    let server = server();
    let made = server.post(CREATE, json!({ "tag": "t", "concurrency_limit": 2 }));
    let again = server.post(CREATE, json!({ "tag": "t", "concurrency_limit": 3 }));
    assert_eq!((made.status.as_u16(), again.status.as_u16()), (201, 200));
    assert_eq!(again.json()["id"], made.json()["id"]);
    let published = server.get("/openapi.json").json();
    let answers = &published["paths"]["/api/concurrency_limits/"]["post"]["responses"];
    assert!(answers["200"].is_object() && answers["201"].is_object(), "{answers}");
}

#[test]
fn what_is_wrong_is_told_as_a_list() {
    let server = server();
    let answer = server.post(CREATE, json!({ "tag": 1, "concurrency_limit": "x" })).json();
    for fault in answer["detail"].as_array().unwrap() {
        assert!(
            fault["loc"].as_array().unwrap().iter().all(|step| step.is_string() || step.is_u64()),
            "{fault}"
        );
        assert!(
            fault["msg"].is_string() && fault["type"].is_string() && fault.get("input").is_some(),
            "{fault}"
        );
        assert!(fault.get("ctx").is_none_or(Value::is_object), "{fault}");
    }
    assert_eq!(answer["detail"], answer["exception_detail"], "the real server's word for the same");
}

#[test]
fn no_credentials_are_needed_on_this_machine() {
    assert_eq!(server().post(CREATE, json!({ "tag": "t", "concurrency_limit": 1 })).status, 201);
}
