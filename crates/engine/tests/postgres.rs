//! The engine on PostgreSQL: the same. (The name of this program is what tells the tests where to run.)
#![allow(clippy::duplicate_mod, reason = "each test brings what it shares with the others")]

#[path = "bounds.rs"]
mod bounds;
#[path = "check.rs"]
mod check;
#[path = "failures.rs"]
mod failures;
#[path = "recovery.rs"]
mod recovery;
#[path = "waiting.rs"]
mod waiting;
