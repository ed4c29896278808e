//! Headers on their way through: those of one connection stay behind, those that say where a request came from
//! are added.

use std::net::IpAddr;

use axum::http::header::{
    AUTHORIZATION, CONNECTION, HOST, LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Takes out what is about one connection alone, and what `Connection` says is. What it says of headers without
/// which a message would mean something else is not obeyed.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| token.parse().ok())
        .filter(|name| !is_end_to_end(name))
        .collect();
    let always = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        PROXY_CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    for name in named.iter().chain(&always) {
        headers.remove(name);
    }
}

fn is_end_to_end(name: &HeaderName) -> bool {
    ["host", "content-length", "content-type", "content-encoding", "authorization", "cookie"]
        .contains(&name.as_str())
}

/// What a connection asks to become, as `websocket`; none: nothing.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| asks).cloned()
}

/// Asks, or agrees, to become this.
pub(super) fn set_upgrade(headers: &mut HeaderMap, to: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, to);
}

/// Says who asked, by what name and over what. The server behind is addressed by its own name.
pub(super) fn say_where_from(headers: &mut HeaderMap, peer: IpAddr, is_tls: bool, via: &HeaderValue) {
    let before = headers.get(&FORWARDED_FOR).and_then(|given| given.to_str().ok());
    let chain = before.map_or_else(|| peer.to_string(), |before| format!("{before}, {peer}"));
    if let Ok(chain) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
    if let Some(host) = headers.remove(HOST) {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
    let scheme = HeaderValue::from_static(if is_tls { "https" } else { "http" });
    headers.entry(FORWARDED_PROTO).or_insert(scheme);
    headers.append(VIA, via.clone());
}

/// What a question of our own takes from the request for which it is asked: who asks, and the proof that it is
/// no other site.
pub(super) fn credentials(headers: &HeaderMap) -> HeaderMap {
    let names = [
        AUTHORIZATION,
        HeaderName::from_static("prefect-csrf-token"),
        HeaderName::from_static("prefect-csrf-client"),
    ];
    names.into_iter().filter_map(|name| Some((name.clone(), headers.get(&name)?.clone()))).collect()
}

/// Whether a request has passed here before.
pub(super) fn came_through(headers: &HeaderMap, via: &HeaderValue) -> bool {
    let Ok(ours) = via.to_str() else { return false };
    tokens(headers, &VIA).any(|hop| hop == ours)
}

/// Makes a redirect to the server behind one to the same path here.
pub(super) fn turn_redirect(headers: &mut HeaderMap, upstream: &Uri) {
    let Some(location) = headers.get(LOCATION).and_then(|given| given.to_str().ok()) else { return };
    let Ok(target) = location.parse::<Uri>() else { return };
    let is_upstream = target.authority().is_some_and(|authority| {
        upstream.authority().is_some_and(|own| own.as_str().eq_ignore_ascii_case(authority.as_str()))
    });
    let path = target.path_and_query().and_then(|path| HeaderValue::from_str(path.as_str()).ok());
    if let (true, Some(path)) = (is_upstream, path) {
        headers.insert(LOCATION, path);
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_is_about_one_connection_stays_behind() {
        let check = |given: &[(&'static str, &str)], expect: &[(&'static str, &str)]| {
            let mut left = headers(given);
            remove_hop_by_hop(&mut left);
            assert_eq!(left, headers(expect), "{given:?}");
        };
        check(&[("accept", "*/*"), ("connection", "close")], &[("accept", "*/*")]);
        check(&[("connection", "x-secret, X-Other"), ("x-secret", "1"), ("x-other", "2")], &[]);
        check(&[("connection", "upgrade"), ("upgrade", "websocket"), ("te", "trailers")], &[]);
        check(&[("transfer-encoding", "chunked"), ("keep-alive", "timeout=5"), ("trailer", "x")], &[]);
        // Nobody takes another's credentials or framing away.
        check(
            &[
                ("connection", "authorization, content-length"),
                ("authorization", "Basic x"),
                ("content-length", "1"),
            ],
            &[("authorization", "Basic x"), ("content-length", "1")],
        );
    }

    #[test]
    fn only_who_asks_is_upgraded() {
        let check = |given: &[(&'static str, &str)], expect: Option<&'static str>| {
            assert_eq!(upgrade(&headers(given)), expect.map(HeaderValue::from_static), "{given:?}");
        };
        check(&[("connection", "Upgrade"), ("upgrade", "websocket")], Some("websocket"));
        check(&[("connection", "keep-alive, upgrade"), ("upgrade", "websocket")], Some("websocket"));
        check(&[("connection", "keep-alive"), ("upgrade", "websocket")], None);
        check(&[("connection", "upgrade")], None);
    }

    #[test]
    fn requests_say_where_they_came_from() {
        let mut sent = headers(&[("host", "admit:4200"), ("x-forwarded-for", "10.0.0.1")]);
        let via = HeaderValue::from_static("1.1 admit-1");
        assert!(!came_through(&sent, &via));
        say_where_from(&mut sent, [127, 0, 0, 1].into(), false, &via);
        let expect = [
            ("x-forwarded-for", "10.0.0.1, 127.0.0.1"),
            ("x-forwarded-host", "admit:4200"),
            ("x-forwarded-proto", "http"),
            ("via", "1.1 admit-1"),
        ];
        assert_eq!(sent, headers(&expect));
        assert!(came_through(&sent, &via));
    }

    #[test]
    fn redirects_lead_here() {
        let check = |location: &str, expect: &str| {
            let mut answered = headers(&[("location", location)]);
            turn_redirect(&mut answered, &Uri::from_static("http://prefect:4200"));
            assert_eq!(answered, headers(&[("location", expect)]));
        };
        check("http://prefect:4200/api/flows/?a=b", "/api/flows/?a=b");
        check("http://PREFECT:4200/api/flows/", "/api/flows/");
        check("http://elsewhere/api/flows/", "http://elsewhere/api/flows/");
        check("/api/flows/", "/api/flows/");
    }
}
