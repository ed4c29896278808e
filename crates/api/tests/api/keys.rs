//! `/api/v1/keys`, `/api/v1/status`, health and metrics

use serde_json::{Value, json};

use crate::server::server;

#[test]
fn a_key_shows_its_holders_and_who_waits() {
    let server = server();
    server.limit("db", 2);
    let lease = server.take("db");
    server.call("POST", "/api/v1/leases", r#"{"claims":[{"limit":"db","slots":2}],"on_timeout":"keep"}"#);
    let key = server.get("/api/v1/keys/db").json();
    let expect =
        json!({"key": "db", "used": 1, "running": 1, "waiting": 1, "limits": ["db"], "holder_count": 1});
    for (field, value) in expect.as_object().unwrap() {
        assert_eq!(&key[field], value, "{field}: {key}");
    }
    assert_eq!(key["holders"][0]["id"], lease["id"]);
    let free = server.get("/api/v1/keys/nobody").json();
    assert_eq!((&free["used"], &free["holders"]), (&json!(0), &json!([])));
}

#[test]
fn keys_are_listed_by_prefix() {
    let server = server();
    for key in ["tenant/1", "tenant/2", "other"] {
        let body = json!({"claims": [{"key": key, "max": 1}]}).to_string();
        assert_eq!(server.call("POST", "/api/v1/leases", &body).status, 201);
    }
    let page = server.get("/api/v1/keys?prefix=tenant%2F&page_size=1").json();
    assert_eq!((&page["items"][0]["key"], &page["next"]), (&json!("tenant/1"), &json!("tenant/1")));
    let next = server.get("/api/v1/keys?prefix=tenant%2F&page_size=1&cursor=tenant%2F1").json();
    assert_eq!((&next["items"][0]["key"], &next["next"]), (&json!("tenant/2"), &json!(null)));
}

#[test]
fn the_server_says_how_it_is() {
    let server = server();
    server.limit("db", 2);
    server.take("db");
    assert_eq!((server.get("/healthz").status, server.get("/readyz").status), (200, 200));
    let status = server.get("/api/v1/status").json();
    assert_eq!(
        (&status["version"], &status["totals"]["leases"]),
        (&json!("0.0.0-test"), &json!(1)),
        "{status}"
    );
    assert_eq!(status["store"]["serving"], true);

    let metrics = server.get("/metrics").body;
    for line in [
        "admit_grants_total{waited=\"no\"} 1",
        "admit_leases 1",
        "admit_limit_used{limit=\"db\"} 1",
        "admit_limit_max{limit=\"db\"} 2",
        "admit_commit_seconds_bucket{le=\"+Inf\"}",
        "admit_wait_seconds_count 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[test]
fn the_nodes_are_listed_and_measured() {
    let server = server();
    server.limit("db", 1);
    let own =
        |list: &Value| list["items"].as_array().unwrap().iter().find(|node| node["self"] == true).cloned();
    server.until("it has said how it writes", |server| {
        own(&server.get("/api/v1/nodes").json()).is_some_and(|node| node["commit_ms"].is_number())
    });
    let node = own(&server.get("/api/v1/nodes").json()).unwrap();
    assert_eq!((&node["live"], &node["lag_records"]), (&json!(true), &json!(0)), "{node}");
    // The log rises to what its nodes know when it is known who they are.
    let log = server.get("/api/v1/status").json()["store"]["format"].as_u64().unwrap();
    assert!(log > 0 && node["format"].as_u64() >= Some(log), "{log}: {node}");
    let metrics = server.get("/metrics").body;
    let labels = format!("{{node=\"\",id={}}}", node["id"]);
    for line in [format!("admit_node_live{labels} 1"), format!("admit_node_batch_commands{labels} ")] {
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}

#[test]
fn request_ids_are_echoed_if_sane_and_made_if_not() {
    let server = server();
    let id = |given: &str| {
        let answer = server.call_with("GET", "/healthz", &[("x-request-id", given)], "");
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id("018f-abc:7/x"), "018f-abc:7/x");
    for foul in ["", "with space", "quote\"", &"x".repeat(200)] {
        assert_ne!(id(foul), foul);
    }
    assert_ne!(id(""), id(""));
}
