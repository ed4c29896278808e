//! Prefect's concurrency API on Admit: its unmodified clients find their tag limits, global limits, leases and
//! rate limits here, and are woken instead of polling.
//!
//! - `routes` and `forms` are tables: what there is, and what each body has to be;
//! - `app` takes a request to its route; `request`, `json`, `validate` read it as Prefect's server does;
//! - `v1` (tags) and `v2` (global limits) do what the routes say, on `limits` (definitions) and `slots` (use);
//! - `waiting` holds a request whose limit is full, until `changes` of its limits make it impossible;
//! - `keeping` is what a reset leaves to those who are named;
//! - `places` keeps the place of a waiting client between two of its requests, `lost` finds it in the log;
//! - `proxy` stands before a whole Prefect server;
//! - `registry` is the table of what Prefect knows of a limit and the engine does not.

mod answer;
mod app;
mod bounds;
mod changes;
mod elsewhere;
mod events;
mod forms;
mod handshake;
mod json;
mod keeping;
mod limits;
mod lost;
mod openapi;
mod places;
mod proxy;
mod registry;
mod request;
mod routes;
mod slots;
mod v1;
mod v2;
mod validate;
mod waiting;
mod wire;

pub use app::{Options, Prefect, Shared};
pub use bounds::{DEFAULT_HOLD, MAX_BODY_BYTES, MAX_HOLD};
pub use openapi::document;
pub use proxy::{Behind, IsItself, NoTrust, NoUpstream, Upstream};
pub use registry::{MIGRATIONS, TABLE_CHECKS};
