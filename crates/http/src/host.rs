//! Host and Origin: a page of the web must not reach a listener, neither by DNS rebinding (its own name
//! made to point here) nor by sending requests across sites.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};

use crate::Problem;

/// Which hosts a listener answers for.
#[derive(Debug, Clone)]
pub struct Hosts {
    bound: IpAddr,
    /// Shared by clones. Requests to an address or to localhost do not look at it.
    names: Arc<RwLock<Vec<String>>>,
}

impl Hosts {
    /// Loopback names and addresses, the address that is bound, and `names`. An address in a request cannot
    /// be the work of DNS, so a listener on every address answers for every address.
    #[must_use]
    pub fn new(bound: SocketAddr, names: &[String]) -> Hosts {
        let hosts = Hosts { bound: bound.ip(), names: Arc::default() };
        hosts.set_names(names);
        hosts
    }

    /// Answers for these names from now on, instead of those before; so do all clones.
    pub fn set_names(&self, names: &[String]) {
        let names = names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect();
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
    }

    fn knows(&self, name: &str) -> bool {
        self.names.read().unwrap_or_else(PoisonError::into_inner).iter().any(|known| known == name)
    }

    /// Checks the Host and the Origin of a request.
    ///
    /// # Errors
    /// 400 without one readable Host, 403 for a foreign Host or Origin.
    pub fn check(&self, request: &Parts) -> Result<(), Problem> {
        let host = host_of(request)?;
        let named = bare(&host);
        if !self.allows(&named) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "foreign-host",
                "This server does not go by that name",
                format!("the Host `{host}` is not one of this server's; start it with --allow-host {named} if it is"),
            )
            .with("field", "host")
            .with("value", host.as_str()));
        }
        self.check_origin(request, &host)
    }

    fn check_origin(&self, request: &Parts, host: &Authority) -> Result<(), Problem> {
        let mut origins = request.headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(()) };
        let text = String::from_utf8_lossy(origin.as_bytes());
        let authority = text.split_once("://").and_then(|(scheme, authority)| {
            matches!(scheme, "http" | "https").then(|| authority.parse::<Authority>().ok()).flatten()
        });
        let ours = authority.is_some_and(|authority| {
            let same = authority.as_str().eq_ignore_ascii_case(host.as_str());
            same || self.knows(&bare(&authority))
        });
        if ours && origins.next().is_none() {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "foreign-origin",
            "Requests from other sites are refused",
            format!("the Origin `{text}` is not this server ({host}); if it is to be trusted, start the server with --allow-host and its name"),
        )
        .with("field", "origin")
        .with("value", text))
    }

    fn allows(&self, name: &str) -> bool {
        if let Ok(ip) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            return ip.is_loopback() || ip == self.bound || self.bound.is_unspecified();
        }
        name == "localhost" || name.ends_with(".localhost") || self.knows(name)
    }
}

/// The host of a name with or without a port, as names are compared.
fn bare(authority: &Authority) -> String {
    authority.host().trim_end_matches('.').to_ascii_lowercase()
}

fn host_of(request: &Parts) -> Result<Authority, Problem> {
    let bad = |detail: &str| {
        Problem::new(StatusCode::BAD_REQUEST, "bad-host", "The request names no host", detail)
            .with("field", "host")
    };
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = hosts.next().ok_or_else(|| bad("send one Host header"))?;
    if hosts.next().is_some() {
        return Err(bad("send one Host header, not several"));
    }
    let host: Authority = Authority::try_from(host.as_bytes())
        .ok()
        .filter(|host| !host.as_str().contains('@'))
        .ok_or_else(|| bad("the Host header is not `name` or `name:port`"))?;
    match request.uri.authority() {
        Some(target) if !target.as_str().eq_ignore_ascii_case(host.as_str()) => {
            Err(bad("the request's target names another host than its Host header"))
        }
        _ => Ok(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn check(bound: &str, headers: &[(&str, &str)], expect: Result<(), &str>) {
        let hosts = Hosts::new(bound.parse().unwrap(), &["admit.example".into()]);
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let got = hosts.check(&request.body(()).unwrap().into_parts().0);
        assert_eq!(got.as_ref().map_err(Problem::kind).copied(), expect, "{bound} {headers:?}");
    }

    #[test]
    fn own_names_pass_and_foreign_ones_do_not() {
        let loopback = "127.0.0.1:7070";
        check(loopback, &[("host", "127.0.0.1:7070")], Ok(()));
        check(loopback, &[("host", "127.0.0.1:9999")], Ok(()));
        check(loopback, &[("host", "LOCALHOST")], Ok(()));
        check(loopback, &[("host", "localhost.:7070")], Ok(()));
        check(loopback, &[("host", "app.localhost:7070")], Ok(()));
        check(loopback, &[("host", "[::1]:7070")], Ok(()));
        check(loopback, &[("host", "admit.example")], Ok(()));
        check(loopback, &[("host", "evil.example")], Err("foreign-host"));
        check(loopback, &[("host", "localhost.evil.example")], Err("foreign-host"));
        check(loopback, &[("host", "10.0.0.1:7070")], Err("foreign-host"));
        check(loopback, &[], Err("bad-host"));
        check(loopback, &[("host", "localhost"), ("host", "evil.example")], Err("bad-host"));
        check(loopback, &[("host", "user@localhost")], Err("bad-host"));
        check("10.0.0.1:7070", &[("host", "10.0.0.1:7070")], Ok(()));
        check("0.0.0.0:7070", &[("host", "192.0.2.7:7070")], Ok(()));
        check("0.0.0.0:7070", &[("host", "evil.example:7070")], Err("foreign-host"));
    }

    #[test]
    fn only_the_same_origin_and_allowed_names_may_send_across() {
        let with = |origin: &str, expect| {
            check("127.0.0.1:7070", &[("host", "localhost:7070"), ("origin", origin)], expect);
        };
        with("http://localhost:7070", Ok(()));
        with("https://admit.example:8443", Ok(()));
        with("http://localhost:3000", Err("foreign-origin"));
        with("http://evil.example", Err("foreign-origin"));
        with("file://localhost:7070", Err("foreign-origin"));
        with("null", Err("foreign-origin"));
        with("", Err("foreign-origin"));
    }
}
