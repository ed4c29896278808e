//! The bounds of what passes through, each with its reason.

use std::time::Duration;

/// How long connecting to the server behind may take: it is near.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the head of an answer may take: longer than the 60 s after which Prefect's client gives up, so that
/// it is the client that decides.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a body may pause between two pieces, either way.
pub(super) const PAUSE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an upgraded connection may be silent one way. Both ends of Prefect's WebSockets ping every 20 s.
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an upgraded connection's end may refuse to take what is written to it.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an idle connection to the server behind is kept: uvicorn closes those that rest for 5 s.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Idle connections of one worker that are kept.
pub(super) const MAX_IDLE: usize = 64;
/// Bytes that are copied at a time through an upgraded connection.
pub(super) const TUNNEL_BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of an answer of the server behind that is read here: the description of its API has half a million, a page
/// of limits fewer.
pub(super) const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Limits of the server behind that one page has; more it does not give.
pub(super) const PAGE_SIZE: usize = 200;
/// Limits of the server behind that are listed beside ours.
pub(super) const MAX_LISTED: usize = 10_000;
/// How long the server behind may take to say whether it knows credentials, or what limits it has.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that greets waits for the server behind; what it wants may be here, and is not to wait longer.
pub(super) const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// For how long a server behind that was not reached counts as absent: nobody who can do without it waits for it.
pub(super) const ABSENCE_LASTS: Duration = Duration::from_secs(10);
/// For how long its judgement of credentials holds.
pub(super) const JUDGEMENT_LASTS: Duration = Duration::from_secs(30);
/// For how long it is believed while the server behind cannot be asked again: longer than a restart or an upgrade of
/// it, shorter than a day on which somebody is locked out.
pub(super) const JUDGEMENT_OUTLIVES: Duration = Duration::from_secs(60 * 60);
/// Credentials whose judgement is remembered.
pub(super) const MAX_JUDGEMENTS: usize = 1_024;
