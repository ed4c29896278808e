//! A body on its way through: piece by piece, and not for ever.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::bounds::PAUSE_TIMEOUT;

/// A body that fails where it pauses for too long.
pub(super) struct Timed {
    body: Body,
    pause: Pin<Box<Sleep>>,
}

/// It paused for too long, or broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the body paused for more than {} s", PAUSE_TIMEOUT.as_secs())]
    Paused,
    #[error("the body broke off: {0}")]
    Off(axum::Error),
}

/// The body, with its time measured.
pub(super) fn timed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    // Nothing can pause in a body without pieces, and how an empty one is sent depends on its being known as one.
    if body.is_end_stream() {
        return Body::empty();
    }
    Body::new(Timed { body: Body::new(body), pause: Box::pin(sleep(PAUSE_TIMEOUT)) })
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.pause.as_mut().reset(Instant::now() + PAUSE_TIMEOUT);
            return Poll::Ready(frame.map(|frame| frame.map_err(Broken::Off)));
        }
        match self.pause.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Broken::Paused))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
