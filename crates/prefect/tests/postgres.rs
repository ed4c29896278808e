//! The dialect on PostgreSQL: the same answers. (The name of this program is what tells the tests where to run.)
#![allow(clippy::duplicate_mod, reason = "each test brings what it shares with the others")]

#[path = "absence.rs"]
mod absence;
#[path = "access.rs"]
mod access;
#[path = "corpus.rs"]
mod corpus;
#[path = "edges.rs"]
mod edges;
#[path = "events.rs"]
mod events;
#[path = "limits.rs"]
mod limits;
#[path = "load.rs"]
mod load;
#[path = "proxy.rs"]
mod proxy;
#[path = "random.rs"]
mod random;
#[path = "waiting.rs"]
mod waiting;
