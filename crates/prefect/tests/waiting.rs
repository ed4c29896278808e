//! Requests that find their limit full are held, keep their place, and are woken.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;

use std::time::{Duration, Instant};

use admit_kernel::{Command, Limit, OnFull, Outcome, Terms};
use common::{Answer, Server, post};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

const LEASE: &str = "/v2/concurrency_limits/increment-with-lease";
/// Longer than any test takes: what is answered before was woken.
const LONG: Duration = Duration::from_secs(45);
/// Long enough to see that a request is held, short enough to wait for its end.
const SHORT: Duration = Duration::from_millis(300);

fn task(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

fn wanted(name: &str, holder: u32) -> Value {
    json!({ "names": [name], "slots": 1, "holder": { "type": "task_run", "id": task(holder) } })
}

impl Server {
    fn with_limit(hold: Duration, name: &str, max: u32) -> Server {
        let server = Server::start(hold);
        let made = server.post("/v2/concurrency_limits/", json!({ "name": name, "limit": max }));
        assert_eq!(made.status, 201, "{}", made.text);
        server
    }

    fn take(&self, name: &str, holder: u32) -> String {
        let answer = self.post(LEASE, wanted(name, holder));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["lease_id"].as_str().unwrap().to_owned()
    }

    fn release(&self, lease: &str) {
        assert_eq!(
            self.post("/v2/concurrency_limits/decrement-with-lease", json!({ "lease_id": lease })).status,
            204
        );
    }

    async fn released(&self, lease: &str) {
        let body = json!({ "lease_id": lease });
        assert_eq!(post(self.address, "/v2/concurrency_limits/decrement-with-lease", body).await.status, 204);
    }

    /// Waits until so many requests wait for a key, and so many hold it.
    async fn until(&self, key: &'static str, waiting: u32, holding: u64) {
        let begun = Instant::now();
        loop {
            let view = self.engine.read(move |state| state.key_view(key, 0)).await.unwrap();
            if view.waiting == waiting && view.holder_count == holding {
                return;
            }
            assert!(begun.elapsed() < LONG, "{} wait and {} hold {key}", view.waiting, view.holder_count);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn set(&self, limit: Limit) {
        let command = Command::SetLimit { limit: Box::new(limit), if_revision: None };
        assert!(matches!(self.run(self.engine.execute(command)).unwrap(), Outcome::LimitStored { .. }));
    }

    fn asks(&self, name: &str, holder: u32) -> tokio::task::JoinHandle<Answer> {
        let (address, body) = (self.address, wanted(name, holder));
        self.spawn(async move { post(address, LEASE, body).await })
    }
}

#[test]
fn a_freed_slot_wakes_the_next_in_order_of_arrival() {
    let server = Server::with_limit(LONG, "db", 1);
    let mut lease = server.take("db", 0);
    let mut waiting = Vec::new();
    for n in 1..=5 {
        waiting.push(server.asks("db", n));
        server.run(server.until("db", n, 1));
    }
    for next in waiting {
        let answer = server.run(async {
            server.released(&lease).await;
            tokio::time::timeout(Duration::from_secs(5), next).await.expect("it was woken").unwrap()
        });
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["lease_id"].as_str().unwrap().clone_into(&mut lease);
    }
}

#[test]
fn at_the_end_of_a_hold_the_client_is_told_to_come_back_at_once() {
    let server = Server::with_limit(SHORT, "db", 1);
    server.take("db", 0);
    let begun = Instant::now();
    let answer = server.post(LEASE, wanted("db", 1));
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(answer.status, 423);
    assert_eq!(answer.json(), json!({ "detail": "Locked" }));
    let seconds: f64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds <= 1.0, "{seconds}");
}

#[test]
fn the_same_holder_finds_its_place_again() {
    let server = Server::with_limit(SHORT, "db", 1);
    let lease = server.take("db", 0);
    assert_eq!(server.post(LEASE, wanted("db", 1)).status, 423);
    let late = server.asks("db", 2);
    server.run(server.until("db", 2, 1));
    let early = server.asks("db", 1);
    let early = server.run(async {
        server.released(&lease).await;
        early.await.unwrap()
    });
    assert_eq!(early.status, 200, "the first to come is the first to go: {}", early.text);
    assert_eq!(server.run(async { late.await.unwrap() }).status, 423);
}

#[test]
fn the_same_connection_finds_its_place_again() {
    let server = Server::with_limit(SHORT, "db", 1);
    let lease = server.take("db", 0);
    let body = json!({ "names": ["db"], "slots": 1 }).to_string();
    let request = format!(
        "POST /api{LEASE} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        server.address,
        body.len()
    );
    server.run(async {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(first_line(&mut stream).await.contains("423"));
        let late = tokio::spawn(post(server.address, LEASE, wanted("db", 2)));
        server.until("db", 2, 1).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        server.released(&lease).await;
        assert!(first_line(&mut stream).await.contains("200"));
        late.abort();
    });
}

/// The first line of an answer, which arrives in one piece.
async fn first_line(stream: &mut tokio::net::TcpStream) -> String {
    use tokio::io::AsyncReadExt;
    let mut bytes = vec![0; 4_096];
    let read = stream.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..read]).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_slot_that_comes_between_two_requests_is_kept_for_its_waiter() {
    let server = Server::with_limit(SHORT, "db", 1);
    let lease = server.take("db", 0);
    assert_eq!(server.post(LEASE, wanted("db", 1)).status, 423);
    server.release(&lease);
    server.run(server.until("db", 0, 1));
    let answer = server.post(LEASE, wanted("db", 1));
    assert_eq!(answer.status, 200, "{}", answer.text);
    let lease = answer.json()["lease_id"].as_str().unwrap().to_owned();
    server.release(&lease);
    server.run(server.until("db", 0, 0));
}

#[test]
fn a_place_that_nobody_comes_back_for_is_given_up() {
    let server = Server::with_limit(SHORT, "db", 1);
    let lease = server.take("db", 0);
    assert_eq!(server.post(LEASE, wanted("db", 1)).status, 423);
    server.release(&lease);
    // First it is held for the one who should come back, then it is free again.
    server.run(server.until("db", 0, 1));
    server.run(server.until("db", 0, 0));
}

#[test]
fn who_goes_away_leaves_its_place() {
    let server = Server::with_limit(LONG, "db", 1);
    let lease = server.take("db", 0);
    let gone = server.asks("db", 1);
    server.run(server.until("db", 1, 1));
    let next = server.asks("db", 2);
    server.run(server.until("db", 2, 1));
    gone.abort();
    server.run(server.until("db", 1, 1));
    let next = server.run(async {
        server.released(&lease).await;
        next.await.unwrap()
    });
    assert_eq!(next.status, 200, "{}", next.text);
}

#[test]
fn what_can_never_be_is_answered_at_once() {
    let server = Server::with_limit(LONG, "db", 2);
    for (name, limit) in [("zero", 0), ("negative", -1)] {
        let made = server.post("/concurrency_limits/", json!({ "tag": name, "concurrency_limit": limit }));
        assert_eq!(made.status, 201, "{}", made.text);
    }
    let check = |path: &str, body: Value, status: u16, detail: &str| {
        let begun = Instant::now();
        let answer = server.post(path, body);
        assert_eq!((answer.status.as_u16(), answer.json()["detail"].as_str()), (status, Some(detail)));
        assert!(begun.elapsed() < LONG / 2, "{detail}");
    };
    let too_many = "Slots requested is greater than the limit";
    check(LEASE, json!({ "names": ["db"], "slots": 3 }), 422, too_many);
    check(LEASE, json!({ "names": ["tag:zero"], "slots": 1 }), 422, too_many);
    let increment = |tag: &str| json!({ "names": [tag], "task_run_id": task(1) });
    let deadlock =
        "The concurrency limit on tag \"zero\" is 0 and will deadlock if the task tries to run again.";
    check("/concurrency_limits/increment", increment("zero"), 423, deadlock);
    let full = "Concurrency limit for the negative tag has been reached";
    check("/concurrency_limits/increment", increment("negative"), 423, full);
}

#[test]
fn tags_wake_their_task_runs_too() {
    let server = Server::with_limit(LONG, "tag:heavy", 1);
    let body = |n| json!({ "names": ["heavy"], "task_run_id": task(n) });
    assert_eq!(server.post("/concurrency_limits/increment", body(1)).status, 200);
    let address = server.address;
    let waiting = server.spawn(post(address, "/concurrency_limits/increment", body(2)));
    server.run(server.until("tag:heavy", 1, 1));
    let answer = server.run(async {
        assert_eq!(post(address, "/concurrency_limits/decrement", body(1)).await.status, 200);
        waiting.await.unwrap()
    });
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[test]
fn a_rate_wakes_when_a_slot_has_come_back() {
    let server = Server::start(LONG);
    let rate = json!({ "name": "rate", "limit": 1, "slot_decay_per_second": 2.0 });
    assert_eq!(server.post("/v2/concurrency_limits/", rate).status, 201);
    let body = || json!({ "names": ["rate"], "slots": 1, "mode": "rate_limit" });
    assert_eq!(server.post("/v2/concurrency_limits/increment", body()).status, 200);
    let begun = Instant::now();
    assert_eq!(server.post("/v2/concurrency_limits/increment", body()).status, 200);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(400) && waited < LONG / 2, "{waited:?}");
}

#[test]
fn a_limit_can_be_held_for_less_or_not_at_all() {
    let server = Server::start(LONG);
    let limit = |name: &str| Limit::new(name, Terms::concurrent(1));
    server.set(Limit { on_full: OnFull::Reject, ..limit("impatient") });
    server.set(Limit { max_wait_ms: Some(200), ..limit("brief") });
    for name in ["impatient", "brief"] {
        server.take(name, 0);
        let begun = Instant::now();
        let answer = server.post(LEASE, wanted(name, 1));
        assert_eq!(answer.status, 423, "{name}");
        assert!(begun.elapsed() < LONG / 2, "{name}");
        let seconds: f64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(seconds <= 1.0, "{name}: {seconds}");
    }
}

#[test]
fn a_place_outlives_the_hold_that_its_limit_sets() {
    let server = Server::start(LONG);
    server.set(Limit { max_wait_ms: Some(500), ..Limit::new("brief", Terms::concurrent(1)) });
    let mut lease = server.take("brief", 0);
    for n in 1..=3 {
        let answer = server.post(LEASE, wanted("brief", n));
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (423, Some("0.1")));
    }
    // Whoever waits from now on does so for long.
    server.set(Limit { max_wait_ms: Some(60_000), ..Limit::new("brief", Terms::concurrent(1)) });
    let late = server.asks("brief", 4);
    let mut back: Vec<_> = [3, 2, 1].map(|n| server.asks("brief", n)).into_iter().collect();
    server.run(server.until("brief", 4, 1));
    back.reverse();
    back.push(late);
    for next in back {
        let answer = server.run(async {
            server.released(&lease).await;
            next.await.unwrap()
        });
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["lease_id"].as_str().unwrap().clone_into(&mut lease);
    }
}

#[test]
fn who_waits_is_told_when_it_becomes_impossible() {
    let server = Server::start(LONG);
    let tag = |number: i64| {
        server.post("/concurrency_limits/", json!({ "tag": "t", "concurrency_limit": number })).status
    };
    let by_tag = ("/concurrency_limits/increment", json!({ "names": ["t"], "task_run_id": task(2) }));
    let by_name = (LEASE, json!({ "names": ["tag:t"], "slots": 1 }));
    let deadlock =
        "The concurrency limit on tag \"t\" is 0 and will deadlock if the task tries to run again.";
    let too_many = "Slots requested is greater than the limit";
    let full = "Concurrency limit for the t tag has been reached";
    for (number, (path, body), status, detail, retry_after) in [
        (0, by_tag.clone(), 423, deadlock, None),
        (-1, by_tag, 423, full, Some("10.0")),
        (0, by_name, 422, too_many, None),
    ] {
        assert!(tag(1).is_success());
        let lease = server.take("tag:t", 1);
        let asked = server.spawn(post(server.address, path, body));
        server.run(server.until("tag:t", 1, 1));
        assert_eq!(tag(number), 200);
        let answer = server.run(async { tokio::time::timeout(LONG / 2, asked).await.unwrap().unwrap() });
        assert_eq!((answer.status.as_u16(), answer.json()["detail"].as_str()), (status, Some(detail)));
        assert_eq!(answer.header("retry-after"), retry_after);
        server.run(server.until("tag:t", 0, 1));
        server.release(&lease);
    }
}

#[test]
fn a_native_change_tells_those_who_wait_too() {
    let server = Server::with_limit(LONG, "db", 2);
    server.take("db", 0);
    let asked = server.spawn(post(server.address, LEASE, json!({ "names": ["db"], "slots": 2 })));
    server.run(server.until("db", 1, 1));
    server.set(Limit::new("db", Terms::concurrent(1)));
    let answer = server.run(async { tokio::time::timeout(LONG / 2, asked).await.unwrap().unwrap() });
    assert_eq!(answer.status, 422, "{}", answer.text);
}

#[test]
fn a_reset_keeps_the_slots_of_the_runs_it_names_from_those_who_wait() {
    let server = Server::with_limit(LONG, "tag:t", 1);
    let increment = |n| {
        post(
            server.address,
            "/concurrency_limits/increment",
            json!({ "names": ["t"], "task_run_id": task(n) }),
        )
    };
    let active = || server.get("/concurrency_limits/tag/t").json()["active_slots"].clone();
    assert_eq!(server.run(increment(1)).status, 200);
    let waiting = server.spawn(increment(2));
    server.run(server.until("tag:t", 1, 1));
    let reset =
        |keep: Value| server.post("/concurrency_limits/tag/t/reset", json!({ "slot_override": keep })).status;
    assert_eq!(reset(json!([task(1), task(3)])), 200);
    assert_eq!(active(), json!([task(1)]), "as many as there are slots, in their order");
    server.run(server.until("tag:t", 1, 1));
    assert_eq!(reset(Value::Null), 200);
    assert_eq!(server.run(async { waiting.await.unwrap() }).status, 200);
    assert_eq!(active(), json!([task(2)]));
}

#[test]
fn without_a_hold_nothing_waits() {
    let server = Server::with_limit(Duration::ZERO, "db", 1);
    server.take("db", 0);
    let answer = server.post(LEASE, wanted("db", 1));
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (423, Some("1.0")));
    server.run(server.until("db", 0, 1));
}
