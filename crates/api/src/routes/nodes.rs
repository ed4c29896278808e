//! The nodes that share the log.

use admit_engine::{Load, Node};
use admit_http::Problem;
use admit_kernel::Time;
use axum::extract::State;

use super::Shared;
use crate::app::wall;
use crate::extract::Acquirer;
use crate::wire::{NodeBody, Page};
use crate::{convert, problems};

/// Lists the nodes that use the log. On a folder that is one.
#[utoipa::path(get, path = "/nodes", tag = "server", responses((status = 200, body = Page<NodeBody>)))]
pub(super) async fn list(_: Acquirer, State(app): Shared) -> Result<axum::Json<Page<NodeBody>>, Problem> {
    let nodes = app.engine.nodes().await.map_err(problems::engine)?;
    let (own, now) = (app.engine.node(), wall());
    let items = nodes.into_iter().map(|node| body(node, own, now)).collect();
    Ok(axum::Json(Page { items, next: None }))
}

/// As programs and people know a node.
pub(super) fn id(number: u64) -> String {
    format!("{number:016x}")
}

fn body(node: Node, own: u64, now: Time) -> NodeBody {
    let Node { info, applied_seq, behind, seen_ms_ago, is_live, load } = node;
    NodeBody {
        id: id(info.number),
        is_self: info.number == own,
        name: info.name,
        address: info.address,
        version: info.version,
        format: info.format,
        live: is_live,
        seen_at: convert::at(now.minus(seen_ms_ago)),
        seen_ago_ms: seen_ms_ago,
        applied_seq,
        lag_records: behind,
        batch_commands: load.map(|Load { batch_commands, .. }| hundredths(batch_commands)),
        commit_ms: load.map(|Load { commit_ms, .. }| hundredths(commit_ms)),
    }
}

/// An average has no more to say than two places.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
