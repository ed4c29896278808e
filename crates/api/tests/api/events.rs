//! `/api/v1/events`

use std::io::{BufReader, Write as _};
use std::net::TcpStream;

use admit_engine::{Value as Column, Write};
use admit_kernel::Outcome;
use serde_json::Value;

use crate::server::{Answer, Server, read_chunk, server};

/// An open stream of events.
struct Stream {
    reader: BufReader<TcpStream>,
    text: String,
}

impl Stream {
    fn open(server: &Server, query: &str) -> Stream {
        Stream::open_with(server, query, "")
    }

    /// A stream that goes on after the event of this id.
    fn open_after(server: &Server, query: &str, id: u64) -> Stream {
        Stream::open_with(server, query, &format!("last-event-id: {id}\r\n"))
    }

    fn open_with(server: &Server, query: &str, header: &str) -> Stream {
        let mut socket = server.connect();
        let host = server.address;
        write!(socket, "GET /api/v1/events{query} HTTP/1.1\r\nhost: {host}\r\n{header}\r\n").unwrap();
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

/// Makes a limit and says which record that was.
fn limit_made(stream: &mut Stream, server: &Server, name: &str) -> u64 {
    server.limit(name, 1);
    let (kind, data) = stream.next();
    assert_eq!((&*kind, &data["limit"]), ("limit-set", &Value::from(name)));
    data["seq"].as_u64().unwrap()
}

#[test]
fn who_comes_back_goes_on_from_where_it_was() {
    let server = server();
    let mut stream = Stream::open(&server, "");
    let seen = limit_made(&mut stream, &server, "first");
    drop(stream);
    // More than a page of what is read back.
    let names: Vec<String> = (0..70).map(|n| format!("missed {n}")).collect();
    names.iter().for_each(|name| server.limit(&name.replace(' ', "%20"), 1));
    let mut stream = Stream::open_after(&server, "", seen);
    let mut seqs = vec![seen];
    for name in &names {
        let (kind, data) = stream.next();
        assert_eq!((&*kind, &data["limit"]), ("limit-set", &Value::from(&**name)));
        seqs.push(data["seq"].as_u64().unwrap());
    }
    // And on to what happens now, without a gap or a word said twice.
    seqs.push(limit_made(&mut stream, &server, "last"));
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
    let mut again = Stream::open_after(&server, "", *seqs.last().unwrap());
    limit_made(&mut again, &server, "now");
}

#[test]
fn who_comes_back_to_a_filtered_stream_is_told_of_ends_that_it_may_wait_for() {
    let server = server();
    server.limit("a", 1);
    let mut stream = Stream::open(&server, "?key=a");
    let lease = server.take("a");
    let (kind, data) = stream.next();
    assert_eq!((&*kind, &data["id"]), ("granted", &lease["id"]));
    drop(stream);
    server.call("DELETE", &format!("/api/v1/leases/{}", lease["id"].as_str().unwrap()), "");
    server.limit("b", 1);
    let mut stream = Stream::open_after(&server, "?key=a", data["seq"].as_u64().unwrap());
    let (kind, data) = stream.next();
    assert_eq!((&*kind, &data["id"]), ("lease-ended", &lease["id"]));
    let lease = server.take("a");
    assert_eq!(stream.next().1["id"], lease["id"]);
}

#[test]
fn what_the_log_has_no_more_is_told_as_a_gap() {
    let server = server();
    let mut stream = Stream::open(&server, "");
    let seen = limit_made(&mut stream, &server, "seen");
    limit_made(&mut stream, &server, "gone");
    let kept = limit_made(&mut stream, &server, "kept");
    let forget = move |_: Option<&Outcome>, _| {
        vec![Write {
            sql: "DELETE FROM log WHERE seq < $1".into(),
            params: vec![Column::Int(kept.cast_signed())],
        }]
    };
    pollster::block_on(server.engine.execute_with(None, forget)).unwrap();
    let mut stream = Stream::open_after(&server, "", seen);
    let (kind, data) = stream.next();
    assert_eq!((&*kind, &data["missed_records"]), ("lagged", &Value::from(kept - seen - 1)));
    assert_eq!(stream.next().1["limit"], "kept");
    // The log of another server, or of before a backup was restored.
    let mut stream = Stream::open_after(&server, "", 1_000_000);
    let (kind, data) = stream.next();
    assert_eq!((&*kind, &data["missed_records"]), ("lagged", &Value::Null));
    limit_made(&mut stream, &server, "now");
    let wrong = server.call_with("GET", "/api/v1/events", &[("last-event-id", "x")], "");
    assert_eq!((wrong.status, &wrong.json()["field"]), (422, &Value::from("last-event-id")));
}

#[test]
fn streams_end_when_the_server_stops() {
    let server = server();
    let mut stream = Stream::open(&server, "");
    server.stop();
    assert!(read_chunk(&mut stream.reader).is_none());
}
