//! The server behind is not there: what is here works on.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;

use std::net::SocketAddr;

use axum::http::StatusCode;
use common::behind::Behind;
use common::{Answer, Door, Server, ask};
use serde_json::json;

#[test]
fn without_the_server_behind_limits_work_and_the_rest_is_a_bad_gateway() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start_before(gone, Door::Open);
    let list = server.post("/v2/concurrency_limits/filter", json!({}));
    assert!(list.text.contains("`admit limit ls`"), "half a list would pass for a whole: {}", list.text);
    for answer in [list, server.get("/flows"), server.get("/v2/concurrency_limits/other")] {
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert_eq!(answer.json()["exception_message"], "Bad Gateway");
        assert!(answer.json()["detail"].as_str().unwrap().contains(&gone.to_string()), "{}", answer.text);
    }
    assert_eq!(
        server.post("/v2/concurrency_limits/", json!({"name": "own", "limit": 1})).status,
        StatusCode::CREATED
    );
    let taken =
        server.post("/v2/concurrency_limits/increment-with-lease", json!({"names": ["own"], "slots": 1}));
    assert_eq!(taken.status, StatusCode::OK);
    let id = taken.json()["lease_id"].as_str().unwrap().to_owned();
    let renew = format!("/v2/concurrency_limits/leases/{id}/renew");
    let release = || {
        server.post("/v2/concurrency_limits/decrement-with-lease", json!({ "lease_id": id })).status.as_u16()
    };
    assert_eq!(server.post(&renew, json!({})).status, StatusCode::NO_CONTENT);
    assert_eq!([release(), release()], [204, 204]);
    assert_eq!(server.post(&renew, json!({})).status, StatusCode::GONE);
    assert_eq!(server.get("/openapi.json").json()["info"]["title"], "Admit: Prefect's concurrency API");
}

#[test]
fn without_the_server_behind_a_client_is_greeted_here() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let behind = Behind::start(false);
    let check = |upstream: SocketAddr, path: &str, is_here: &dyn Fn(&Answer) -> bool| {
        let server = Server::start_before(upstream, Door::Open);
        let answer = server.get(path);
        assert!(is_here(&answer), "{path}: {answer:?}");
    };
    check(gone, "/health", &|answer| answer.status == 200 && answer.text == "true");
    check(gone, "/ready", &|answer| answer.status == 200 && answer.json()["message"] == "OK");
    check(gone, "/admin/version", &|answer| answer.status == 200 && answer.text == "\"3.8.8\"");
    check(gone, "/version", &|answer| answer.status == 200 && answer.text == "\"0.8.4\"");
    // A token for a moment: who was told that none is needed would not ask the server behind for one once it is back.
    check(gone, "/csrf-token?client=me", &|answer| {
        let token = answer.json();
        let expires: jiff::Timestamp = token["expiration"].as_str().unwrap().parse().unwrap();
        let left = expires.duration_since(jiff::Timestamp::now()).as_secs();
        answer.status == 200
            && token["client"] == "me"
            && token["token"].is_string()
            && (1..=10).contains(&left)
    });
    check(gone, "/csrf-token", &|answer| answer.status == 422);
    // While it is there, it says so itself; what stands before it and does not reach it is no server.
    for path in ["/health", "/ready", "/admin/version", "/version", "/csrf-token?client=me"] {
        check(behind.address, path, &|answer| answer.status == StatusCode::ACCEPTED);
    }
    let balancer = Behind::always(StatusCode::SERVICE_UNAVAILABLE);
    check(balancer.address, "/csrf-token?client=me", &|answer| answer.status == StatusCode::OK);
}

#[test]
fn a_server_behind_that_hangs_is_waited_for_once() {
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start_before(silent.local_addr().unwrap(), Door::Open);
    assert_eq!(server.get("/csrf-token?client=me").status, StatusCode::OK);
    let begun = std::time::Instant::now();
    for path in ["/csrf-token?client=me", "/health", "/admin/version"] {
        assert_eq!(server.get(path).status, StatusCode::OK);
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn who_was_known_there_is_known_while_it_is_away() {
    let behind = Behind::start(true);
    let server = Server::start_before(behind.address, Door::Tokens);
    let body = Some(r#"{"names":[],"slots":1}"#);
    let take = |who: &str| {
        let headers = [("authorization", who)];
        ask(&server, "POST", "/v2/concurrency_limits/increment", &headers, body).status.as_u16()
    };
    assert_eq!((take("Bearer theirs"), take("Bearer wrong")), (200, 401));
    behind.go_away();
    // Found out by the first who is asked for there.
    assert_eq!(ask(&server, "GET", "/flows", &[("authorization", "Bearer theirs")], None).status, 502);
    assert_eq!((take("Bearer theirs"), take("Bearer wrong"), take("Bearer new")), (200, 401, 502));
    let token = ask(&server, "GET", "/csrf-token?client=me", &[("authorization", "Bearer theirs")], None);
    assert_eq!(token.status, StatusCode::OK);
}

#[test]
fn a_server_behind_that_is_silent_is_told_in_time() {
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start_before(silent.local_addr().unwrap(), Door::Open);
    let begun = std::time::Instant::now();
    let answer = server.post("/v2/concurrency_limits/filter", json!({}));
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{}", answer.text);
    assert_eq!(answer.json()["exception_message"], "Gateway Timeout");
    assert!(answer.text.contains("did not answer within 10 s"), "{}", answer.text);
    // Before the client gives up by itself.
    assert!(begun.elapsed() < std::time::Duration::from_secs(60));
}
