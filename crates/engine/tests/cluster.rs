//! Nodes as processes of their own, killed and paused: never over max, counted by the holders themselves.
#![allow(clippy::unwrap_used, reason = "in a test it says what is wrong")]

mod support;

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use admit_engine::{Config, Engine, Error, Home, NodeInfo, PostgresConfig};
use admit_kernel::{Acquire, Claim, Command, Denial, End, Limit, Outcome, Part, Patience, Terms};
use admit_store::{PostgresStore, Record, Store};
use admit_testing::{Postgres, shared};
use pollster::block_on;
use support::{execute, until};
use uuid::Uuid;

const HOT_MAX: u32 = 10;
const COLD_KEYS: u64 = 1_000;
const CLIENTS: u64 = 21;
const TTL_MS: u64 = 2_000;
/// How much earlier than its holder counts a lease may end: nodes agree on the time within less.
const MARGIN_MS: u64 = 300;
/// How often a node is killed.
const KILLS: usize = 15;
/// How often the database crashes.
const CRASHES: usize = 4;

fn node_at(url: &str) -> Result<Engine, Error> {
    let database = PostgresConfig::parse(url).unwrap();
    Engine::open(Config::at(Home::Postgres(database)))
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// This very program, run as a node: a process that can be killed.
struct Node {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Node {
    fn start(role: &str, url: &str, folder: &Path) -> Node {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["a_process_of_its_own", "--exact", "--nocapture", "--quiet"])
            .env("ADMIT_TEST_ROLE", role)
            .env("ADMIT_TEST_URL", url)
            .env("ADMIT_TEST_FOLDER", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Node { child, input, output }
    }

    /// The next line that it says with this first word.
    fn says(&mut self, word: &str) -> String {
        for line in (&mut self.output).lines() {
            if let Some(rest) = line.unwrap().strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
        panic!("it ended without saying {word}");
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn signal(&self, name: &str) {
        let signal = format!("-{name}");
        assert!(
            Process::new("kill").args([&signal, &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    /// Ends it; what it said until then counts.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        for line in self.output.lines() {
            not_wrong(&line.unwrap());
        }
    }
}

/// A node's clients say so on a line of its own when they see what must not be.
fn wrong(what: &str) {
    println!("\nwrong: {what}");
}

fn not_wrong(line: &str) {
    assert!(!line.starts_with("wrong"), "{line}");
}

/// Not a test: what the tests below start.
#[test]
fn a_process_of_its_own() {
    let Ok(role) = std::env::var("ADMIT_TEST_ROLE") else { return };
    let url = std::env::var("ADMIT_TEST_URL").unwrap();
    let folder = PathBuf::from(std::env::var("ADMIT_TEST_FOLDER").unwrap());
    match role.as_str() {
        "clients" => run_clients(&url, &folder),
        "locker" => lock_and_wait(&url),
        other => panic!("{other}?"),
    }
}

/// One of the places that a key has, in files that only one can make: the holders' own count.
struct Place(PathBuf);

impl Place {
    /// Takes a place until the holder's own deadline. None: there are more holders than places.
    fn take(folder: &Path, key: &str, max: u32, deadline_ms: u64) -> Option<Place> {
        for place in 0..max {
            let path = folder.join(format!("{key}.{place}"));
            let own = folder.join(format!("own.{}", Uuid::new_v4()));
            std::fs::write(&own, deadline_ms.to_string()).unwrap();
            // Whoever was killed has no use for it once its time is over.
            let is_stale = std::fs::read_to_string(&path)
                .is_ok_and(|text| text.parse::<u64>().is_ok_and(|deadline_ms| deadline_ms < now_ms()));
            if is_stale {
                let _ = std::fs::remove_file(&path);
            }
            let is_taken = std::fs::hard_link(&own, &path).is_ok();
            std::fs::remove_file(&own).unwrap();
            if is_taken {
                return Some(Place(path));
            }
        }
        None
    }

    fn leave(self) {
        let _ = std::fs::remove_file(self.0);
    }
}

/// A node with clients that acquire, hold and release until it is told to stop; says what it did.
fn run_clients(url: &str, folder: &Path) {
    // A database that is too busy to answer in time refuses a start; it is repeated, as whatever runs servers does.
    let engine = loop {
        match node_at(url) {
            Ok(engine) => break engine,
            Err(Error::Store(admit_store::Error::Unavailable(_))) => {}
            Err(error) => panic!("{error}"),
        }
    };
    println!("\nready");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let done = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (engine, stop, done) = (&engine, &stop, &done);
            scope.spawn(move || {
                let mut n = client;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    if hold_once(engine, folder, n >> 33) {
                        done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    println!("did {}", done.into_inner());
}

/// Acquires, counts itself, holds a little, releases. True: it was granted.
fn hold_once(engine: &Engine, folder: &Path, n: u64) -> bool {
    let (claim, key, max) = if n.is_multiple_of(2) {
        (Claim::limit("hot", 1), "hot".to_owned(), HOT_MAX)
    } else {
        let key = format!("cold-{}", n % COLD_KEYS);
        (Claim::inline(key.as_str(), Terms::concurrent(1), 1), key, 1)
    };
    let id = Uuid::new_v4();
    let Some((token, until_ms)) = acquire(engine, id, claim) else { return false };
    // Granted at some moment before now: a holder that knows nothing better counts from then.
    let renewed_at_ms = now_ms();
    match block_on(engine.execute(Command::Renew { id, ttl_ms: None })) {
        Ok(Outcome::Renewed(renewed)) if renewed.token == token => {}
        // The node cannot know, or it waited too long for its answer: then it does not hold.
        Err(Error::Unavailable { .. }) => return false,
        Ok(Outcome::Denied(denial)) if is_expired(&denial) && now_ms() + MARGIN_MS >= until_ms => {
            return false;
        }
        other => {
            wrong(&format!("{key} was acknowledged and is lost: {other:?}"));
            return false;
        }
    }
    let until_ms = renewed_at_ms + TTL_MS;
    let Some(place) = Place::take(folder, &key, max, until_ms) else {
        wrong(&format!("{key} is held by more than {max}"));
        return false;
    };
    std::thread::sleep(Duration::from_millis(n % 8));
    place.leave();
    match block_on(engine.execute(Command::Release { id, part: Part::All, counts: true })) {
        Ok(Outcome::Released { changed: true }) | Err(Error::Unavailable { .. }) => {}
        Ok(Outcome::Released { changed: false }) if now_ms() + MARGIN_MS >= until_ms => {}
        other => wrong(&format!("{key} was held and is lost: {other:?}")),
    }
    true
}

/// Gives the token, and until when the lease lives at least. None: there was no slot in time, or the node cannot
/// know.
fn acquire(engine: &Engine, id: Uuid, claim: Claim) -> Option<(u64, u64)> {
    let acquire = Acquire {
        ttl_ms: Some(TTL_MS),
        patience: Patience::For { wait_ms: 1_500 },
        ..Acquire::new(id, vec![claim])
    };
    let asked_ms = now_ms();
    match block_on(engine.acquire(acquire, 0)) {
        Ok(Outcome::Granted(lease)) => {
            let until_ms = lease.expires_at.unwrap().0;
            Some((lease.token, until_ms.max(asked_ms + TTL_MS)))
        }
        // Its time is over for its caller; for its ticket it will be when the log's time comes that far.
        Err(Error::Unavailable { .. }) | Ok(Outcome::Waiting { .. }) => None,
        Ok(Outcome::Denied(denial)) if matches!(*denial, Denial::Ended { how: End::TimedOut, .. }) => None,
        other => {
            wrong(&format!("{id} asked for a slot and got {other:?}"));
            None
        }
    }
}

fn is_expired(denial: &Denial) -> bool {
    matches!(denial, Denial::Ended { how: End::Expired, .. })
}

/// Three nodes under load while something is done to them, again and again: nobody is over a max, nothing that was
/// acknowledged is lost, and every ticket and lease ends.
fn under_load(postgres: &Postgres, times: usize, mut disturb: impl FnMut(&mut Vec<Node>, &dyn Fn() -> Node)) {
    let folder = tempfile::tempdir().unwrap();
    let url = postgres.url(&postgres.new_schema());
    let watcher = node_at(&url).unwrap();
    let limit = Box::new(Limit::new("hot", Terms::concurrent(HOT_MAX)));
    execute(&watcher, Command::SetLimit { limit, if_revision: None });
    let start = || Node::start("clients", &url, folder.path());
    let mut nodes = vec![start(), start(), start()];
    nodes.iter_mut().for_each(|node| drop(node.says("ready")));
    // `ADMIT_CLUSTER_TIMES=10` does it all ten times as often.
    let factor = std::env::var("ADMIT_CLUSTER_TIMES").map_or(1, |times| times.parse().unwrap());
    for _ in 0..times * factor {
        disturb(&mut nodes, &start);
    }
    let mut done = 0;
    for node in &mut nodes {
        node.tell("stop");
        loop {
            let mut line = String::new();
            assert!(node.output.read_line(&mut line).unwrap() > 0, "a node died");
            not_wrong(&line);
            if let Some(did) = line.strip_prefix("did") {
                done += did.trim().parse::<u64>().unwrap();
                break;
            }
        }
        node.child.wait().unwrap();
    }
    assert!(done > 0);
    until("every ticket and lease ends", || {
        block_on(watcher.read(|state| state.totals())).is_ok_and(|all| all.leases == 0 && all.tickets == 0)
    });
}

#[test]
fn never_over_max_while_nodes_are_killed() {
    under_load(shared(), KILLS, |nodes, start| {
        std::thread::sleep(Duration::from_millis(700));
        nodes.remove(0).kill();
        nodes.push(start());
    });
}

#[test]
fn nothing_acknowledged_is_lost_while_the_database_crashes() {
    // The disk is slow, so that others see what is not on it yet; and what nobody waits for does not get there by chance.
    let options = "-c commit_delay=100000 -c commit_siblings=0 -c wal_writer_delay=10s";
    let postgres = Postgres::start(options);
    under_load(&postgres, CRASHES, |_, _| {
        std::thread::sleep(Duration::from_millis(1_500));
        postgres.stop("immediate");
        postgres.start_again(options);
    });
}

/// Takes the log's lock, then waits to be told to commit.
fn lock_and_wait(url: &str) {
    let info = NodeInfo {
        number: 77,
        name: "locker".into(),
        address: String::new(),
        version: String::new(),
        format: 1,
    };
    let mut store = PostgresStore::open(PostgresConfig::parse(url).unwrap(), info, &[]).unwrap();
    let head = store.head().unwrap();
    store.begin(&head).unwrap();
    println!("\nlocked");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let record = Record::after(&head, Uuid::from_u128(77), head.epoch, 1, head.time_ms + 1, None, vec![0]);
    let said = match store.commit(&record, &[]) {
        Ok(()) => "committed".to_owned(),
        Err(error) => format!("refused: {error}"),
    };
    println!("\nsaid {said}; the log ends at {}", store.head().unwrap().seq);
}

#[test]
fn a_paused_holder_of_the_log_stops_nobody_and_wakes_up_to_the_truth() {
    let (postgres, folder) = (shared(), tempfile::tempdir().unwrap());
    let url = postgres.url(&postgres.new_schema());
    let engine = node_at(&url).unwrap();
    let limit = || Box::new(Limit::new("hot", Terms::concurrent(HOT_MAX)));
    execute(&engine, Command::SetLimit { limit: limit(), if_revision: None });
    let mut paused = Node::start("locker", &url, folder.path());
    paused.says("locked");
    paused.signal("STOP");
    let started = Instant::now();
    until("the others go on", || {
        block_on(engine.execute(Command::SetLimit { limit: limit(), if_revision: None })).is_ok()
            && block_on(engine.execute(Command::Acquire(Box::new(Acquire::new(
                Uuid::new_v4(),
                vec![Claim::limit("hot", 1)],
            )))))
            .is_ok()
    });
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let seq = block_on(engine.stats()).unwrap().seq;
    paused.signal("CONT");
    paused.tell("commit");
    let said = paused.says("said");
    assert!(said.starts_with("refused"), "{said}");
    let end: u64 = said.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(end >= seq, "{said}");
    paused.child.wait().unwrap();
}
