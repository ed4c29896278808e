//! Paths that are not ours: the rest of Prefect's API, which this server does not have.

use axum::http::StatusCode;

use crate::answer::Answer;

/// A path within our trees that leads nowhere.
pub(crate) fn nothing() -> Answer {
    Answer::detail(StatusCode::NOT_FOUND, "Not Found")
}

/// A path of the rest of Prefect's API.
pub(crate) fn not_served(path: &str) -> Answer {
    let detail = format!(
        "Not Found: {path} belongs to a whole Prefect server, and this one serves its concurrency limits alone; \
         start it with --prefect-upstream URL to stand before one"
    );
    Answer::detail(StatusCode::NOT_FOUND, detail)
}

/// A path outside of the API.
pub(crate) fn outside() -> Answer {
    Answer::detail(
        StatusCode::NOT_FOUND,
        "Not Found: the API is under /api, its description at /openapi.json",
    )
}
