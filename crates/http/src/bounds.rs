//! The bounds of a listener, each with its reason.

use std::time::Duration;

/// Bytes of a request's head: room for a long bearer token and a key of 512 bytes, percent-encoded.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Bytes that are buffered for one connection, so that idle and slow ones stay cheap.
pub const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// How long a client may take for the head of a request (and for a TLS handshake).
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take for the body of a request: 1 MiB over a slow line.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a body, unless the route says otherwise: a batch of 1,000 operations fits several times.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// How long a connection may do nothing: longer than the 60 s after which common proxies give up theirs.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a client may refuse to take what is written to it.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections of one listener, unless the process may not open twice as many files.
pub const MAX_CONNECTIONS: usize = 16_384;
/// Connections that wait for a worker; they are handed over in microseconds.
pub const MAX_HANDOVER: usize = 1_024;
/// Threads of one listener: more cores than this are not kept busy by HTTP before the engine is full.
pub const MAX_WORKERS: usize = 32;
/// How long requests that are under way may take to end once the listener is told to stop; with what the
/// engine needs after it, the process stays within 5 s.
pub const DRAIN_TIMEOUT: Duration = Duration::from_millis(3_500);
/// How often the certificate's files are looked at for changes.
pub const TLS_CHECK: Duration = Duration::from_secs(3);
/// Bytes of a request id that is taken from the client: a UUID or trace id, several times.
pub const MAX_REQUEST_ID_BYTES: usize = 128;
/// Bytes of a token's name.
pub const MAX_TOKEN_NAME_BYTES: usize = 128;
/// Tokens in all, revoked ones included: they are kept in memory.
pub const MAX_TOKENS: usize = 10_000;
/// How often a node looks whether another has made or revoked a token: a second is soon enough for people, and
/// reading them all is little beside what a node asks its database anyway.
pub const TOKENS_CHECK: Duration = Duration::from_secs(1);
