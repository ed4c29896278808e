//! The log as it grows, for those who watch.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::Committed;

/// What a subscriber gets.
#[derive(Debug, Clone)]
pub enum Next {
    /// A record was committed.
    Record(Committed),
    /// The subscriber was too slow: so many records went by.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The engine has stopped.
    Ended,
}

/// The records that are committed from the subscription on.
#[derive(Debug)]
pub struct Subscription {
    records: broadcast::Receiver<Committed>,
}

impl Subscription {
    pub(crate) fn new(records: broadcast::Receiver<Committed>) -> Subscription {
        Subscription { records }
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Next {
        match self.records.recv().await {
            Ok(record) => Next::Record(record),
            Err(RecvError::Lagged(missed)) => Next::Lagged { missed },
            Err(RecvError::Closed) => Next::Ended,
        }
    }
}
