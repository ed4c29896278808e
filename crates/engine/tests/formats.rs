//! Versions side by side: who knows an older format of the log lives beside who knows a newer one, until the log
//! itself goes on in the newer one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::path::Path;

use admit_engine::{Config, Engine, Error, Home, NodeInfo, PostgresConfig};
use admit_kernel::{Event, FORMAT, OLDEST_FORMAT, Snapshot as Plain, State};
use admit_store::{PostgresStore, Record, Store};
use admit_testing::{Postgres, Proxy, shared};
use pollster::block_on;
use support::*;

/// The format before the newest: what a node of the version before knows.
const OLD: u16 = FORMAT - 1;
const _: () = assert!(OLD >= OLDEST_FORMAT);

/// A schema that nodes of several versions share.
struct Shared {
    postgres: &'static Postgres,
    schema: String,
}

impl Shared {
    fn new() -> Shared {
        let postgres = shared();
        Shared { postgres, schema: postgres.new_schema() }
    }

    fn url(&self) -> String {
        self.postgres.url(&self.schema)
    }

    fn sql(&self, sql: &str) -> String {
        self.postgres.sql(&self.schema, sql)
    }

    /// The newest format of anything in the log, and what its head says.
    fn formats(&self) -> String {
        self.sql("SELECT (SELECT max(format) FROM log), format FROM log_head")
    }

    /// Waits until the node of this name has been there for long enough (10 s) to judge who else is, and has asked.
    fn until_it_could_have_risen(&self, name: &str, mut meanwhile: impl FnMut()) {
        let sql =
            format!("SELECT count(*) FROM nodes WHERE name = '{name}' AND seen_at - live_since > 12000");
        until("it has been there for long enough", || {
            meanwhile();
            self.sql(&sql) == "1"
        });
    }
}

fn node(url: &str, name: &str, format: u16) -> Result<Engine, Error> {
    let database = PostgresConfig::parse(url).unwrap();
    Engine::open(Config { name: name.into(), format, ..Config::at(Home::Postgres(database)) })
}

fn is_listed(engine: &Engine, name: &str) -> bool {
    let nodes = block_on(engine.nodes()).unwrap();
    nodes.iter().any(|node| node.info.name == name && node.is_live)
}

fn format_of(engine: &Engine) -> u16 {
    block_on(engine.stats()).unwrap().format
}

/// Both decide, and each sees what the other did.
fn take_turns(one: &Engine, other: &Engine, round: u128) {
    let (first, second) = (round * 10, round * 10 + 1);
    hold(one, first);
    assert!(is_held(other, first));
    execute(other, release(first));
    hold(other, second);
    assert!(is_held(one, second));
    execute(one, release(second));
}

fn assert_names_the_way_out(error: &Error) {
    let Error::Format { what, found, newest } = error else { panic!("{error}") };
    assert_eq!((*found, *newest), (FORMAT, OLD));
    assert!(what.starts_with("record ") || what.starts_with("the snapshot of record "), "{what}");
    assert!(error.to_string().contains("run the version here that the other nodes run"), "{error}");
}

#[test]
fn the_format_rises_without_a_restart_when_the_last_old_node_is_gone() {
    let shared = Shared::new();
    let old = node(&shared.url(), "old", OLD).unwrap();
    until("the old one is there", || is_listed(&old, "old"));
    let new = node(&shared.url(), "new", FORMAT).unwrap();
    execute(&new, set_limit("db", 1));
    let mut round = 1;
    shared.until_it_could_have_risen("new", || {
        take_turns(&old, &new, round);
        round += 1;
    });
    assert_eq!((format_of(&old), format_of(&new)), (OLD, OLD));
    assert_eq!(shared.formats(), format!("{OLD}|{OLD}"), "nothing that the old one does not know is written");

    hold(&old, 3);
    block_on(old.shutdown()).unwrap();
    until("the format rises", || format_of(&new) == FORMAT);
    assert_eq!(shared.formats(), format!("{FORMAT}|{FORMAT}"));
    assert!(is_held(&new, 3));

    assert_names_the_way_out(&node(&shared.url(), "old again", OLD).err().unwrap());
    execute(&new, release(3));
    let other = node(&shared.url(), "newer", FORMAT).unwrap();
    assert_eq!(format_of(&other), FORMAT);
    take_turns(&new, &other, 0);
}

#[test]
fn an_old_node_that_was_not_there_when_the_format_rose_stops_and_the_others_go_on() {
    let shared = Shared::new();
    let proxy = Proxy::start(shared.postgres.socket());
    let old = node(&shared.postgres.url_through(&proxy, &shared.schema), "old", OLD).unwrap();
    execute(&old, set_limit("db", 1));
    until("the old one is there", || is_listed(&old, "old"));
    let new = node(&shared.url(), "new", FORMAT).unwrap();
    proxy.close();
    until("the format rises", || format_of(&new) == FORMAT);
    assert!(!is_listed(&new, "old"));
    hold(&new, 1);

    proxy.open();
    assert_names_the_way_out(&block_on(old.stopped()).unwrap_err());
    // Whatever it is asked, it says nothing that may be wrong.
    assert!(block_on(old.execute(release(1))).is_err());
    assert!(block_on(old.read(|_| ())).is_err());
    assert!(is_held(&new, 1));
    let after = "SELECT count(*) FROM log a JOIN log b ON b.seq < a.seq AND b.format > a.format";
    assert_eq!(shared.sql(after), "0", "nothing of the old format follows");
}

#[test]
fn a_snapshot_of_a_new_node_is_read_by_an_old_one() {
    let shared = Shared::new();
    let old = node(&shared.url(), "old", OLD).unwrap();
    until("it is there", || is_listed(&old, "old"));
    let new = node(&shared.url(), "new", FORMAT).unwrap();
    execute(&new, set_limit("db", 1));
    hold(&new, 1);
    block_on(new.shutdown()).unwrap();
    assert_eq!(shared.sql("SELECT format FROM snapshots"), OLD.to_string());
    shared.sql("DELETE FROM log WHERE seq <= (SELECT max(seq) FROM snapshots)");
    let other = node(&shared.url(), "other", OLD).unwrap();
    assert!(is_held(&other, 1));
}

#[test]
fn a_kind_of_event_that_is_not_known_stops_a_node_and_names_the_record() {
    let shared = Shared::new();
    let engine = node(&shared.url(), "bewildered", OLD).unwrap();
    execute(&engine, set_limit("db", 1));
    let info = NodeInfo {
        number: 7,
        name: "another version".into(),
        address: String::new(),
        version: String::new(),
        format: OLD,
    };
    let mut store = PostgresStore::open(PostgresConfig::parse(&shared.url()).unwrap(), info, &[]).unwrap();
    let head = store.head().unwrap();
    store.begin(&head).unwrap();
    // One event, of kind 100.
    let record = Record::after(&head, id(7), head.epoch, OLD, head.time_ms, None, vec![1, 100]);
    store.commit(&record, &[]).unwrap();
    let error = block_on(engine.stopped()).unwrap_err();
    assert!(matches!(error, Error::Unknown { seq, format: OLD, .. } if seq == record.seq), "{error}");
    assert!(error.to_string().contains("run the version here that wrote it"), "{error}");
}

fn in_folder(folder: &Path, format: u16) -> Result<Engine, Error> {
    Engine::open(Config { format, ..Config::new(folder) })
}

#[test]
fn a_folder_goes_on_in_the_newest_format_and_not_back() {
    let folder = folder();
    let old = in_folder(folder.path(), OLD).unwrap();
    execute(&old, set_limit("db", 1));
    hold(&old, 1);
    assert_eq!(format_of(&old), OLD);
    drop(old);
    let new = in_folder(folder.path(), FORMAT).unwrap();
    until("the format rises", || format_of(&new) == FORMAT);
    assert!(is_held(&new, 1));
    drop(new);
    assert_names_the_way_out(&in_folder(folder.path(), OLD).err().unwrap());
    assert!(is_held(&in_folder(folder.path(), FORMAT).unwrap(), 1));
}

/// What was printed by `examples/corpus.rs` when the format was the newest; its files stay as they are.
const CORPUS: [&str; 2] = [include_str!("corpus/1.txt"), include_str!("corpus/2.txt")];
const _: () = assert!(CORPUS.len() == FORMAT as usize, "a new format brings a log of its own");

#[test]
fn a_log_of_every_format_is_read_as_ever() {
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    for (text, newest) in CORPUS.into_iter().zip(OLDEST_FORMAT..) {
        let (mut state, mut events) = (State::new(), 0);
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["record", format, payload] => {
                    let record: Vec<Event> = postcard::from_bytes(&bytes(payload)).unwrap();
                    state.replay(&record);
                    assert_eq!(format, state.format().to_string());
                    assert!(record.iter().all(|event| event.since_format() <= state.format()));
                    events += record.len();
                }
                ["snapshot", format, stored] => {
                    let mut plain: Plain = postcard::from_bytes(&bytes(stored)).unwrap();
                    plain.format = format.parse().unwrap();
                    assert!(State::restore(plain).snapshot() == state.snapshot(), "format {newest}");
                    let again = postcard::to_extend(&state.snapshot(), Vec::new()).unwrap();
                    assert_eq!(again, bytes(stored), "format {newest} is written as it was");
                }
                ["digest", digest] => assert_eq!(digest, format!("{:016x}", state.digest())),
                _ => panic!("{line}"),
            }
        }
        assert_eq!(state.format(), newest);
        assert!(events > 40, "{events} events");
        assert_eq!(state.problems(), [""; 0]);
    }
}
