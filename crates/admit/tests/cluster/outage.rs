//! The database is away for longer than every time to live.

use std::thread;
use std::time::{Duration, Instant};

use admit_testing::Postgres;

use crate::{Cluster, insist, set_limit, take};

const TTL_MS: u64 = 3_000;
/// Longer than every time to live, and than a silence that counts as an outage.
const OUTAGE: Duration = Duration::from_secs(6);

#[test]
fn invariant_15_an_outage_of_the_database_expires_nobody_who_comes_back_through_any_server() {
    let postgres = Postgres::start("");
    let cluster = Cluster::start(&postgres);
    let clients = cluster.clients();
    set_limit(&clients[0], "db", 4);
    let [first, second, third, lost] = [0, 1, 2, 0].map(|n| take(&clients[n], "db", TTL_MS, 0).unwrap().id);
    postgres.stop("immediate");
    let away = Instant::now();
    for client in &clients {
        // Every call says so, and none shows a state that may be old.
        for status in [
            client.renew(first, None).unwrap_err().status(),
            client.lease(first).unwrap_err().status(),
            take(client, "db", TTL_MS, 0).unwrap_err().status(),
            client.nodes().unwrap_err().status(),
        ] {
            assert_eq!(status, Some(503));
        }
    }
    thread::sleep(OUTAGE.saturating_sub(away.elapsed()));
    let back = Instant::now();
    postgres.start_again("");

    // Each through another server than the one that it came through, as soon as that one can be asked again.
    let renew_through = |n: usize, id| {
        insist(|| clients[n].renew(id, None)).expect("who comes back holds its slot still");
    };
    renew_through(1, first);
    renew_through(2, second);
    renew_through(0, third);
    assert_eq!(take(&clients[0], "db", TTL_MS, 0).unwrap_err().status(), Some(429), "nobody else gets in");
    thread::scope(|scope| {
        let newcomer = scope.spawn(|| take(&clients[0], "db", TTL_MS, 30_000));
        while !newcomer.is_finished() {
            for id in [first, second, third] {
                clients[2].renew(id, None).unwrap();
            }
            thread::sleep(Duration::from_millis(100));
        }
        newcomer.join().unwrap().expect("who did not come back is freed");
    });
    let grace = back.elapsed();
    assert!(grace >= Duration::from_millis(TTL_MS - 100), "the grace was cut short: {grace:?}");
    assert_eq!(clients[1].renew(lost, None).unwrap_err().status(), Some(410));
}
