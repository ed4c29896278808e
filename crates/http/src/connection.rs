//! One connection: what it is doing, and since when.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::{HEAD_TIMEOUT, IDLE_TIMEOUT, WRITE_TIMEOUT};

/// Nothing is under way: it may be closed at any time.
const IDLE: u8 = 0;
/// The head of a request (or a TLS handshake) has begun to arrive.
const HEAD: u8 = 1;
/// A request is being answered.
const BUSY: u8 = 2;

/// What a connection is doing. One worker writes it; the same worker's sweeper reads it.
#[derive(Debug)]
pub(crate) struct Activity {
    born: Instant,
    phase: AtomicU8,
    /// When the phase began, in milliseconds after `born`.
    since_ms: AtomicU64,
    /// Since when nothing could be written, in milliseconds after `born`, plus 1; 0: the line is free.
    stalled_ms: AtomicU64,
    /// It was asked to make room and has not begun a request since.
    pub(crate) asked_to_go: AtomicBool,
    /// The listener ends: finish what is under way, begin nothing.
    pub(crate) draining: AtomicBool,
    /// Look whether the connection should end.
    pub(crate) wake: Notify,
}

impl Activity {
    pub(crate) fn new() -> Activity {
        Activity {
            born: Instant::now(),
            // A client that connects is about to send: it gets the time of a head, not that of a pause.
            phase: AtomicU8::new(HEAD),
            since_ms: AtomicU64::new(0),
            stalled_ms: AtomicU64::new(0),
            asked_to_go: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn enter(&self, phase: u8) {
        self.since_ms.store(self.age_ms(), Relaxed);
        self.phase.store(phase, Relaxed);
    }

    fn for_at_least(&self, span: Duration) -> bool {
        u128::from(self.age_ms().saturating_sub(self.since_ms.load(Relaxed))) >= span.as_millis()
    }

    fn is_stalled(&self, span: Duration) -> bool {
        let since = self.stalled_ms.load(Relaxed);
        since != 0 && u128::from((self.age_ms() + 1).saturating_sub(since)) >= span.as_millis()
    }

    /// A request is being answered, or its answer is still on its way.
    pub(crate) fn is_busy(&self) -> bool {
        self.phase.load(Relaxed) == BUSY || self.stalled_ms.load(Relaxed) != 0
    }

    /// Since when nothing has been under way; none: something is, or it was asked to go already.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (!self.is_busy() && !self.asked_to_go.load(Relaxed))
            .then(|| self.born + Duration::from_millis(self.since_ms.load(Relaxed)))
    }

    /// Whether it has taken longer than it may over what it is doing.
    pub(crate) fn is_overdue(&self) -> bool {
        let late = match self.phase.load(Relaxed) {
            IDLE => self.for_at_least(IDLE_TIMEOUT),
            HEAD => self.for_at_least(HEAD_TIMEOUT),
            _ => false,
        };
        late || self.is_stalled(WRITE_TIMEOUT)
    }

    /// A request is being answered until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Activity>) -> Busy {
        self.enter(BUSY);
        self.asked_to_go.store(false, Relaxed);
        Busy(self.clone())
    }
}

/// A request that is being answered.
pub(crate) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.enter(IDLE);
    }
}

/// An answer's body; the request is under way until it is sent or given up.
pub(crate) struct Answer {
    pub(crate) body: Body,
    pub(crate) _busy: Busy,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How many connections a listener has, and what became of others.
#[derive(Debug, Default)]
pub struct Connections {
    pub(crate) open: AtomicUsize,
    pub(crate) accepted: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Connections {
    /// Those that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Those that were ever accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Idle ones that were closed to make room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// New ones that were closed because none was idle.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// One place among a listener's connections; given back when the socket closes, also after an upgrade.
pub(crate) struct Place(Arc<Connections>);

impl Place {
    pub(crate) fn take(connections: &Arc<Connections>) -> Place {
        connections.open.fetch_add(1, Relaxed);
        Place(connections.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// A socket that notes what it does.
pub(crate) struct Observed<S> {
    pub(crate) socket: S,
    pub(crate) activity: Arc<Activity>,
    pub(crate) _place: Place,
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        if self.activity.phase.load(Relaxed) == IDLE && !buf.filled().is_empty() {
            self.activity.enter(HEAD);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Observed<S> {
    fn note<T>(&self, result: Poll<T>) -> Poll<T> {
        if result.is_ready() {
            if self.activity.stalled_ms.load(Relaxed) != 0 {
                self.activity.stalled_ms.store(0, Relaxed);
            }
        } else if self.activity.stalled_ms.load(Relaxed) == 0 {
            self.activity.stalled_ms.store(self.activity.age_ms() + 1, Relaxed);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
