//! A server that is paused: the others go on, and what it says when it wakes is true.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use admit_client::{Acquire, Acquired, Claim, Client, OnTimeout};
use admit_testing::shared;
use uuid::Uuid;

use crate::support::wait_until;
use crate::{Cluster, insist, request, set_limit, take};

/// Longer than any wait in these tests: it is not this that ends.
const LONG_MS: u64 = 600_000;

#[test]
fn a_server_that_slept_for_longer_than_a_lease_wakes_up_to_the_truth() {
    let cluster = Cluster::start(shared());
    let [paused, one, two] = cluster.clients();
    set_limit(&one, "pair", 2);
    set_limit(&one, "single", 1);
    set_limit(&one, "other", 1);
    let ended = take(&paused, "pair", 1_500, 0).unwrap();
    let renewed = take(&paused, "pair", 1_500, 0).unwrap();
    let first = take(&two, "single", LONG_MS, 0).unwrap();
    let second = take(&two, "other", LONG_MS, 0).unwrap();
    let kept = Acquire { on_timeout: OnTimeout::Keep, ..request("single", LONG_MS, 0) };
    assert!(matches!(paused.acquire(&kept), Ok(Acquired::Waiting(_))));

    thread::scope(|scope| {
        let waiter = scope.spawn(|| take(&paused, "other", LONG_MS, 60_000));
        wait_until("it waits", || one.limit("other").unwrap().waiting == 1);
        cluster.pause(0);
        // What arrives while it sleeps is answered when it wakes.
        let asked = scope.spawn(|| {
            let renewal = insist(|| paused.renew(ended.id, None));
            (renewal, insist(|| paused.lease(ended.id)))
        });
        let also_asked = scope.spawn(|| {
            let renewal = insist(|| paused.renew(renewed.id, None));
            (renewal, insist(|| take(&paused, "pair", LONG_MS, 0)))
        });
        one.release(first.id).unwrap();
        two.release(second.id).unwrap();
        // Somebody else takes the slot of the lease that nobody renews, as soon as it is over.
        let newcomer = scope.spawn(|| take(&two, "pair", LONG_MS, 60_000));
        while !newcomer.is_finished() {
            one.renew(renewed.id, None).expect("a lease is alive that is renewed through another server");
            thread::sleep(Duration::from_millis(100));
        }
        let newcomer = newcomer.join().unwrap().unwrap();
        one.renew(renewed.id, Some(LONG_MS)).unwrap();
        cluster.wake(0);

        let (renewal, look) = asked.join().unwrap();
        assert_eq!(renewal.unwrap_err().status(), Some(410), "it was over while the server slept");
        assert_eq!(look.unwrap_err().status(), Some(410));
        let (renewal, another) = also_asked.join().unwrap();
        renewal.expect("it is alive");
        assert_eq!(another.unwrap_err().status(), Some(429), "both slots are held");
        assert_eq!(waiter.join().unwrap().expect("it was granted while the server slept").claims[0].slots, 1);
        let ticket = insist(|| paused.ticket(kept.id, 0)).unwrap();
        assert_eq!((&*ticket.state, ticket.lease.map(|lease| lease.id)), ("granted", Some(kept.id)));
        let held: Vec<_> = paused.leases(Some("pair")).unwrap().iter().map(|lease| lease.id).collect();
        assert!(held.len() == 2 && held.contains(&renewed.id) && held.contains(&newcomer.id), "{held:?}");
    });
}

/// Requests through a server until it sleeps with the log's lock; what they are told when it wakes.
fn told_by_a_sleeper(
    cluster: &Cluster<'_>,
    client: &Client,
    while_asleep: impl FnOnce(),
) -> Vec<(Uuid, bool)> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|n| {
                let stop = &stop;
                scope.spawn(move || {
                    let claim = Claim::inline(&format!("key {n}"), 1_000_000, 1);
                    let mut told = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let claims = vec![claim.clone()];
                        let request = Acquire { ttl_ms: Some(LONG_MS), ..Acquire::new(claims) };
                        told.push((request.id, client.acquire(&request).is_ok()));
                    }
                    told
                })
            })
            .collect();
        wait_until("it sleeps with the lock", || {
            cluster.pause(0);
            // What it has sent is done by then; what is open still waits for it.
            thread::sleep(Duration::from_millis(20));
            let has_lock = cluster.is_in_a_transaction(0);
            if !has_lock {
                cluster.wake(0);
                thread::sleep(Duration::from_millis(5));
            }
            has_lock
        });
        while_asleep();
        stop.store(true, Ordering::Relaxed);
        cluster.wake(0);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn a_server_that_sleeps_with_the_lock_stops_nobody_for_long_and_says_what_became_of_it() {
    let cluster = Cluster::start(shared());
    let [paused, one, two] = cluster.clients();
    set_limit(&one, "db", 1);
    let held = take(&paused, "db", 1_000, 0).unwrap();
    let told = told_by_a_sleeper(&cluster, &paused, || {
        let begun = Instant::now();
        let next = take(&one, "db", LONG_MS, 60_000).expect("the others go on, and nobody is refused");
        assert!(next.token > held.token);
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        two.renew(next.id, None).unwrap();
    });
    assert_eq!(insist(|| paused.renew(held.id, None)).unwrap_err().status(), Some(410));
    let there: HashSet<Uuid> = two.leases(None).unwrap().iter().map(|lease| lease.id).collect();
    let lost = told.iter().filter(|(id, granted)| *granted && !there.contains(id)).count();
    assert_eq!(lost, 0, "of what was acknowledged");
    assert!(told.iter().any(|(_, granted)| *granted));
}
