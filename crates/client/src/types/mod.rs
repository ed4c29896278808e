//! Requests and answers as plain data. Answers ignore fields that they do not know, so that a newer server
//! can say more.

mod admin;
mod block;
mod key;
mod lease;
mod limit;

pub use admin::{ListenerStatus, NewToken, Node, Role, Status, Token, TokenRequest};
pub use block::{Block, EtaKind, Holder};
pub use key::Key;
pub use lease::{Acquire, Acquired, Claim, Lease, OnTimeout, Renewed, Ticket};
pub use limit::{Counts, Expected, Limit, LimitSpec, Mode, OnFull, QueueSpec, Window};

use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page starts; none: this was the last.
    #[serde(default)]
    pub next: Option<String>,
}
