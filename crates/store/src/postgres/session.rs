//! A connection, and how statements go over it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Row, Statement};

use super::error::Failure;
use super::{CALL_TIMEOUT, IDLE_LIMIT, LOCK_LIMIT, PostgresConfig, STATEMENT_LIMIT};

/// Prepared statements kept per connection: those of the log and of the busiest writes of other crates.
const CACHED_STATEMENTS: usize = 128;
/// How long a probe waits before it takes silence for an answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A parameter and the type that it is sent as.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// What is called with the payload of each notification.
pub(super) type Notified = Box<dyn Fn(&str) + Send>;

/// What is between us and the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// Nothing: a session is ours as long as the connection lasts.
    Direct,
    /// A pooler in transaction mode: each transaction may be in another session, so nothing is left in one.
    Pooled,
}

/// How a session of ours is set up.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub path: Path,
    /// `name = value` of settings.
    pub settings: Vec<String>,
}

impl Setup {
    /// The usual settings: nobody waits long for a lock, and a paused holder of one is thrown out.
    pub fn new(config: &PostgresConfig, path: Path) -> Setup {
        let settings = vec![
            format!("search_path = {}", config.quoted_schema()),
            format!("lock_timeout = {}", LOCK_LIMIT.as_millis()),
            format!("statement_timeout = {}", STATEMENT_LIMIT.as_millis()),
            format!("idle_in_transaction_session_timeout = {}", IDLE_LIMIT.as_millis()),
        ];
        Setup { path, settings }
    }
}

/// A connection to the database. Its other half runs on the runtime that it was opened on.
pub(super) struct Session {
    client: Client,
    path: Path,
    /// What a transaction begins with, besides `BEGIN`.
    local_settings: String,
    statements: Mutex<HashMap<String, Statement>>,
}

/// A statement, ready to be sent.
pub(super) enum Prepared {
    Named(Statement),
    Text(String),
}

impl Session {
    /// Opens a connection. `notified` is called when another node has told of news.
    pub async fn open(
        config: &PostgresConfig,
        setup: &Setup,
        notified: Option<Notified>,
    ) -> Result<Session, Failure> {
        let connecting = config.connect.connect(config.tls.clone());
        let (client, mut connection) = within(CALL_TIMEOUT, connecting).await?;
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let (AsyncMessage::Notification(note), Some(notified)) = (message, &notified) {
                    notified(note.payload());
                }
            }
        });
        let set = |word: &str| setup.settings.iter().map(|one| format!("; {word} {one}")).collect::<String>();
        let (once, local_settings) = match setup.path {
            Path::Direct => (set("SET"), String::new()),
            Path::Pooled => (String::new(), set("SET LOCAL")),
        };
        let session = Session { client, path: setup.path, local_settings, statements: Mutex::default() };
        session.script(once.trim_start_matches("; ")).await?;
        Ok(session)
    }

    /// Executes statements without parameters.
    pub async fn script(&self, sql: &str) -> Result<(), Failure> {
        within(CALL_TIMEOUT, self.client.batch_execute(sql)).await
    }

    /// Begins a transaction in which every statement sees what is committed by then.
    pub async fn begin(&self, mode: &str) -> Result<(), Failure> {
        self.script(&format!("BEGIN {mode}{}", self.local_settings)).await
    }

    /// Makes a statement ready; a round trip at most, none for one that was used before.
    pub async fn prepare(&self, sql: &str, types: &[Type]) -> Result<Prepared, Failure> {
        if self.path == Path::Pooled {
            return Ok(Prepared::Text(sql.to_owned()));
        }
        let mut key = sql.to_owned();
        key.extend(types.iter().flat_map(|kind| ["\n", kind.name()]));
        if let Some(found) = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Prepared::Named(found.clone()));
        }
        let statement = within(CALL_TIMEOUT, self.client.prepare_typed(sql, types)).await?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if statements.len() >= CACHED_STATEMENTS {
            statements.clear();
        }
        statements.insert(key, statement.clone());
        Ok(Prepared::Named(statement))
    }

    /// Executes a statement. Several of these go out together if they are polled together.
    pub async fn run(
        &self,
        prepared: &Prepared,
        params: &[Param<'_>],
        max_rows: usize,
    ) -> Result<Vec<Row>, Failure> {
        within(CALL_TIMEOUT, async {
            let stream = match prepared {
                Prepared::Named(statement) => {
                    self.client.query_raw(statement, params.iter().map(|(value, _)| *value)).await?
                }
                Prepared::Text(sql) => {
                    self.client
                        .query_typed_raw(sql, params.iter().map(|(value, kind)| (*value, kind.clone())))
                        .await?
                }
            };
            let mut stream = pin!(stream);
            let mut rows = Vec::new();
            while let Some(row) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
                rows.push(row?);
                if rows.len() > max_rows {
                    break;
                }
            }
            Ok(rows)
        })
        .await
    }

    /// Prepares and executes a statement.
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Failure> {
        let types: Vec<Type> = params.iter().map(|(_, kind)| kind.clone()).collect();
        let prepared = self.prepare(sql, &types).await?;
        self.run(&prepared, params, usize::MAX).await
    }

    /// Whether the connection was found to be gone; looks at what has arrived meanwhile.
    pub async fn is_lost(&self) -> bool {
        // The first lets the runtime look at the socket, the second the connection read from it.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        self.client.is_closed()
    }
}

/// Finds out what is between us and the database: only a pooler in transaction mode lets one connection's
/// statements end up in another's session.
pub(super) async fn find_path(config: &PostgresConfig) -> Result<Path, Failure> {
    let setup = Setup { path: Path::Pooled, settings: Vec::new() };
    let (one, other) =
        (Session::open(config, &setup, None).await?, Session::open(config, &setup, None).await?);
    let before = backend(&one).await?;
    other.script("BEGIN").await?;
    let others = backend(&other).await?;
    let after = timeout(PROBE_TIMEOUT, backend(&one)).await;
    other.script("ROLLBACK").await?;
    match after {
        Ok(after) => Ok(if before == after? && before != others { Path::Direct } else { Path::Pooled }),
        // The only session there is was with the other one.
        Err(_) => Ok(Path::Pooled),
    }
}

async fn backend(session: &Session) -> Result<i32, Failure> {
    let answer = session.query("SELECT pg_backend_pid()", &[]).await?;
    Ok(answer.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

/// Polls futures in their order, so that what they send goes out in that order, and all of it at once.
pub(super) async fn in_order<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut is_ready = true;
        for (future, done) in &mut futures {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *done = Some(value),
                    Poll::Pending => is_ready = false,
                }
            }
        }
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(|(_, done)| done).collect()
}

async fn within<T>(
    limit: Duration,
    future: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match timeout(limit, future).await {
        Ok(result) => result.map_err(Failure::Database),
        Err(_) => Err(Failure::TimedOut),
    }
}
