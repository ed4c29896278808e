//! The bounds of this dialect, each with its reason.

use std::time::Duration;

/// Bytes of a body: some thousand task runs of a reset's `slot_override`. A fault repeats the body a few times.
pub const MAX_BODY_BYTES: usize = 128 * 1024;
/// The longest hold: Prefect's client gives a request up after 60 s.
pub const MAX_HOLD: Duration = Duration::from_secs(50);
/// The hold that is usual: also proxies that give up after 30 s let it be.
pub const DEFAULT_HOLD: Duration = Duration::from_secs(25);
/// What a client is told to wait after a hold: it has a place in the line, the line waits for it.
pub(crate) const RETRY_AFTER_HOLD: Duration = Duration::from_millis(100);
/// What a client is told to wait where nothing is held for it.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How much longer than it was told a client may take before its place is given up.
pub(crate) const PLACE_GRACE: Duration = Duration::from_secs(5);
/// After so long a request that was not answered counts as waiting: most are answered as soon as the disk allows.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(250);
/// Changes of limits that one who waits may be behind before it looks at its limits anyway.
pub(crate) const MAX_CHANGES: usize = 256;
/// Places that are kept between two requests; each is a ticket of the kernel, which has room for more.
pub(crate) const MAX_PLACES: usize = 65_536;
/// How long the engine listens for a waiting request before it says again that somebody attends to it.
pub(crate) const ATTEND_MS: u64 = 30_000;
/// How long a ticket waits that nobody attends to: longer than a place is kept, and than a client pauses that lost
/// its connection.
pub(crate) const POLL_TTL_MS: u64 = 10_000;
/// How long a grant stays that nobody takes note of, and its slot with it. Whoever waits does so at once; it is the
/// tickets of a server that is gone that run into it, whose clients come back as late as after a hold.
pub(crate) const CLAIM_MS: u64 = 5_000;
/// How long somebody who is here waits behind places whose server is gone: time for those who came back at once to
/// be in order again, and no slot is idle for longer.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// How long a client may take to come back to the place that its server lost: it tries again after 2, 4, 8 and 16 s.
pub(crate) const LOST_FOR: Duration = Duration::from_secs(60);
/// A node that was seen so much less lately than this one is gone: several of its beats. Who waits on one that was
/// only slow goes to the end of the line.
pub(crate) const NODE_GONE_MS: u64 = 5_000;
/// Grants back to which a lease is looked for that nobody has taken note of yet.
pub(crate) const LOST_GRANTS: u64 = 10_000;
/// Holders of one limit that are listed.
pub(crate) const MAX_HOLDERS: usize = 10_000;
/// Times that a change of a limit is tried again when somebody else changes it meanwhile.
pub(crate) const MAX_TRIES: usize = 8;
/// Bytes of a message on the events' WebSocket; what is larger ends the connection.
pub(crate) const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// How long a client may take to say who it is on the events' WebSocket.
pub(crate) const AUTH_TIMEOUT: Duration = Duration::from_secs(10);
