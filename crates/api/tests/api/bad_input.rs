//! Whatever is sent: a clear answer that names the field, or a bound; and the server stays up.

use std::io::{BufReader, Read, Write};
use std::time::Instant;

use serde_json::{Value, json};

use crate::server::{Answer, PATIENCE, server};

#[test]
fn a_wrong_field_is_named_with_its_value() {
    let server = server();
    server.limit("db", 1);
    let check = |method: &str, path: &str, body: &str, field: &str, value: Value| {
        let answer = server.call(method, path, body);
        assert_eq!((answer.status, &*answer.kind()), (422, "invalid-request"), "{body}: {answer:?}");
        let problem = answer.json();
        assert_eq!((&problem["field"], &problem["value"]), (&json!(field), &value), "{body}: {problem}");
    };
    let acquire = |body: &str, field: &str, value: Value| check("POST", "/api/v1/leases", body, field, value);
    let claim = |claim: &str, field: &str, value: Value| {
        acquire(&format!("{{\"claims\":[{claim}]}}"), &format!("claims[0]{field}"), value);
    };
    // Unknown and missing fields.
    acquire(r#"{"claims":[{"limit":"db"}],"colour":"red"}"#, "colour", json!("red"));
    acquire("{}", "claims", json!(null));
    acquire("", "claims", json!(null));
    claim(r#"{"limit":"db","slot":2}"#, ".slot", json!(2));
    claim("{}", "", json!(null));
    claim(r#"{"key":"k"}"#, ".max", json!(null));
    claim(r#"{"limit":"db","max":3}"#, ".max", json!(null));
    check(
        "PUT",
        "/api/v1/limits/x",
        r#"{"max":1,"window":{"ms":5,"count":"runs"}}"#,
        "window.count",
        json!("runs"),
    );
    // Wrong types.
    acquire("[]", "body", json!([]));
    acquire(r#"{"claims":{}}"#, "claims", json!(null));
    acquire(r#"{"claims":[{"limit":"db"}],"wait_ms":"5"}"#, "wait_ms", json!("5"));
    acquire(r#"{"claims":[{"limit":"db"}],"id":"not-a-uuid"}"#, "id", json!("not-a-uuid"));
    acquire(r#"{"claims":[{"limit":"db"}],"on_timeout":"explode"}"#, "on_timeout", json!("explode"));
    claim(r#"{"limit":7}"#, ".limit", json!(7));
    claim(r#"{"limit":"db","slots":1.5}"#, ".slots", json!(1.5));
    claim(r#"{"limit":"db","slots":true}"#, ".slots", json!(true));
    check("PUT", "/api/v1/limits/x", r#"{"max":"many"}"#, "max", json!("many"));
    // Objects are objects: an array of their fields in some order is none.
    let put = |body: &str, field: &str, value: Value| check("PUT", "/api/v1/limits/x", body, field, value);
    put(r#"["x",5]"#, "body", json!(["x", 5]));
    put(r#"{"max":1,"window":[5]}"#, "window", json!([5]));
    put(r#"{"max":1,"queue":[5,null]}"#, "queue", json!([5, null]));
    claim(r#"["db"]"#, "", json!(["db"]));
    claim(r#"{"key":"k","max":1,"window":[5]}"#, ".window", json!([5]));
    let batch = |op: &str, field: &str, value: Value| {
        let results = server.call("POST", "/api/v1/batch", &format!("{{\"ops\":[{op}]}}")).json();
        let problem = &results["results"][0]["problem"];
        assert_eq!((&problem["field"], &problem["value"]), (&json!(field), &value), "{op}: {results}");
    };
    batch(r#"["acquire"]"#, "ops[0]", json!(["acquire"]));
    batch(r#"{"op":"acquire","claims":[["db"]]}"#, "ops[0].claims[0]", json!(["db"]));
    for path in ["leases/check", "tokens", "batch", "limits/db/pause"] {
        check("POST", &format!("/api/v1/{path}"), "[]", "body", json!([]));
    }
    // Numbers out of bounds.
    claim(r#"{"limit":"db","slots":-1}"#, ".slots", json!(-1));
    claim(r#"{"limit":"db","slots":0}"#, ".slots", json!(0));
    claim(r#"{"limit":"db","slots":4294967296}"#, ".slots", json!(4_294_967_296_u64));
    claim(r#"{"limit":"db","slots":2000000000}"#, ".slots", json!(2_000_000_000));
    claim(r#"{"key":"k","max":1,"window":{"ms":0}}"#, ".window.ms", json!(0));
    claim(r#"{"key":"k","max":1,"decay_per_second":-2}"#, ".decay_per_second", json!(-2.0));
    acquire(r#"{"claims":[{"limit":"db"}],"ttl_ms":999}"#, "ttl_ms", json!(999));
    acquire(r#"{"claims":[{"limit":"db"}],"ttl_ms":604800001}"#, "ttl_ms", json!(604_800_001));
    acquire(r#"{"claims":[{"limit":"db"}],"wait_ms":600001}"#, "wait_ms", json!(600_001));
    acquire(r#"{"claims":[{"limit":"db"}],"priority":99999999999}"#, "priority", json!(99_999_999_999_u64));
    acquire(
        r#"{"claims":[{"limit":"db"}],"age":"2999-01-01T00:00:00Z"}"#,
        "age",
        json!("2999-01-01T00:00:00Z"),
    );
    acquire(r#"{"claims":[]}"#, "claims", json!(0));
    check("PUT", "/api/v1/limits/x", r#"{"max":-1}"#, "max", json!(-1));
    check(
        "PUT",
        "/api/v1/limits/x",
        r#"{"max":1,"decay_per_second":1,"window":{"ms":5}}"#,
        "decay_per_second",
        json!(1.0),
    );
    check("PUT", "/api/v1/limits/x", r#"{"max":1,"name":"y"}"#, "name", json!("y"));
    // Names.
    claim(r#"{"limit":""}"#, ".limit", json!(""));
    claim(r#"{"limit":"db","key":"a\u0007b"}"#, ".key", json!("a\u{7}b"));
    // Ids and queries.
    check("GET", "/api/v1/leases/7", "", "id", json!("7"));
    check("GET", "/api/v1/limits?page_size=0", "", "page_size", json!(0));
    check("GET", "/api/v1/limits?page_size=1001", "", "page_size", json!(1001));
    check("GET", "/api/v1/limits?page=3", "", "query", json!("page=3"));
    check("GET", "/api/v1/leases?cursor=x", "", "cursor", json!("x"));
    assert_eq!(server.get("/api/v1/keys/db").json()["used"], 0);
}

#[test]
fn a_bound_is_named_at_both_ends() {
    let server = server();
    let check = |method: &str, path: &str, body: &str, bound: &str| {
        let detail = server.call(method, path, body).json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(bound), "{body}: {detail}");
    };
    let put = |body: &str, bound: &str| check("PUT", "/api/v1/limits/x", body, bound);
    put(r#"{"max":4294967296}"#, "0 to 1000000000 slots");
    put(r#"{"max":99999999999}"#, "0 to 1000000000 slots");
    put(r#"{"max":99999999999999999999999}"#, "below 2^64");
    put(r#"{"max":-1}"#, "`max` is -1: a whole number from 0 up");
    put(r#"{"max":1.5}"#, "`max` is 1.5: a whole number from 0 up");
    put(r#"{"max":1,"decay_per_second":1e-10}"#, "0.000000001 to 1000000000 slots per second");
    put(r#"{"max":1,"queue":{"max_len":4294967296}}"#, "0 to 1000000 tickets");
    put(r#"{"max":1,"queue":{"max_len":1000001}}"#, "`queue.max_len` is 1000001: 0 to 1000000 tickets");
    put(r#"{"max":1,"queue":{"max_wait_ms":0}}"#, "1 to 2678400000 ms (at most 31 days)");
    put(r#"{"max":1,"window":{"ms":99999999999}}"#, "1 to 2678400000 ms (at most 31 days)");
    let acquire = |body: &str, bound: &str| check("POST", "/api/v1/leases", body, bound);
    acquire(r#"{"claims":[{"limit":"x","slots":4294967297}]}"#, "1 to 1000000000 slots");
    acquire(r#"{"claims":[{"key":"x","max":1099511627776}]}"#, "0 to 1000000000 slots");
    acquire(r#"{"claims":[],"priority":1099511627776}"#, "from -2147483648 to 2147483647");
    acquire(r#"{"claims":[{"limit":"x"}],"ttl_ms":1}"#, "1000 to 604800000 ms (at most 7 days)");
    acquire(r#"{"claims":[{"limit":"x"}],"wait_ms":600001}"#, "0 to 600000 ms (at most 10 minutes)");
    check("PUT", "/api/v1/limits/", r#"{"max":1}"#, "a name or id is missing");
}

#[test]
fn a_name_of_ten_kilobytes_is_too_long_wherever_it_is() {
    let server = server();
    let long = "n".repeat(10_240);
    let body = json!({"claims": [{"key": long, "max": 1}]}).to_string();
    for (method, path, body, field) in [
        ("PUT", format!("/api/v1/limits/{long}"), r#"{"max":1}"#, "name"),
        ("GET", format!("/api/v1/keys/{long}"), "", "name"),
        ("POST", "/api/v1/leases".to_owned(), &*body, "claims[0].key"),
    ] {
        let answer = server.call(method, &path, body);
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{method}");
        assert!(answer.body.len() < 1_000, "the value is shortened: {}", answer.body);
    }
}

#[test]
fn what_is_not_json_is_said_to_be_none() {
    let server = server();
    let check = |body: &str, status: u16, kind: &str| {
        let answer = server.call("POST", "/api/v1/leases", body);
        assert_eq!((answer.status, &*answer.kind()), (status, kind), "{body}: {answer:?}");
    };
    check("{", 400, "malformed-json");
    check("{\"claims\":[}", 400, "malformed-json");
    check("null and void", 400, "malformed-json");
    check("{\"claims\":[{\"limit\":\"db\"}]}}", 400, "malformed-json");
    check(&"[".repeat(100_000), 400, "malformed-json");
    let form = server.raw(
        format!(
            "POST /api/v1/leases HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 3\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\na=b",
            server.address
        )
        .as_bytes(),
    );
    assert_eq!((form.status, &*form.kind()), (415, "wrong-content-type"));
}

#[test]
fn unknown_paths_and_methods_are_problems_too() {
    let server = server();
    let check = |method: &str, path: &str, status: u16, kind: &str| {
        let answer = server.call(method, path, "");
        assert_eq!((answer.status, &*answer.kind()), (status, kind), "{method} {path}");
    };
    check("GET", "/", 404, "no-route");
    check("GET", "/api/v1/limit", 404, "no-route");
    check("GET", "/api/v1/limits/a/b", 404, "no-route");
    check("PATCH", "/api/v1/limits/a", 405, "wrong-method");
    check("GET", "/api/v1/batch", 405, "wrong-method");
    check("GET", "/api/v1/limits/%FF", 422, "invalid-request");
}

#[test]
fn a_body_is_bounded_in_bytes() {
    let server = server();
    let big = format!("{{\"claims\":[],\"holder\":\"{}\"}}", "x".repeat(1 << 20));
    let answer = server.call("POST", "/api/v1/leases", &big);
    assert_eq!((answer.status, &*answer.kind()), (413, "body-too-long"));
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn a_body_that_never_ends_is_given_up() {
    let server = server();
    let mut socket = server.connect();
    let asked = Instant::now();
    write!(
        socket,
        "POST /api/v1/leases HTTP/1.1\r\nhost: {}\r\ncontent-length: 500\r\n\r\n{{",
        server.address
    )
    .unwrap();
    let answer = Answer::read(&mut BufReader::new(socket));
    assert_eq!((answer.status, &*answer.kind()), (408, "body-too-slow"));
    assert!(asked.elapsed() >= admit_http::BODY_TIMEOUT && asked.elapsed() < PATIENCE);
}

#[test]
fn heads_are_bounded_in_bytes_and_number() {
    let server = server();
    let with = |headers: String| {
        server
            .raw(format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", server.address).as_bytes())
            .status
    };
    assert_eq!(with(format!("x: {}\r\n", "y".repeat(20_000))), 431);
    assert_eq!(with((0..200).map(|n| format!("x{n}: y\r\n")).collect()), 431);
    assert_eq!(with("connection: close\r\n".to_owned()), 200);
}

#[test]
fn what_is_not_http_is_refused() {
    let server = server();
    assert_eq!(server.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n").status, 400);
    assert_eq!(server.raw(b"GET /healthz HTTP/1.1\r\n\r\n").kind(), "bad-host");
    let smuggled =
        "POST /api/v1/leases HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}";
    assert_eq!(server.raw(smuggled.as_bytes()).status, 400);
}

#[test]
fn nothing_is_smuggled_behind_two_lengths() {
    let server = server();
    for (first, second) in [
        ("content-length: 5", "transfer-encoding: chunked"),
        ("transfer-encoding: chunked", "content-length: 5"),
    ] {
        let mut socket = BufReader::new(server.connect());
        let post = format!("POST /api/v1/leases HTTP/1.1\r\nhost: {}\r\n", server.address);
        let smuggled = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", server.address);
        write!(socket.get_mut(), "{post}{first}\r\n{second}\r\n\r\n0\r\n\r\n{smuggled}").unwrap();
        assert_eq!(Answer::read(&mut socket).status, 422, "the chunked body is empty");
        // Closed, be it with an end or a reset: what followed is answered by nobody.
        assert!(!matches!(socket.read(&mut [0; 1]), Ok(1)), "{first}");
    }
}
