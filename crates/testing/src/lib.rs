//! What tests need of the world around them: a PostgreSQL of their own, and a way to cut its connections.

mod postgres;
mod proxy;

pub use postgres::{INSTALL, Postgres, shared};
pub use proxy::Proxy;
