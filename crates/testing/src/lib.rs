//! What tests need of the world around them: a PostgreSQL of their own and a way to cut its connections; Prefect's
//! own client and server.

mod postgres;
mod prefect;
mod proxy;
mod python;

pub use postgres::{INSTALL, Postgres, shared};
pub use prefect::{PrefectServer, prefect_client};
pub use proxy::Proxy;
pub use python::{MAKE_PYTHON, python};
