//! Reading a request's body within bounds.

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is longer than allowed.
    #[error("the body is longer than {max_bytes} bytes")]
    TooLong {
        /// Bytes that are allowed.
        max_bytes: usize,
    },
    /// It did not end in time.
    #[error("the body did not end within {} seconds", crate::BODY_TIMEOUT.as_secs())]
    TooSlow,
    /// It broke off, or its framing is wrong.
    #[error("the body broke off")]
    Broken,
}

/// The whole body, at most `max_bytes`, within [`crate::BODY_TIMEOUT`].
///
/// # Errors
/// See [`BodyError`].
pub async fn read_body(body: Body, max_bytes: usize) -> Result<Bytes, BodyError> {
    tokio::time::timeout(crate::BODY_TIMEOUT, collect(body, max_bytes))
        .await
        .unwrap_or(Err(BodyError::TooSlow))
}

async fn collect(mut body: Body, max_bytes: usize) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if first.len().max(all.len()) + data.len() > max_bytes {
            return Err(BodyError::TooLong { max_bytes });
        }
        // Nearly every body is one frame, which then needs no copy.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.into() })
}
