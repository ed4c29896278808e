//! A durable engine for concurrency limits: the kernel decides, the log remembers, those who wait are woken.
//!
//! ```
//! use admit_engine::{Config, Engine};
//! use admit_kernel::{Acquire, Claim, Command, Limit, Outcome, Part, Terms};
//! use uuid::Uuid;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let engine = Engine::open(Config::new(folder.path()))?;
//! pollster::block_on(async {
//!     let limit = Box::new(Limit::new("db", Terms::concurrent(1)));
//!     engine.execute(Command::SetLimit { limit, if_revision: None }).await?;
//!
//!     let acquire = Acquire::new(Uuid::from_u128(1), vec![Claim::limit("db", 1)]);
//!     let Outcome::Granted(lease) = engine.acquire(acquire, 0).await? else { panic!("it was free") };
//!     println!("held with the fencing token {}", lease.token);
//!
//!     engine.execute(Command::Release { id: lease.id, part: Part::All, counts: true }).await?;
//!     engine.shutdown().await
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Engine`] is the core on a thread of its own with bounded ways to talk to it; [`Core`] is the same
//! without threads, for whoever wants to drive it step by step.

mod batch;
mod check;
mod clock;
mod config;
mod core;
mod engine;
mod error;
mod follow_ups;
mod gather;
mod inbox;
mod now;
mod pending;
mod queries;
mod recover;
mod service;
mod stats;
mod subscription;
mod waiters;

pub use admit_kernel::FORMAT;
pub use admit_store::{
    Durability, Keep, Load, Migration, Node, NodeInfo, PostgresConfig, Report, Row, TableCheck, Value, Write,
};
pub use batch::{Batch, Committed, MAX_BATCH, MAX_BATCH_BYTES, Op, Rows};
pub use check::{Outdated, Standing, Verdict, check, standing};
pub use clock::{Clock, SystemClock};
pub use config::{Bounds, Config, Home};
pub use core::{Core, Options};
pub use engine::Engine;
pub use error::Error;
pub use stats::{DENIALS, Histogram, Stats};
pub use subscription::{Next, Subscription};
