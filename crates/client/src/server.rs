//! One server: its address, the connections to it, and how one call is sent there and answered.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, Response, Uri};
use ureq::{Agent, Body, Proxy, Timeout};

use crate::{Error, Expected, Problem};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read: a full page of 1,000 rows with room to spare.
const MAX_ANSWER_BYTES: u64 = 16 << 20;
/// Everything but what RFC 3986 calls unreserved: a name with slashes stays one segment of the path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A server that can be asked.
#[derive(Debug)]
pub(crate) struct Server {
    agent: Agent,
    pub(crate) url: String,
}

/// What is asked. The path starts with a slash and is encoded already.
pub(crate) struct Call<'a> {
    method: Method,
    path: String,
    body: Vec<u8>,
    expected: Option<Expected<'a>>,
}

/// The answer to a call, before it is read: its status and, of a success, the body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    url: String,
    body: Vec<u8>,
}

/// Why there is no answer, or what was refused.
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) effect: Effect,
}

/// What may have come of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// It is done or not; the server has gone, or has answered.
    Unknown,
    /// The server may be about to do it.
    Pending,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Call<'a> {
        Call { method, path: path.into(), body: Vec::new(), expected: None }
    }

    pub(crate) fn body(self, body: &impl Serialize) -> Call<'a> {
        let body = serde_json::to_vec(body).expect("plain data whose keys are text is always JSON");
        Call { body, ..self }
    }

    pub(crate) fn expecting(self, expected: Option<Expected<'a>>) -> Call<'a> {
        Call { expected, ..self }
    }
}

impl Server {
    /// The server at `url`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`].
    pub(crate) fn new(url: &str) -> Result<Server, Error> {
        let invalid = |reason: &str| Error::InvalidUrl { url: url.to_owned(), reason: reason.to_owned() };
        let base = url.trim_end_matches('/');
        let uri: Uri = base.parse().map_err(|e| invalid(&format!("{e}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(invalid("it does not begin with http:// or https://"));
        }
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return Err(invalid("it names no host"));
        };
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("admit/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .tls_config(tls)
            // A proxy for the way out is none to this machine itself.
            .proxy(if is_loopback(host) { None } else { Proxy::try_from_env() })
            .build();
        Ok(Server { agent: config.new_agent(), url: base.to_owned() })
    }

    /// Asks, and waits so long for the answer.
    pub(crate) fn send(
        &self,
        call: Call<'_>,
        token: Option<&str>,
        timeout: Duration,
    ) -> Result<Answer, Failed> {
        let away = |error: ureq::Error| self.away(&error);
        let mut request = Request::builder().method(call.method).uri(format!("{}{}", self.url, call.path));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request = match call.expected {
            None => request,
            Some(Expected::Absent) => request.header("if-none-match", "*"),
            Some(Expected::Is(limit)) => request.header("if-match", &*limit.etag),
        };
        let response = if call.body.is_empty() {
            let request = request.body(()).map_err(|e| away(e.into()))?;
            self.agent.run(self.agent.configure_request(request).timeout_global(Some(timeout)).build())
        } else {
            let request = request.header("content-type", "application/json");
            let request = request.body(call.body).map_err(|e| away(e.into()))?;
            self.agent.run(self.agent.configure_request(request).timeout_global(Some(timeout)).build())
        };
        self.answer(response.map_err(away)?)
    }

    /// Reads an answer; a refusal becomes an error.
    fn answer(&self, mut response: Response<Body>) -> Result<Answer, Failed> {
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        let body = match body {
            Ok(body) => body,
            Err(ureq::Error::BodyExceedsLimit(_)) => {
                return Err(self.unexpected(status, "the answer is too long"));
            }
            Err(e) => return Err(self.away(&e)),
        };
        if (200..300).contains(&status) {
            return Ok(Answer { status, url: self.url.clone(), body });
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(mut problem) if !problem.kind.is_empty() => {
                problem.status = status;
                // Who has too much to do does nothing of it; of other refusals by 503 that is not certain.
                let effect = match problem.slug() {
                    "overloaded" => Effect::None,
                    _ => Effect::Unknown,
                };
                Err(Failed { error: Error::Problem(Box::new(problem)), effect })
            }
            _ => Err(self.unexpected(status, "it gives no reason")),
        }
    }

    fn away(&self, error: &ureq::Error) -> Failed {
        let url = self.url.clone();
        let told = match setup(error, self.url.starts_with("https")) {
            Some(reason) => Error::Setup { url, reason },
            None => Error::Unreachable { url, reason: plain(error), connected: had_connection(error) },
        };
        Failed { error: told, effect: effect(error) }
    }

    fn unexpected(&self, status: u16, reason: &str) -> Failed {
        let error = Error::Unexpected { url: self.url.clone(), status, reason: reason.to_owned() };
        // A proxy that gave up waiting says this.
        let effect = if status == 504 { Effect::Pending } else { Effect::Unknown };
        Failed { error, effect }
    }
}

impl Answer {
    /// The body as data.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|e| Error::Unexpected {
            url: self.url.clone(),
            status: self.status,
            reason: e.to_string(),
        })
    }
}

/// A name or a key as one segment of a path, or as a value of a query.
pub(crate) fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// Whether there was a connection that worked before it failed.
fn had_connection(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(e) => matches!(
            e.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
                | ErrorKind::TimedOut
        ),
        ureq::Error::Timeout(which) => !matches!(which, Timeout::Connect | Timeout::Resolve),
        // An answer was cut off.
        ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

/// What may have come of a call that ended so.
fn effect(error: &ureq::Error) -> Effect {
    match error {
        ureq::Error::Io(e) => match e.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                Effect::None
            }
            ErrorKind::TimedOut => Effect::Pending,
            _ => Effect::Unknown,
        },
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => Effect::None,
        ureq::Error::Timeout(_) => Effect::Pending,
        _ => Effect::Unknown,
    }
}

/// What is wrong where trying again changes nothing, and the way out.
fn setup(error: &ureq::Error, is_https: bool) -> Option<String> {
    match error {
        ureq::Error::Rustls(e) => Some(tls(e)),
        ureq::Error::Io(e) => e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(tls),
        ureq::Error::Tls(what) => Some(format!("TLS: {what}")),
        ureq::Error::Pem(e) => Some(format!("the certificates to trust cannot be read: {e}")),
        ureq::Error::BadUri(what) => Some(format!("it is no address: {what}")),
        ureq::Error::InvalidProxyUrl => Some("the proxy's address (HTTP_PROXY ...) is none".to_owned()),
        // The first bytes of an answer in TLS are no line of HTTP.
        ureq::Error::Protocol(e) if !is_https => {
            Some(format!("it does not answer in HTTP ({e}); does it want https://?"))
        }
        _ => None,
    }
}

/// What is wrong with TLS, and the way out.
fn tls(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    let trust = "SSL_CERT_FILE=FILE.pem names certificates to trust";
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => {
                format!("nobody who is trusted has signed its certificate; {trust}")
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "its certificate is for another host; use the name that it is for".to_owned()
            }
            Bad::Expired | Bad::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            // Libraries wrap this one, and say only its name.
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => format!(
                "its certificate is an authority's own, not a server's (make one with \
                 `-addext basicConstraints=critical,CA:FALSE`); {trust}"
            ),
            other => format!("its certificate is not accepted: {other}; {trust}"),
        },
        rustls::Error::InvalidMessage(_) => "it does not answer in TLS; does it want http://?".to_owned(),
        other => format!("TLS: {other}"),
    }
}

/// What the network said, without the library's prefixes.
fn plain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(e) if e.kind() == ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ureq::Error::Io(e) => e.to_string(),
        ureq::Error::HostNotFound => "no host of that name".to_owned(),
        ureq::Error::Timeout(_) => "it took too long".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_before_it_is_used() {
        let check = |url: &str, expect: bool| assert_eq!(Server::new(url).is_ok(), expect, "{url}");
        check("http://127.0.0.1:7070", true);
        check("http://127.0.0.1:7070/", true);
        check("https://admit.example", true);
        check("http://[::1]:7070", true);
        check("127.0.0.1:7070", false);
        check("ftp://host", false);
        check("http://", false);
        check("", false);
    }

    #[test]
    fn a_name_stays_one_segment() {
        let check = |name: &str, expect: &str| assert_eq!(segment(name), expect);
        check("openai", "openai");
        check("windmill/main/script", "windmill%2Fmain%2Fscript");
        check("tag:x y?z#", "tag%3Ax%20y%3Fz%23");
        check("über", "%C3%BCber");
    }
}
