//! Prefect's own client, unmodified, against the real server: alone, and before a whole Prefect.
//!
//! Python takes seconds to import the client, so each script makes many checks.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod alone;
mod client;
mod places;
mod proxy;
#[path = "../support/mod.rs"]
mod support;
