//! What came of a command. A denial is a value that explains itself; the kernel has no errors.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Claim, Limit, Name, Patience, Time};

/// What came of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The slots are held.
    Granted(Box<Lease>),
    /// The request waits as a ticket; [`crate::State::ticket_view`] says where.
    Waiting {
        /// The ticket.
        id: Uuid,
    },
    /// The request was refused, or what was asked of its id cannot be done.
    Denied(Box<Denial>),
    /// The lease lives on (as it now is).
    Renewed(Box<Lease>),
    /// The lease is gone, or has less; also if it was gone already.
    Released {
        /// Whether the command changed anything.
        changed: bool,
    },
    /// The ticket was withdrawn, or was not waiting.
    Withdrawn {
        /// Whether the command changed anything.
        changed: bool,
    },
    /// No lease or ticket of this id is known.
    UnknownId,
    /// The limit is stored.
    LimitStored {
        /// How it was.
        before: Option<Box<Limit>>,
        /// How it is.
        after: Box<Limit>,
    },
    /// The limit is removed (as it was).
    LimitRemoved(Box<Limit>),
    /// There is no limit of this name.
    UnknownLimit,
    /// The limit has another revision than the one asked for, or is paused otherwise.
    RevisionMismatch {
        /// The revision it has; none: there is no such limit.
        current: Option<u64>,
    },
    /// So many leases were ended.
    Reset {
        /// How many.
        ended: u32,
    },
    /// Done; there is nothing to say.
    Done,
}

/// Slots that are held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// The id of its request.
    pub id: Uuid,
    /// Its fencing token: greater than that of every lease before it, below 2^53.
    pub token: u64,
    /// What it claims.
    pub claims: Arc<[Claim]>,
    /// How long it lives without renewal, in milliseconds; none: until it is released.
    pub ttl_ms: Option<u64>,
    /// When its request arrived.
    pub arrived_at: Time,
    /// When it was granted.
    pub granted_at: Time,
    /// When it ends unless it is renewed.
    pub expires_at: Option<Time>,
    /// Until when it must be claimed, if it was granted after waiting and nobody has claimed it yet.
    pub claim_by: Option<Time>,
    /// Its holder is asked to stop (told with every renewal).
    pub cancel_asked: bool,
    /// Its slots only come back with time where terms decay.
    pub rate: bool,
    /// A limit that is only observed would have made it wait.
    pub would_wait: bool,
    /// Who holds it, for people.
    pub holder: Option<Name>,
    /// More about who holds it, for people.
    pub labels: Arc<BTreeMap<Name, Name>>,
}

impl Lease {
    /// How long its request waited, in milliseconds.
    #[must_use]
    pub fn waited_ms(&self) -> u64 {
        self.granted_at.since(self.arrived_at)
    }
}

/// A request that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// The id of its request.
    pub id: Uuid,
    /// What it claims.
    pub claims: Arc<[Claim]>,
    /// Higher goes first.
    pub priority: i32,
    /// Requests of different groups take turns.
    pub group: Option<Name>,
    /// What it goes by: its arrival, or the age that its request gave.
    pub age: Time,
    /// The number of its arrival, which orders equals.
    pub arrival: u64,
    /// When its request arrived.
    pub arrived_at: Time,
    /// How long it is willing to wait.
    pub patience: Patience,
    /// When it is withdrawn at the latest.
    pub deadline: Option<Time>,
    /// When it is withdrawn unless somebody asks about it.
    pub poll_by: Option<Time>,
    /// The time to live of its lease, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// How long its grant may stay unclaimed, in milliseconds.
    pub claim_ms: u64,
    /// As in [`crate::Acquire::rate`].
    pub rate: bool,
    /// As in [`crate::Acquire::continues`].
    pub continues: Option<Uuid>,
    /// Who waits, for people.
    pub holder: Option<Name>,
    /// More about who waits, for people.
    pub labels: Arc<BTreeMap<Name, Name>>,
}

/// Why a request, or what was asked of an id, was denied.
#[derive(Debug, Clone, PartialEq)]
pub enum Denial {
    /// Not now: these claims are short.
    Full {
        /// The short claims, in the order of the request.
        blocked_by: Vec<Block>,
    },
    /// Never: more slots than the terms allow.
    Impossible {
        /// The key.
        key: Name,
        /// The limit, if the terms are a limit's.
        limit: Option<Name>,
        /// What the terms allow.
        max: u32,
        /// What was asked.
        asked: u32,
    },
    /// A claim names a limit that does not exist.
    UnknownLimit {
        /// Its name.
        name: Name,
    },
    /// As many wait already as may.
    QueueFull {
        /// The key.
        key: Name,
        /// The limit, if its bound was reached.
        limit: Option<Name>,
        /// How many wait.
        waiting: u32,
        /// How many may.
        max_len: u32,
    },
    /// The id belongs to a request with other claims.
    IdReused,
    /// The id's lease or ticket has ended.
    Ended {
        /// How.
        how: End,
        /// When.
        at: Time,
    },
    /// Too many different inline terms wait at a key.
    TooManyTerms {
        /// The key.
        key: Name,
        /// How many may.
        max: u32,
    },
    /// More limits match a key than may.
    TooManyMatches {
        /// The key.
        key: Name,
        /// How many may.
        max: u32,
    },
    /// The kernel is at one of its bounds.
    Overloaded {
        /// Of what there are too many.
        what: &'static str,
        /// How many there may be.
        max: u32,
    },
    /// A value is out of its bounds.
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
}

/// How a lease or ticket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum End {
    /// Its holder released it.
    Released,
    /// Its holder did not renew it in time.
    Expired,
    /// Nobody claimed the grant in time.
    Lapsed,
    /// Its limit was reset, or its usage set.
    Reset,
    /// The ticket was withdrawn by its owner.
    Withdrawn,
    /// The ticket had waited as long as it was willing to.
    TimedOut,
    /// Nobody asked about the ticket for too long.
    Unattended,
    /// A newer request took the ticket's place.
    Replaced,
    /// A limit that the ticket claims was removed.
    LimitRemoved,
}

impl End {
    /// Whether it was a ticket that ended (a lease otherwise).
    #[must_use]
    pub fn is_of_ticket(self) -> bool {
        matches!(self, End::Withdrawn | End::TimedOut | End::Unattended | End::Replaced | End::LimitRemoved)
    }

    /// The end in one word, as the API and the command line say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            End::Released => "released",
            End::Expired => "expired",
            End::Lapsed => "lapsed",
            End::Reset => "reset",
            End::Withdrawn => "withdrawn",
            End::TimedOut => "timed-out",
            End::Unattended => "unattended",
            End::Replaced => "replaced",
            End::LimitRemoved => "limit-removed",
        }
    }
}

/// One claim that keeps a request waiting.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// The key.
    pub key: Name,
    /// The limit, if the terms are a limit's.
    pub limit: Option<Name>,
    /// Why the claim is short.
    pub why: Why,
    /// Slots in use under these terms, those held for a heavy ticket included, rounded up.
    pub used: u64,
    /// Slots that the terms allow.
    pub max: u32,
    /// Slots that were asked.
    pub asked: u32,
    /// Tickets that claim the key, wherever they are parked.
    pub waiting: u32,
    /// The oldest of those who hold slots of the key, at most [`crate::MAX_NAMED_HOLDERS`].
    pub holders: Vec<HolderView>,
    /// When the claim could fit, from now, in milliseconds, if that is known or can be estimated.
    pub retry_in_ms: Option<u64>,
}

/// Why a claim is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its slots are in use, or the window is full.
    NoRoom,
    /// Others wait at the key that go before.
    Behind,
    /// A head that looser terms passed too often reserves the key.
    Reserved,
    /// Its limit is paused.
    Paused,
    /// Its limit allows nothing (max 0).
    Closed,
    /// It asks for more slots than are now allowed; it waits aside until that changes.
    Impossible,
}

/// One who holds slots of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct HolderView {
    /// The lease.
    pub id: Uuid,
    /// Its fencing token.
    pub token: u64,
    /// Who, if said.
    pub holder: Option<Name>,
    /// Slots of this key.
    pub slots: u32,
    /// For how long, in milliseconds.
    pub age_ms: u64,
    /// When it ends unless renewed.
    pub expires_at: Option<Time>,
}
