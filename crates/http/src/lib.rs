//! What every listener of Admit shares: sockets, TLS, bounds, Host and Origin checks, request ids, access
//! tokens and the audit. It knows no route: whoever listens brings a router.
//!
//! A [`Listener`] binds an address that is then its own, and serves it with one single-threaded runtime per
//! core. Every request passes the same front (Host, Origin, who asks) and reaches the router with a
//! [`Caller`] among its extensions; what a caller may is the router's to ask, as [`Caller::require`].

mod access;
mod audit;
mod body;
mod bounds;
mod caller;
mod connection;
mod credential;
mod front;
mod host;
mod listener;
mod problem;
mod shutdown;
mod tls;
mod tokens;
mod worker;

pub use access::Access;
pub use audit::{AuditEntry, AuditRow, prune_audit};
pub use body::{BodyError, read_body};
pub use bounds::*;
pub use caller::{Caller, Refusal};
pub use connection::Connections;
pub use credential::{Role, UnknownRole};
pub use host::Hosts;
pub use listener::{ListenError, Listener, ListenerConfig, Serving};
pub use problem::Problem;
pub use shutdown::Shutdown;
pub use tls::{TlsError, TlsFiles};
pub use tokens::{MIGRATIONS, TABLE_CHECKS, Token, TokenError, Tokens};
