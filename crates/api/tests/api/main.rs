//! The native API as its clients see it: the real server on a free port, a real engine in a temporary
//! folder, real sockets.

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

mod access;
mod bad_input;
mod batch;
mod connections;
mod events;
mod keys;
mod leases;
mod limits;
mod openapi;
mod server;
mod tickets;
mod tls;
mod tokens;
