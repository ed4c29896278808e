//! What tests need of the world around them: a PostgreSQL of their own, PgBouncer before it and a way to cut its
//! connections; Prefect's own client and server.

mod pooler;
mod postgres;
mod prefect;
mod proxy;
mod python;

pub use pooler::{INSTALL_POOLER, Pooler};
pub use postgres::{INSTALL, Postgres, shared};
pub use prefect::{PrefectServer, prefect_client};
pub use proxy::Proxy;
pub use python::{MAKE_PYTHON, python};
