//! The native API on PostgreSQL: the same answers. (The name of this program is what tells the tests where to run.)
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

#[path = "api/access.rs"]
mod access;
#[path = "api/bad_input.rs"]
mod bad_input;
#[path = "api/batch.rs"]
mod batch;
#[path = "api/events.rs"]
mod events;
#[path = "api/keys.rs"]
mod keys;
#[path = "api/leases.rs"]
mod leases;
#[path = "api/limits.rs"]
mod limits;
#[path = "api/outage.rs"]
mod outage;
#[path = "api/server.rs"]
mod server;
#[path = "api/tickets.rs"]
mod tickets;
#[path = "api/tokens.rs"]
mod tokens;
