//! The routes, and the document that describes them.

mod batch;
mod document;
mod events;
mod explain;
mod health;
mod keys;
mod leases;
mod limits;
mod metrics;
mod nodes;
mod precondition;
mod status;
mod tickets;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{App, problems};

/// What handlers get: an [`App`] of their worker's own, so that cores share no counter of references.
type Shared = axum::extract::State<Arc<App>>;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Admit",
        description = "Concurrency limits: one keyed limit, shared by everything that uses it. Durations are in \
            milliseconds (`_ms`); every absolute time is RFC 3339 and has a relative twin. Errors are problem \
            details (RFC 9457). Names and keys in paths are percent-encoded, slashes too.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(crate::wire::BatchOp, crate::wire::ProblemBody)),
    tags(
        (name = "limits", description = "What may be in use at once"),
        (name = "leases", description = "Holding slots"),
        (name = "tickets", description = "Waiting for slots"),
        (name = "keys", description = "What is in use, and why something waits"),
        (name = "server", description = "The server itself"),
        (name = "tokens", description = "Who may do what (role admin)"),
    ),
)]
struct Document;

fn described() -> (Router<Arc<App>>, utoipa::openapi::OpenApi) {
    let v1 = OpenApiRouter::new()
        .routes(routes!(limits::list))
        .routes(routes!(limits::put, limits::get, limits::delete))
        .routes(routes!(limits::pause))
        .routes(routes!(limits::resume))
        .routes(routes!(limits::reset))
        .routes(routes!(leases::acquire, leases::list))
        .routes(routes!(leases::check))
        .routes(routes!(leases::get, leases::release))
        .routes(routes!(leases::renew))
        .routes(routes!(tickets::get, tickets::withdraw))
        .routes(routes!(batch::batch))
        .routes(routes!(keys::list))
        .routes(routes!(keys::get))
        .routes(routes!(explain::explain))
        .routes(routes!(events::events))
        .routes(routes!(status::status))
        .routes(routes!(nodes::list))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke));
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .nest("/api/v1", v1)
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .split_for_parts();
    document::complete(&mut document);
    (router, document)
}

/// The routes of the API. Call it once per worker: nothing is shared between two of them but the engine.
pub fn router(app: &App) -> Router {
    let (routes, document) = described();
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let app = Arc::new(app.clone());
    routes
        .route("/openapi.json", axum::routing::get(move || health::openapi(document.clone())))
        .fallback(async |uri: Uri| problems::no_route(uri.path()))
        .method_not_allowed_fallback(async |method: Method| problems::wrong_method(method.as_str()))
        .with_state(app)
}

/// The OpenAPI document, as it is committed: indented, with a line's end.
#[must_use]
pub fn openapi_json() -> String {
    let mut text = described().1.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}
