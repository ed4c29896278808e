//! Several servers of one log: which of them is asked, and what is never asked twice.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use admit_client::{Acquire, Client, Error};
use uuid::Uuid;

/// What a server does with every request.
#[derive(Debug, Clone, Copy)]
enum Does {
    /// Nobody listens.
    Nothing,
    /// It takes it and says nothing.
    Hang,
    /// It takes it and goes away.
    HangUp,
    /// It answers with this status and kind of problem.
    Say(u16, &'static str),
}

/// A server, and how often it was asked.
fn server(does: Does) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    if !matches!(does, Does::Nothing) {
        let asked = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for mut connection in listener.incoming().flatten() {
                read_request(&mut BufReader::new(&connection));
                asked.fetch_add(1, SeqCst);
                match does {
                    Does::Say(status, kind) => {
                        let body = format!("{{\"type\":\"/problems/{kind}\",\"detail\":\"{kind}\"}}");
                        let body = if kind.is_empty() { String::new() } else { body };
                        let length = body.len();
                        let head =
                            format!("HTTP/1.1 {status} -\r\ncontent-length: {length}\r\nconnection: close");
                        write!(connection, "{head}\r\n\r\n{body}").unwrap();
                    }
                    Does::Hang => open.push(connection),
                    Does::HangUp | Does::Nothing => {}
                }
            }
        });
    }
    (url, asked)
}

fn read_request(reader: &mut impl BufRead) {
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
}

/// How a call ends, as far as it matters here.
type Ask = fn(&Client) -> Option<Error>;

/// A release may be made twice. A request for a lease, too, but not while the first may yet be granted, and then be
/// given back as nobody listens. Of a token that is revoked twice, the second finds none.
#[test]
fn another_server_is_asked_where_nothing_can_have_come_of_it_or_twice_is_as_good_as_once() {
    let release: Ask = |client| client.release(Uuid::nil()).err();
    let acquire: Ask = |client| client.acquire(&Acquire::new(Vec::new())).err();
    let revoke: Ask = |client| client.revoke_token("ci").err();
    let check = |first: Does, goes_on: [bool; 3]| {
        for (goes_on, ask) in goes_on.into_iter().zip([release, acquire, revoke]) {
            let ((one, asked), (two, then_asked)) = (server(first), server(Does::Say(204, "")));
            let client = Client::new(&format!("{one},{two}"), None).unwrap();
            let error = ask(&client.with_timeout(Duration::from_secs(1)));
            assert_eq!(then_asked.load(SeqCst), usize::from(goes_on), "{first:?}: {error:?}");
            assert_eq!(asked.load(SeqCst), usize::from(!matches!(first, Does::Nothing)), "{first:?}");
        }
    };
    check(Does::Nothing, [true, true, true]);
    check(Does::Hang, [true, false, false]);
    check(Does::HangUp, [true, true, false]);
    check(Does::Say(503, "unavailable"), [true, true, false]);
    check(Does::Say(503, "stopping"), [true, true, false]);
    check(Does::Say(503, "overloaded"), [true, true, true]);
    check(Does::Say(504, ""), [true, false, false]);
    check(Does::Say(409, "name-taken"), [false, false, false]);
    check(Does::Say(500, "internal"), [false, false, false]);
}

#[test]
fn the_server_that_answered_is_asked_first_from_then_on_also_by_clones() {
    let ((one, asked), (two, then_asked)) = (server(Does::HangUp), server(Does::Say(204, "")));
    let client = Client::new(&format!("{one},{two}"), None).unwrap();
    let clone = client.with_timeout(Duration::from_secs(2));
    assert_eq!(client.url(), one);
    client.release(Uuid::nil()).unwrap();
    clone.release(Uuid::nil()).unwrap();
    assert_eq!((asked.load(SeqCst), then_asked.load(SeqCst)), (1, 2));
    assert_eq!(clone.url(), two);
}

#[test]
fn where_none_answers_each_is_asked_once_and_all_are_named() {
    let ((one, _), (two, asked)) = (server(Does::Nothing), server(Does::HangUp));
    let client = Client::new(&format!("{one},{two}"), None).unwrap();
    let error = client.release(Uuid::nil()).unwrap_err();
    assert!(error.is_away());
    let said = error.to_string();
    assert!(
        said.starts_with(&format!("no answer from {one}: connection refused; nor from {two}: ")),
        "{said}"
    );
    assert_eq!(asked.load(SeqCst), 1);
}

#[test]
fn a_server_that_says_why_it_cannot_is_heard_where_none_can() {
    let (one, _) = server(Does::Say(503, "unavailable"));
    let (two, _) = server(Does::Nothing);
    for urls in [format!("{one},{two}"), format!("{two},{one}")] {
        let error = Client::new(&urls, None).unwrap().release(Uuid::nil()).unwrap_err();
        assert_eq!(error.status(), Some(503), "{error}");
    }
}

#[test]
fn a_server_that_is_away_is_told_from_one_that_refuses() {
    let (url, _) = server(Does::Nothing);
    let error = Client::new(&url, None).unwrap().release(Uuid::nil()).unwrap_err();
    assert!(matches!(&error, Error::Unreachable { reason, .. } if reason == "connection refused"), "{error}");
    assert!(error.is_away());
}
