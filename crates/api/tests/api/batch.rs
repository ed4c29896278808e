//! `/api/v1/batch`

use serde_json::{Value, json};

use crate::server::server;

#[test]
fn operations_are_done_in_order_each_with_its_own_status() {
    let server = server();
    server.limit("db", 1);
    let id = "018f0000-0000-7000-8000-000000000001";
    let ops = json!({"ops": [
        {"op": "acquire", "id": id, "claims": [{"limit": "db"}]},
        {"op": "acquire", "claims": [{"limit": "db"}]},
        {"op": "renew", "id": id, "ttl_ms": 5_000},
        {"op": "fly"},
        {"op": "acquire", "claims": [{"limit": "db", "slots": -1}]},
        {"op": "release", "id": id},
        {"op": "renew", "id": id},
        {"op": "acquire", "claims": [{"limit": "db"}], "wait_ms": 5},
        {"op": "acquire", "claims": [{"limit": "db"}]},
        7,
    ]});
    let answer = server.call("POST", "/api/v1/batch", &ops.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    let results = answer.json()["results"].as_array().unwrap().clone();
    let statuses: Vec<u64> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 429, 200, 422, 422, 204, 410, 422, 201, 422]);
    assert_eq!((&results[0]["lease"]["id"], &results[2]["lease"]["ttl_ms"]), (&json!(id), &json!(5_000)));
    let field = |index: usize| results[index]["problem"]["field"].clone();
    assert_eq!(field(3), "ops[3].op");
    assert_eq!(field(4), "ops[4].claims[0].slots");
    assert_eq!(field(7), "ops[7].wait_ms");
    assert_eq!(field(9), "ops[9]");
}

#[test]
fn a_thousand_fit_and_one_more_does_not() {
    let server = server();
    server.limit("db", 5_000);
    let of = |count: usize| {
        let ops: Vec<Value> =
            (0..count).map(|_| json!({"op": "acquire", "claims": [{"limit": "db"}]})).collect();
        server.call("POST", "/api/v1/batch", &json!({ "ops": ops }).to_string())
    };
    assert_eq!(of(1_001).json()["field"], "ops");
    assert_eq!(server.get("/api/v1/keys/db").json()["used"], 0);
    let results = of(1_000).json()["results"].as_array().unwrap().clone();
    assert!(results.iter().all(|result| result["status"] == 201));
    assert_eq!(server.get("/api/v1/keys/db").json()["used"], 1_000);
}
