//! Who waits keeps its place when the server that it asked dies: the next one finds it in the log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use admit_testing::shared;
use serde_json::Value;

use crate::client::{Admit, command};
use crate::support::{PATIENCE, Running};

const LEASE: &str = "increment-with-lease";

/// A request that was sent.
pub struct Asked(TcpStream);

impl Asked {
    /// Sends a request of one of these holders, or of nobody who says so, and does not wait for the answer.
    fn slot(api: &str, holder: Option<u32>) -> Asked {
        let holder = holder.map_or(
            Value::Null,
            |n| serde_json::json!({ "type": "task_run", "id": format!("00000000-0000-4000-8000-{n:012}") }),
        );
        Asked::send(api, LEASE, &serde_json::json!({ "names": ["one"], "slots": 1, "holder": holder }))
    }

    pub fn send(api: &str, call: &str, body: &Value) -> Asked {
        let (host, root) = api.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = body.to_string();
        let head = format!(
            "POST /{root}/v2/concurrency_limits/{call} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        Asked(stream)
    }

    /// Its status and body; none: the server is gone.
    fn answer(mut self) -> Option<(u16, Value)> {
        let mut answer = String::new();
        // A server that is killed may reset its connections.
        let _ = self.0.read_to_string(&mut answer);
        let status = answer.split_whitespace().nth(1)?.parse().unwrap();
        let body = answer.split_once("\r\n\r\n")?.1;
        Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }

    /// Its lease.
    #[track_caller]
    pub fn lease(self) -> Value {
        let (status, body) = self.answer().expect("an answer");
        assert_eq!(status, 200, "{body}");
        body["lease_id"].clone()
    }
}

#[track_caller]
fn release(api: &str, lease: &Value) {
    let body = serde_json::json!({ "lease_id": lease });
    assert_eq!(Asked::send(api, "decrement-with-lease", &body).answer().unwrap().0, 204);
}

/// One holds the slot, and these wait for it in this order.
fn line(admit: &Admit, holders: &[Option<u32>]) -> (Value, Vec<Asked>) {
    admit.server.ok(&["limit", "set", "one", "--max", "1"]);
    let first = Asked::slot(&admit.api, Some(0)).lease();
    let mut asked = Vec::new();
    for (n, holder) in (1..).zip(holders) {
        asked.push(Asked::slot(&admit.api, *holder));
        admit.server.wait_for("one", 1, n);
    }
    (first, asked)
}

/// The first of those who hold and wait gives its slot back, and so on: all get it in their order.
#[track_caller]
fn goes_in_order(api: &str, first: Value, order: Vec<Asked>) {
    let last = order.into_iter().fold(first, |lease, next| {
        release(api, &lease);
        next.lease()
    });
    release(api, &last);
}

#[test]
fn a_killed_server_s_line_goes_on_in_its_order() {
    let admit = Admit::start(&[]);
    let (first, asked) = line(&admit, &[Some(1), Some(2), Some(9), Some(3)]);
    let admit = admit.restart(libc::SIGKILL);
    assert!(asked.into_iter().all(|asked| asked.answer().is_none()), "nobody was answered");
    // They come back the other way round, and one of them does not.
    let mut back: Vec<Asked> =
        [3, 2, 1].map(|holder| Asked::slot(&admit.api, Some(holder))).into_iter().collect();
    back.reverse();
    // The one that did not come back has no place any more.
    admit.server.wait_for("one", 1, 3);
    goes_in_order(&admit.api, first, back);
    admit.server.wait_for("one", 0, 0);
}

#[test]
fn a_slot_that_came_while_the_server_was_away_is_kept_for_who_comes_back_soon() {
    let admit = Admit::start(&[]);
    let (first, _asked) = line(&admit, &[Some(1), Some(2)]);
    let admit = admit.restart(libc::SIGKILL);
    release(&admit.api, &first);
    admit.server.wait_for("one", 1, 1);
    let second = Asked::slot(&admit.api, Some(2));
    let lease = Asked::slot(&admit.api, Some(1)).lease();
    goes_in_order(&admit.api, lease, vec![second]);
    admit.server.wait_for("one", 0, 0);
}

#[test]
fn a_server_that_is_stopped_in_order_loses_no_place_either() {
    let admit = Admit::start(&[]);
    let (first, asked) = line(&admit, &[Some(1), Some(2)]);
    let admit = admit.restart(libc::SIGTERM);
    for asked in asked {
        let (status, _) = asked.answer().expect("who waits is told");
        assert_eq!(status, 503, "the client asks again by itself");
    }
    let mut back: Vec<Asked> =
        [2, 1].map(|holder| Asked::slot(&admit.api, Some(holder))).into_iter().collect();
    back.reverse();
    admit.server.wait_for("one", 1, 2);
    goes_in_order(&admit.api, first, back);
}

#[test]
fn who_does_not_say_who_it_is_takes_the_place_of_one_who_did_not() {
    let admit = Admit::start(&[]);
    let (first, _asked) = line(&admit, &[None, Some(2)]);
    let admit = admit.restart(libc::SIGKILL);
    let newcomer = Asked::slot(&admit.api, Some(3));
    admit.server.wait_for("one", 1, 1);
    let second = Asked::slot(&admit.api, Some(2));
    admit.server.wait_for("one", 1, 2);
    let nobody = Asked::slot(&admit.api, None);
    admit.server.wait_for("one", 1, 3);
    goes_in_order(&admit.api, first, vec![nobody, second, newcomer]);
    admit.server.wait_for("one", 0, 0);
}

#[test]
fn those_who_do_not_come_back_keep_no_slot_from_those_who_do() {
    for (signal, named) in [(libc::SIGKILL, true), (libc::SIGTERM, false)] {
        let holder = |n| named.then_some(n);
        let admit = Admit::start(&[]);
        let (first, _asked) = line(&admit, &[1, 2, 3, 4, 5, 6].map(holder));
        let admit = admit.restart(signal);
        release(&admit.api, &first);
        let begun = Instant::now();
        let newcomer = Asked::slot(&admit.api, Some(7));
        release(&admit.api, &newcomer.lease());
        let waited = begun.elapsed();
        // Each of the six would keep it for five seconds.
        assert!(waited < Duration::from_secs(5), "{waited:?} with {signal}");
        admit.server.wait_for("one", 0, 0);
    }
}

#[test]
fn who_comes_back_after_the_line_was_cleared_still_goes_first() {
    let admit = Admit::start(&[]);
    let (first, _asked) = line(&admit, &[Some(1), Some(2)]);
    let admit = admit.restart(libc::SIGKILL);
    let newcomer = Asked::slot(&admit.api, Some(3));
    // Both places were behind the one who holds, and are taken out of line.
    admit.server.wait_for("one", 1, 1);
    let second = Asked::slot(&admit.api, Some(2));
    admit.server.wait_for("one", 1, 2);
    let early = Asked::slot(&admit.api, Some(1));
    admit.server.wait_for("one", 1, 3);
    goes_in_order(&admit.api, first, vec![early, second, newcomer]);
}

#[test]
fn prefect_s_client_waits_through_a_crash() {
    let admit = Admit::start(&[]);
    let (first, _) = line(&admit, &[]);
    let home = tempfile::tempdir().unwrap();
    let client = Running::start(&mut command(&home, &admit.api, "hold.py", &["one"]));
    admit.server.wait_for("one", 1, 1);
    let admit = admit.restart(libc::SIGKILL);
    release(&admit.api, &first);
    let (code, errors) = client.end();
    assert_eq!(code, Some(0), "{errors}");
    admit.server.wait_for("one", 0, 0);
}

#[test]
fn another_node_takes_the_line_of_one_that_dies_up() {
    let postgres = shared();
    let url = postgres.url(&postgres.new_schema());
    let [mut one, other] = [(); 2].map(|()| Admit::start(&["--database", &url]));
    let (first, asked) = line(&one, &[Some(1), Some(2), Some(3)]);
    one.server.stop(libc::SIGKILL);
    drop(asked);
    let mut back: Vec<Asked> =
        [3, 2, 1].map(|holder| Asked::slot(&other.api, Some(holder))).into_iter().collect();
    back.reverse();
    goes_in_order(&other.api, first, back);
    other.server.wait_for("one", 0, 0);
}

#[test]
fn a_poll_that_reaches_another_node_takes_its_place_up_there() {
    let postgres = shared();
    let url = postgres.url(&postgres.new_schema());
    let one = Admit::start(&["--database", &url, "--prefect-hold", "500ms"]);
    let other = Admit::start(&["--database", &url]);
    let (first, asked) = line(&one, &[Some(1)]);
    for asked in asked {
        assert_eq!(asked.answer().unwrap().0, 423);
    }
    let late = Asked::slot(&other.api, Some(2));
    other.server.wait_for("one", 1, 2);
    let early = Asked::slot(&other.api, Some(1));
    goes_in_order(&other.api, first, vec![early, late]);
    other.server.wait_for("one", 0, 0);
}

#[test]
fn a_node_that_dies_leaves_a_line_that_goes_on() {
    let postgres = shared();
    let url = postgres.url(&postgres.new_schema());
    let [mut one, other] = [(); 2].map(|()| Admit::start(&["--database", &url]));
    let (first, asked) = line(&one, &[None; 8]);
    one.server.stop(libc::SIGKILL);
    drop(asked);
    release(&other.api, &first);
    let begun = Instant::now();
    release(&other.api, &Asked::slot(&other.api, None).lease());
    let waited = begun.elapsed();
    // Each of the eight would keep it for five seconds; that the node is gone is known after as many, once.
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    other.server.wait_for("one", 0, 0);
}
