//! What people try beyond the usual. Where the real server is named, it was asked the same.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;

use std::time::Duration;

use admit_kernel::{Command, Limit, Terms};
use common::{Answer, Server, post, send};
use serde_json::{Value, json};

const V1: &str = "/concurrency_limits";
const V2: &str = "/v2/concurrency_limits";
const LEASE: &str = "/v2/concurrency_limits/increment-with-lease";
/// Longer than any test takes: what is answered before was woken.
const LONG: Duration = Duration::from_secs(45);

fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    server.run(send(server.address, method, path, &headers, body.map(str::to_owned)))
}

#[test]
fn names_are_any_text_that_fits_into_a_path() {
    let server = Server::start(Duration::ZERO);
    let check = |name: &str, in_path: &str| {
        let made = server.post(&format!("{V2}/"), json!({ "name": name, "limit": 1 }));
        assert_eq!((made.status.as_u16(), &made.json()["name"]), (201, &json!(name)), "{}", made.text);
        let read = server.get(&format!("{V2}/{in_path}"));
        assert_eq!((read.status.as_u16(), &read.json()["name"]), (200, &json!(name)), "{in_path}");
    };
    check("größe 🚀 中文", "gr%C3%B6%C3%9Fe%20%F0%9F%9A%80%20%E4%B8%AD%E6%96%87");
    check("lower", "%6cower");
    check("a?b#c", "a%3Fb%23c");
    check("a+b", "a+b");
    check(" ", "%20");
    check("..", "%2E%2E");
    // Two texts that look the same are two names, as there.
    check("gro\u{308}ße", "gro%CC%88%C3%9Fe");
    check(&"n".repeat(512), &"n".repeat(512));
    for (in_path, detail) in [
        ("a%2Fb", "Not Found"),
        ("a%252Fb", "Concurrency Limit not found"),
        ("%ff", "Concurrency Limit not found"),
        ("nobody", "Concurrency Limit not found"),
    ] {
        let read = server.get(&format!("{V2}/{in_path}"));
        assert_eq!((read.status.as_u16(), &read.json()["detail"]), (404, &json!(detail)), "{in_path}");
    }
}

#[test]
fn a_name_that_cannot_be_is_told_at_its_field() {
    let server = Server::start(Duration::ZERO);
    let check = |path: &str, field: &str, name: &str, reason: &str| {
        let number = if field == "tag" { "concurrency_limit" } else { "limit" };
        let body = json!({ field: name, number: 1 });
        let answer = server.post(path, body.clone());
        assert_eq!((answer.status.as_u16(), &answer.json()["request_body"]), (422, &body));
        let fault = &answer.json()["detail"][0];
        assert_eq!((&fault["loc"], &fault["input"]), (&json!(["body", field]), &json!(name)));
        assert!(fault["msg"].as_str().unwrap().contains(reason), "{fault}");
    };
    check(&format!("{V2}/"), "name", &"x".repeat(513), "513 bytes; give at most 512");
    check(&format!("{V2}/"), "name", &"ü".repeat(257), "514 bytes; give at most 512");
    check(&format!("{V1}/"), "tag", &"x".repeat(509), "509 bytes; give at most 508");
    check(&format!("{V2}/"), "name", "a\nb", "control characters");
    check(&format!("{V2}/"), "name", "a\u{0}b", "control characters");
    // Nobody has made such a limit, so there is none: as with any other name.
    let unknown =
        server.post(&format!("{V2}/increment"), json!({ "names": ["x".repeat(2_000)], "slots": 1 }));
    assert_eq!((unknown.status.as_u16(), unknown.json()), (200, json!([])));
}

#[test]
fn ten_thousand_limits_are_paged() {
    const LIMITS: usize = 10_000;
    let server = Server::start(Duration::ZERO);
    let limit = |n: usize| {
        let name = if n.is_multiple_of(2) { format!("tag:{n:05}") } else { format!("plain {n:05}") };
        let limit = Box::new(Limit::new(name, Terms::concurrent(1)));
        Command::SetLimit { limit, if_revision: None }
    };
    for chunk in (0..LIMITS).collect::<Vec<_>>().chunks(1_000) {
        let commands = chunk.iter().map(|n| limit(*n)).collect();
        server.run(server.engine.execute_all(commands)).unwrap();
    }
    let page = |path: &str, body: Value| {
        let answer = server.post(&format!("{path}/filter"), body);
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json().as_array().unwrap().clone()
    };
    let names =
        |rows: &[Value]| rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let first = page(V2, json!({}));
    assert_eq!((first.len(), &first[0]["name"]), (200, &json!("plain 00001")));
    let middle = names(&page(V2, json!({ "limit": 3, "offset": 4_999 })));
    assert_eq!(middle, ["plain 09999", "tag:00000", "tag:00002"], "by name, whatever they are");
    assert_eq!(names(&page(V2, json!({ "offset": 9_999 }))), ["tag:09998"]);
    assert_eq!(page(V2, json!({ "offset": 10_000 })), Vec::<Value>::new());
    assert_eq!(page(V2, json!({ "offset": i64::MAX })), Vec::<Value>::new());
    assert_eq!(page(V2, json!({ "limit": 0 })), Vec::<Value>::new());
    // Limits that are no tag's hide none of those that are.
    let tags = page(V1, json!({ "limit": 2, "offset": 4_998 }));
    assert_eq!(tags.iter().map(|row| &row["tag"]).collect::<Vec<_>>(), ["09996", "09998"]);
    for (size, rule) in
        [("201", "less than or equal to 200"), ("9223372036854775808", "less than or equal to 200")]
            .into_iter()
            .chain([
                ("-1", "greater than or equal to 0"),
                ("-9223372036854775809", "greater than or equal to 0"),
            ])
    {
        let answer =
            ask(&server, "POST", &format!("{V2}/filter"), &[], Some(&format!("{{\"limit\":{size}}}")));
        let detail = json!(format!("Invalid limit: must be {rule}."));
        assert_eq!((answer.status.as_u16(), &answer.json()["detail"]), (422, &detail), "{size}");
    }
}

#[test]
fn numbers_at_their_edges() {
    let server = Server::start(Duration::ZERO);
    let check = |path: &str, body: Value, status: u16| {
        let answer = server.post(path, body.clone());
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text);
    };
    let make = |name: &str, limit: u64, decay: f64, status| {
        let body = json!({ "name": name, "limit": limit, "slot_decay_per_second": decay });
        check(&format!("{V2}/"), body, status);
    };
    make("most", i64::MAX as u64, 0.0, 201);
    make("more", i64::MAX as u64 + 1, 0.0, 422);
    make("fast", 1, 1e308, 201);
    make("slow", 1, 1e-320, 201);
    make("back", 1, -0.5, 422);
    // The real server takes it, and cannot list its limits any more.
    let endless = json!({ "name": "endless", "limit": 1, "slot_decay_per_second": "inf" });
    check(&format!("{V2}/"), endless, 422);
    for (occupancy, status) in [(json!(0), 422), (json!(-1), 422), (json!(1e308), 200), (json!("1.5"), 200)] {
        let body = json!({ "names": ["most"], "slots": 1, "occupancy_seconds": occupancy });
        check(&format!("{V2}/decrement"), body, status);
    }
    // A decay of zero is none, so it makes no rate.
    let rate = |name: &str| json!({ "names": [name], "slots": 1, "mode": "rate_limit" });
    check(&format!("{V2}/increment"), rate("most"), 422);
    check(&format!("{V2}/increment"), rate("fast"), 200);
    check(&format!("{V2}/increment"), rate("slow"), 200);
    check(&format!("{V2}/increment"), rate("slow"), 423);
    for (seconds, status) in [(59.999, 422), (60.0, 200), (86_400.0, 200), (86_400.001, 422)] {
        check(LEASE, json!({ "names": ["most"], "slots": 1, "lease_duration": seconds }), status);
    }
    // More slots than are counted here count as many as are.
    check(&format!("{V2}/increment"), json!({ "names": ["most"], "slots": 5_000_000_000_u64 }), 423);
}

#[test]
fn a_lease_is_given_back_once_and_renewed_by_its_id_alone() {
    let server = Server::start(Duration::ZERO);
    server.post(&format!("{V2}/"), json!({ "name": "db", "limit": 2 }));
    let take = || server.post(LEASE, json!({ "names": ["db"], "slots": 1 })).json()["lease_id"].clone();
    let (one, other) = (take(), take());
    let used = || server.get(&format!("{V2}/db")).json()["active_slots"].clone();
    for _ in 0..2 {
        let body = json!({ "lease_id": one });
        assert_eq!(server.post(&format!("{V2}/decrement-with-lease"), body).status, 204);
        assert_eq!(used(), 1, "the other holds its slot still");
    }
    let renew = |id: &str| server.post(&format!("{V2}/leases/{id}/renew"), json!({})).status.as_u16();
    let id = other.as_str().unwrap();
    assert_eq!(renew(id), 204);
    assert_eq!(renew(&id.replace('-', "")), 204, "in any notation");
    assert_eq!(renew(one.as_str().unwrap()), 410);
    assert_eq!(renew("00000000-0000-4000-8000-000000000001"), 410);
    assert_eq!(renew("db"), 422);
}

#[test]
fn a_decrement_gives_back_only_what_no_lease_holds() {
    let server = Server::start(Duration::ZERO);
    server.post(&format!("{V2}/"), json!({ "name": "db", "limit": 3 }));
    let body = json!({ "names": ["db"], "slots": 1 });
    assert_eq!(server.post(LEASE, body.clone()).status, 200);
    assert_eq!(server.post(&format!("{V2}/increment"), body.clone()).status, 200);
    let used = || server.get(&format!("{V2}/db")).json()["active_slots"].clone();
    for _ in 0..2 {
        assert_eq!(server.post(&format!("{V2}/decrement"), body.clone()).status, 200);
        assert_eq!(used(), 1, "the lease is another's");
    }
    // It outlives its limit, and counts on the next one of that name.
    assert_eq!(server.delete(&format!("{V2}/db")).status, 204);
    server.post(&format!("{V2}/"), json!({ "name": "db", "limit": 3 }));
    assert_eq!(used(), 1);
}

#[test]
fn many_clients_at_once_are_all_served() {
    const CLIENTS: usize = 64;
    let server = Server::start(Duration::ZERO);
    server.post(&format!("{V2}/"), json!({ "name": "db", "limit": CLIENTS }));
    let pair = |address| async move {
        let taken = post(address, LEASE, json!({ "names": ["db"], "slots": 1 })).await;
        let body = json!({ "lease_id": taken.json()["lease_id"] });
        let given = post(address, &format!("{V2}/decrement-with-lease"), body).await;
        (taken.status.as_u16(), given.status.as_u16())
    };
    let pairs: Vec<_> = (0..CLIENTS).map(|_| server.spawn(pair(server.address))).collect();
    for pair in pairs {
        assert_eq!(server.run(pair).unwrap(), (200, 204));
    }
    assert_eq!(server.get(&format!("{V2}/db")).json()["active_slots"], 0);
}

#[test]
fn bodies_are_utf_8_and_answers_are_not_packed() {
    let server = Server::start(Duration::ZERO);
    let filter = format!("{V2}/filter");
    assert_eq!(ask(&server, "POST", &filter, &[], Some("\u{feff}{}")).status, 200, "with a mark or without");
    // What UTF-16 begins with.
    assert_eq!(ask(&server, "POST", &filter, &[], Some("{\u{0}")).status, 422);
    server.post(&format!("{V2}/"), json!({ "name": "n".repeat(512), "limit": 1 }));
    let list = ask(&server, "POST", &filter, &[("accept-encoding", "gzip")], Some("{}"));
    assert!(list.text.len() > 500, "the real server packs what is longer");
    assert_eq!((list.header("content-encoding"), list.json().as_array().unwrap().len()), (None, 1));
}

#[test]
fn who_waits_sees_what_becomes_of_the_limit() {
    let server = Server::start(LONG);
    let made = |name: &str| server.post(&format!("{V2}/"), json!({ "name": name, "limit": 1 }));
    let wait = |name: &'static str| {
        assert_eq!(made(name).status, 201);
        assert_eq!(server.post(LEASE, json!({ "names": [name], "slots": 1 })).status, 200);
        let waiting = server.spawn(post(server.address, LEASE, json!({ "names": [name], "slots": 1 })));
        server.run(async {
            while server.engine.read(move |state| state.limit_counts(name).0).await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waiting
    };
    let raised = wait("raised");
    assert_eq!(server.patch(&format!("{V2}/raised"), json!({ "limit": 2 })).status, 204);
    assert_eq!(server.run(raised).unwrap().status, 200, "a further slot is there");

    let disabled = wait("disabled");
    assert_eq!(server.patch(&format!("{V2}/disabled"), json!({ "active": false })).status, 204);
    assert_eq!(server.run(disabled).unwrap().status, 200, "it keeps nobody out");

    let emptied = wait("emptied");
    assert_eq!(server.patch(&format!("{V2}/emptied"), json!({ "active_slots": 0 })).status, 204);
    assert_eq!(server.run(emptied).unwrap().status, 200, "its slot was taken from the holder");

    let removed = wait("removed");
    assert_eq!(server.delete(&format!("{V2}/removed")).status, 204);
    assert_eq!(server.run(removed).unwrap().status, 200, "nothing limits it any more");
    let again = server.post(LEASE, json!({ "names": ["removed"], "slots": 1 }));
    assert_eq!((again.status.as_u16(), &again.json()["limits"]), (200, &json!([])), "and then there is none");
}

#[test]
fn paths_and_methods_are_answered_as_there() {
    let server = Server::start(Duration::ZERO);
    let check = |method: &str, path: &str, status: u16, header: &str, expect: Option<&str>| {
        let answer = ask(&server, method, path, &[], None);
        assert_eq!((answer.status.as_u16(), answer.header(header)), (status, expect), "{method} {path}");
    };
    let here = format!("http://{}/api", server.address);
    check("POST", V2, 307, "location", Some(&format!("{here}{V2}/")));
    check("POST", &format!("{V2}?a=b%20c"), 307, "location", Some(&format!("{here}{V2}/?a=b%20c")));
    check("GET", &format!("{V2}/a%20b/"), 307, "location", Some(&format!("{here}{V2}/a%20b")));
    check("GET", "/health/", 307, "location", Some(&format!("{here}/health")));
    check("HEAD", "/health", 405, "allow", Some("GET"));
    check("HEAD", &format!("{V2}/db"), 405, "allow", Some("GET"));
    check("OPTIONS", &format!("{V2}/filter"), 405, "allow", Some("GET"));
    check("TRACE", &format!("{V2}/"), 405, "allow", Some("POST"));
    check("HEAD", "/nowhere", 404, "allow", None);
    // A client that follows a redirect sends its body again.
    let redirected = server.post(V2, json!({ "name": "db", "limit": 1 }));
    let path = redirected.header("location").unwrap().strip_prefix(&here).unwrap().to_owned();
    assert_eq!(server.post(&path, json!({ "name": "db", "limit": 1 })).status, 201);
}

#[test]
fn versions_of_the_api_are_told_apart_as_there() {
    let server = Server::start(Duration::ZERO);
    let check = |version: &str, status: u16| {
        let answer = ask(&server, "GET", &format!("{V2}/db"), &[("x-prefect-api-version", version)], None);
        assert_eq!(answer.status, status, "{version:?}: {}", answer.text);
    };
    for accepted in ["0.8.0", "0.8.4", "1.0.0", "99.0.0", " 0.8.4 ", "", "+0.8.4"] {
        check(accepted, 404);
    }
    for refused in ["0.7.9", "-1.8.4", "0.8.-4", "abc", "0.8", "0.8.4.1", "0.8.x"] {
        check(refused, 400);
    }
}

#[test]
fn json_has_an_end() {
    let server = Server::start(Duration::ZERO);
    let check = |body: String, expect: (u16, Value)| {
        let answer = ask(&server, "POST", LEASE, &[], Some(&body));
        let said = answer.json();
        let kind = if answer.status == 422 { &said["detail"][0]["type"] } else { &said["detail"] };
        assert_eq!((answer.status.as_u16(), kind), (expect.0, &expect.1), "{}", answer.text);
    };
    let nested =
        |depth| format!(r#"{{"names":[],"slots":1,"z":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    check(nested(99), (200, Value::Null));
    check(nested(100), (400, json!("There was an error parsing the body")));
    check(r#"{"names":[],"slots":1e30}"#.to_owned(), (422, json!("int_parsing_size")));
    check(format!(r#"{{"names":[],"slots":1{}}}"#, "0".repeat(30)), (422, json!("less_than_equal")));
    // The real server tells the two apart, too.
    let truth = |value: &str| {
        let body = format!(r#"{{"name":"x","limit":1,"active":{value}}}"#);
        ask(&server, "POST", &format!("{V2}/"), &[], Some(&body)).json()["detail"][0]["type"].clone()
    };
    assert_eq!((truth("1e18"), truth("1e19")), (json!("bool_parsing"), json!("bool_type")));
}

#[test]
fn a_lease_of_nothing_does_not_end() {
    let server = Server::start(Duration::ZERO);
    let taken = server.post(LEASE, json!({ "names": ["nobody"], "slots": 1 })).json();
    let id = taken["lease_id"].as_str().unwrap();
    let renew = || server.post(&format!("{V2}/leases/{id}/renew"), json!({})).status.as_u16();
    let release =
        || server.post(&format!("{V2}/decrement-with-lease"), json!({ "lease_id": id })).status.as_u16();
    assert_eq!([renew(), release(), release(), renew()], [204; 4]);
}

#[test]
fn limits_are_answered_by_name() {
    let server = Server::start(Duration::ZERO);
    for name in ["tag:9", "tag:1"] {
        server.post(&format!("{V2}/"), json!({ "name": name, "limit": 5 }));
    }
    let names = |path: &str, of: &[&str], member: Option<&str>| {
        let body = json!({ "names": of, "slots": 1, "task_run_id": "00000000-0000-4000-8000-000000000001" });
        let answer = server.post(path, body).json();
        let limits = member.map_or(&answer, |member| &answer[member]).as_array().unwrap();
        limits.iter().map(|limit| limit["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (limits, tags) = (["tag:9", "tag:1"], ["9", "1"]);
    assert_eq!(names(LEASE, &limits, Some("limits")), ["tag:1", "tag:9"]);
    assert_eq!(names(&format!("{V2}/increment"), &limits, None), ["tag:1", "tag:9"]);
    assert_eq!(names(&format!("{V2}/decrement"), &limits, None), ["tag:1", "tag:9"]);
    assert_eq!(names(&format!("{V1}/increment"), &tags, None), ["9", "1"], "as the real server");
    assert_eq!(names(&format!("{V1}/decrement"), &tags, None), ["tag:1", "tag:9"]);
    let rate =
        server.post(&format!("{V2}/increment"), json!({ "names": limits, "slots": 1, "mode": "rate_limit" }));
    assert!(rate.text.ends_with("configured: 'tag:1,tag:9'\"}"), "{}", rate.text);
}

#[test]
fn the_description_is_only_read() {
    let server = Server::start(Duration::ZERO);
    for (method, status) in [("GET", 200), ("HEAD", 200), ("POST", 405), ("DELETE", 405)] {
        let answer = ask(&server, method, "/openapi.json", &[], None);
        assert_eq!(answer.status, status, "{method}");
        assert_eq!(answer.header("allow"), (status == 405).then_some("GET, HEAD"), "{method}");
    }
}
