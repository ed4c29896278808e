//! Whether the server is well, and the document that describes it.

use std::sync::Arc;

use admit_http::Problem;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::Shared;
use crate::wire::ProblemBody;

/// Says that the process lives. It asks nothing of the engine.
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Says whether requests can be served: the engine answers and the store can be written.
#[utoipa::path(get, path = "/readyz", tag = "server",
    responses((status = 200, body = String), (status = 503, body = ProblemBody)))]
pub(super) async fn readyz(State(app): Shared) -> Result<&'static str, Problem> {
    let stats = app.stats().await?;
    if stats.serving && !app.shutdown.is_triggered() {
        return Ok("ready\n");
    }
    let detail = if stats.serving { "the server is stopping" } else { "the store cannot be written" };
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Err(Problem::new(status, "not-ready", "The server is not ready", detail).retry_in_ms(1_000))
}

pub(super) async fn openapi(document: Arc<str>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document.to_string())
}
