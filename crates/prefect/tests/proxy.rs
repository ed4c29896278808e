//! Standing before another server, here one that says what it was asked.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;

use admit_http::{AuditEntry, Role};
use axum::http::StatusCode;
use common::behind::{Behind, PACKED};
use common::{Door, Server, ask, before};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[test]
fn what_is_not_ours_passes_as_it_is() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    let headers = [
        ("x-kept", "1"),
        ("authorization", "Bearer theirs"),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
    ];
    let answer = ask(&server, "PUT", "/flows/a%2Fb%20c?x=%2F&y", &headers, Some("the body"));
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.header("x-own"), Some("kept"));
    assert_eq!((answer.header("keep-alive"), answer.header("x-hop")), (None, None));
    let said = answer.json();
    assert_eq!(said["asked"], "PUT /api/flows/a%2Fb%20c?x=%2F&y");
    assert_eq!(said["body"], "the body");
    let got = &said["headers"];
    assert_eq!((&got["x-kept"], &got["authorization"]), (&json!("1"), &json!("Bearer theirs")));
    assert_eq!((&got["x-hop"], &got["te"], &got["connection"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(got["host"], behind.address.to_string());
    assert_eq!(got["x-forwarded-host"], server.address.to_string());
    assert_eq!((&got["x-forwarded-for"], &got["x-forwarded-proto"]), (&json!("127.0.0.1"), &json!("http")));

    // What comes back to where it passed goes in a circle.
    let via = got["via"].as_str().unwrap();
    assert_eq!(ask(&server, "GET", "/flows", &[("via", via)], None).status, StatusCode::LOOP_DETECTED);
    let redirect = server.get("/redirected");
    assert_eq!(redirect.header("location"), Some("/api/redirected/?a=b"));
}

#[test]
fn what_is_here_is_answered_here_and_the_rest_there() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    let here = |path: &str, body: Value, is_here: bool| {
        let answer = server.post(path, body);
        assert_eq!(answer.status != StatusCode::ACCEPTED, is_here, "{path}: {answer:?}");
        answer
    };
    here("/v2/concurrency_limits/", json!({"name": "own", "limit": 1}), true);
    let tree = "/v2/concurrency_limits";
    let lease = |names: &[&str], is_here| {
        here(&format!("{tree}/increment-with-lease"), json!({"names": names, "slots": 1}), is_here)
    };
    let own = lease(&["own", "other"], true).json()["lease_id"].as_str().unwrap().to_owned();
    lease(&["other"], false);
    let nothing = lease(&[], true).json()["lease_id"].as_str().unwrap().to_owned();
    let renewed = here(&format!("{tree}/leases/{nothing}/renew"), json!({}), true);
    assert_eq!(renewed.status, StatusCode::NO_CONTENT, "as the real server");
    let other = "00000000-0000-4000-8000-000000000001";
    for (id, is_here) in [(own.as_str(), true), (other, false)] {
        here(&format!("{tree}/leases/{id}/renew"), json!({}), is_here);
        here(&format!("{tree}/decrement-with-lease"), json!({"lease_id": id}), is_here);
    }
    // It has ended here, and nobody else knows of it.
    let gone = here(&format!("{tree}/leases/{own}/renew"), json!({}), true);
    assert_eq!(gone.status, StatusCode::GONE);
    let again = here(&format!("{tree}/decrement-with-lease"), json!({"lease_id": own}), true);
    assert_eq!(again.status, StatusCode::NO_CONTENT);
    here("/concurrency_limits/increment", json!({"names": ["tag"], "task_run_id": other}), false);
    for (path, is_here) in [("own", true), ("other", false), (other, false)] {
        assert_eq!(server.get(&format!("{tree}/{path}")).status == StatusCode::OK, is_here, "{path}");
    }
    // What nobody could understand is said here.
    here(&format!("{tree}/increment-with-lease"), json!({"names": "own"}), true);
    assert_eq!(server.get("/v2/concurrency_limits/").status, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn bodies_are_streamed_both_ways() {
    let mut behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    server.run(async {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("host: {}\r\n", server.address);
        let upload =
            format!("POST /api/upload HTTP/1.1\r\n{head}transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        stream.write_all(upload.as_bytes()).await.unwrap();
        // It has the first piece before there is a second.
        assert_eq!(behind.pieces.recv().await.as_deref(), Some("first"));
        stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(behind.pieces.recv().await.as_deref(), Some("second"));
        read_until(&mut stream, "\r\n\r\n").await;

        stream.write_all(format!("GET /api/slow HTTP/1.1\r\n{head}\r\n").as_bytes()).await.unwrap();
        read_until(&mut stream, "first ").await;
        behind.go.notify_one();
        read_until(&mut stream, "second").await;
    });
}

#[test]
fn upgraded_connections_pass_both_ways() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    server.run(async {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "GET /api/events/out HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly ",
            server.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_until(&mut stream, "early ").await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: echo"), "{head}");
        stream.write_all(b"later").await.unwrap();
        read_until(&mut stream, "later").await;
        // An end is passed on.
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn the_description_tells_of_what_is_answered_here() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    let document = server.get("/openapi.json");
    assert_eq!(
        document.text,
        r#"{"paths":{"/z":{},"/concurrency_limits/":{"post":{"responses":{"200":{"description":"OK"},"201":{"description":"The limit was made."}}}}}}"#
    );
    assert_eq!(document.header("content-type"), Some("application/json"));
}

#[test]
fn lists_are_written_as_their_servers_write_them() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    server.post("/v2/concurrency_limits/", json!({"name": "own", "limit": 1}));
    let merged = server.post("/v2/concurrency_limits/filter", json!({}));
    let (theirs, ours) = merged.text.split_once("},{").unwrap();
    assert_eq!(theirs, r#"[{"z":1.50,"name":"behind","a":"#.to_owned() + "1e5");
    let members: Vec<&str> = ours
        .split(',')
        .map(|member| member.split('"').nth(usize::from(member.starts_with('"'))).unwrap())
        .collect();
    assert_eq!(
        members,
        ["id", "created", "updated", "active", "name", "limit", "active_slots", "slot_decay_per_second"]
    );
}

#[test]
fn who_has_an_old_proof_is_told_so_by_the_server_behind() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    let list = |token: &str| {
        let headers = [("prefect-csrf-token", token)];
        ask(&server, "POST", "/v2/concurrency_limits/filter", &headers, Some("{}"))
    };
    assert_eq!(list("new").status, StatusCode::OK);
    let refused = list("old");
    // By these words a client knows to ask for another.
    assert!(
        refused.status == StatusCode::FORBIDDEN && refused.text.contains("Invalid CSRF token"),
        "{refused:?}"
    );
}

#[test]
fn what_another_node_made_is_here_by_its_id() {
    let behind = Behind::start(false);
    let mut server = Server::start_before(behind.address, Door::Open);
    let other = server.listen(before(behind.address), Door::Open);
    let made = server.post("/v2/concurrency_limits/", json!({"name": "own", "limit": 1})).json();
    let tag = server.post("/concurrency_limits/", json!({"tag": "own", "concurrency_limit": 1})).json();
    let path = format!("/v2/concurrency_limits/{}", made["id"].as_str().unwrap());
    let ask = |method: &str, path: &str, body: Option<&str>| {
        server.run(common::send(other, method, path, &[], body.map(str::to_owned)))
    };
    let patched = ask("PATCH", &path, Some(r#"{"limit":2}"#));
    assert_eq!(patched.status, StatusCode::NO_CONTENT, "{}", patched.text);
    assert_eq!(ask("GET", &path, None).json()["limit"], 2);
    let tag = format!("/concurrency_limits/{}", tag["id"].as_str().unwrap());
    assert_eq!(ask("GET", &tag, None).json()["tag"], "own");
}

#[test]
fn what_is_packed_passes_as_it_is_and_what_is_merged_is_asked_for_plainly() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    let answer = ask(&server, "GET", "/packed", &[("accept-encoding", "gzip, br")], None);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.header("vary"), Some("gzip, br"), "what the client accepts is asked for");
    assert_eq!(answer.text, String::from_utf8_lossy(PACKED));

    server.post("/v2/concurrency_limits/", json!({"name": "own", "limit": 1}));
    let list = |path: &str| ask(&server, "POST", path, &[("accept-encoding", "gzip")], Some("{}"));
    let merged = list("/v2/concurrency_limits/filter");
    let names: Vec<Value> =
        merged.json().as_array().unwrap().iter().map(|limit| limit["name"].clone()).collect();
    assert_eq!((merged.header("content-encoding"), names), (None, vec![json!("behind"), json!("own")]));
    let refused = list("/concurrency_limits/filter");
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY);
    assert!(refused.text.contains("packed as") && refused.text.contains("gzip"), "{}", refused.text);
}

#[test]
fn an_answer_that_breaks_off_does_so_for_the_client() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    server.run(async {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET /api/broken HTTP/1.1\r\nhost: {}\r\n\r\n", server.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut stream, "less than it says").await;
        behind.go.notify_one();
        // Whether by an end or by a reset.
        assert!(!matches!(stream.read(&mut [0; 8]).await, Ok(1..)));
    });
}

#[test]
fn beyond_loopback_only_who_is_known_here_or_there_may_pass() {
    let check = |asks: bool, authorization: Option<&str>, flows: StatusCode, limits: StatusCode| {
        let behind = Behind::start(asks);
        let server = Server::start_before(behind.address, Door::Tokens);
        let made = server.tokens.create(
            &server.engine,
            "flows",
            Role::Acquire,
            None,
            AuditEntry::local("test", "test"),
        );
        let ours = format!("Bearer {}", server.run(made).unwrap().0);
        let authorization = authorization.map(|given| if given == "ours" { ours.as_str() } else { given });
        let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        assert_eq!(ask(&server, "GET", "/flows", &headers, None).status, flows, "{asks} {authorization:?}");
        // Names no limit, so it is answered here.
        let body = Some(r#"{"names":[],"slots":1}"#);
        let answer = ask(&server, "POST", "/v2/concurrency_limits/increment", &headers, body);
        assert_eq!(answer.status, limits, "{asks} {authorization:?}");
    };
    let (passed, ok, refused) = (StatusCode::ACCEPTED, StatusCode::OK, StatusCode::UNAUTHORIZED);
    check(false, None, refused, refused);
    check(false, Some("Bearer theirs"), refused, refused);
    check(false, Some("ours"), passed, ok);
    check(true, None, refused, refused);
    check(true, Some("Bearer theirs"), passed, ok);
    check(true, Some("Bearer wrong"), refused, refused);
    // Known here alone: there it is not.
    check(true, Some("ours"), refused, ok);
}

/// Reads until this was read; all of it.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(end) {
        let mut buffer = [0; 256];
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "it ended before {end:?}: {}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&all).into_owned()
}
