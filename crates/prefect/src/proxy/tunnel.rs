//! An upgraded connection: bytes both ways until one end has said its last.

use std::io;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::timeout;

use super::bounds::{SILENCE_TIMEOUT, TUNNEL_BUFFER_BYTES, WRITE_TIMEOUT};

/// Joins the two ends once both are upgraded, in a task of its own.
pub(super) fn join(client: OnUpgrade, server: OnUpgrade) {
    tokio::spawn(async move {
        match tokio::try_join!(client, server) {
            Ok((client, server)) => pass(client, server).await,
            Err(error) => tracing::debug!(%error, "a connection was not upgraded"),
        }
    });
}

async fn pass(client: Upgraded, server: Upgraded) {
    let (client_reads, client_writes) = split(TokioIo::new(client));
    let (server_reads, server_writes) = split(TokioIo::new(server));
    // Where one direction has failed, the other has nobody left to talk to.
    let passed = tokio::try_join!(copy(client_reads, server_writes), copy(server_reads, client_writes));
    if let Err(error) = passed {
        tracing::debug!(%error, "an upgraded connection ended");
    }
}

/// Copies until the end, which it passes on.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; TUNNEL_BUFFER_BYTES];
    loop {
        let length = timeout(SILENCE_TIMEOUT, from.read(&mut buffer)).await??;
        if length == 0 {
            return timeout(WRITE_TIMEOUT, to.shutdown()).await?;
        }
        timeout(WRITE_TIMEOUT, to.write_all(&buffer[..length])).await??;
    }
}
