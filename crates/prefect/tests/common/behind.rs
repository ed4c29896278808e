//! A server behind for one that stands before it: it says what it was asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

/// The server behind. It lives in a thread until the tests end, or it goes away.
pub struct Behind {
    pub address: SocketAddr,
    /// Lets it go on.
    pub go: Arc<Notify>,
    /// The pieces of bodies that it got.
    pub pieces: mpsc::UnboundedReceiver<String>,
    gone: Arc<Notify>,
    thread: thread::JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    address: SocketAddr,
    /// Whether it asks who its clients are.
    asks: bool,
    go: Arc<Notify>,
    pieces: mpsc::UnboundedSender<String>,
}

impl Behind {
    pub fn start(asks: bool) -> Behind {
        Behind::serving(move |shared| Router::new().fallback(answer).with_state(Shared { asks, ..shared }))
    }

    /// One that answers nothing but this.
    pub fn always(status: StatusCode) -> Behind {
        Behind::serving(move |_| Router::new().fallback(move || async move { status }))
    }

    fn serving(router: impl FnOnce(Shared) -> Router + Send + 'static) -> Behind {
        let (go, gone, (sender, pieces)) =
            (Arc::new(Notify::new()), Arc::new(Notify::new()), mpsc::unbounded_channel());
        let (found, address) = std::sync::mpsc::channel();
        let (let_go, let_end) = (go.clone(), gone.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                found.send(address).unwrap();
                let shared = Shared { address, asks: false, go: let_go, pieces: sender };
                tokio::select! {
                    () = serve(listener, router(shared)) => {}
                    () = let_end.notified() => {}
                }
            });
        });
        Behind { address: address.recv().unwrap(), go, pieces, gone, thread }
    }

    /// Nobody listens at its address any more.
    pub fn go_away(self) {
        self.gone.notify_one();
        self.thread.join().unwrap();
    }
}

async fn serve(listener: TcpListener, router: Router) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection.with_upgrades());
    }
}

async fn answer(State(shared): State<Shared>, mut request: Request) -> Response {
    let is_known = request.headers().get(header::AUTHORIZATION).is_some_and(|value| value == "Bearer theirs");
    if shared.asks && !is_known {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if request.headers().get("prefect-csrf-token").is_some_and(|token| token == "old") {
        return (StatusCode::FORBIDDEN, r#"{"detail":"Invalid CSRF token or client identifier."}"#)
            .into_response();
    }
    match request.uri().path() {
        "/api/redirected" => {
            let location = format!("http://{}/api/redirected/?a=b", shared.address);
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
        }
        "/api/slow" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                sender.send("first ").unwrap();
                shared.go.notified().await;
                sender.send("second").unwrap();
            });
            Body::new(StreamBody::new(Pieces(receiver))).into_response()
        }
        "/api/upload" => {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                let piece = frame.unwrap().into_data().unwrap();
                shared.pieces.send(String::from_utf8_lossy(&piece).into_owned()).unwrap();
            }
            StatusCode::OK.into_response()
        }
        "/api/broken" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                sender.send("less than it says").unwrap();
                shared.go.notified().await;
            });
            let body = Body::new(StreamBody::new(Pieces(receiver)));
            ([(header::CONTENT_LENGTH, "1000")], body).into_response()
        }
        "/api/packed" => packed(&request),
        "/api/openapi.json" => {
            let responses = r#"{"200":{"description":"OK"}}"#;
            format!(
                r#"{{"paths":{{"/z":{{}},"/concurrency_limits/":{{"post":{{"responses":{responses}}}}}}}}}"#
            )
            .into_response()
        }
        // The first obeys who does not want it packed, the second never does.
        "/api/v2/concurrency_limits/filter" if wants_plain(&request) => {
            r#"[{"z":1.50,"name":"behind","a":1e5}]"#.into_response()
        }
        "/api/v2/concurrency_limits/filter" | "/api/concurrency_limits/filter" => packed(&request),
        "/api/events/out" => {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (mut reads, mut writes) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
                tokio::io::copy(&mut reads, &mut writes).await.unwrap();
                writes.shutdown().await.unwrap();
            });
            let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")];
            (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
        }
        _ => echo(request).await,
    }
}

/// What stands for a packed body, and says what was accepted.
fn packed(request: &Request) -> Response {
    let accepted = request.headers().get(header::ACCEPT_ENCODING).cloned();
    let accepted = accepted.unwrap_or_else(|| header::HeaderValue::from_static(""));
    let headers =
        [(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip")), (header::VARY, accepted)];
    (headers, PACKED).into_response()
}

/// Bytes that nobody is to touch.
pub const PACKED: &[u8] = b"\x1f\x8b as they are";

fn wants_plain(request: &Request) -> bool {
    request.headers().get(header::ACCEPT_ENCODING).is_some_and(|accepted| accepted == "identity")
}

async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let headers: serde_json::Map<String, Value> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let said = json!({
        "asked": format!("{} {}", head.method, head.uri),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let headers =
        [("x-own", "kept"), ("keep-alive", "timeout=5"), ("connection", "x-hop"), ("x-hop", "gone")];
    (StatusCode::ACCEPTED, headers, said.to_string()).into_response()
}

/// Pieces of a body as they come.
struct Pieces(mpsc::UnboundedReceiver<&'static str>);

impl futures_core::Stream for Pieces {
    type Item = Result<Frame<Bytes>, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(Bytes::from(piece)))))
    }
}
