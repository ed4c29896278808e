//! A limit of Prefect is the native limit of its name: made here, seen there, and the other way round.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;

use std::time::Duration;

use admit_kernel::{Command, Limit, Mode, Outcome, Part, Refill, Terms};
use admit_prefect::Options;
use common::{Door, Server};
use serde_json::{Value, json};

const V2: &str = "/v2/concurrency_limits";

impl Server {
    fn native(&self, name: &'static str) -> Option<Limit> {
        self.run(self.engine.read(move |state| state.limit(name).cloned())).unwrap()
    }

    fn set(&self, limit: Limit) {
        let command = Command::SetLimit { limit: Box::new(limit), if_revision: None };
        assert!(matches!(self.run(self.engine.execute(command)).unwrap(), Outcome::LimitStored { .. }));
    }

    fn remove(&self, name: &str) {
        let command = Command::RemoveLimit { name: name.into(), if_revision: None };
        assert!(matches!(self.run(self.engine.execute(command)).unwrap(), Outcome::LimitRemoved(_)));
    }

    fn make(&self, body: Value) -> Value {
        let made = self.post(&format!("{V2}/"), body);
        assert_eq!(made.status, 201, "{}", made.text);
        made.json()
    }

    fn active_slots(&self, name: &str) -> u64 {
        self.get(&format!("{V2}/{name}")).json()["active_slots"].as_u64().unwrap()
    }
}

#[test]
fn what_is_made_here_is_a_native_limit() {
    let server = Server::start(Duration::ZERO);
    server.make(json!({ "name": "db", "limit": 3 }));
    server.make(json!({ "name": "rate", "limit": 5, "slot_decay_per_second": 0.1, "active": false }));
    server.post("/concurrency_limits/", json!({ "tag": "heavy", "concurrency_limit": 2 }));
    let limit = server.native("db").unwrap();
    assert_eq!((limit.terms, limit.mode, &*limit.source), (Terms::concurrent(3), Mode::Enforce, "prefect"));
    let limit = server.native("rate").unwrap();
    assert_eq!(limit.terms, Terms { max: 5, refill: Refill::Decay { nano_per_second: 100_000_000 } });
    assert_eq!(limit.mode, Mode::Off);
    assert_eq!(server.native("tag:heavy").unwrap().terms.max, 2);
}

#[test]
fn what_is_made_natively_is_seen_and_changed_here() {
    let server = Server::start(Duration::ZERO);
    server.set(Limit::new("openai", Terms::concurrent(10)));
    let seen = server.get(&format!("{V2}/openai")).json();
    assert_eq!(
        (&seen["limit"], &seen["active"], &seen["active_slots"]),
        (&json!(10), &json!(true), &json!(0))
    );
    assert!(seen["created"].is_string() && seen["updated"].is_string());
    let id = seen["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("{V2}/{id}")).json(), seen, "its id stays");
    assert_eq!(server.patch(&format!("{V2}/openai"), json!({ "limit": 4 })).status, 204);
    let limit = server.native("openai").unwrap();
    assert_eq!((limit.terms.max, &*limit.source), (4, "native"));
    server.set(Limit::new("openai", Terms::concurrent(7)));
    assert_eq!(server.get(&format!("{V2}/openai")).json()["limit"], 7);
}

#[test]
fn a_native_change_is_a_change_here() {
    let server = Server::start(Duration::ZERO);
    let made = server.make(json!({ "name": "db", "limit": 3 }));
    server.set(Limit { source: "prefect".into(), ..Limit::new("db", Terms::concurrent(5)) });
    let seen = server.get(&format!("{V2}/db")).json();
    assert_eq!((&seen["limit"], &seen["id"], &seen["created"]), (&json!(5), &made["id"], &made["created"]));
    assert!(seen["updated"].as_str() > made["updated"].as_str(), "{seen} after {made}");
    assert_eq!(server.get(&format!("{V2}/db")).json(), seen, "it was changed once");
    let server = Server::start_in(server.stop(), Duration::ZERO, Door::Open);
    assert_eq!(server.get(&format!("{V2}/db")).json(), seen);
}

#[test]
fn what_was_said_of_a_limit_ends_with_its_change_elsewhere() {
    let server = Server::start(Duration::ZERO);
    server.post("/concurrency_limits/", json!({ "tag": "below", "concurrency_limit": -1 }));
    server.remove("tag:below");
    server.set(Limit::new("tag:below", Terms::concurrent(0)));
    assert_eq!(server.get("/concurrency_limits/tag/below").json()["concurrency_limit"], 0);
}

#[test]
fn a_limit_that_was_removed_elsewhere_is_not_the_one_that_is_made_anew() {
    let server = Server::start(Duration::ZERO);
    let made = server.make(json!({ "name": "db", "limit": 3 }));
    server.remove("db");
    assert_eq!(server.get(&format!("{V2}/db")).status, 404);
    server.set(Limit::new("db", Terms::concurrent(3)));
    let anew = server.get(&format!("{V2}/db")).json();
    assert!(anew["id"] != made["id"] && anew["created"] != made["created"], "{anew} after {made}");
    assert_eq!(server.get(&format!("{V2}/{}", made["id"].as_str().unwrap())).status, 404);
    server.remove("db");
    let server = Server::start_in(server.stop(), Duration::ZERO, Door::Open);
    server.set(Limit::new("db", Terms::concurrent(3)));
    let again = server.get(&format!("{V2}/db")).json();
    assert_ne!(again["id"], anew["id"], "also when nobody looked");
}

#[test]
fn usage_that_is_set_lower_ends_the_oldest_leases() {
    let server = Server::start(Duration::ZERO);
    server.make(json!({ "name": "db", "limit": 2 }));
    let take = || {
        let answer =
            server.post(&format!("{V2}/increment-with-lease"), json!({ "names": ["db"], "slots": 1 }));
        answer.json()["lease_id"].as_str().unwrap().to_owned()
    };
    let renew = |lease: &str| server.post(&format!("{V2}/leases/{lease}/renew"), json!({})).status.as_u16();
    let (older, newer) = (take(), take());
    assert_eq!(server.patch(&format!("{V2}/db"), json!({ "active_slots": 1 })).status, 204);
    assert_eq!((renew(&older), renew(&newer), server.active_slots("db")), (410, 204, 1));
    assert_eq!(server.patch(&format!("{V2}/db"), json!({ "active_slots": 0 })).status, 204);
    assert_eq!((renew(&newer), server.active_slots("db")), (410, 0));
}

#[test]
fn what_is_taken_while_disabled_counts_once_enabled() {
    let server = Server::start(Duration::ZERO);
    server.make(json!({ "name": "db", "limit": 1, "active": false }));
    let take = || {
        server
            .post(&format!("{V2}/increment-with-lease"), json!({ "names": ["db"], "slots": 1 }))
            .status
            .as_u16()
    };
    assert_eq!((take(), take(), server.active_slots("db")), (200, 200, 0));
    assert_eq!(server.patch(&format!("{V2}/db"), json!({ "active": true })).status, 204);
    assert_eq!((server.active_slots("db"), take()), (2, 423));
}

#[test]
fn what_belongs_to_others_is_not_removed_or_renamed() {
    let server = Server::start(Duration::ZERO);
    server.set(Limit::new("openai", Terms::concurrent(10)));
    server.set(Limit::new("tag:native", Terms::concurrent(10)));
    server.make(json!({ "name": "spans", "limit": 1 }));
    let matching = Limit { patterns: vec!["windmill/**".into()], ..server.native("spans").unwrap() };
    server.set(matching);
    let check = |answer: common::Answer, owner: &str| {
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == 409 && detail.contains(owner), "{} {detail}", answer.status);
        assert_eq!(answer.json()["exception_detail"][0]["msg"], detail);
    };
    check(server.delete(&format!("{V2}/openai")), "made by native");
    check(server.patch(&format!("{V2}/openai"), json!({ "name": "mine" })), "made by native");
    check(server.delete("/concurrency_limits/tag/native"), "made by native");
    check(server.delete(&format!("{V2}/spans")), "also limits windmill/**");
    assert!(server.native("openai").is_some() && server.native("spans").is_some());
}

#[test]
fn a_limit_in_use_keeps_its_name() {
    let server = Server::start(Duration::ZERO);
    let id = server.make(json!({ "name": "old", "limit": 1 }))["id"].clone();
    let taken =
        server.post(&format!("{V2}/increment-with-lease"), json!({ "names": ["old"], "slots": 1 })).json();
    let renamed = server.patch(&format!("{V2}/old"), json!({ "name": "new" }));
    assert_eq!(renamed.status, 409, "{}", renamed.text);
    server.post(&format!("{V2}/decrement-with-lease"), json!({ "lease_id": taken["lease_id"] }));
    assert_eq!(server.patch(&format!("{V2}/old"), json!({ "name": "new" })).status, 204);
    assert_eq!(server.get(&format!("{V2}/new")).json()["id"], id, "its id goes along");
    assert_eq!(server.get(&format!("{V2}/old")).status, 404);
}

#[test]
fn ids_and_leases_survive_a_restart() {
    let server = Server::start(Duration::ZERO);
    let made = server.make(json!({ "name": "db", "limit": 1 }));
    server.post("/concurrency_limits/", json!({ "tag": "below", "concurrency_limit": -3 }));
    let taken =
        server.post(&format!("{V2}/increment-with-lease"), json!({ "names": ["db"], "slots": 1 })).json();
    let server = Server::start_in(server.stop(), Duration::ZERO, Door::Open);
    let seen = server.get(&format!("{V2}/db")).json();
    assert_eq!(
        (&seen["id"], &seen["created"], &seen["active_slots"]),
        (&made["id"], &made["created"], &json!(1))
    );
    assert_eq!(server.get("/concurrency_limits/tag/below").json()["concurrency_limit"], -3);
    let renew = format!("{V2}/leases/{}/renew", taken["lease_id"].as_str().unwrap());
    assert_eq!(server.post(&renew, json!({ "lease_duration": 60 })).status, 204);
    assert_eq!(
        server.post(&format!("{V2}/increment-with-lease"), json!({ "names": ["db"], "slots": 1 })).status,
        423
    );
}

#[test]
fn a_lease_ends_on_time() {
    let server = Server::start(Duration::from_secs(45));
    server.make(json!({ "name": "db", "limit": 1 }));
    let taken =
        server.post(&format!("{V2}/increment-with-lease"), json!({ "names": ["db"], "slots": 1 })).json();
    let id = taken["lease_id"].as_str().unwrap();
    // A second is less than this API takes.
    let renew = Command::Renew { id: id.parse().unwrap(), ttl_ms: Some(1_000) };
    server.run(server.engine.execute(renew)).unwrap();
    let begun = std::time::Instant::now();
    let next = server.post(&format!("{V2}/increment-with-lease"), json!({ "names": ["db"], "slots": 1 }));
    assert_eq!(next.status, 200, "{}", next.text);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(server.post(&format!("{V2}/leases/{id}/renew"), json!({})).status, 410);
}

#[test]
fn a_decaying_limit_keeps_fractions() {
    let server = Server::start(Duration::ZERO);
    server.make(json!({ "name": "rate", "limit": 1, "slot_decay_per_second": 1.0 }));
    let take = || {
        server
            .post(&format!("{V2}/increment"), json!({ "names": ["rate"], "slots": 1, "mode": "rate_limit" }))
    };
    assert_eq!(take().status, 200);
    // Asking again and again must not set the clock of the decay back.
    let begun = std::time::Instant::now();
    while take().status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[test]
fn a_decaying_limit_gives_back_what_was_taken_without_a_lease() {
    let server = Server::start(Duration::ZERO);
    server.make(json!({ "name": "slow", "limit": 3, "slot_decay_per_second": 0.000_001 }));
    let body = |slots: u32| json!({ "names": ["slow"], "slots": slots });
    assert_eq!(server.post(&format!("{V2}/increment"), body(3)).status, 200);
    assert_eq!(server.post(&format!("{V2}/increment"), body(1)).status, 423);
    assert_eq!(server.post(&format!("{V2}/decrement"), body(2)).status, 200);
    assert_eq!(server.active_slots("slow"), 1);
    assert_eq!(
        server
            .post(&format!("{V2}/increment"), json!({ "names": ["slow"], "slots": 2, "mode": "rate_limit" }))
            .status,
        200
    );
    assert_eq!(server.post(&format!("{V2}/decrement"), body(3)).status, 200);
    assert_eq!(server.active_slots("slow"), 0);
}

#[test]
fn a_native_window_can_be_a_rate_limit() {
    let server = Server::start(Duration::ZERO);
    let refill = Refill::Window { ms: 60_000, counts: admit_kernel::Counts::Starts };
    server.set(Limit::new("minute", Terms { max: 1, refill }));
    let take = || {
        server.post(
            &format!("{V2}/increment"),
            json!({ "names": ["minute"], "slots": 1, "mode": "rate_limit" }),
        )
    };
    assert_eq!(take().status, 200);
    assert_eq!(take().status, 423);
    assert_eq!(
        server.patch(&format!("{V2}/minute"), json!({ "limit": 2, "slot_decay_per_second": 0.0 })).status,
        204
    );
    assert_eq!(server.native("minute").unwrap().terms, Terms { max: 2, refill }, "the window stays");
}

#[test]
fn decrements_at_once_give_back_what_each_names() {
    let server = Server::start(Duration::ZERO);
    server.make(json!({ "name": "db", "limit": 8 }));
    for _ in 0..8 {
        assert_eq!(
            server.post(&format!("{V2}/increment"), json!({ "names": ["db"], "slots": 1 })).status,
            200
        );
    }
    let address = server.address;
    let path = format!("{V2}/decrement");
    server.run(async {
        let give = || common::post(address, &path, json!({ "names": ["db"], "slots": 1 }));
        let (a, b, c, d) = tokio::join!(give(), give(), give(), give());
        assert!([a, b, c, d].iter().all(|answer| answer.status == 200));
    });
    assert_eq!(server.active_slots("db"), 4);
}

#[test]
fn a_released_part_of_a_lease_stays_released() {
    let server = Server::start(Duration::ZERO);
    server.make(json!({ "name": "a", "limit": 1 }));
    let taken =
        server.post(&format!("{V2}/increment-with-lease"), json!({ "names": ["a"], "slots": 1 })).json();
    let id = taken["lease_id"].as_str().unwrap().parse().unwrap();
    server.run(server.engine.execute(Command::Release { id, part: Part::All, counts: true })).unwrap();
    assert_eq!(server.active_slots("a"), 0, "a lease ended natively is ended");
    let renew = format!("{V2}/leases/{id}/renew");
    assert_eq!(server.post(&renew, json!({})).status, 410);
}

#[test]
fn changes_are_audited() {
    let server = Server::start(Duration::ZERO);
    server.make(json!({ "name": "db", "limit": 1 }));
    server.patch(&format!("{V2}/db"), json!({ "limit": 2 }));
    server.delete(&format!("{V2}/db"));
    let sql = "SELECT action, through, subject FROM audit ORDER BY at, id";
    let rows = server.run(server.engine.query(sql, Vec::new())).unwrap();
    let told: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {} {}", row.text(0).unwrap(), row.text(1).unwrap(), row.text(2).unwrap()))
        .collect();
    assert_eq!(told, ["limit.set prefect db", "limit.set prefect db", "limit.remove prefect db"]);
}

#[test]
fn a_lease_of_nothing_leaves_no_record() {
    let server = Server::start(Duration::ZERO);
    let taken =
        server.post(&format!("{V2}/increment-with-lease"), json!({ "names": ["nobody"], "slots": 1 })).json();
    assert_eq!(taken["limits"], json!([]));
    let id = taken["lease_id"].as_str().unwrap();
    assert_eq!(server.run(server.engine.read(|state| state.totals().leases)).unwrap(), 0);
    assert_eq!(server.post(&format!("{V2}/leases/{id}/renew"), json!({})).status, 204);
    assert_eq!(server.post(&format!("{V2}/decrement-with-lease"), json!({ "lease_id": id })).status, 204);
}

#[test]
fn what_one_node_changes_the_other_shows() {
    let mut server = Server::start(Duration::ZERO);
    let other = server.listen(Options { hold: Duration::ZERO, ..Options::default() }, Door::Open);
    let there = |server: &Server, path: &str| server.run(common::send(other, "GET", path, &[], None)).json();
    let id = server.make(json!({ "name": "db", "limit": 1 }))["id"].as_str().unwrap().to_owned();
    assert_eq!(there(&server, &format!("{V2}/{id}"))["name"], "db");
    server.patch(&format!("{V2}/db"), json!({ "name": "other", "limit": 5_000_000_000_u64 }));
    let seen = there(&server, &format!("{V2}/{id}"));
    assert_eq!((&seen["name"], &seen["limit"]), (&json!("other"), &json!(5_000_000_000_u64)));
    server.delete(&format!("{V2}/other"));
    let made = server.make(json!({ "name": "other", "limit": 1 }));
    assert_eq!(there(&server, &format!("{V2}/other"))["id"], made["id"]);
    assert_eq!(there(&server, &format!("{V2}/{id}"))["detail"], "Concurrency Limit not found");
}
