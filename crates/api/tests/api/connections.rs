//! Many connections, slow ones, and the end.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use admit_http::Connections;

use crate::server::{Answer, Server, server};

/// Sends a request over a connection that stays open.
fn healthz(server: &Server, socket: &mut TcpStream) -> u16 {
    write!(socket, "GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", server.address).unwrap();
    Answer::read(&mut BufReader::new(socket)).status
}

#[test]
fn ten_thousand_idle_connections_leave_room_for_one_that_works() {
    let server = server();
    let open_files = open_files();
    // Both ends of every connection are files of this process.
    let many = usize::min(10_000, open_files.saturating_sub(500) / 2);
    let mut idle: Vec<TcpStream> = (0..many).map(|_| server.connect()).collect();
    let asked = Instant::now();
    assert_eq!(server.get("/healthz").status, 200);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?} beside {many} idle ones", asked.elapsed());
    let last = idle.last_mut().unwrap();
    assert_eq!(healthz(&server, last), 200);
}

#[test]
fn over_the_bound_the_one_that_was_idle_longest_makes_room() {
    const BOUND: usize = 8;
    let server = Server::start(|config| {
        config.max_connections = BOUND;
        config.workers = 1;
    });
    let mut sockets: Vec<TcpStream> = (0..BOUND).map(|_| server.connect()).collect();
    for socket in &mut sockets {
        assert_eq!(healthz(&server, socket), 200);
    }
    // The first one works again, so the second has been idle for longest.
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(healthz(&server, &mut sockets[0]), 200);
    let mut newest = server.connect();
    assert_eq!(healthz(&server, &mut newest), 200);
    assert_eq!(sockets[1].read(&mut [0; 8]).unwrap(), 0, "it was closed");
    assert_eq!(healthz(&server, &mut sockets[0]), 200);
    assert_eq!(healthz(&server, &mut sockets[2]), 200);
}

#[test]
fn over_the_bound_nobody_who_waits_is_closed() {
    let server = Server::start(|config| {
        config.max_connections = 2;
        config.workers = 1;
    });
    let mut slow: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    for socket in &mut slow {
        let head = format!("POST /api/v1/leases HTTP/1.1\r\nhost: {}\r\ncontent-length: 2", server.address);
        write!(socket, "{head}\r\nexpect: 100-continue\r\n\r\n").unwrap();
        // So the server waits for the body.
        assert_eq!(Answer::read_head(&mut BufReader::new(&*socket)).status, 100);
    }
    let mut third = server.connect();
    assert!(!matches!(third.read(&mut [0; 1]), Ok(1)), "there was no room for it");
    for mut socket in slow {
        socket.write_all(b"{}").unwrap();
        assert_eq!(Answer::read(&mut BufReader::new(socket)).status, 422);
    }
}

#[test]
fn a_head_that_never_ends_is_given_up() {
    let server = server();
    let mut socket = server.connect();
    let began = Instant::now();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: local").unwrap();
    assert_eq!(socket.read(&mut [0; 8]).unwrap(), 0);
    assert!(began.elapsed() >= admit_http::HEAD_TIMEOUT);
}

#[test]
fn stopping_ends_idle_connections_at_once_and_waits_for_others_a_little() {
    let server = server();
    server.limit("db", 1);
    server.take("db");
    let mut idle = server.connect();
    healthz(&server, &mut idle);
    let took = server.stop();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0);

    let server = self::server();
    server.limit("db", 1);
    server.take("db");
    let mut waiter = server.connect();
    let body = r#"{"claims":[{"limit":"db"}],"wait_ms":60000}"#;
    let head =
        format!("POST /api/v1/leases HTTP/1.1\r\nhost: {}\r\ncontent-length: {}", server.address, body.len());
    write!(waiter, "{head}\r\n\r\n{body}").unwrap();
    server.until("a waiter", |server| server.get("/api/v1/limits/db").json()["waiting"] == 1);
    let took = server.stop();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn connections_are_counted() {
    let mut counts = None;
    let server = server();
    let config =
        admit_http::ListenerConfig::new("other", "127.0.0.1:0".parse().unwrap(), admit_http::Access::Public);
    let listener = admit_http::Listener::bind(config).unwrap();
    let connections: Arc<Connections> = counts.insert(listener.connections()).clone();
    let address = listener.address();
    let shutdown = admit_http::Shutdown::new();
    let serving = listener.serve(axum::Router::new, &shutdown).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    server.until("one", |_| connections.open() == 1);
    drop(socket);
    server.until("none", |_| connections.open() == 0);
    assert_eq!(connections.accepted(), 1);
    shutdown.trigger();
    serving.join();
}

/// How many files this process may open; the listener has raised it as far as it goes.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}
