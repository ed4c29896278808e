//! Blocking client of Admit's native API. A method per call, plain data in and out, and one small
//! [`Error`] that tells a server that is away from a server that says no.
//!
//! ```no_run
//! use admit_client::{Acquire, Acquired, Claim, Client};
//!
//! let client = Client::new("http://127.0.0.1:7070", None)?;
//! let mut request = Acquire::new(vec![Claim::limit("openai", 1)]);
//! request.wait_ms = 30_000;
//! if let Acquired::Granted(lease) = client.acquire(&request)? {
//!     // ... the work ...
//!     client.release(lease.id)?;
//! }
//! # Ok::<(), admit_client::Error>(())
//! ```

mod calls;
mod client;
mod error;
mod server;
mod types;

pub use client::Client;
pub use error::{Error, Problem};
pub use types::*;
