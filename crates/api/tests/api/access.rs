//! Who may reach the server: Host, Origin, tokens, roles.

use std::sync::Arc;

use admit_http::{Access, AuditEntry, ListenError, Listener, ListenerConfig, Role};

use crate::server::{Server, server};

#[test]
fn a_page_of_the_web_cannot_reach_it() {
    let server = Server::start(|config| config.allow_hosts = Some(vec!["admit.example".into()]));
    let own = server.address.to_string();
    let check = |host: &str, origin: Option<&str>, status: u16, kind: &str| {
        let mut headers = vec![("host", host)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        for (method, path, body) in [("GET", "/healthz", ""), ("PUT", "/api/v1/limits/a", r#"{"max":1}"#)] {
            let answer = server.call_with(method, path, &headers, body);
            let refused = if status == 200 { answer.status < 300 } else { answer.status == status };
            assert!(refused && answer.kind() == kind, "{host} {origin:?}: {answer:?}");
        }
    };
    check(&own, None, 200, "");
    check(&own, Some(&format!("http://{own}")), 200, "");
    check("localhost", Some("http://localhost"), 200, "");
    check("admit.example", None, 200, "");
    check("admit.example", Some("https://admit.example"), 200, "");
    check("evil.example", None, 403, "foreign-host");
    check(&own, Some("http://evil.example"), 403, "foreign-origin");
    check(&own, Some("http://localhost:3000"), 403, "foreign-origin");
    check(&own, Some("null"), 403, "foreign-origin");
}

#[test]
fn a_role_may_what_it_may() {
    let server = Server::start(|config| {
        let Access::TokensBeyondLoopback { tokens, .. } = &config.access else { panic!("it is") };
        config.access = Access::Tokens(tokens.clone());
    });
    let mut secrets = Vec::new();
    for role in Role::ALL {
        let entry = AuditEntry::local("test", "test");
        let made = server.tokens.create(&server.engine, role.as_str(), role, None, entry);
        secrets.push(pollster::block_on(made).unwrap().0);
    }
    let check = |secret: Option<&str>, expect: [u16; 4]| {
        let header = secret.map(|secret| format!("Bearer {secret}"));
        let headers: Vec<_> = header.iter().map(|header| ("authorization", header.as_str())).collect();
        let got = [
            ("GET", "/healthz", ""),
            ("GET", "/api/v1/leases", ""),
            ("PUT", "/api/v1/limits/a", r#"{"max":1}"#),
            ("GET", "/api/v1/tokens", ""),
        ]
        .map(|(method, path, body)| server.call_with(method, path, &headers, body).status);
        assert_eq!(got, expect, "{secret:?}");
    };
    check(None, [200, 401, 401, 401]);
    check(Some("admit_wrong"), [200, 401, 401, 401]);
    check(Some(&secrets[0]), [200, 200, 403, 403]);
    check(Some(&secrets[1]), [200, 200, 201, 403]);
    check(Some(&secrets[2]), [200, 200, 200, 200]);
    let refused = server.get("/api/v1/leases");
    assert_eq!(
        (&*refused.kind(), refused.header("www-authenticate")),
        ("unauthenticated", Some("Bearer realm=\"admit\""))
    );
}

#[test]
fn beyond_loopback_it_takes_a_token() {
    let server = server();
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let bind = || {
        Listener::bind(ListenerConfig::new(
            "native",
            everywhere,
            Access::by_address(everywhere, server.tokens.clone()),
        ))
    };
    let refused = bind().err().expect("nobody could be asked who they are");
    assert!(matches!(refused, ListenError::NoTokens { .. }));
    assert!(refused.to_string().contains("admit token create"), "{refused}");
    let made =
        server.tokens.create(&server.engine, "ops", Role::Admin, None, AuditEntry::local("test", "test"));
    pollster::block_on(made).unwrap();
    assert!(bind().is_ok());
}

#[test]
fn an_address_is_served_by_one_only() {
    let server = server();
    let config = ListenerConfig::new(
        "native",
        server.address,
        Access::by_address(server.address, Arc::clone(&server.tokens)),
    );
    let taken = Listener::bind(config.clone()).err().expect("it is taken");
    assert!(matches!(taken, ListenError::Taken { .. }), "{taken}");
    assert!(taken.to_string().contains(&server.address.to_string()), "{taken}");
    server.call("GET", "/healthz", "");
    server.stop();
    assert!(Listener::bind(config).is_ok(), "what is left of its connections does not keep the address");
}
