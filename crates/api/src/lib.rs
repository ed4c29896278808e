//! The native API of Admit: limits, leases, tickets, keys and events as REST, described by OpenAPI, with
//! problem details for every error, and metrics.
//!
//! [`router`] makes the routes of an [`App`]; `admit-http` serves them. The wire has types of its own
//! (`wire`), which one place (`convert`) turns into the kernel's and back.

mod app;
mod convert;
mod extract;
mod problems;
mod rate_limit;
mod routes;
mod wire;

pub use app::{About, App, ListenerInfo};
pub use routes::{openapi_json, router};
