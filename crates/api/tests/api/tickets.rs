//! `/api/v1/tickets` and `/api/v1/explain`

use serde_json::{Value, json};

use crate::server::{Server, server};

/// Waits as a ticket for a limit that is full.
fn keep(server: &Server, limit: &str) -> Value {
    let body = json!({"claims": [{"limit": limit}], "on_timeout": "keep", "holder": "patient"});
    let kept = server.call("POST", "/api/v1/leases", &body.to_string());
    assert_eq!(kept.status, 202, "{kept:?}");
    let ticket = kept.json();
    assert_eq!(kept.header("location"), Some(&*path(&ticket)));
    ticket
}

fn path(ticket: &Value) -> String {
    format!("/api/v1/tickets/{}", ticket["id"].as_str().unwrap())
}

#[test]
fn a_kept_request_waits_as_a_ticket_and_is_granted() {
    let server = server();
    server.limit("db", 1);
    let lease = server.take("db");
    let (first, second) = (keep(&server, "db"), keep(&server, "db"));
    assert_eq!((&first["state"], &first["position"]), (&json!("waiting"), &json!(1)));
    assert_eq!((&second["state"], &second["position"]), (&json!("waiting"), &json!(2)));
    assert_eq!(second["blocked_by"][0]["key"], "db");
    assert_eq!((&second["holder"], &second["parked_at"]), (&json!("patient"), &json!("db")));
    assert!(second["eta_kind"].is_string() && second["eta_reason"].is_string(), "{second}");

    server.call("DELETE", &format!("/api/v1/leases/{}", lease["id"].as_str().unwrap()), "");
    let granted = server.get(&format!("{}?wait_ms=20000", path(&first))).json();
    assert_eq!((&granted["state"], &granted["lease"]["id"]), (&json!("granted"), &first["id"]));
    assert_eq!(server.get(&path(&second)).json()["position"], 1);
}

#[test]
fn a_withdrawn_ticket_says_so() {
    let server = server();
    server.limit("db", 1);
    server.take("db");
    let ticket = keep(&server, "db");
    for _ in 0..2 {
        assert_eq!(server.call("DELETE", &path(&ticket), "").status, 204);
    }
    let ended = server.get(&path(&ticket)).json();
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("withdrawn"), &json!("withdrawn")));
    assert!(ended["ended_at"].is_string() && ended["ended_ago_ms"].is_u64(), "{ended}");
}

#[test]
fn an_unknown_id_is_unknown_everywhere() {
    let server = server();
    let id = "018f0000-0000-7000-8000-00000000dead";
    for (method, path) in [
        ("GET", format!("/api/v1/tickets/{id}")),
        ("DELETE", format!("/api/v1/tickets/{id}")),
        ("GET", format!("/api/v1/leases/{id}")),
        ("POST", format!("/api/v1/leases/{id}/renew")),
        ("GET", format!("/api/v1/explain/{id}")),
    ] {
        let answer = server.call(method, &path, "");
        assert_eq!((answer.status, &*answer.kind()), (404, "unknown-id"), "{method} {path}");
    }
}

#[test]
fn a_ticket_is_no_lease_yet() {
    let server = server();
    server.limit("db", 1);
    server.take("db");
    let ticket = keep(&server, "db");
    let lease = format!("/api/v1/leases/{}", ticket["id"].as_str().unwrap());
    for (method, lease) in [("GET", lease.clone()), ("POST", format!("{lease}/renew"))] {
        let answer = server.call(method, &lease, "");
        assert_eq!((answer.status, &*answer.kind()), (404, "not-granted"), "{method}");
        assert!(answer.body.contains(&path(&ticket)), "{answer:?}");
    }
    let ops = format!(r#"{{"ops":[{{"op":"renew","id":{}}}]}}"#, ticket["id"]);
    let batch = server.call("POST", "/api/v1/batch", &ops).json();
    assert_eq!(batch["results"][0]["problem"]["type"], "/problems/not-granted", "{batch}");
}

#[test]
fn a_ticket_that_is_a_lease_is_released_not_withdrawn() {
    let server = server();
    server.limit("db", 1);
    let first = server.take("db");
    let ticket = keep(&server, "db");
    server.call("DELETE", &format!("/api/v1/leases/{}", first["id"].as_str().unwrap()), "");
    assert_eq!(server.get(&format!("{}?wait_ms=20000", path(&ticket))).json()["state"], "granted");
    let held = server.call("DELETE", &path(&ticket), "");
    assert_eq!((held.status, &*held.kind()), (409, "already-granted"), "{held:?}");
    let lease = format!("/api/v1/leases/{}", ticket["id"].as_str().unwrap());
    assert_eq!(server.call("DELETE", &lease, "").status, 204);
    assert_eq!(server.call("DELETE", &path(&ticket), "").status, 204);
}

#[test]
fn everything_that_waits_or_holds_is_explained() {
    let server = server();
    server.limit("db", 1);
    let lease = server.take("db");
    let ticket = keep(&server, "db");
    let explain = |of: &Value| server.get(&format!("/api/v1/explain/{}", of["id"].as_str().unwrap())).json();

    let waits = explain(&ticket);
    assert_eq!((&waits["kind"], &waits["ticket"]["position"]), (&json!("ticket"), &json!(1)));
    let summary = waits["summary"].as_str().unwrap();
    assert!(summary.contains("at key `db`, position 1") && summary.contains("1 of 1 slots"), "{summary}");

    let holds = explain(&lease);
    assert_eq!((&holds["kind"], &holds["lease"]["id"]), (&json!("lease"), &lease["id"]));
    server.call("DELETE", &path(&ticket), "");
    let ended = explain(&ticket);
    assert_eq!((&ended["kind"], &ended["ended"]["how"]), (&json!("ended"), &json!("withdrawn")));
}
