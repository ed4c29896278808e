//! Who may do what, where tokens are asked for; and what clients ask before they work.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;

use std::time::Duration;

use admit_http::{AuditEntry, Role};
use common::{Door, Server, send};
use serde_json::json;

fn guarded() -> (Server, String, String) {
    let server = Server::start_in(tempfile::tempdir().unwrap(), Duration::ZERO, Door::Tokens);
    let token = |name: &str, role| {
        let audit = AuditEntry::local("test", "test");
        let made = server.run(server.tokens.create(&server.engine, name, role, None, audit));
        made.unwrap().0
    };
    let (holder, operator) = (token("holder", Role::Acquire), token("operator", Role::Operate));
    (server, holder, operator)
}

#[test]
fn tokens_are_taken_as_prefect_sends_them() {
    use base64::Engine;
    let (server, holder, operator) = guarded();
    let ask = |method: &str, path: &str, authorization: &str| {
        let headers = [("authorization".to_owned(), authorization.to_owned())];
        let headers = if authorization.is_empty() { &[][..] } else { &headers[..] };
        let body = (method == "POST").then(|| json!({ "name": "db", "limit": 1 }).to_string());
        server.run(send(server.address, method, path, headers, body)).status.as_u16()
    };
    let basic = |pair: String| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    let limits = "/v2/concurrency_limits/";
    assert_eq!(ask("GET", "/health", ""), 200);
    assert_eq!(ask("GET", "/ready", ""), 200);
    assert_eq!(ask("GET", "/admin/version", ""), 401);
    assert_eq!(ask("GET", "/nowhere", ""), 401);
    assert_eq!(ask("POST", limits, ""), 401);
    assert_eq!(ask("POST", limits, "Bearer wrong"), 401);
    assert_eq!(ask("POST", limits, &format!("Bearer {holder}")), 403);
    assert_eq!(ask("POST", limits, &basic(format!("admin:{operator}"))), 201);
    assert_eq!(ask("GET", "/v2/concurrency_limits/db", &format!("Bearer {holder}")), 200);
    assert_eq!(ask("GET", "/v2/concurrency_limits/db", &basic(format!("{holder}:"))), 200);
    assert_eq!(ask("DELETE", "/v2/concurrency_limits/db", &format!("Bearer {operator}")), 204);
}

#[test]
fn a_refusal_says_what_to_do() {
    let (server, holder, _) = guarded();
    let answer = server.get("/v2/concurrency_limits/db");
    assert_eq!(answer.json()["exception_message"], "Unauthorized");
    assert!(answer.text.contains("admit token create"), "{}", answer.text);
    let headers = [("authorization".to_owned(), format!("Bearer {holder}"))];
    let answer = server.run(send(server.address, "DELETE", "/v2/concurrency_limits/db", &headers, None));
    assert_eq!(answer.json()["exception_message"], "Forbidden");
    // What Prefect's command line shows of an answer.
    let shown = answer.json()["exception_detail"][0]["msg"].as_str().unwrap().to_owned();
    assert!(shown.contains("operate"), "{}", answer.text);
}

#[test]
fn paths_of_a_whole_server_name_the_way_to_one() {
    let server = Server::start(Duration::ZERO);
    let answer = server.get("/flows");
    assert_eq!(answer.status, 404);
    assert!(answer.json()["detail"].as_str().unwrap().contains("--prefect-upstream"), "{}", answer.text);
    assert_eq!(server.get("/concurrency_limits/nothing").json(), json!({ "detail": "Not Found" }));
}

#[test]
fn pages_of_other_sites_may_not_ask() {
    let server = Server::start(Duration::ZERO);
    let ask = |method: &str, origin: &str| {
        let preflight = ("access-control-request-method".to_owned(), "POST".to_owned());
        let headers = [("origin".to_owned(), origin.to_owned()), preflight];
        let body = (method == "POST").then(|| "{}".to_owned());
        let answer =
            server.run(send(server.address, method, "/v2/concurrency_limits/filter", &headers, body));
        assert_eq!(answer.header("access-control-allow-origin"), None);
        answer
    };
    let own = format!("http://{}", server.address);
    assert_eq!(
        ask("POST", &own).status,
        200,
        "the user interface of a server behind is opened through this one"
    );
    for origin in ["http://elsewhere.example", "http://127.0.0.1:1", "null"] {
        for method in ["POST", "OPTIONS"] {
            let answer = ask(method, origin);
            assert_eq!(answer.status, 403, "{method} {origin}");
            assert!(answer.text.contains("--allow-host"), "{}", answer.text);
        }
    }
}

#[test]
fn bodies_are_bounded() {
    let server = Server::start(Duration::ZERO);
    let answer = server.post(
        "/v2/concurrency_limits/",
        json!({ "name": "x".repeat(admit_prefect::MAX_BODY_BYTES), "limit": 1 }),
    );
    assert_eq!(answer.status, 413, "{}", answer.text);
    let answer = server.post("/v2/concurrency_limits/", json!({ "name": "x".repeat(513), "limit": 1 }));
    assert_eq!(answer.status, 422, "{}", answer.text);
    assert!(answer.text.contains("512"), "{}", answer.text);
    let names: Vec<String> = (0..17).map(|n| format!("many-{n}")).collect();
    for name in &names {
        assert_eq!(server.post("/v2/concurrency_limits/", json!({ "name": name, "limit": 1 })).status, 201);
    }
    let answer = server.post("/v2/concurrency_limits/increment", json!({ "names": names, "slots": 1 }));
    assert_eq!(answer.status, 422);
    assert!(answer.text.contains("at most 16"), "{}", answer.text);
}
