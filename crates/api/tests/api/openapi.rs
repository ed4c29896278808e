//! The committed OpenAPI document is the one that the routes give.

use serde_json::Value;

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

#[test]
fn every_operation_says_what_it_can_answer() {
    let document: Value = serde_json::from_str(&admit_api::openapi_json()).unwrap();
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            seen += 1;
            let place = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{place} has no summary");
            let answers = operation["responses"].as_object().unwrap();
            for (status, answer) in answers {
                assert!(
                    answer["description"].as_str().is_some_and(|text| !text.is_empty()),
                    "{place} {status}"
                );
                let problem = &answer["content"]["application/problem+json"]["schema"]["$ref"];
                let is_problem = problem == "#/components/schemas/ProblemBody";
                assert_eq!(is_problem, status.starts_with(['4', '5']), "{place} {status}: {answer}");
            }
            let is_guarded = !["/healthz", "/readyz"].contains(&path.as_str());
            let takes_body = operation.get("requestBody").is_some();
            let takes_anything = takes_body || operation.get("parameters").is_some();
            for (statuses, applies) in [
                (&["400", "403"][..], true),
                (&["401", "503"], is_guarded),
                (&["422"], takes_anything),
                (&["408", "413", "415"], takes_body),
            ] {
                for status in statuses {
                    assert!(!applies || answers.contains_key(*status), "{place} does not say {status}");
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} operations");
}

#[test]
fn every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(&admit_api::openapi_json()).unwrap();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').expect("within the document");
            assert!(document.pointer(target).is_some(), "{target}");
        }
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => open.extend(fields.values()),
            _ => {}
        }
    }
}

#[test]
fn a_body_is_only_required_where_a_field_is() {
    let document: Value = serde_json::from_str(&admit_api::openapi_json()).unwrap();
    let check = |path: &str, expect: bool| {
        let body = &document["paths"][path]["post"]["requestBody"];
        assert_eq!(body["required"].as_bool(), Some(expect), "{path}: {body}");
    };
    check("/api/v1/leases", true);
    check("/api/v1/leases/{id}/renew", false);
    check("/api/v1/limits/{name}/pause", false);
    check("/api/v1/limits/{name}/resume", false);
    check("/api/v1/limits/{name}/reset", false);
}
