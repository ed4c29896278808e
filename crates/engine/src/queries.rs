//! Reads of rows, on a thread of their own: a slow one keeps no command waiting.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread;

use admit_store::{Entry, Node, Reader, Row, Value};
use tokio::sync::oneshot;

use crate::Error;
use crate::inbox::Reply;

/// Records that are read back at a time: a payload has a megabyte at most, and other questions wait meanwhile.
const PAGE_RECORDS: usize = 32;
/// When it makes sense to ask a database again that could not be read.
const RETRY_MS: u64 = 1_000;

enum Query {
    Rows { sql: String, params: Vec<Value>, reply: Reply<Vec<Row>> },
    Entries { after: u64, reply: Reply<Vec<Entry>> },
    Nodes(Reply<Vec<Node>>),
}

pub(crate) struct Queries {
    sender: SyncSender<Query>,
    max_queued: usize,
    backups: Arc<Mutex<Box<dyn Reader>>>,
}

impl Queries {
    pub fn start(
        reader: Box<dyn Reader>,
        backups: Box<dyn Reader>,
        max_queued: usize,
    ) -> std::io::Result<Queries> {
        let (sender, queries) = sync_channel::<Query>(max_queued);
        thread::Builder::new().name("admit-queries".to_owned()).spawn(move || {
            for query in queries {
                // Whoever is gone has no use for the answer.
                match query {
                    Query::Rows { sql, params, reply } if !reply.is_closed() => {
                        drop(reply.send(reader.query(&sql, &params).map_err(failed)));
                    }
                    Query::Entries { after, reply } if !reply.is_closed() => {
                        drop(reply.send(reader.entries_after(after, PAGE_RECORDS).map_err(failed)));
                    }
                    Query::Rows { .. } | Query::Entries { .. } => {}
                    Query::Nodes(reply) => drop(reply.send(reader.nodes().map_err(failed))),
                }
            }
        })?;
        Ok(Queries { sender, max_queued, backups: Arc::new(Mutex::new(backups)) })
    }

    pub async fn query(&self, sql: String, params: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.send(|reply| Query::Rows { sql, params, reply }).await
    }

    pub async fn entries_after(&self, after: u64) -> Result<Vec<Entry>, Error> {
        self.send(|reply| Query::Entries { after, reply }).await
    }

    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        self.send(Query::Nodes).await
    }

    async fn send<T>(&self, query: impl FnOnce(Reply<T>) -> Query) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.sender.try_send(query(reply)).map_err(|error| match error {
            TrySendError::Full(_) => Error::Overloaded { what: "queries queued", max: self.max_queued },
            TrySendError::Disconnected(_) => Error::Stopping,
        })?;
        answer.await.unwrap_or(Err(Error::Stopping))
    }

    /// On a thread for itself, one at a time.
    pub async fn backup(&self, to: &Path) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let (to, backups): (PathBuf, _) = (to.to_owned(), Arc::clone(&self.backups));
        let copy = move || {
            let result = match backups.try_lock() {
                Ok(reader) => reader.backup(&to).map_err(Error::from),
                Err(TryLockError::WouldBlock) => Err(Error::Overloaded { what: "backups running", max: 1 }),
                Err(TryLockError::Poisoned(_)) => Err(Error::Stopping),
            };
            let _ = reply.send(result);
        };
        thread::Builder::new().name("admit-backup".to_owned()).spawn(copy).map_err(|error| {
            Error::Unavailable { reason: format!("no thread for the backup: {error}"), retry_in_ms: 1_000 }
        })?;
        answer.await.unwrap_or(Err(Error::Stopping))
    }
}

/// A database that is away is told as every command tells it.
fn failed(error: admit_store::Error) -> Error {
    match error {
        admit_store::Error::Unavailable(_) => {
            Error::Unavailable { reason: error.to_string(), retry_in_ms: RETRY_MS }
        }
        error => error.into(),
    }
}
