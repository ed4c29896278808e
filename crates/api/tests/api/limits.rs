//! `/api/v1/limits`

use admit_kernel::{Command, Limit, Terms};
use serde_json::{Value, json};

use crate::server::{Server, server};

#[test]
fn a_limit_is_stored_read_changed_and_removed() {
    let server = server();
    let created = server.call("PUT", "/api/v1/limits/db", r#"{"max":3,"description":"the database"}"#);
    assert_eq!(created.status, 201, "{created:?}");
    let body = created.json();
    assert_eq!(created.header("etag"), Some(&*format!("\"{}\"", body["revision"])));
    let expect = json!({
        "name": "db", "max": 3, "window": null, "decay_per_second": null, "match": [], "mode": "enforce",
        "on_full": "queue", "queue": {"max_len": 10_000, "max_wait_ms": null}, "description": "the database",
        "source": "native", "paused": false, "paused_until": null, "paused_for_ms": null, "used": 0,
        "waiting": 0, "would_have_waited": 0, "revision": body["revision"], "etag": created.header("etag"),
    });
    assert_eq!(body, expect);
    assert_eq!(server.get("/api/v1/limits/db").json(), expect);

    let changed = server.call("PUT", "/api/v1/limits/db", r#"{"name":"db","max":4}"#);
    assert_eq!((changed.status, &changed.json()["max"]), (200, &json!(4)));
    assert_eq!(server.call("DELETE", "/api/v1/limits/db", "").status, 204);
    for (method, path) in [("GET", "db"), ("DELETE", "db"), ("POST", "db/resume"), ("POST", "db/reset")] {
        let gone = server.call(method, &format!("/api/v1/limits/{path}"), "");
        assert_eq!((gone.status, &*gone.kind()), (404, "unknown-limit"), "{method} {path}");
    }
}

#[test]
fn every_kind_of_terms_survives_the_round_trip() {
    let server = server();
    let check = |name: &str, body: Value| {
        let stored = server.call("PUT", &format!("/api/v1/limits/{name}"), &body.to_string());
        assert_eq!(stored.status, 201, "{stored:?}");
        let read = server.get(&format!("/api/v1/limits/{name}")).json();
        for (field, value) in body.as_object().unwrap() {
            assert_eq!(&read[field], value, "{name}.{field}");
        }
    };
    check("rate", json!({"max": 10, "window": {"ms": 60_000, "counts": "starts"}}));
    check("runs", json!({"max": 10, "window": {"ms": 60_000, "counts": "runs"}}));
    check("bucket", json!({"max": 10, "decay_per_second": 0.25}));
    check("closed", json!({"max": 0}));
    check("span", json!({"max": 1, "match": ["windmill/openai", "apim/openai-*", "x/**"]}));
    check("seen", json!({"max": 1, "mode": "observe", "on_full": "cancel_oldest"}));
    check("short", json!({"max": 1, "queue": {"max_len": 5, "max_wait_ms": 1_000}, "source": "file"}));
}

#[test]
fn a_change_keeps_the_owner_unless_it_names_one() {
    let server = server();
    let source = |body: &str| server.call("PUT", "/api/v1/limits/a", body).json()["source"].clone();
    assert_eq!(source(r#"{"max":1,"source":"file"}"#), "file");
    assert_eq!(source(r#"{"max":2}"#), "file");
    assert_eq!(source(r#"{"max":2,"source":"native"}"#), "native");
}

#[test]
fn nobody_makes_a_limit_in_the_name_of_a_dialect() {
    let server = server();
    let made = Limit { source: "prefect".into(), ..Limit::new("theirs", Terms::concurrent(1)) };
    let command = Command::SetLimit { limit: Box::new(made), if_revision: None };
    pollster::block_on(server.engine.execute(command)).unwrap();
    let put = |name: &str, body: &str| server.call("PUT", &format!("/api/v1/limits/{name}"), body);
    server.limit("ours", 1);
    for (name, dialect) in [("new", "prefect"), ("ours", "prefect"), ("ours", "windmill"), ("theirs", "apim")]
    {
        let wrong = put(name, &format!("{{\"max\":2,\"source\":\"{dialect}\"}}"));
        assert_eq!((wrong.status, &wrong.json()["field"]), (422, &json!("source")), "{name} {wrong:?}");
    }
    assert_eq!(server.get("/api/v1/limits/new").status, 404);
    // What the dialect made is changed without taking it away from it, or is taken over.
    for (body, source) in [
        (r#"{"max":2}"#, "prefect"),
        (r#"{"max":3,"source":"prefect"}"#, "prefect"),
        (r#"{"max":4,"source":"native"}"#, "native"),
    ] {
        let stored = put("theirs", body);
        assert_eq!((stored.status, &stored.json()["source"]), (200, &json!(source)), "{body}");
    }
}

#[test]
fn revisions_guard_changes() {
    let server = server();
    let put = |header: (&str, &str)| server.call_with("PUT", "/api/v1/limits/a", &[header], r#"{"max":1}"#);
    assert_eq!(put(("if-match", "*")).kind(), "revision-mismatch");
    let first = put(("if-none-match", "*"));
    assert_eq!(first.status, 201);
    assert_eq!(put(("if-none-match", "*")).status, 412);
    let etag = first.header("etag").unwrap();
    assert_eq!(put(("if-match", etag)).status, 200);
    let late = put(("if-match", etag));
    assert_eq!((late.status, &*late.kind()), (412, "revision-mismatch"));
    assert_eq!(put(("if-match", "*")).status, 200);
    assert_eq!(put(("if-match", "soon")).json()["field"], "if-match");
    assert_eq!(put(("if-match", "\"soon\"")).status, 412);
    let now = server.get("/api/v1/limits/a");
    let etag = now.header("etag").unwrap();
    assert_eq!(put(("if-match", &format!("W/{etag}"))).status, 412, "weak tags never match a change");
    assert_eq!(put(("if-match", &format!("\"soon\", {etag}"))).status, 200);
    let delete = server.call_with("DELETE", "/api/v1/limits/a", &[("if-match", etag)], "");
    assert_eq!(delete.status, 412);
}

#[test]
fn a_pause_changes_the_etag_and_every_change_is_guarded() {
    let server = server();
    server.limit("a", 1);
    let etag = || server.get("/api/v1/limits/a").header("etag").unwrap().to_owned();
    let call = |method: &str, what: &str, etag: &str, body: &str| {
        server.call_with(method, &format!("/api/v1/limits/a{what}"), &[("if-match", etag)], body)
    };
    let running = etag();
    assert_eq!(call("POST", "/pause", "\"0\"", "").kind(), "revision-mismatch");
    let forever = call("POST", "/pause", &running, "");
    assert_eq!((forever.status, forever.header("etag")), (200, Some(&*etag())), "{forever:?}");
    let timed = call("POST", "/pause", "*", r#"{"for_ms":600000}"#);
    assert_eq!((timed.status, timed.header("etag")), (200, Some(&*etag())), "{timed:?}");
    let paused = etag();
    assert!(paused != running && Some(&*paused) != forever.header("etag"), "{running} {forever:?} {paused}");
    for (method, what, body) in [
        ("POST", "/pause", ""),
        ("POST", "/resume", ""),
        ("POST", "/reset", ""),
        ("PUT", "", r#"{"max":2}"#),
        ("DELETE", "", ""),
    ] {
        let late = call(method, what, &running, body);
        assert_eq!((late.status, &*late.kind()), (412, "revision-mismatch"), "{method} {what}");
    }
    assert_eq!(call("POST", "/reset", &paused, "").status, 200);
    assert_eq!(call("POST", "/resume", &paused, "").header("etag"), Some(&*running));
    assert_eq!(call("DELETE", "", &running, "").status, 204);
}

#[test]
fn of_those_who_pause_or_resume_what_they_saw_one_does() {
    let server = server();
    server.limit("a", 1);
    // Whoever is second has seen what is no more so.
    let race = |what: &str, etag: &str, body: &(dyn Fn(usize) -> String + Sync)| -> Vec<u16> {
        let call = |number| {
            let path = format!("/api/v1/limits/a/{what}");
            server.call_with("POST", &path, &[("if-match", etag)], &body(number)).status
        };
        let mut statuses: Vec<u16> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..RACERS).map(|number| scope.spawn(move || call(number))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        statuses
    };
    let now = || server.get("/api/v1/limits/a").header("etag").unwrap().to_owned();
    let pause = |number| format!("{{\"for_ms\":{}}}", 600_000 * (number + 1));
    let mut one = [412; RACERS];
    one[0] = 200;
    for _ in 0..20 {
        assert_eq!(race("pause", &now(), &pause), one);
        assert_eq!(race("resume", &now(), &|_| String::new()), one);
        assert_eq!(race("pause", "*", &pause), [200; RACERS], "any version is right");
        server.call("POST", "/api/v1/limits/a/resume", "");
    }
}

/// Requests at a time that want the same.
const RACERS: usize = 8;

#[test]
fn an_answer_can_be_edited_and_sent_back() {
    let server = server();
    server.call(
        "PUT",
        "/api/v1/limits/a",
        r#"{"max":3,"description":"d","window":{"ms":5},"source":"file"}"#,
    );
    server.call("POST", "/api/v1/limits/a/pause", "");
    let mut limit = server.get("/api/v1/limits/a").json();
    limit["max"] = json!(4);
    let stored = server.call("PUT", "/api/v1/limits/a", &limit.to_string());
    assert_eq!(stored.status, 200, "{stored:?}");
    limit["revision"] = stored.json()["revision"].clone();
    limit["etag"] = stored.header("etag").into();
    assert_eq!(stored.json(), limit);
}

#[test]
fn a_paused_limit_admits_nothing_until_it_is_resumed() {
    let server = server();
    server.limit("a", 1);
    let paused = server.call("POST", "/api/v1/limits/a/pause", "");
    assert_eq!((paused.status, &paused.json()["paused"]), (200, &json!(true)), "{paused:?}");
    let denied = server.call("POST", "/api/v1/leases", r#"{"claims":[{"limit":"a"}]}"#);
    assert_eq!((denied.status, &denied.json()["blocked_by"][0]["why"]), (429, &json!("paused")));
    assert_eq!(server.call("POST", "/api/v1/limits/a/resume", "").json()["paused"], json!(false));
    server.take("a");

    let timed = server.call("POST", "/api/v1/limits/a/pause", r#"{"for_ms":60000}"#).json();
    assert!(timed["paused_until"].is_string() && timed["paused_for_ms"].as_u64() > Some(50_000), "{timed}");
    let check = |body: &str, field: &str| {
        let wrong = server.call("POST", "/api/v1/limits/a/pause", body);
        assert_eq!((wrong.status, &wrong.json()["field"]), (422, &json!(field)), "{body}");
    };
    check(r#"{"for_ms":0}"#, "for_ms");
    check(r#"{"until":"2001-01-01T00:00:00Z"}"#, "until");
    check(r#"{"until":"tomorrow"}"#, "until");
    check(r#"{"until":"2999-01-01T00:00:00Z","for_ms":5}"#, "until");
    for what in ["resume", "reset"] {
        let wrong = server.call("POST", &format!("/api/v1/limits/a/{what}"), r#"{"at":"noon"}"#);
        assert_eq!((wrong.status, &wrong.json()["field"]), (422, &json!("at")), "{what}");
    }
}

#[test]
fn a_reset_ends_every_lease() {
    let server = server();
    server.limit("a", 2);
    let lease = server.take("a");
    server.take("a");
    let reset = server.call("POST", "/api/v1/limits/a/reset", "");
    assert_eq!((reset.status, &reset.json()["ended"]), (200, &json!(2)));
    let gone = server.get(&format!("/api/v1/leases/{}", lease["id"].as_str().unwrap()));
    assert_eq!((gone.status, &gone.json()["how"]), (410, &json!("reset")));
}

#[test]
fn lists_come_in_pages() {
    let server = server();
    (0..5).for_each(|number| server.limit(&format!("l{number}"), 1));
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = server.get("/api/v1/limits?page_size=3").json();
    assert_eq!(names(&first), ["l0", "l1", "l2"]);
    let next = first["next"].as_str().unwrap();
    let second = server.get(&format!("/api/v1/limits?page_size=3&cursor={next}")).json();
    assert_eq!((names(&second), &second["next"]), (vec!["l3".to_owned(), "l4".to_owned()], &Value::Null));
}

#[test]
fn names_with_slashes_and_unicode_are_names_like_others() {
    let server = server();
    let check = |name: &str, encoded: &str| {
        let stored = server.call("PUT", &format!("/api/v1/limits/{encoded}"), r#"{"max":1}"#);
        assert_eq!((stored.status, &stored.json()["name"]), (201, &json!(name)), "{stored:?}");
        assert_eq!(server.get(&format!("/api/v1/limits/{encoded}")).json()["name"], name);
        assert_eq!(server.call("POST", &format!("/api/v1/limits/{encoded}/reset"), "").status, 200);
        let body = json!({"claims": [{"limit": name}]}).to_string();
        assert_eq!(server.call("POST", "/api/v1/leases", &body).status, 201);
        assert_eq!(server.get(&format!("/api/v1/keys/{encoded}")).json()["used"], 1);
        let leases = server.get(&format!("/api/v1/leases?limit={encoded}")).json();
        assert_eq!(leases["items"].as_array().unwrap().len(), 1, "{leases}");
    };
    check("windmill/main/script/f/etl", "windmill%2Fmain%2Fscript%2Ff%2Fetl");
    check("tag:größe/東京", "tag:gr%C3%B6%C3%9Fe%2F%E6%9D%B1%E4%BA%AC");
    check("100% \"sure\"?&#+", "100%25%20%22sure%22%3F%26%23%2B");
}

#[test]
fn changes_are_audited_with_who_and_what() {
    let server = server();
    server.call_with("PUT", "/api/v1/limits/a", &[("x-request-id", "audit-1")], r#"{"max":1}"#);
    server.call("PUT", "/api/v1/limits/a", r#"{"max":2}"#);
    server.call("POST", "/api/v1/limits/a/pause", "");
    server.call("DELETE", "/api/v1/limits/a", "");
    server.call("DELETE", "/api/v1/limits/a", "");
    assert_eq!(
        audit(&server),
        [
            "anonymous native audit-1 limit.set a null 1",
            "anonymous native - limit.set a 1 2",
            "anonymous native - limit.pause a 2 2",
            "anonymous native - limit.remove a 2 null",
        ]
    );
}

/// Rows of the audit: who, through what, request id (`-` if made by the server), action, subject, max before
/// and after.
fn audit(server: &Server) -> Vec<String> {
    let sql = "SELECT who, through, request_id, action, subject, before_json, after_json FROM audit ORDER BY at, id";
    let rows = pollster::block_on(server.engine.query(sql, Vec::new())).unwrap();
    let max = |text: Option<&str>| {
        text.map_or(Value::Null, |text| serde_json::from_str::<Value>(text).unwrap()["terms"]["max"].clone())
    };
    rows.iter()
        .map(|row| {
            let text = |column| row.text(column).unwrap();
            let request = if text(2).starts_with("audit") { text(2) } else { "-" };
            let (before, after) = (max(row.opt_text(5).unwrap()), max(row.opt_text(6).unwrap()));
            format!("{} {} {request} {} {} {before} {after}", text(0), text(1), text(3), text(4))
        })
        .collect()
}

#[test]
fn the_audit_drops_what_is_old() {
    let server = server();
    let old = admit_http::AuditEntry::local("ops", "file").of("limit.set", "old", None, None);
    let year_1970 = admit_kernel::Time(1);
    let rows = move |_: Option<&admit_kernel::Outcome>, _| vec![old.write(year_1970)];
    pollster::block_on(server.engine.execute_with(None, rows)).unwrap();
    server.limit("new", 1);
    assert_eq!(audit(&server), ["anonymous native - limit.set new null 1"]);
}
