//! The server itself.

use admit_http::Problem;
use axum::extract::State;

use super::Shared;
use crate::app::wall;
use crate::convert;
use crate::extract::Acquirer;
use crate::wire::{ListenerBody, StatusBody, StoreBody, TotalsBody};

/// Says what the server is, what it listens on, and how much there is of everything.
#[utoipa::path(get, path = "/status", tag = "server", responses((status = 200, body = StatusBody)))]
pub(super) async fn status(_: Acquirer, State(app): Shared) -> Result<axum::Json<StatusBody>, Problem> {
    let stats = app.stats().await?;
    let log_time = app.look(|state, _| state.now()).await?;
    let now = wall();
    let listeners = app.about.listeners.iter().map(|listener| ListenerBody {
        name: listener.name.clone(),
        address: listener.address.map(|address| address.to_string()),
        off_because: listener.off_because.clone(),
        tls: listener.tls,
        connections: listener.connections.as_ref().map_or(0, |connections| connections.open()),
    });
    Ok(axum::Json(StatusBody {
        version: app.about.version.clone(),
        started_at: convert::at(app.about.started_at()),
        uptime_ms: now.since(app.about.started_at()),
        listeners: listeners.collect(),
        totals: TotalsBody {
            leases: stats.totals.leases,
            tickets: stats.totals.tickets,
            keys: stats.totals.keys,
            limits: stats.totals.limits,
            access_tokens: app.tokens.list().iter().filter(|token| token.is_valid(now.0)).count(),
        },
        store: StoreBody {
            location: app.about.location.clone(),
            seq: stats.seq,
            format: stats.format,
            log_time: convert::at(log_time),
            log_age_ms: app.now().since(log_time),
            clock_offset_ms: stats.clock_offset_ms,
            clock_steps: stats.clock_steps,
            log_bytes_written: stats.log_bytes,
            snapshots: stats.snapshots,
            snapshot_bytes: stats.snapshot_bytes,
            outages: stats.outages,
            serving: stats.serving,
        },
    }))
}
