//! The server behind, and one worker's connections to it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use admit_http::read_body;
use axum::body::{Body, Bytes};
use axum::http::uri::{PathAndQuery, Scheme};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::time::timeout;

use super::absence::Absence;
use super::body::timed;
use super::bounds::{ANSWER_TIMEOUT, ASK_TIMEOUT, CONNECT_TIMEOUT, IDLE_TIMEOUT, MAX_ANSWER_BYTES, MAX_IDLE};
use super::judge::Judge;
use crate::answer::Answer;

/// How a body is that is not packed.
const PLAIN: HeaderValue = HeaderValue::from_static("identity");

/// The address of a Prefect server, as `http://prefect.internal:4200`; with `/api` at its end it is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    base: Uri,
}

/// A text that is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no address of a Prefect server; write it like http://prefect.internal:4200")]
pub struct NoUpstream(String);

impl FromStr for Upstream {
    type Err = NoUpstream;

    fn from_str(text: &str) -> Result<Upstream, NoUpstream> {
        let wrong = || NoUpstream(text.to_owned());
        let base: Uri = text.parse().map_err(|_| wrong())?;
        let is_http = matches!(base.scheme_str(), Some("http" | "https"));
        let is_plain = base.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let is_root = matches!(base.path().trim_end_matches('/'), "" | "/api") && base.query().is_none();
        if is_http && is_plain && is_root { Ok(Upstream { base }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.base.scheme_str(), self.base.authority());
        write!(f, "{}://{}", scheme.unwrap_or_default(), authority.map_or("", |authority| authority.as_str()))
    }
}

impl Upstream {
    /// Its scheme and authority.
    pub(super) fn base(&self) -> &Uri {
        &self.base
    }

    /// Its name or address, and its port.
    pub(super) fn host_and_port(&self) -> (&str, u16) {
        let default = if self.base.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
        let host = self.base.host().unwrap_or_default().trim_matches(['[', ']']);
        (host, self.base.port_u16().unwrap_or(default))
    }

    fn at(&self, path: &PathAndQuery) -> Uri {
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = Some(path.clone());
        // An absolute address stays one with another path.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// Why there is no answer of the server behind.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("its certificate is not trusted: {0}; SSL_CERT_FILE=FILE.pem names certificates to trust")]
    Untrusted(rustls::Error),
    #[error("it did not answer within {0} s")]
    Silent(u64),
    #[error("the exchange broke off: {0}")]
    Broken(String),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its answer is not understood: {0}")]
    Strange(String),
}

impl Failure {
    /// What a client is told, and this at its end: its own retries know these answers.
    pub(super) fn answer(&self, upstream: &Upstream, end: &str) -> Answer {
        let status = match self {
            Failure::Silent(_) => StatusCode::GATEWAY_TIMEOUT,
            Failure::Unreachable(_)
            | Failure::Untrusted(_)
            | Failure::Broken(_)
            | Failure::Status(_)
            | Failure::Strange(_) => StatusCode::BAD_GATEWAY,
        };
        tracing::warn!(%upstream, cause = %self, "the Prefect server behind did not serve a request");
        let detail = format!("The Prefect server at {upstream} did not serve this request: {self}{end}");
        let message = status.canonical_reason().unwrap_or_default();
        let body = serde_json::json!({ "exception_message": message, "detail": detail });
        // No `Retry-After`: the pauses that the client takes by itself grow, and last through a restart.
        Answer::json(status, &body)
    }
}

/// A Prefect server that this one stands before, with all that is needed to reach it.
#[derive(Debug)]
pub struct Behind {
    pub(super) upstream: Upstream,
    tls: ClientConfig,
    /// How requests say that they passed here.
    pub(super) via: HeaderValue,
    absence: Absence,
    judge: Judge,
}

/// Why a server cannot be reached by TLS.
#[derive(Debug, thiserror::Error)]
#[error("the certificates that this system trusts cannot be used: {0}")]
pub struct NoTrust(rustls::Error);

impl Behind {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// The server speaks TLS, and this system's certificates cannot be used.
    pub fn new(upstream: Upstream) -> Result<Behind, NoTrust> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(NoTrust)?;
        // A system without certificates is enough to reach a server without TLS.
        let config = match upstream.base.scheme() == Some(&Scheme::HTTPS) {
            true => config.with_platform_verifier().map_err(NoTrust)?,
            false => config.with_root_certificates(RootCertStore::empty()),
        };
        let via = format!("1.1 admit-{}", uuid::Uuid::new_v4().simple());
        let via = HeaderValue::from_str(&via).unwrap_or_else(|_| HeaderValue::from_static("1.1 admit"));
        let tls = config.with_no_client_auth();
        Ok(Behind { upstream, tls, via, absence: Absence::default(), judge: Judge::default() })
    }
}

/// One worker's connections.
pub(super) struct Link {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    behind: Arc<Behind>,
}

impl Link {
    /// No connection yet.
    pub(super) fn new(behind: Arc<Behind>) -> Link {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let tls = HttpsConnectorBuilder::new().with_tls_config(behind.tls.clone());
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(tls.https_or_http().enable_http1().wrap_connector(tcp));
        Link { client, behind }
    }

    /// The server behind.
    pub(super) fn upstream(&self) -> &Upstream {
        &self.behind.upstream
    }

    /// How requests say that they passed here.
    pub(super) fn via(&self) -> &HeaderValue {
        &self.behind.via
    }

    /// Whether it was not reached a moment ago, nor since.
    pub(super) fn is_absent(&self) -> bool {
        self.behind.absence.is_recent()
    }

    /// What it says of credentials.
    pub(super) fn judge(&self) -> &Judge {
        &self.behind.judge
    }

    /// It did not answer what any server answers at once.
    pub(super) fn is_not_reached(&self) {
        self.behind.absence.begins(self.upstream());
    }

    /// Sends a request, whose address is a path; both bodies flow as they come.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<hyper::body::Incoming>, Failure> {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = self.upstream().at(&path);
        *request.version_mut() = axum::http::Version::HTTP_11;
        let request = request.map(timed);
        match timeout(ANSWER_TIMEOUT, self.client.request(request)).await {
            Ok(Ok(response)) => {
                self.behind.absence.ends(self.upstream());
                Ok(response)
            }
            Ok(Err(error)) if error.is_connect() => {
                self.is_not_reached();
                Err(match distrust(&error) {
                    Some(why) => Failure::Untrusted(why),
                    None => Failure::Unreachable(root_cause(&error)),
                })
            }
            Ok(Err(error)) => Err(Failure::Broken(root_cause(&error))),
            Err(_) => Err(Failure::Silent(ANSWER_TIMEOUT.as_secs())),
        }
    }

    /// A small question of our own; its status and whole body.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &'static str,
        headers: HeaderMap,
        body: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let mut request = Request::new(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_static(path);
        *request.headers_mut() = headers;
        // What is understood here is not to be packed first.
        request.headers_mut().insert(header::ACCEPT_ENCODING, PLAIN);
        if body.is_some() {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        let whole = async {
            let response = self.send(request).await?;
            let status = response.status();
            if let Some(packed) =
                response.headers().get(header::CONTENT_ENCODING).filter(|how| **how != PLAIN)
            {
                return Err(Failure::Strange(format!("it is packed as {packed:?}, which was not asked for")));
            }
            let body = read_body(Body::new(response.into_body()), MAX_ANSWER_BYTES).await;
            Ok((status, body.map_err(|error| Failure::Broken(error.to_string()))?))
        };
        timeout(ASK_TIMEOUT, whole).await.unwrap_or(Err(Failure::Silent(ASK_TIMEOUT.as_secs())))
    }
}

/// What is wrong with a certificate, if that is what went wrong.
fn distrust(error: &(dyn std::error::Error + 'static)) -> Option<rustls::Error> {
    if let Some(bad @ rustls::Error::InvalidCertificate(_)) = error.downcast_ref::<rustls::Error>() {
        return Some(bad.clone());
    }
    // An error of the system hides the one that it carries.
    let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let deeper = carried.map(|error| error as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    deeper.and_then(distrust)
}

/// What went wrong in the end; what is around it says only that something did.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_servers() {
        let check = |text: &str, expect: Option<&str>| {
            let upstream = text.parse::<Upstream>().ok();
            assert_eq!(upstream.map(|upstream| upstream.to_string()).as_deref(), expect, "{text}");
        };
        check("http://127.0.0.1:4200", Some("http://127.0.0.1:4200"));
        check("http://prefect:4200/api", Some("http://prefect:4200"));
        check("https://prefect.example/api/", Some("https://prefect.example"));
        check("prefect:4200", None);
        check("ftp://prefect:4200", None);
        check("http://prefect:4200/other", None);
        check("http://user:secret@prefect:4200", None);
        check("http://prefect:4200/?a=b", None);
        check("", None);
    }

    #[test]
    fn paths_are_taken_over_as_they_are() {
        let upstream: Upstream = "http://prefect:4200/api".parse().unwrap();
        let path = PathAndQuery::from_static("/api/flows/a%2Fb?x=%20");
        assert_eq!(upstream.at(&path).to_string(), "http://prefect:4200/api/flows/a%2Fb?x=%20");
    }
}
