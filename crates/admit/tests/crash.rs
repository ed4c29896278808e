//! The real server, killed: what it acknowledged is there afterwards, and nothing else.

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use admit_client::{Acquire, Acquired, Claim, Client};
use support::Server;
use uuid::Uuid;

const KILLS: usize = 20;
const WORKERS: u64 = 8;
const MAX: u64 = 40;

/// What a worker was told, and what it could not be told.
#[derive(Default)]
struct Told {
    /// Acknowledged grants that it did not try to give back.
    held: HashSet<Uuid>,
    /// Acknowledged releases.
    released: HashSet<Uuid>,
    /// Requests whose answer never came.
    unknown: HashSet<Uuid>,
}

impl Told {
    /// Acquires and releases until the server is gone.
    fn by_working(client: &Client, seed: u64, stop: &AtomicBool) -> Told {
        let mut told = Told::default();
        for n in seed.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let mut request = Acquire::new(vec![Claim::limit("load", 1)]);
            (request.wait_ms, request.ttl_ms) = (20, Some(600_000));
            let id = request.id;
            match client.acquire(&request) {
                Ok(Acquired::Granted(_)) if n % 3 == 0 && told.held.len() < 4 => {
                    told.held.insert(id);
                }
                Ok(Acquired::Granted(_)) => match client.release(id) {
                    Ok(()) => {
                        told.released.insert(id);
                    }
                    Err(_) => {
                        told.unknown.insert(id);
                        break;
                    }
                },
                Err(error) if error.status() == Some(429) => {}
                Ok(Acquired::Waiting(_)) | Err(_) => {
                    told.unknown.insert(id);
                    break;
                }
            }
        }
        told
    }

    fn join(&mut self, other: Told) {
        self.held.extend(other.held);
        self.released.extend(other.released);
        self.unknown.extend(other.unknown);
    }
}

#[test]
fn invariant_13_what_was_acknowledged_survives_kills_under_load() {
    let mut server = Server::start();
    server.ok(&["limit", "set", "load", "--max", &MAX.to_string()]);
    for kill in 0..KILLS {
        let stop = AtomicBool::new(false);
        let mut told = Told::default();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|worker| {
                    let (client, stop) = (server.client(), &stop);
                    scope.spawn(move || Told::by_working(&client, worker, stop))
                })
                .collect();
            // Another moment of a commit each time.
            thread::sleep(Duration::from_millis(60 + 7 * kill as u64));
            support::signal(server.process.id(), libc::SIGKILL);
            stop.store(true, Ordering::Relaxed);
            workers.into_iter().for_each(|worker| told.join(worker.join().unwrap()));
        });
        assert!(!told.released.is_empty(), "kill {kill}: nothing went on before it");
        server = server.crash_and_restart();
        let client = server.client();
        let there: HashSet<Uuid> = client.leases(None).unwrap().iter().map(|lease| lease.id).collect();
        let lost: Vec<_> = told.held.difference(&there).collect();
        assert!(lost.is_empty(), "kill {kill}: acknowledged leases are gone: {lost:?}");
        let revived: Vec<_> = told.released.intersection(&there).collect();
        assert!(revived.is_empty(), "kill {kill}: acknowledged releases are undone: {revived:?}");
        let others: Vec<_> =
            there.iter().filter(|id| !told.held.contains(id) && !told.unknown.contains(id)).collect();
        assert!(others.is_empty(), "kill {kill}: leases that nobody asked for: {others:?}");
        assert_eq!(client.limit("load").unwrap().used, there.len() as u64);
        assert!(there.len() as u64 <= MAX, "kill {kill}: over the limit");
        there.iter().for_each(|id| client.release(*id).unwrap());
    }
}

#[test]
fn invariant_15_an_outage_longer_than_a_ttl_expires_nobody_who_comes_back() {
    let mut server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "3"]);
    let client = server.client();
    let take = |client: &Client, wait_ms| {
        let mut request = Acquire::new(vec![Claim::limit("db", 1)]);
        (request.ttl_ms, request.wait_ms) = (Some(2_000), wait_ms);
        client.acquire(&request).map(|acquired| match acquired {
            Acquired::Granted(lease) => lease.id,
            Acquired::Waiting(_) => panic!("a request that was not to be kept waits"),
        })
    };
    let [one, two, three] = [(); 3].map(|()| take(&client, 0).unwrap());

    server.stop(libc::SIGKILL);
    // The outage itself: longer than every time to live, and than what counts as one.
    thread::sleep(Duration::from_secs(6));
    let listen = server.url.trim_start_matches("http://").to_owned();
    let folder = std::mem::replace(&mut server.folder, tempfile::tempdir().unwrap());
    let server = Server::start_in(folder, &["--listen", &listen]);

    let client = server.client();
    let back = Instant::now();
    client.renew(one, None).expect("who comes back holds its slot still");
    client.renew(two, None).expect("who comes back holds its slot still");
    assert_eq!(take(&client, 0).unwrap_err().status(), Some(429), "nobody else gets in");
    thread::scope(|scope| {
        let newcomer = scope.spawn(|| take(&client, 30_000).map(|id| (id, back.elapsed())));
        while !newcomer.is_finished() {
            client.renew(one, None).unwrap();
            client.renew(two, None).unwrap();
            thread::sleep(Duration::from_millis(100));
        }
        let (_, after) = newcomer.join().unwrap().unwrap();
        assert!(after >= Duration::from_millis(1_000), "the grace was cut short: {after:?}");
    });
    let lost = client.renew(three, None).unwrap_err();
    assert_eq!(lost.status(), Some(410), "who did not come back was freed after the grace");
}
