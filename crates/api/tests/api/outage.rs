//! The database is away: whatever would need it says so, and when to come back.

use admit_engine::{Home, PostgresConfig};
use admit_testing::Postgres;

use super::server::Server;

const ID: &str = "00000000-0000-4000-8000-000000000001";

#[test]
fn while_the_database_is_away_every_route_that_needs_it_answers_503_with_retry_after() {
    let postgres = Postgres::start("");
    let home = Home::Postgres(PostgresConfig::parse(&postgres.url(&postgres.new_schema())).unwrap());
    let server = Server::start_at(home, tempfile::tempdir().unwrap(), |_| {});
    server.limit("db", 1);
    postgres.stop("immediate");

    let check = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        let path = path.replace("ID", ID);
        let answer = server.call_with(method, &path, headers, body);
        assert_eq!((answer.status, &*answer.kind()), (503, "unavailable"), "{method} {path}: {answer:?}");
        let seconds: Option<u64> = answer.header("retry-after").and_then(|value| value.parse().ok());
        assert!(seconds.is_some_and(|seconds| (1..=5).contains(&seconds)), "{method} {path}: {answer:?}");
    };
    for path in [
        "limits",
        "limits/db",
        "leases",
        "leases/ID",
        "tickets/ID",
        "keys",
        "keys/db",
        "explain/ID",
        "status",
        "nodes",
        "events?key=db",
    ] {
        check("GET", &format!("/api/v1/{path}"), &[], "");
    }
    check("GET", "/api/v1/events", &[("last-event-id", "1")], "");
    for (method, path, body) in [
        ("POST", "leases", r#"{"claims":[{"limit":"db"}]}"#),
        ("POST", "leases/check", &format!(r#"{{"id":"{ID}","token":1}}"#)),
        ("POST", "leases/ID/renew", "{}"),
        ("DELETE", "leases/ID", ""),
        ("DELETE", "tickets/ID", ""),
        ("PUT", "limits/db", r#"{"max":2}"#),
        ("POST", "limits/db/pause", "{}"),
        ("DELETE", "limits/db", ""),
        ("POST", "tokens", r#"{"name":"ci","role":"acquire"}"#),
        ("DELETE", "tokens/ci", ""),
    ] {
        check(method, &format!("/api/v1/{path}"), &[], body);
    }

    // What a node knows by itself it says nevertheless.
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/api/v1/tokens").status, 200);
    let metrics = server.get("/metrics");
    assert_eq!(metrics.status, 200, "{metrics:?}");
    assert!(metrics.body.contains("\nadmit_serving 0\n"), "{metrics:?}");
    assert!(!metrics.body.contains("admit_limit_used{"), "what may be old is not shown");

    postgres.start_again("");
    server.until("the nodes are listed", |server| server.get("/api/v1/nodes").status == 200);
}
