//! What happened. The state is the fold of these, so every choice that the kernel makes is in one.
//!
//! Logs outlive versions: a variant's shape and place never change. A new shape is a new variant, appended at
//! the end, of the next format ([`FORMAT`]), and decided only where the state is of that format
//! ([`crate::State::format`]): then every live node knows it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Claim, End, Limit, Name, TermsRef, Ticket, Time};

/// The number of a queue: given when it is made, never used again.
pub type QueueNo = u64;

/// The oldest format of logs and snapshots that this version reads; an empty log begins in it.
pub const OLDEST_FORMAT: u16 = 1;
/// The newest format of logs and snapshots that this version reads and writes: the greatest of all that
/// [`Event::since_format`] gives.
pub const FORMAT: u16 = 2;

/// One thing that happened, at the time of the latest [`Event::Clock`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// It is now this late.
    Clock(Time),
    /// Nothing could be written between these times, so nobody could renew; the leases that were live
    /// have until the later of their expiry and now + min(ttl, [`crate::OUTAGE_GRACE_MS`]).
    Outage {
        /// The last time at which the log was written.
        since: Time,
    },
    /// A lease began without waiting.
    Granted(Box<Grant>),
    /// A ticket became a lease.
    TicketGranted {
        /// The ticket.
        id: Uuid,
        /// The lease's fencing token.
        token: u64,
        /// A limit that is only observed would have made it wait.
        would_wait: bool,
        /// The rotation credit that its group has from now on where its queue was parked.
        credit: u64,
    },
    /// A lease was renewed.
    Renewed {
        /// The lease.
        id: Uuid,
        /// Its time to live from now on.
        ttl_ms: Option<u64>,
        /// When it ends.
        expires_at: Option<Time>,
    },
    /// Somebody claimed a granted ticket.
    Claimed {
        /// The lease.
        id: Uuid,
    },
    /// Somebody asked about a waiting ticket.
    Polled {
        /// The ticket.
        id: Uuid,
        /// When it is withdrawn unless somebody asks again.
        poll_by: Time,
    },
    /// A holder is asked to stop.
    CancelAsked {
        /// Its lease.
        id: Uuid,
    },
    /// A lease ended.
    LeaseEnded {
        /// The lease.
        id: Uuid,
        /// How.
        how: End,
        /// Whether the run counts in windows.
        counts: bool,
    },
    /// A lease has fewer slots of a key than before.
    Shrunk {
        /// The lease.
        id: Uuid,
        /// The key.
        key: Name,
        /// The slots it has left there; 0: the key's claims are gone.
        slots: u32,
    },
    /// A request began to wait.
    Queued {
        /// The ticket.
        ticket: Box<Ticket>,
        /// Its queue; a new number makes a new queue, parked where the `Parked` that follows says.
        queue: QueueNo,
    },
    /// A ticket ended without a lease.
    TicketEnded {
        /// The ticket.
        id: Uuid,
        /// How.
        how: End,
    },
    /// A queue waits at this key under these terms from now on.
    Parked {
        /// The queue.
        queue: QueueNo,
        /// The key.
        key: Name,
        /// The terms.
        terms: TermsRef,
        /// The rotation credit that its group has there if it is new to that waitlist.
        credit: u64,
        /// How often its head has been moved.
        moves: u32,
    },
    /// A queue asks for more than is now allowed: it reserves nothing until that changes (false: it does again).
    SetAside {
        /// The queue.
        queue: QueueNo,
        /// Whether it is set aside.
        aside: bool,
    },
    /// A queue's head holds the slots of one of its keys while it waits for the next.
    HoldTaken {
        /// The queue.
        queue: QueueNo,
        /// The key.
        key: Name,
        /// The terms.
        terms: TermsRef,
        /// How many slots.
        slots: u32,
        /// Until when its head holds what it holds.
        until: Time,
    },
    /// A queue gave back all slots that it held.
    HoldsReturned {
        /// The queue.
        queue: QueueNo,
        /// How often its head has held slots in vain.
        in_vain: u32,
    },
    /// A key remembers starts and ends for so long from now on.
    Horizon {
        /// The key.
        key: Name,
        /// Milliseconds.
        ms: u64,
    },
    /// The level of a key under decaying terms.
    Level {
        /// The key.
        key: Name,
        /// The terms.
        terms: TermsRef,
        /// The level, in 10^-12 slots.
        pico: u128,
    },
    /// A key forgets its starts, ends and levels.
    Cleared {
        /// The key.
        key: Name,
    },
    /// A key has nothing left to remember.
    Forgotten {
        /// The key.
        key: Name,
    },
    /// A limit was defined or changed (as it is now).
    LimitSet(Box<Limit>),
    /// A limit was removed.
    LimitRemoved {
        /// Its name.
        name: Name,
    },
    /// A limit was paused, or (none) resumed.
    Paused {
        /// Its name.
        name: Name,
        /// Until when.
        until: Option<Time>,
    },
    /// Work at a key was left for the next command.
    Unsettled {
        /// The key.
        key: Name,
    },
    /// No work is left at a key.
    Settled {
        /// The key.
        key: Name,
    },
    /// Fencing tokens go on in a new epoch, above all that were given before.
    EpochRaised {
        /// The epoch.
        epoch: u32,
    },
    /// The log's time is this far from the wall clock's, so that whoever goes on with the log, after a restart or
    /// on another node, goes on with the same time.
    ClockOffsetSet {
        /// What is added to wall time to make the log's, in milliseconds.
        ms: i64,
    },
    /// Every live node knows this format: from now on there may be events of it, and snapshots are in it.
    FormatRaised {
        /// The format.
        format: u16,
    },
}

impl Event {
    /// The format that brought this kind of event; a new variant of a type within it makes it one of a new format,
    /// too. In a log of an older format it does not occur.
    #[must_use]
    pub const fn since_format(&self) -> u16 {
        match self {
            Event::Clock(_)
            | Event::Outage { .. }
            | Event::Granted(_)
            | Event::TicketGranted { .. }
            | Event::Renewed { .. }
            | Event::Claimed { .. }
            | Event::Polled { .. }
            | Event::CancelAsked { .. }
            | Event::LeaseEnded { .. }
            | Event::Shrunk { .. }
            | Event::Queued { .. }
            | Event::TicketEnded { .. }
            | Event::Parked { .. }
            | Event::SetAside { .. }
            | Event::HoldTaken { .. }
            | Event::HoldsReturned { .. }
            | Event::Horizon { .. }
            | Event::Level { .. }
            | Event::Cleared { .. }
            | Event::Forgotten { .. }
            | Event::LimitSet(_)
            | Event::LimitRemoved { .. }
            | Event::Paused { .. }
            | Event::Unsettled { .. }
            | Event::Settled { .. }
            | Event::EpochRaised { .. }
            | Event::ClockOffsetSet { .. } => 1,
            Event::FormatRaised { .. } => 2,
        }
    }
}

/// A lease that began without waiting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The id of its request.
    pub id: Uuid,
    /// Its fencing token.
    pub token: u64,
    /// What it claims.
    pub claims: std::sync::Arc<[Claim]>,
    /// Its time to live, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// As in [`crate::Acquire::rate`].
    pub rate: bool,
    /// As in [`crate::Acquire::continues`].
    pub continues: Option<Uuid>,
    /// A limit that is only observed would have made it wait.
    pub would_wait: bool,
    /// What it went by: its arrival, or the age that its request gave.
    pub age: Time,
    /// Who holds it.
    pub holder: Option<Name>,
    /// More about who holds it.
    pub labels: std::sync::Arc<std::collections::BTreeMap<Name, Name>>,
}
