//! The engine: a core on a thread of its own, and the ways to talk to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use admit_kernel::{Acquire, Command, Outcome, Patience, State, Time};
use admit_store::{Keep, Node, NodeInfo, PostgresStore, Row, SqliteStore, Store, Value, Write};
use tokio::sync::{broadcast, oneshot, watch};
use uuid::Uuid;

use crate::batch::{Committed, Op};
use crate::clock::{Clock, SystemClock};
use crate::config::{Bounds, Config, Home};
use crate::core::{Core, Options};
use crate::inbox::{Caller, Inbox, Job, Reply};
use crate::now::Now;
use crate::pending::Pending;
use crate::queries::Queries;
use crate::recover;
use crate::service::Service;
use crate::{Error, Stats, Subscription};

/// A durable engine. Cheap to clone; when the last clone is dropped, it shuts down.
///
/// Its futures need no particular executor.
#[derive(Clone)]
pub struct Engine {
    handle: Arc<Handle>,
}

struct Handle {
    inbox: Arc<Inbox>,
    now: Arc<Now>,
    subscribers: broadcast::WeakSender<Committed>,
    queries: Queries,
    info: NodeInfo,
    is_shared: bool,
    bounds: Bounds,
    callers: AtomicU64,
    ended: watch::Receiver<Option<Result<(), Error>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Opens the log: brings its tables up to date, reads the state back; locks the folder if it is in one.
    /// Blocks meanwhile.
    pub fn open(config: Config) -> Result<Engine, Error> {
        let Config { home, name, address, durability, keep, migrations, bounds, format } = config;
        let number = getrandom::u64()
            .map_err(|error| admit_store::Error::Unavailable(format!("no random numbers: {error}")))?;
        let (clock, options) = (SystemClock::default(), Options { format, keep, ..Options::new(number) });
        let info = NodeInfo { name, address, ..nameless(options) };
        match home {
            Home::Folder(folder) => {
                let store = SqliteStore::open(&folder, durability, &migrations)?;
                Engine::start_as(info, store, clock, Options { is_alone: true, ..options }, bounds)
            }
            Home::Postgres(database) => {
                let store = PostgresStore::open(database, info.clone(), &migrations)?;
                Engine::start_as(info, store, clock, options, bounds)
            }
        }
    }

    /// Starts an engine on a store and a clock.
    pub fn start<S, C>(store: S, clock: C, options: Options, bounds: Bounds) -> Result<Engine, Error>
    where
        S: Store + 'static,
        C: Clock + 'static,
    {
        Engine::start_as(nameless(options), store, clock, options, bounds)
    }

    fn start_as<S, C>(
        info: NodeInfo,
        store: S,
        clock: C,
        options: Options,
        bounds: Bounds,
    ) -> Result<Engine, Error>
    where
        S: Store + 'static,
        C: Clock + 'static,
    {
        let no_thread = |error: std::io::Error| {
            Error::from(admit_store::Error::Unavailable(format!("no thread for the engine: {error}")))
        };
        let queries = Queries::start(store.reader()?, store.reader()?, bounds.queries).map_err(no_thread)?;
        let mut core = Core::open(store, clock, options)?;
        let now = Arc::new(Now::new(core.first_now()));
        let inbox = Arc::new(Inbox::new(bounds.queue));
        let poked = Arc::clone(&inbox);
        core.watch(Box::new(move || poked.poke()))?;
        let records = broadcast::Sender::new(bounds.subscriber_lag);
        let is_shared = core.is_shared();
        // The service alone keeps it: when that ends, so do the subscriptions.
        let subscribers = records.downgrade();
        let service = Service::new(core, Arc::clone(&inbox), Arc::clone(&now), records, bounds.waiters);
        let (end, ended) = watch::channel(None);
        let closing = Arc::clone(&inbox);
        let serve = move || {
            let result = catch_unwind(AssertUnwindSafe(|| service.serve())).unwrap_or_else(|_| {
                let reason = "a bug stopped the engine; its log is whole, restart it".to_owned();
                Err(admit_store::Error::Fatal(reason).into())
            });
            drop(closing.close());
            end.send_replace(Some(result));
        };
        let thread =
            thread::Builder::new().name("admit-engine".to_owned()).spawn(serve).map_err(no_thread)?;
        let thread = Mutex::new(Some(thread));
        let handle = Handle {
            inbox,
            now,
            subscribers,
            queries,
            info,
            is_shared,
            bounds,
            callers: AtomicU64::new(0),
            ended,
            thread,
        };
        Ok(Engine { handle: Arc::new(handle) })
    }

    /// The log's time, about: to say how long something still takes, not to decide by. It does not follow this
    /// machine's wall clock.
    #[must_use]
    pub fn now(&self) -> Time {
        self.handle.now.get()
    }

    /// Executes a command; answers when its outcome is on disk. A request for slots is answered at once, also
    /// when it waits from now on.
    pub async fn execute(&self, command: Command) -> Result<Outcome, Error> {
        let outcome = self.send(|reply| Job::Execute { op: Op::new(command), reply }).await?;
        Ok(outcome.unwrap_or(Outcome::Done))
    }

    /// Executes commands in order, in one batch as far as they fit. An error says that not all were
    /// executed; it may have been some.
    pub async fn execute_all(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, Error> {
        self.send(|reply| Job::All { commands, reply }).await
    }

    /// Executes a command, and writes rows in the same transaction that are made of its outcome and the
    /// time. Of a batch that has to be tried again the rows are asked for again.
    pub async fn execute_with(
        &self,
        command: Option<Command>,
        rows: impl Fn(Option<&Outcome>, Time) -> Vec<Write> + Send + 'static,
    ) -> Result<Option<Outcome>, Error> {
        let op = Op { command, rows: Some(Box::new(rows)) };
        self.send(|reply| Job::Execute { op, reply }).await
    }

    /// Asks for slots and waits as patiently as the request says:
    ///
    /// - [`Patience::None`]: granted or denied;
    /// - [`Patience::For`]: granted or denied, at the latest when its time is over
    ///   ([`admit_kernel::End::TimedOut`]);
    /// - [`Patience::Polled`], [`Patience::Forever`]: granted or denied, or [`Outcome::Waiting`] after
    ///   `answer_within_ms`.
    ///
    /// A grant that is delivered is claimed. Dropping the future of one of the first two kinds leaves
    /// nothing behind: the ticket is withdrawn, a lease that was not delivered is given back. A ticket of
    /// the others stays, to be asked for.
    pub async fn acquire(&self, acquire: Acquire, answer_within_ms: u64) -> Result<Outcome, Error> {
        let leaves_nothing = matches!(acquire.patience, Patience::None | Patience::For { .. });
        let answer_within_ms = (!leaves_nothing).then_some(answer_within_ms);
        let id = acquire.id;
        let acquire = Box::new(acquire);
        self.wait(id, answer_within_ms, leaves_nothing, |caller| Job::Acquire { acquire, caller }).await
    }

    /// Asks about a ticket and claims its grant; answers that it still waits after `wait_ms`.
    pub async fn ask(&self, id: Uuid, wait_ms: u64) -> Result<Outcome, Error> {
        self.wait(id, Some(wait_ms), false, |caller| Job::Ask { id, caller }).await
    }

    /// Reads the committed state, between two batches: be brief, everybody else waits.
    pub async fn read<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&State) -> T + Send + 'static,
    {
        self.send(|reply: Reply<T>| {
            Job::Read(Box::new(move |state| {
                if !reply.is_closed() {
                    let _ = reply.send(state.map(read));
                }
            }))
        })
        .await
    }

    /// Reads rows, beside everything else that goes on. Sees what was committed before.
    pub async fn query(&self, sql: impl Into<String>, params: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.handle.queries.query(sql.into(), params).await
    }

    /// Records after this one, in order, as far as the log still has them: some of them, none at its end.
    pub async fn records_after(&self, seq: u64) -> Result<Vec<Committed>, Error> {
        let entries = self.handle.queries.entries_after(seq).await?;
        entries.iter().map(recover::committed).collect()
    }

    /// The records that are committed from now on.
    pub fn subscribe(&self) -> Result<Subscription, Error> {
        let Handle { subscribers, bounds, .. } = &*self.handle;
        let subscribers = subscribers.upgrade().ok_or(Error::Stopping)?;
        if subscribers.receiver_count() >= bounds.subscribers {
            return Err(Error::Overloaded { what: "subscribers", max: bounds.subscribers });
        }
        Ok(Subscription::new(subscribers.subscribe()))
    }

    /// What was counted since the engine was opened.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.send(Job::Stats).await
    }

    /// Keeps so much history of the log from now on; what is more goes with the next tidying up.
    pub fn set_keep(&self, keep: Keep) -> Result<(), Error> {
        self.handle.inbox.push(Job::Keep(keep))
    }

    /// The nodes that use the log, those that were seen within the last hour.
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        let nodes = self.handle.queries.nodes().await?;
        if !nodes.is_empty() {
            return Ok(nodes);
        }
        let Stats { seq, load, .. } = self.stats().await?;
        let info = self.handle.info.clone();
        Ok(vec![Node { info, applied_seq: seq, behind: 0, seen_ms_ago: 0, is_live: true, load }])
    }

    /// Whether other nodes may use the log, too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.handle.is_shared
    }

    /// The number of this node.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.handle.info.number
    }

    /// Writes a consistent copy of everything to a new file, while the engine goes on.
    pub async fn backup(&self, to: &Path) -> Result<(), Error> {
        self.handle.queries.backup(to).await
    }

    /// Stops: what is queued is refused, what is being committed is finished, a snapshot is stored, the
    /// folder is free. An error says why it had stopped before.
    pub async fn shutdown(&self) -> Result<(), Error> {
        // If it is closed already, it has stopped or is about to.
        let _ = self.handle.inbox.push(Job::Shutdown);
        self.stopped().await
    }

    /// Waits until the engine has stopped; an error says why it had to. Then the process should end: the
    /// storage failed.
    pub async fn stopped(&self) -> Result<(), Error> {
        let mut ended = self.handle.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Ok(())),
            Err(_) => Err(Error::Stopping),
        }
    }

    async fn send<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.handle.inbox.push(job(reply))?;
        answer.await.unwrap_or(Err(Error::Stopping))
    }

    async fn wait(
        &self,
        id: Uuid,
        answer_within_ms: Option<u64>,
        leaves_nothing: bool,
        job: impl FnOnce(Caller) -> Job,
    ) -> Result<Outcome, Error> {
        let (reply, answer) = oneshot::channel();
        let no = self.handle.callers.fetch_add(1, Ordering::Relaxed);
        let inbox = &*self.handle.inbox;
        inbox.push(job(Caller { no, reply, answer_within_ms, leaves_nothing }))?;
        Pending { inbox, id, no, answer, is_answered: false, leaves_nothing }.await
    }
}

/// What a node says of itself, but for what people call it.
fn nameless(options: Options) -> NodeInfo {
    NodeInfo {
        number: options.node,
        name: String::new(),
        address: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format: options.format,
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.inbox.push(Job::Shutdown);
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            // The last clone may die in a closure that the engine itself ran.
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
