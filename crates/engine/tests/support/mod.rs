//! What the engine's tests share: engines in temporary folders, a store that fails on command, short ways
//! to say commands.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "in a test it says what is wrong")]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use admit_engine::{
    Batch, Bounds, Clock, Config, Core, Engine, Error, Home, Migration, NodeInfo, Op, Options,
    PostgresConfig, SystemClock,
};
use admit_kernel::{Acquire, Claim, Command, Lease, Limit, Outcome, Part, Patience, State, Terms};
use admit_store::{
    Begin, Durability, Error as StoreError, Head, Keep, Load, PostgresStore, Reader, Record, Snapshot,
    SqliteStore, Store, Wake, Write,
};
use admit_testing::shared;
use pollster::block_on;
use tempfile::TempDir;
use uuid::Uuid;

pub fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Whether this program runs its tests on PostgreSQL: its name says so.
fn on_postgres() -> bool {
    env!("CARGO_CRATE_NAME") == "postgres"
}

/// The database that stands for a folder: a schema of its own.
fn database(folder: &TempDir) -> PostgresConfig {
    PostgresConfig::parse(&shared().url_of(folder.path())).unwrap()
}

/// Runs statements behind the engine's back.
pub fn tamper(folder: &TempDir, sql: &str) {
    if on_postgres() {
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        shared().sql(name, &sql.replace("BLOB", "BYTEA"));
    } else {
        rusqlite::Connection::open(folder.path().join("admit.db")).unwrap().execute_batch(sql).unwrap();
    }
}

/// Where the log of this folder is.
pub fn home(folder: &TempDir) -> Home {
    if on_postgres() { Home::Postgres(database(folder)) } else { Home::Folder(folder.path().to_owned()) }
}

pub fn open(folder: &TempDir) -> Engine {
    Engine::open(Config::at(home(folder))).unwrap()
}

pub fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// A request for one slot of `db`.
pub fn request(n: u128, patience: Patience) -> Acquire {
    Acquire { patience, ..Acquire::new(id(n), vec![Claim::limit("db", 1)]) }
}

pub fn release(n: u128) -> Command {
    Command::Release { id: id(n), part: Part::All, counts: true }
}

pub fn set_limit(name: &str, max: u32) -> Command {
    Command::SetLimit { limit: Box::new(Limit::new(name, Terms::concurrent(max))), if_revision: None }
}

/// An engine with the limit `db`.
pub fn open_with_db(folder: &TempDir, max: u32) -> Engine {
    let engine = open(folder);
    execute(&engine, set_limit("db", max));
    engine
}

pub fn execute(engine: &Engine, command: Command) -> Outcome {
    block_on(engine.execute(command)).unwrap()
}

pub fn try_acquire(engine: &Engine, n: u128) -> Outcome {
    block_on(engine.acquire(request(n, Patience::None), 0)).unwrap()
}

/// Acquires one of the free slots of `db`.
pub fn hold(engine: &Engine, n: u128) -> Lease {
    match try_acquire(engine, n) {
        Outcome::Granted(lease) => *lease,
        other => panic!("{n} should have been granted: {other:?}"),
    }
}

pub fn is_held(engine: &Engine, n: u128) -> bool {
    block_on(engine.read(move |state| state.lease(id(n)).is_some())).unwrap()
}

pub fn is_waiting(engine: &Engine, n: u128) -> bool {
    block_on(engine.read(move |state| state.ticket(id(n)).is_some())).unwrap()
}

/// What tells states apart that differ in leases, tickets or limits.
pub fn digest(engine: &Engine) -> u64 {
    block_on(engine.read(State::digest)).unwrap()
}

/// Polls a future once; it must not be ready yet.
pub fn start<F: Future>(future: &mut Pin<Box<F>>)
where
    F::Output: std::fmt::Debug,
{
    let poll = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_pending(), "{poll:?}");
}

/// Polls a future once.
pub fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What goes wrong with a [`FailingStore`], and when.
#[derive(Default)]
pub struct Faults {
    /// The database may grow to so many bytes; 0: as it likes.
    pub max_bytes: AtomicU64,
    /// The next commit succeeds, but its answer is lost.
    pub lose_answer: AtomicBool,
    /// The next commit is lost, and so is its answer.
    pub lose_commit: AtomicBool,
    /// Nothing can be begun.
    pub away: AtomicBool,
    /// The next sync fails.
    pub fail_sync: AtomicBool,
    /// Commits wait while somebody holds this.
    pub gate: Mutex<()>,
    /// Commits that wait for it.
    pub at_gate: AtomicU64,
    /// Records committed.
    pub commits: AtomicU64,
    /// Times that the state was read back.
    pub recoveries: AtomicU64,
    /// Readings of the state that come just before others take the snapshots that are there, and truncate.
    pub early_recoveries: AtomicU64,
    /// Probes for room.
    pub probes: AtomicU64,
}

impl Faults {
    fn takes(flag: &AtomicBool) -> bool {
        flag.swap(false, Ordering::SeqCst)
    }
}

/// A real store, with faults.
pub struct FailingStore {
    inner: Inner,
    faults: Arc<Faults>,
}

enum Inner {
    Sqlite(SqliteStore),
    Postgres(Box<PostgresStore>),
}

impl std::ops::Deref for Inner {
    type Target = dyn Store;

    fn deref(&self) -> &(dyn Store + 'static) {
        match self {
            Inner::Sqlite(store) => store,
            Inner::Postgres(store) => &**store,
        }
    }
}

impl std::ops::DerefMut for Inner {
    fn deref_mut(&mut self) -> &mut (dyn Store + 'static) {
        match self {
            Inner::Sqlite(store) => store,
            Inner::Postgres(store) => &mut **store,
        }
    }
}

impl FailingStore {
    pub fn open(folder: &TempDir, migrations: &[Migration]) -> (FailingStore, Arc<Faults>) {
        let inner = if on_postgres() {
            let info = NodeInfo {
                number: 1,
                name: "node".into(),
                address: String::new(),
                version: String::new(),
                format: 1,
            };
            Inner::Postgres(Box::new(PostgresStore::open(database(folder), info, migrations).unwrap()))
        } else {
            Inner::Sqlite(SqliteStore::open(folder.path(), Durability::Normal, migrations).unwrap())
        };
        let faults = Arc::<Faults>::default();
        (FailingStore { inner, faults: Arc::clone(&faults) }, faults)
    }

    /// SQLite is really full; what PostgreSQL says then is said for it.
    fn limit(&mut self) -> Result<(), StoreError> {
        let max_bytes = self.faults.max_bytes.load(Ordering::SeqCst);
        match &mut self.inner {
            Inner::Sqlite(store) => store.set_max_bytes((max_bytes > 0).then_some(max_bytes)),
            Inner::Postgres(_) if max_bytes > 0 => Err(StoreError::Full("no space left on device".into())),
            Inner::Postgres(_) => Ok(()),
        }
    }
}

/// An engine on a store that fails on command, with the limit `db`.
pub fn open_failing(folder: &TempDir, migrations: &[Migration], bounds: Bounds) -> (Engine, Arc<Faults>) {
    let (store, faults) = FailingStore::open(folder, migrations);
    let engine = Engine::start(store, SystemClock::default(), Options::new(1), bounds).unwrap();
    execute(&engine, set_limit("db", 1));
    (engine, faults)
}

impl Store for FailingStore {
    fn head(&mut self) -> Result<Head, StoreError> {
        self.inner.head()
    }
    fn is_copy(&mut self) -> Result<bool, StoreError> {
        self.inner.is_copy()
    }
    fn latest_snapshot(&mut self) -> Result<Option<Snapshot>, StoreError> {
        self.faults.recoveries.fetch_add(1, Ordering::SeqCst);
        let one_less = |left: u64| left.checked_sub(1);
        let early = &self.faults.early_recoveries;
        if early.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Ok(None);
        }
        self.inner.latest_snapshot()
    }
    fn records_after(&mut self, seq: u64, max_bytes: usize) -> Result<Vec<Record>, StoreError> {
        self.inner.records_after(seq, max_bytes)
    }
    fn begin(&mut self, applied: &Head) -> Result<Begin, StoreError> {
        if self.faults.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("away".into()));
        }
        self.limit()?;
        self.inner.begin(applied)
    }
    fn commit(&mut self, record: &Record, writes: &[Write]) -> Result<(), StoreError> {
        self.faults.at_gate.fetch_add(1, Ordering::SeqCst);
        drop(self.faults.gate.lock().unwrap());
        self.faults.at_gate.fetch_sub(1, Ordering::SeqCst);
        if Faults::takes(&self.faults.fail_sync) {
            return Err(StoreError::Fatal("the sync failed".into()));
        }
        if Faults::takes(&self.faults.lose_commit) {
            return Err(StoreError::Unknown("the connection broke".into()));
        }
        self.inner.commit(record, writes)?;
        self.faults.commits.fetch_add(1, Ordering::SeqCst);
        if Faults::takes(&self.faults.lose_answer) {
            return Err(StoreError::Unknown("the connection broke".into()));
        }
        Ok(())
    }
    fn commit_nothing(&mut self) -> Result<(), StoreError> {
        self.inner.commit_nothing()
    }
    fn rollback(&mut self) {
        self.inner.rollback();
    }
    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.inner.save_snapshot(snapshot)
    }
    fn truncate(&mut self, keep: Keep, now_ms: u64) -> Result<bool, StoreError> {
        self.inner.truncate(keep, now_ms)
    }
    fn maintain(&mut self) -> Result<(), StoreError> {
        self.inner.maintain()
    }
    fn probe(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.faults.probes.fetch_add(1, Ordering::SeqCst);
        self.limit()?;
        self.inner.probe(bytes)
    }
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        self.inner.reader()
    }
    fn missed(&mut self, applied: &Head) -> Result<Vec<Record>, StoreError> {
        self.inner.missed(applied)
    }
    fn watch(&mut self, wake: Wake) -> Result<Option<Duration>, StoreError> {
        self.inner.watch(wake)
    }
    fn announce(&mut self) {
        self.inner.announce();
    }
    fn common_format(&mut self) -> Result<Option<u16>, StoreError> {
        self.inner.common_format()
    }
    fn note_load(&mut self, load: Load) {
        self.inner.note_load(load);
    }
}

/// The core alone, driven step by step.
pub type TestCore = Core<FailingStore, Hands>;

pub fn core(folder: &TempDir, hands: &Hands, options: Options) -> Result<TestCore, Error> {
    Core::open(FailingStore::open(folder, &[]).0, hands.clone(), options)
}

pub fn run(core: &mut TestCore, commands: impl IntoIterator<Item = Command>) -> Vec<Outcome> {
    let ops: Vec<Op> = commands.into_iter().map(Op::new).collect();
    let mut batch = Batch::default();
    let mut outcomes = Vec::new();
    while outcomes.len() < ops.len() {
        core.run(&ops[outcomes.len()..], &mut |_| false, &mut batch);
        outcomes.extend(batch.answers.drain(..).map(|answer| answer.unwrap().unwrap()));
    }
    outcomes
}

pub fn acquire(n: u128, patience: Patience) -> Command {
    Command::Acquire(Box::new(request(n, patience)))
}

/// Clocks that a test moves by hand.
#[derive(Clone, Default)]
pub struct Hands {
    pub wall_ms: Arc<AtomicU64>,
    pub mono_ms: Arc<AtomicU64>,
}

impl Hands {
    pub fn at(wall_ms: u64) -> Hands {
        let hands = Hands::default();
        hands.wall_ms.store(wall_ms, Ordering::SeqCst);
        hands
    }

    /// Time passes.
    pub fn pass(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.mono_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn wall_ms(&mut self) -> u64 {
        self.wall_ms.load(Ordering::SeqCst)
    }
    fn mono_ms(&mut self) -> u64 {
        self.mono_ms.load(Ordering::SeqCst)
    }
}
