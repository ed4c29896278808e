//! `/api/v1/events`

use std::io::{BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::server::{Answer, Server, read_chunk, server};

/// An open stream of events.
struct Stream {
    reader: BufReader<TcpStream>,
    text: String,
}

impl Stream {
    fn open(server: &Server, query: &str) -> Stream {
        let mut socket = server.connect();
        write!(socket, "GET /api/v1/events{query} HTTP/1.1\r\nhost: {}\r\n\r\n", server.address).unwrap();
        let mut reader = BufReader::new(socket);
        let head = Answer::read_head(&mut reader);
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
        let mut stream = Stream { reader, text: String::new() };
        assert_eq!(stream.frame(), ": admit");
        stream
    }

    fn frame(&mut self) -> String {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.text = rest;
                return frame;
            }
            let chunk = read_chunk(&mut self.reader).expect("the stream goes on");
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The next event: its kind and data.
    fn next(&mut self) -> (String, Value) {
        let frame = self.frame();
        let field = |name: &str| {
            let line = frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("{name} in {frame}")).to_owned()
        };
        (field("event"), serde_json::from_str(&field("data")).unwrap())
    }
}

#[test]
fn what_is_committed_is_told() {
    let server = server();
    let mut stream = Stream::open(&server, "");
    server.limit("db", 1);
    let (kind, data) = stream.next();
    assert_eq!((&*kind, &data["limit"]), ("limit-set", &Value::from("db")));
    assert!(data["seq"].is_u64() && data["at"].is_string() && data["ago_ms"].is_u64(), "{data}");
    let lease = server.take("db");
    let (kind, data) = stream.next();
    assert_eq!((&*kind, &data["id"], &data["token"]), ("granted", &lease["id"], &lease["token"]));
    server.call("DELETE", &format!("/api/v1/leases/{}", lease["id"].as_str().unwrap()), "");
    let (kind, data) = stream.next();
    assert_eq!((&*kind, &data["id"], &data["how"]), ("lease-ended", &lease["id"], &Value::from("released")));
}

#[test]
fn a_filtered_stream_tells_what_concerns_it_alone() {
    let server = server();
    server.limit("a", 1);
    server.limit("b", 1);
    let before = server.take("a");
    for query in ["?key=a", "?limit=a"] {
        let mut stream = Stream::open(&server, query);
        let other = server.take("b");
        let release = |lease: &Value| {
            server.call("DELETE", &format!("/api/v1/leases/{}", lease["id"].as_str().unwrap()), "")
        };
        release(&other);
        if query == "?key=a" {
            release(&before);
            let (kind, data) = stream.next();
            assert_eq!((&*kind, &data["id"]), ("lease-ended", &before["id"]));
        }
        let mine = server.take("a");
        assert_eq!(stream.next().1["id"], mine["id"]);
        release(&mine);
        let (kind, data) = stream.next();
        assert_eq!((&*kind, &data["id"]), ("lease-ended", &mine["id"]));
    }
}

#[test]
fn streams_end_when_the_server_stops() {
    let server = server();
    let mut stream = Stream::open(&server, "");
    server.stop();
    assert!(read_chunk(&mut stream.reader).is_none());
}
