//! The kernel of Admit: a pure state machine that decides who holds which slot, who waits, and who goes
//! next. No I/O, no clock, no async: time and commands come in, events and outcomes go out.
//!
//! [`State::step`] decides. Whatever it changes, it changes by applying an [`Event`], so that
//! [`State::replay`] of the same events makes the same state: live, in recovery and on every node.
//!
//! ```
//! use admit_kernel::{Acquire, Claim, Command, Limit, Outcome, State, Terms, Time};
//! use uuid::Uuid;
//!
//! let (mut state, mut events) = (State::new(), Vec::new());
//! let limit = Box::new(Limit::new("db", Terms::concurrent(1)));
//! state.step(Time(1), &Command::SetLimit { limit, if_revision: None }, &mut events);
//!
//! let acquire = |n| Command::Acquire(Box::new(Acquire::new(Uuid::from_u128(n), vec![Claim::limit("db", 1)])));
//! assert!(matches!(state.step(Time(2), &acquire(1), &mut events), Outcome::Granted(_)));
//! assert!(matches!(state.step(Time(3), &acquire(2), &mut events), Outcome::Denied(_)));
//!
//! let mut other = State::new();
//! other.replay(&events);
//! assert_eq!(other.snapshot(), state.snapshot());
//! ```

mod bounds;
mod claim;
mod command;
mod event;
mod limit;
mod outcome;
mod pattern;
mod state;
mod terms;
mod time;
mod view;

pub use bounds::*;
pub use claim::{Claim, IfMissing, Name};
pub use command::{Acquire, Command, Part, Patience};
pub use event::{Event, FORMAT, Grant, OLDEST_FORMAT, QueueNo};
pub use limit::{Limit, Mode, OnFull, Version};
pub use outcome::{Block, Denial, End, HolderView, Lease, Outcome, Ticket, Why};
pub use pattern::matches;
pub use state::{Snapshot, State};
pub use terms::{Counts, Refill, Terms, TermsRef};
pub use time::Time;
pub use view::{Eta, EtaKind, KeyView, LeaseFilter, TicketView, Totals};
