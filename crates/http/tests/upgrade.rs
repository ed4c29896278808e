//! A connection that becomes something else (a WebSocket of a dialect) goes on after its request.

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use admit_http::{Access, Listener, ListenerConfig, Shutdown};
use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::routing::get;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn echo(mut request: Request) -> (StatusCode, [(header::HeaderName, &'static str); 2]) {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut socket = TokioIo::new(upgrade.await.unwrap());
        let mut byte = [0];
        while socket.read_exact(&mut byte).await.is_ok() {
            socket.write_all(&byte).await.unwrap();
        }
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(header::UPGRADE, "echo"), (header::CONNECTION, "upgrade")])
}

#[test]
fn an_upgraded_connection_goes_on_and_keeps_its_place() {
    let config = ListenerConfig::new("echo", "127.0.0.1:0".parse().unwrap(), Access::Public);
    let listener = Listener::bind(config).unwrap();
    let (address, connections, shutdown) = (listener.address(), listener.connections(), Shutdown::new());
    let serving = listener.serve(|| Router::new().route("/echo", get(echo)), &shutdown).unwrap();

    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(socket, "GET /echo HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .unwrap();
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let head: Vec<String> =
        (&mut reader).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
    assert!(head[0].starts_with("HTTP/1.1 101"), "{head:?}");

    socket.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    reader.read_exact(&mut answer).unwrap();
    assert_eq!((&answer, connections.open()), (b"hello", 1));
    shutdown.trigger();
    serving.join();
}
