//! 64 clients of three servers that are killed and paused, on a database that is restarted.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use admit_client::Claim;
use admit_testing::Postgres;

use crate::holders::{Holder, Holders, TTL};
use crate::support::wait_until;
use crate::{Cluster, set_limit};

const CLIENTS: usize = 64;
const HOT_MAX: usize = 10;
const COLD_KEYS: usize = 1_000;
/// Much longer than acquiring and releasing take, so that the holders would see one that is too many.
const HOT_HOLD: Duration = Duration::from_millis(150);
const COLD_HOLD: Duration = Duration::from_millis(5);
/// How many slots have to be held between two disturbances: the load goes on in between.
const HELD_BETWEEN: usize = 100;

#[test]
fn invariant_03_never_over_max_whatever_happens_to_servers_and_database() {
    let postgres = Postgres::start("");
    let mut cluster = Cluster::start(&postgres);
    let clients = cluster.clients();
    set_limit(&clients[0], "hot", u32::try_from(HOT_MAX).unwrap());
    let (holders, stop, held) = (Holders::default(), AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for first in 0..CLIENTS {
            let (holder, stop, held) = (Holder { clients: &clients, holders: &holders }, &stop, &held);
            scope.spawn(move || {
                let mut n = first;
                while !stop.load(Ordering::Relaxed) {
                    n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let some = n >> 33;
                    let key = format!("cold {}", some % COLD_KEYS);
                    let did = match some % 2 {
                        0 => holder.hold_once("hot", HOT_MAX, Claim::limit("hot", 1), HOT_HOLD, some),
                        _ => holder.hold_once(&key, 1, Claim::inline(&key, 1, 1), COLD_HOLD, some),
                    };
                    held.fetch_add(usize::from(did), Ordering::Relaxed);
                }
            });
        }
        let _stop = StopAtTheEnd(&stop);
        let goes_on = || {
            let before = held.load(Ordering::Relaxed);
            wait_until("slots are held again", || held.load(Ordering::Relaxed) >= before + HELD_BETWEEN);
        };
        goes_on();
        for n in 0..3 {
            cluster.kill_and_restart(n);
            goes_on();
        }
        cluster.pause(0);
        // The disturbance itself: longer than a lease lives.
        thread::sleep(TTL + TTL / 2);
        goes_on();
        cluster.wake(0);
        goes_on();
        for mode in ["fast", "immediate"] {
            postgres.stop(mode);
            postgres.start_again("");
            goes_on();
        }
        cluster.pause(1);
        postgres.stop("immediate");
        postgres.start_again("");
        cluster.kill_and_restart(2);
        goes_on();
        cluster.wake(1);
        goes_on();
    });
    for client in &clients {
        wait_until("every ticket and lease ends", || {
            let totals = client.status().unwrap().totals;
            totals["leases"] == 0 && totals["tickets"] == 0
        });
    }
}

/// A test that fails stops its clients, too.
struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
