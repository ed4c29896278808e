//! `/api/v1/tokens`

use admit_engine::Write;
use serde_json::json;

use crate::server::server;

#[test]
fn a_token_is_made_listed_used_and_revoked() {
    let server = server();
    let body = r#"{"name":"ci/größe","role":"operate","expires_in_ms":60000}"#;
    let made = server.call("POST", "/api/v1/tokens", body);
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let secret = made["token"].as_str().unwrap();
    assert!(secret.starts_with("admit_") && secret.len() == 70, "{made}");
    assert_eq!((&made["role"], &made["valid"]), (&json!("operate"), &json!(true)));

    let again = server.call("POST", "/api/v1/tokens", body);
    assert_eq!((again.status, &*again.kind()), (409, "name-taken"));
    let listed = server.get("/api/v1/tokens").body;
    assert!(listed.contains("ci/größe") && !listed.contains(secret), "{listed}");

    let status = |secret: &str| {
        let header = format!("Bearer {secret}");
        server.call_with("GET", "/api/v1/limits", &[("authorization", &header)], "").status
    };
    assert_eq!(status(secret), 200);
    let path = "/api/v1/tokens/ci%2Fgr%C3%B6%C3%9Fe";
    assert_eq!(server.call("DELETE", path, "").status, 204);
    assert_eq!(status(secret), 401, "wrong credentials are refused where none are needed, too");
    let gone = server.call("DELETE", path, "");
    assert_eq!((gone.status, &*gone.kind()), (404, "unknown-token"));
    assert_eq!(server.get("/api/v1/tokens").json()["items"][0]["valid"], false);
    assert_eq!(server.call("POST", "/api/v1/tokens", body).status, 201, "the name is free again");
}

#[test]
fn no_secret_is_stored() {
    let server = server();
    let made = server.call("POST", "/api/v1/tokens", r#"{"name":"a","role":"admin"}"#).json();
    let secret = made["token"].as_str().unwrap();
    for table in ["api_tokens", "audit"] {
        let rows = server.engine.query(format!("SELECT * FROM {table}"), Vec::new());
        let rows = format!("{:?}", pollster::block_on(rows).unwrap());
        assert!(rows.contains("token.create") || table == "api_tokens", "{rows}");
        assert!(!rows.contains(secret), "{table}");
    }
}

#[test]
fn when_there_are_too_many_the_one_that_ended_first_makes_room() {
    let server = server();
    let write = |writes: Vec<Write>| {
        let rows = move |_: Option<&admit_kernel::Outcome>, _| writes.clone();
        pollster::block_on(server.engine.execute_with(None, rows)).unwrap();
        pollster::block_on(server.tokens.reload(&server.engine)).unwrap();
    };
    let revoked = |n: u64| {
        let sql = "INSERT INTO api_tokens (name, role, sha256, created_at, expires_at, revoked_at)
            VALUES ($1, 'admin', $2, 1, NULL, $3)";
        let hash = format!("{n:032}").into_bytes();
        Write::new(sql, vec![format!("t{n}").into(), hash.into(), n.into()])
    };
    write((1..=admit_http::MAX_TOKENS as u64).map(revoked).collect());
    assert_eq!(server.tokens.list().len(), admit_http::MAX_TOKENS);
    let create = |name: &str| {
        server.call("POST", "/api/v1/tokens", &json!({"name": name, "role": "acquire"}).to_string())
    };
    assert_eq!(create("new").status, 201);
    let names: Vec<_> = server.tokens.list().iter().map(|token| token.name.to_string()).collect();
    assert_eq!(names.len(), admit_http::MAX_TOKENS);
    assert!(names.contains(&"new".to_owned()) && !names.contains(&"t1".to_owned()));

    write(vec![Write::new("UPDATE api_tokens SET revoked_at = NULL", Vec::new())]);
    let full = create("newer");
    assert_eq!((full.status, &*full.kind()), (409, "too-many-tokens"));
}
