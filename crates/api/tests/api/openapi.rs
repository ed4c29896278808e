//! The committed OpenAPI document is the one that the routes give.

use crate::server::server;

#[test]
fn the_committed_document_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == admit_api::openapi_json(), "docs/openapi.json is stale: run `cargo xtask openapi`");
}

#[test]
fn it_is_served_and_names_every_route() {
    let served = server().get("/openapi.json").json();
    assert_eq!(served["openapi"], "3.1.0");
    for path in
        ["/api/v1/limits/{name}", "/api/v1/leases", "/api/v1/batch", "/api/v1/events", "/healthz", "/metrics"]
    {
        assert!(served["paths"][path].is_object(), "{path}");
    }
    let batch = &served["components"]["schemas"]["BatchOp"];
    assert_eq!(batch["oneOf"].as_array().map(Vec::len), Some(3), "{batch}");
}
