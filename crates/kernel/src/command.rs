//! What can be asked of the kernel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Claim, Limit, Name, OnFull, Time, Version};

/// One request to the kernel. [`crate::State::step`] says what came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Ask for slots.
    Acquire(Box<Acquire>),
    /// Hold a lease for longer.
    Renew {
        /// The lease.
        id: Uuid,
        /// Its new time to live from now, in milliseconds; none: as before.
        ttl_ms: Option<u64>,
    },
    /// End a lease, or give a part of it back. Idempotent.
    Release {
        /// The lease.
        id: Uuid,
        /// How much of it.
        part: Part,
        /// Whether the run counts in windows; false: it was cancelled before it began.
        counts: bool,
    },
    /// Ask about a ticket: claims its grant, or says that someone still waits for it.
    Ask {
        /// The ticket.
        id: Uuid,
        /// For how long the asker itself stays to listen, in milliseconds.
        for_ms: u64,
    },
    /// Take a waiting ticket out of its queue; a granted one that nobody claimed yet gives its slots back.
    Withdraw {
        /// The ticket.
        id: Uuid,
    },
    /// Define a limit, or change it.
    SetLimit {
        /// Its definition; `paused_until` and `revision` are ignored.
        limit: Box<Limit>,
        /// Change it only if this is its revision (0: only if there is none).
        if_revision: Option<u64>,
    },
    /// Remove a limit. Leases keep what they hold on its key.
    RemoveLimit {
        /// Its name.
        name: Name,
        /// Remove it only if this is its revision.
        if_revision: Option<u64>,
    },
    /// Admit nothing through a limit until a time, or (none) resume it.
    Pause {
        /// The limit.
        name: Name,
        /// Until when; [`Time`]`(u64::MAX)`: until it is resumed.
        until: Option<Time>,
        /// Do it only if the limit is like this.
        if_version: Option<Version>,
    },
    /// End every lease that claims a limit and forget what its own key remembers.
    Reset {
        /// The limit.
        name: Name,
        /// Do it only if the limit is like this.
        if_version: Option<Version>,
    },
    /// Make a limit's own key show so many used slots, by leases without a holder or by ending leases,
    /// oldest first (Prefect's `active_slots`).
    SetUsage {
        /// The limit.
        name: Name,
        /// The id of the lease that stands for what is added.
        id: Uuid,
        /// The slots that are used from now on.
        used: u32,
    },
    /// Go on with fencing tokens above all that were ever given: the log may have lost its end (a restored
    /// backup, a fail-over).
    RaiseEpoch,
    /// Note how far the log's time is from the wall clock's. The kernel keeps it and goes by nothing of it.
    SetClockOffset {
        /// What is added to wall time to make the log's, in milliseconds.
        ms: i64,
    },
    /// Go on in this format, which every live node knows. A format never falls.
    RaiseFormat {
        /// The format.
        format: u16,
    },
    /// Nothing could be written since the latest event: an outage, however short it was by the log's time, which
    /// stands still when the wall clock was set back meanwhile. For a start of the only node; a silence of more than
    /// [`crate::OUTAGE_AFTER_MS`] is taken for one anyway.
    Outage,
    /// Nothing but the passing of time.
    Tick,
}

/// A request for slots. All of its claims are admitted at once, or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Acquire {
    /// Request id, ticket id and lease id in one. Repeating it is safe: it gives the same lease or ticket.
    pub id: Uuid,
    /// What it claims: 1 to [`crate::MAX_CLAIMS`].
    pub claims: Vec<Claim>,
    /// How long the lease lives without renewal, in milliseconds; none: until it is released.
    pub ttl_ms: Option<u64>,
    /// How long it is willing to wait.
    pub patience: Patience,
    /// Higher goes first; 0 is usual.
    pub priority: i32,
    /// Requests of different groups take turns.
    pub group: Option<Name>,
    /// Goes by this age instead of its arrival (not later than now).
    pub age: Option<Time>,
    /// What to do when it cannot be admitted at once; the limits it claims may demand more.
    pub on_full: OnFull,
    /// How long a grant after waiting may stay unclaimed, in milliseconds; none: min(ttl, 30 s).
    pub claim_ms: Option<u64>,
    /// Its slots only ever come back with time, not by release, where terms decay (a rate limit).
    pub rate: bool,
    /// The lease that this request goes on with: that lease's own end is not held against it in windows.
    pub continues: Option<Uuid>,
    /// Who asks, for people.
    pub holder: Option<Name>,
    /// More about who asks, for people.
    pub labels: BTreeMap<Name, Name>,
}

impl Acquire {
    /// A plain request: one holder, usual priority, a time to live of a minute, no patience.
    #[must_use]
    pub fn new(id: Uuid, claims: Vec<Claim>) -> Acquire {
        Acquire {
            id,
            claims,
            ttl_ms: Some(60_000),
            patience: Patience::None,
            priority: 0,
            group: None,
            age: None,
            on_full: OnFull::Queue,
            claim_ms: None,
            rate: false,
            continues: None,
            holder: None,
            labels: BTreeMap::new(),
        }
    }
}

/// How long a request is willing to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Patience {
    /// Not at all: it is admitted at once or denied.
    None,
    /// For so long; then its ticket is withdrawn.
    For {
        /// Milliseconds from its arrival.
        wait_ms: u64,
    },
    /// As long as somebody keeps asking about it ([`Command::Ask`]).
    Polled {
        /// Milliseconds without a question after which it is withdrawn.
        poll_ttl_ms: u64,
    },
    /// Until it is withdrawn.
    Forever,
}

/// How much of a lease is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it: the lease ends.
    All,
    /// What it holds on one key.
    Key(Name),
    /// Some slots of what it holds on one key.
    Slots {
        /// The key.
        key: Name,
        /// How many.
        slots: u32,
    },
}
