//! Many clients at once.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;

use std::time::Duration;

use common::{Server, post};
use serde_json::json;

const CLIENTS: usize = 32;
const PAIRS: usize = 20;

#[test]
fn many_clients_at_once_are_all_served() {
    let server = Server::start(Duration::ZERO);
    let tree = "/v2/concurrency_limits";
    let limit = json!({ "name": "many", "limit": 2 * CLIENTS });
    assert_eq!(server.post(&format!("{tree}/"), limit).status, 201);
    let address = server.address;
    let client = move |_| async move {
        for _ in 0..PAIRS {
            let wanted = json!({ "names": ["many"], "slots": 1 });
            let taken = post(address, &format!("{tree}/increment-with-lease"), wanted).await;
            assert_eq!(taken.status, 200, "{}", taken.text);
            let lease = json!({ "lease_id": taken.json()["lease_id"] });
            let given = post(address, &format!("{tree}/decrement-with-lease"), lease).await;
            assert_eq!(given.status, 204, "{}", given.text);
        }
    };
    let clients: Vec<_> = (0..CLIENTS).map(|n| server.spawn(client(n))).collect();
    for client in clients {
        server.run(client).unwrap();
    }
    assert_eq!(server.get(&format!("{tree}/many")).json()["active_slots"], 0);
}
