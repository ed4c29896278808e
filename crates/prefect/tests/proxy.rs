//! Standing before another server, here one that says what it was asked.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use admit_http::{AuditEntry, Role};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::{Answer, Door, Server};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

/// The server behind. It lives in a thread until the tests end.
struct Behind {
    address: SocketAddr,
    /// Lets it go on.
    go: Arc<Notify>,
    /// The pieces of bodies that it got.
    pieces: mpsc::UnboundedReceiver<String>,
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
    fn start(asks: bool) -> Behind {
        let (go, (sender, pieces)) = (Arc::new(Notify::new()), mpsc::unbounded_channel());
        let (found, address): (std::sync::mpsc::Sender<SocketAddr>, _) = std::sync::mpsc::channel();
        let let_go = go.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                found.send(address).unwrap();
                let router = Router::new().fallback(answer).with_state(Shared {
                    address,
                    asks,
                    go: let_go,
                    pieces: sender,
                });
                serve(listener, router).await;
            });
        });
        Behind { address: address.recv().unwrap(), go, pieces }
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
        // The first obeys who does not want it packed, the second never does.
        "/api/v2/concurrency_limits/filter" if wants_plain(&request) => {
            axum::Json(json!([{ "name": "behind" }])).into_response()
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
const PACKED: &[u8] = b"\x1f\x8b as they are";

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

fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    server.run(common::send(server.address, method, path, &headers, body.map(str::to_owned)))
}

#[test]
fn what_is_not_ours_passes_as_it_is() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    let headers = [
        ("x-kept", "1"),
        ("authorization", "Bearer theirs"),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
    ];
    let answer = ask(&server, "PUT", "/flows/a%2Fb%20c?x=%2F&y", &headers, Some("the body"));
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.header("x-own"), Some("kept"));
    assert_eq!((answer.header("keep-alive"), answer.header("x-hop")), (None, None));
    let said = answer.json();
    assert_eq!(said["asked"], "PUT /api/flows/a%2Fb%20c?x=%2F&y");
    assert_eq!(said["body"], "the body");
    let got = &said["headers"];
    assert_eq!((&got["x-kept"], &got["authorization"]), (&json!("1"), &json!("Bearer theirs")));
    assert_eq!((&got["x-hop"], &got["te"], &got["connection"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(got["host"], behind.address.to_string());
    assert_eq!(got["x-forwarded-host"], server.address.to_string());
    assert_eq!((&got["x-forwarded-for"], &got["x-forwarded-proto"]), (&json!("127.0.0.1"), &json!("http")));

    // What comes back to where it passed goes in a circle.
    let via = got["via"].as_str().unwrap();
    assert_eq!(ask(&server, "GET", "/flows", &[("via", via)], None).status, StatusCode::LOOP_DETECTED);
    let redirect = server.get("/redirected");
    assert_eq!(redirect.header("location"), Some("/api/redirected/?a=b"));
}

#[test]
fn what_is_here_is_answered_here_and_the_rest_there() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    let here = |path: &str, body: Value, is_here: bool| {
        let answer = server.post(path, body);
        assert_eq!(answer.status != StatusCode::ACCEPTED, is_here, "{path}: {answer:?}");
        answer
    };
    here("/v2/concurrency_limits/", json!({"name": "own", "limit": 1}), true);
    let tree = "/v2/concurrency_limits";
    let lease = |names: &[&str], is_here| {
        here(&format!("{tree}/increment-with-lease"), json!({"names": names, "slots": 1}), is_here)
    };
    let own = lease(&["own", "other"], true).json()["lease_id"].as_str().unwrap().to_owned();
    lease(&["other"], false);
    lease(&[], true);
    let other = "00000000-0000-4000-8000-000000000001";
    for (id, is_here) in [(own.as_str(), true), (other, false)] {
        here(&format!("{tree}/leases/{id}/renew"), json!({}), is_here);
        here(&format!("{tree}/decrement-with-lease"), json!({"lease_id": id}), is_here);
    }
    // It has ended here, so it is asked for there.
    here(&format!("{tree}/leases/{own}/renew"), json!({}), false);
    here("/concurrency_limits/increment", json!({"names": ["tag"], "task_run_id": other}), false);
    for (path, is_here) in [("own", true), ("other", false), (other, false)] {
        assert_eq!(server.get(&format!("{tree}/{path}")).status == StatusCode::OK, is_here, "{path}");
    }
    // What nobody could understand is said here.
    here(&format!("{tree}/increment-with-lease"), json!({"names": "own"}), true);
    assert_eq!(server.get("/v2/concurrency_limits/").status, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn bodies_are_streamed_both_ways() {
    let mut behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    server.run(async {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("host: {}\r\n", server.address);
        let upload =
            format!("POST /api/upload HTTP/1.1\r\n{head}transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        stream.write_all(upload.as_bytes()).await.unwrap();
        // It has the first piece before there is a second.
        assert_eq!(behind.pieces.recv().await.as_deref(), Some("first"));
        stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(behind.pieces.recv().await.as_deref(), Some("second"));
        read_until(&mut stream, "\r\n\r\n").await;

        stream.write_all(format!("GET /api/slow HTTP/1.1\r\n{head}\r\n").as_bytes()).await.unwrap();
        read_until(&mut stream, "first ").await;
        behind.go.notify_one();
        read_until(&mut stream, "second").await;
    });
}

#[test]
fn upgraded_connections_pass_both_ways() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    server.run(async {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "GET /api/events/out HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly ",
            server.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_until(&mut stream, "early ").await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: echo"), "{head}");
        stream.write_all(b"later").await.unwrap();
        read_until(&mut stream, "later").await;
        // An end is passed on.
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn without_the_server_behind_limits_work_and_the_rest_is_a_bad_gateway() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start_before(gone, Door::Open);
    for answer in [server.get("/flows"), server.get("/v2/concurrency_limits/other")] {
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert_eq!(answer.json()["exception_message"], "Bad Gateway");
        assert!(answer.json()["detail"].as_str().unwrap().contains(&gone.to_string()), "{}", answer.text);
    }
    assert_eq!(
        server.post("/v2/concurrency_limits/", json!({"name": "own", "limit": 1})).status,
        StatusCode::CREATED
    );
    let taken =
        server.post("/v2/concurrency_limits/increment-with-lease", json!({"names": ["own"], "slots": 1}));
    assert_eq!(taken.status, StatusCode::OK);
}

#[test]
fn what_is_packed_passes_as_it_is_and_what_is_merged_is_asked_for_plainly() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    let answer = ask(&server, "GET", "/packed", &[("accept-encoding", "gzip, br")], None);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.header("vary"), Some("gzip, br"), "what the client accepts is asked for");
    assert_eq!(answer.text, String::from_utf8_lossy(PACKED));

    server.post("/v2/concurrency_limits/", json!({"name": "own", "limit": 1}));
    let list = |path: &str| ask(&server, "POST", path, &[("accept-encoding", "gzip")], Some("{}"));
    let merged = list("/v2/concurrency_limits/filter");
    let names: Vec<Value> =
        merged.json().as_array().unwrap().iter().map(|limit| limit["name"].clone()).collect();
    assert_eq!((merged.header("content-encoding"), names), (None, vec![json!("behind"), json!("own")]));
    let refused = list("/concurrency_limits/filter");
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY);
    assert!(refused.text.contains("packed as") && refused.text.contains("gzip"), "{}", refused.text);
}

#[test]
fn a_server_behind_that_is_silent_is_told_in_time() {
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start_before(silent.local_addr().unwrap(), Door::Open);
    let begun = std::time::Instant::now();
    let answer = server.post("/v2/concurrency_limits/filter", json!({}));
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{}", answer.text);
    assert_eq!(answer.json()["exception_message"], "Gateway Timeout");
    assert!(answer.text.contains("did not answer within 10 s"), "{}", answer.text);
    // Before the client gives up by itself.
    assert!(begun.elapsed() < std::time::Duration::from_secs(60));
}

#[test]
fn an_answer_that_breaks_off_does_so_for_the_client() {
    let behind = Behind::start(false);
    let server = Server::start_before(behind.address, Door::Open);
    server.run(async {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET /api/broken HTTP/1.1\r\nhost: {}\r\n\r\n", server.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut stream, "less than it says").await;
        behind.go.notify_one();
        // Whether by an end or by a reset.
        assert!(!matches!(stream.read(&mut [0; 8]).await, Ok(1..)));
    });
}

#[test]
fn beyond_loopback_only_who_is_known_here_or_there_may_pass() {
    let check = |asks: bool, authorization: Option<&str>, flows: StatusCode, limits: StatusCode| {
        let behind = Behind::start(asks);
        let server = Server::start_before(behind.address, Door::Tokens);
        let made = server.tokens.create(
            &server.engine,
            "flows",
            Role::Acquire,
            None,
            AuditEntry::local("test", "test"),
        );
        let ours = format!("Bearer {}", server.run(made).unwrap().0);
        let authorization = authorization.map(|given| if given == "ours" { ours.as_str() } else { given });
        let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        assert_eq!(ask(&server, "GET", "/flows", &headers, None).status, flows, "{asks} {authorization:?}");
        // Names no limit, so it is answered here.
        let body = Some(r#"{"names":[],"slots":1}"#);
        let answer = ask(&server, "POST", "/v2/concurrency_limits/increment", &headers, body);
        assert_eq!(answer.status, limits, "{asks} {authorization:?}");
    };
    let (passed, ok, refused) = (StatusCode::ACCEPTED, StatusCode::OK, StatusCode::UNAUTHORIZED);
    check(false, None, refused, refused);
    check(false, Some("Bearer theirs"), refused, refused);
    check(false, Some("ours"), passed, ok);
    check(true, None, refused, refused);
    check(true, Some("Bearer theirs"), passed, ok);
    check(true, Some("Bearer wrong"), refused, refused);
    // Known here alone: there it is not.
    check(true, Some("ours"), refused, ok);
}

/// Reads until this was read; all of it.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(end) {
        let mut buffer = [0; 256];
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "it ended before {end:?}: {}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&all).into_owned()
}
