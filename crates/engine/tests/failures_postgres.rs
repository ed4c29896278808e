//! When PostgreSQL fails: the same as with SQLite. (The name of this program is what tells the tests where to run.)

#[path = "failures.rs"]
mod failures;
