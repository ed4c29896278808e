//! `/api/v1/leases`

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Answer, Server, server};

fn acquire(server: &Server, body: &Value) -> Answer {
    server.call("POST", "/api/v1/leases", &body.to_string())
}

fn id(lease: &Value) -> &str {
    lease["id"].as_str().unwrap()
}

#[test]
fn a_free_slot_is_a_lease() {
    let server = server();
    server.limit("db", 1);
    let granted = acquire(
        &server,
        &json!({"claims": [{"limit": "db"}], "ttl_ms": 5_000, "holder": "me", "labels": {"job": "7"}}),
    );
    assert_eq!(granted.status, 201, "{granted:?}");
    let lease = granted.json();
    assert_eq!(granted.header("location"), Some(&*format!("/api/v1/leases/{}", id(&lease))));
    assert_eq!(lease["claims"], json!([{"limit": "db", "key": "db", "slots": 1}]));
    assert_eq!((&lease["holder"], &lease["labels"]), (&json!("me"), &json!({"job": "7"})));
    assert_eq!(
        (&lease["ttl_ms"], &lease["waited_ms"], &lease["cancel"]),
        (&json!(5_000), &json!(0), &json!(false))
    );
    let left = lease["expires_in_ms"].as_u64().unwrap();
    assert!((4_000..=5_000).contains(&left), "{left}");
    let read = server.get(&format!("/api/v1/leases/{}", id(&lease))).json();
    for field in ["id", "token", "claims", "granted_at", "expires_at"] {
        assert_eq!(read[field], lease[field], "{field}");
    }
}

#[test]
fn a_lease_without_an_end_lives_until_it_is_released() {
    let server = server();
    server.limit("db", 1);
    let lease = acquire(&server, &json!({"claims": [{"limit": "db"}], "ttl_ms": null})).json();
    assert_eq!(
        (&lease["ttl_ms"], &lease["expires_at"], &lease["expires_in_ms"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
}

#[test]
fn a_full_limit_says_who_holds_it_and_when_to_ask_again() {
    let server = server();
    server.limit("db", 1);
    let holder = acquire(&server, &json!({"claims": [{"limit": "db"}], "holder": "first"})).json();
    let full = acquire(&server, &json!({"claims": [{"limit": "db"}]}));
    assert_eq!((full.status, &*full.kind()), (429, "full"), "{full:?}");
    let block = &full.json()["blocked_by"][0];
    let expect =
        json!({"key": "db", "limit": "db", "why": "no-room", "used": 1, "max": 1, "asked": 1, "waiting": 0});
    for (field, value) in expect.as_object().unwrap() {
        assert_eq!(&block[field], value, "{field}");
    }
    assert_eq!(
        (&block["holders"][0]["id"], &block["holders"][0]["holder"]),
        (&holder["id"], &json!("first"))
    );
    assert!(full.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(full.header("ratelimit-policy"), Some("\"db\";q=1;qu=\"concurrent-requests\""));
    assert!(full.header("ratelimit").unwrap().starts_with("\"db\";r=0"), "{full:?}");
}

#[test]
fn waiting_ends_with_a_grant_or_after_its_time() {
    let server = server();
    server.limit("db", 1);
    let lease = server.take("db");
    let asked = Instant::now();
    let late = acquire(&server, &json!({"claims": [{"limit": "db"}], "wait_ms": 300}));
    assert_eq!((late.status, &*late.kind()), (429, "full"), "{late:?}");
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert_eq!(late.json()["blocked_by"][0]["key"], "db");

    std::thread::scope(|scope| {
        let waiter =
            scope.spawn(|| acquire(&server, &json!({"claims": [{"limit": "db"}], "wait_ms": 20_000})));
        server.until("a waiter", |server| server.get("/api/v1/limits/db").json()["waiting"] == 1);
        assert_eq!(server.call("DELETE", &format!("/api/v1/leases/{}", id(&lease)), "").status, 204);
        let granted = waiter.join().unwrap();
        assert_eq!(granted.status, 201, "{granted:?}");
        assert!(granted.json()["token"].as_u64() > lease["token"].as_u64());
    });
}

#[test]
fn the_patience_of_a_limit_ends_a_wait_like_that_of_the_request() {
    let server = server();
    server.call("PUT", "/api/v1/limits/mw", r#"{"max":1,"queue":{"max_wait_ms":300}}"#);
    server.take("mw");
    for on_timeout in ["withdraw", "keep"] {
        let asked = Instant::now();
        let body = json!({"claims": [{"limit": "mw"}], "wait_ms": 20_000, "on_timeout": on_timeout});
        let late = acquire(&server, &body);
        assert_eq!((late.status, &*late.kind()), (429, "full"), "{late:?}");
        assert!((300..10_000).contains(&asked.elapsed().as_millis()), "{:?}", asked.elapsed());
        assert_eq!(late.json()["blocked_by"][0]["key"], "mw");
        assert!(late.header("retry-after").is_some() && late.header("ratelimit").is_some(), "{late:?}");
    }
    // Who repeats an id whose wait is over learns that it is over.
    let id = "018f0000-0000-7000-8000-000000000002";
    let request = json!({"id": id, "claims": [{"limit": "mw"}], "wait_ms": 20_000});
    assert_eq!(acquire(&server, &request).status, 429);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(acquire(&server, &request).kind(), "ticket-ended");
}

#[test]
fn who_is_replaced_by_a_newer_request_is_told_so() {
    let server = server();
    server.call("PUT", "/api/v1/limits/kn", r#"{"max":1,"on_full":"keep_newest"}"#);
    server.take("kn");
    let body = json!({"claims": [{"limit": "kn"}], "wait_ms": 20_000});
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| acquire(&server, &body));
        server.until("a waiter", |server| server.get("/api/v1/limits/kn").json()["waiting"] == 1);
        let newest = json!({"claims": [{"limit": "kn"}], "on_timeout": "keep"});
        assert_eq!(acquire(&server, &newest).status, 202);
        let replaced = waiter.join().unwrap();
        assert_eq!((replaced.status, &*replaced.kind()), (429, "replaced"), "{replaced:?}");
        assert_eq!(replaced.json()["blocked_by"][0]["key"], "kn");
        assert!(replaced.header("retry-after").is_some() && replaced.header("ratelimit").is_some());
    });
}

#[test]
fn a_client_that_goes_away_while_it_waits_withdraws() {
    let server = server();
    server.limit("db", 1);
    server.take("db");
    let body = r#"{"claims":[{"limit":"db"}],"wait_ms":60000}"#;
    let mut socket = server.connect();
    let head =
        format!("POST /api/v1/leases HTTP/1.1\r\nhost: {}\r\ncontent-length: {}", server.address, body.len());
    write!(socket, "{head}\r\n\r\n{body}").unwrap();
    let waiting =
        |count: u64| move |server: &Server| server.get("/api/v1/limits/db").json()["waiting"] == count;
    server.until("the ticket", waiting(1));
    drop(socket);
    server.until("its end", waiting(0));
}

#[test]
fn a_lease_is_renewed_released_and_then_gone() {
    let server = server();
    server.limit("db", 1);
    let lease = server.take("db");
    let path = format!("/api/v1/leases/{}", id(&lease));
    let renewed = server.call("POST", &format!("{path}/renew"), r#"{"ttl_ms":600000}"#);
    assert_eq!(renewed.status, 200, "{renewed:?}");
    assert!(renewed.json()["expires_in_ms"].as_u64() > Some(590_000));
    assert_eq!(server.call("POST", &format!("{path}/renew"), "").json()["ttl_ms"], 600_000);
    for _ in 0..2 {
        assert_eq!(server.call("DELETE", &path, "").status, 204);
    }
    for (method, path) in [("GET", path.clone()), ("POST", format!("{path}/renew"))] {
        let gone = server.call(method, &path, "");
        assert_eq!(
            (gone.status, &*gone.kind(), &gone.json()["how"]),
            (410, "lease-ended", &json!("released"))
        );
    }
    server.take("db");
}

#[test]
fn what_never_was_is_released_like_what_was() {
    let server = server();
    let id = "018f0000-0000-7000-8000-00000000dead";
    assert_eq!(server.call("DELETE", &format!("/api/v1/leases/{id}"), "").status, 204);
    let batch =
        server.call("POST", "/api/v1/batch", &format!(r#"{{"ops":[{{"op":"release","id":"{id}"}}]}}"#));
    assert_eq!(batch.json()["results"][0]["status"], 204, "{batch:?}");
}

#[test]
fn a_repeated_id_is_the_same_request() {
    let server = server();
    server.limit("db", 2);
    let request = json!({"id": "018f0000-0000-7000-8000-000000000001", "claims": [{"limit": "db"}]});
    let first = acquire(&server, &request).json();
    let again = acquire(&server, &request);
    assert_eq!((again.status, &again.json()["token"]), (201, &first["token"]));
    let other = acquire(&server, &json!({"id": request["id"], "claims": [{"limit": "db", "slots": 2}]}));
    assert_eq!((other.status, &*other.kind()), (422, "id-reused"));
    server.call("DELETE", &format!("/api/v1/leases/{}", id(&first)), "");
    let late = acquire(&server, &request);
    assert_eq!((late.status, &*late.kind()), (409, "lease-ended"));
}

#[test]
fn claims_may_bring_their_key_and_terms() {
    let server = server();
    server.limit("per-tenant", 1);
    let check = |claim: Value, expect: u16| {
        let answer = acquire(&server, &json!({"claims": [claim]}));
        assert_eq!(answer.status, expect, "{claim} {answer:?}");
    };
    check(json!({"limit": "per-tenant", "key": "tenant/1"}), 201);
    check(json!({"limit": "per-tenant", "key": "tenant/1"}), 429);
    check(json!({"limit": "per-tenant", "key": "tenant/2"}), 201);
    check(json!({"key": "k", "max": 2}), 201);
    check(json!({"key": "k", "max": 2}), 201);
    check(json!({"key": "k", "max": 2}), 429);
    check(json!({"key": "w", "max": 1, "window": {"ms": 60_000, "counts": "starts"}}), 201);
    check(json!({"key": "w", "max": 1, "window": {"ms": 60_000}}), 429);
    check(json!({"key": "d", "max": 1, "decay_per_second": 0.001}), 201);
    check(json!({"key": "d", "max": 1, "decay_per_second": 0.001}), 429);
}

#[test]
fn what_cannot_be_is_told_apart_from_what_cannot_be_now() {
    let server = server();
    server.limit("db", 3);
    let check = |body: Value, status: u16, kind: &str| {
        let answer = acquire(&server, &body);
        assert_eq!((answer.status, &*answer.kind()), (status, kind), "{answer:?}");
    };
    check(json!({"claims": [{"limit": "db", "slots": 4}]}), 422, "impossible");
    check(json!({"claims": [{"limit": "nope"}]}), 422, "unknown-limit");
    let admitted = acquire(&server, &json!({"claims": [{"limit": "nope"}], "if_missing": "admit"}));
    assert_eq!(admitted.status, 201, "{admitted:?}");
    server.call("PUT", "/api/v1/limits/short", r#"{"max":1,"queue":{"max_len":0}}"#);
    server.take("short");
    check(json!({"claims": [{"limit": "short"}], "wait_ms": 5_000}), 429, "queue-full");
}

#[test]
fn leases_are_listed_by_what_they_hold() {
    let server = server();
    server.limit("a", 9);
    server.limit("b", 9);
    for (limit, holder) in [("a", "x"), ("a", "y"), ("b", "x")] {
        acquire(&server, &json!({"claims": [{"limit": limit}], "holder": holder}));
    }
    let check = |query: &str, expect: usize| {
        let page = server.get(&format!("/api/v1/leases{query}")).json();
        assert_eq!(page["items"].as_array().unwrap().len(), expect, "{query}: {page}");
    };
    check("", 3);
    check("?key=a", 2);
    check("?limit=b", 1);
    check("?holder=x", 2);
    check("?holder=x&key=a", 1);
    check("?key=nobody", 0);
    let first = server.get("/api/v1/leases?page_size=2").json();
    let next = first["next"].as_str().unwrap();
    check(&format!("?page_size=2&cursor={next}"), 1);
}

#[test]
fn a_resource_can_check_a_fencing_token() {
    let server = server();
    server.limit("a", 1);
    let lease = server.take("a");
    let check = |token: u64, expect: bool| {
        let body = json!({"id": lease["id"], "token": token}).to_string();
        let answer = server.call("POST", "/api/v1/leases/check", &body).json();
        assert_eq!((&answer["valid"], &answer["newest_token"]), (&json!(expect), &lease["token"]), "{token}");
    };
    let token = lease["token"].as_u64().unwrap();
    check(token, true);
    check(token + 1, false);
    server.call("DELETE", &format!("/api/v1/leases/{}", id(&lease)), "");
    check(token, false);
}
