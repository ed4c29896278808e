//! The WebSocket on which clients send their events.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod common;

use std::time::Duration;

use admit_http::{AuditEntry, Role};
use common::{Door, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client of the WebSocket that speaks no more of it than these tests need: short frames.
struct Client {
    stream: TcpStream,
    head: String,
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Client {
    async fn connect(server: &Server, protocol: Option<&str>) -> Client {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let protocol = protocol.map(|name| format!("sec-websocket-protocol: {name}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /api/events/in HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n",
            server.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        Client { stream, head: String::from_utf8(head).unwrap().to_ascii_lowercase() }
    }

    async fn send(&mut self, kind: u8, payload: &str) {
        let length = u8::try_from(payload.len()).unwrap();
        assert!(length < 126, "a short frame");
        // A mask of zeros is a mask.
        let mut frame = vec![0x80 | kind, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(payload.as_bytes());
        self.stream.write_all(&frame).await.unwrap();
    }

    async fn receive(&mut self) -> (u8, String) {
        let kind = self.stream.read_u8().await.unwrap() & 0x0f;
        let mut payload = vec![0; usize::from(self.stream.read_u8().await.unwrap())];
        self.stream.read_exact(&mut payload).await.unwrap();
        let text = if kind == CLOSE { payload.split_off(2.min(payload.len())) } else { payload };
        (kind, String::from_utf8_lossy(&text).into_owned())
    }
}

#[test]
fn a_client_is_welcomed_and_its_events_are_taken() {
    let server = Server::start(Duration::ZERO);
    server.run(async {
        let mut client = Client::connect(&server, Some("prefect")).await;
        assert!(client.head.starts_with("http/1.1 101"), "{}", client.head);
        assert!(client.head.contains("sec-websocket-protocol: prefect"), "{}", client.head);
        client.send(PING, "").await;
        assert_eq!(client.receive().await, (PONG, String::new()));
        client.send(TEXT, &json!({ "type": "auth", "token": null }).to_string()).await;
        let (kind, text) = client.receive().await;
        assert_eq!(
            (kind, serde_json::from_str::<Value>(&text).unwrap()),
            (TEXT, json!({ "type": "auth_success" }))
        );
        client.send(TEXT, r#"{"event":"prefect.concurrency-limit.acquired"}"#).await;
        client.send(PING, "still there?").await;
        assert_eq!(client.receive().await, (PONG, "still there?".to_owned()));
    });
}

#[test]
fn old_clients_need_not_say_who_they_are() {
    let server = Server::start(Duration::ZERO);
    server.run(async {
        let mut client = Client::connect(&server, None).await;
        client.send(PING, "hello").await;
        assert_eq!(client.receive().await, (PONG, "hello".to_owned()));
    });
}

#[test]
fn the_first_message_says_who_is_there() {
    let server = Server::start(Duration::ZERO);
    server.run(async {
        let mut client = Client::connect(&server, Some("prefect")).await;
        client.send(TEXT, "{}").await;
        assert_eq!(client.receive().await, (CLOSE, "Expected 'auth' message".to_owned()));
    });
}

#[test]
fn a_client_with_a_key_sends_none_and_is_welcome() {
    let server = Server::start_in(tempfile::tempdir().unwrap(), Duration::ZERO, Door::Tokens);
    server.run(async {
        let mut client = Client::connect(&server, Some("prefect")).await;
        client.send(TEXT, r#"{"type":"auth","token":null}"#).await;
        assert_eq!(client.receive().await.1, r#"{"type":"auth_success"}"#);
        client.send(TEXT, r#"{"event":"prefect.concurrency-limit.acquired"}"#).await;
        client.send(PING, "still there?").await;
        assert_eq!(client.receive().await, (PONG, "still there?".to_owned()));
    });
}

#[test]
fn where_tokens_are_asked_for_the_message_carries_one() {
    let server = Server::start_in(tempfile::tempdir().unwrap(), Duration::ZERO, Door::Tokens);
    let audit = AuditEntry::local("test", "test");
    let made = server.run(server.tokens.create(&server.engine, "flow", Role::Acquire, None, audit));
    let token = made.unwrap().0;
    server.run(async {
        for (token, expect) in [
            (token.clone(), "{\"type\":\"auth_success\"}"),
            (format!("admin:{token}"), "{\"type\":\"auth_success\"}"),
            ("wrong".to_owned(), "Invalid token"),
        ] {
            let mut client = Client::connect(&server, Some("prefect")).await;
            client.send(TEXT, &json!({ "type": "auth", "token": token }).to_string()).await;
            assert_eq!(client.receive().await.1, expect);
        }
        let mut client = Client::connect(&server, None).await;
        assert_eq!(client.receive().await.0, CLOSE);
    });
}
