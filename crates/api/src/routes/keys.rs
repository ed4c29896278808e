//! Keys: what is in use.

use admit_http::Problem;
use axum::extract::State;

use super::Shared;
use crate::convert;
use crate::extract::{Acquirer, PathName, Query, page_size};
use crate::wire::{KeyBody, KeyQuery, Page};

/// Holders that a list names for each key.
const HOLDERS_IN_LIST: usize = 3;
/// Holders that are named for one key.
const HOLDERS: usize = 100;

/// Lists the keys in use, by name.
#[utoipa::path(get, path = "/keys", tag = "keys", params(KeyQuery), responses((status = 200, body = Page<KeyBody>)))]
pub(super) async fn list(
    _: Acquirer,
    State(app): Shared,
    Query(query): Query<KeyQuery>,
) -> Result<axum::Json<Page<KeyBody>>, Problem> {
    let size = page_size(query.page_size)?;
    let page = app.look(move |state, now| {
        let prefix = query.prefix.as_deref().unwrap_or_default();
        let keys = state.keys(prefix, query.cursor.as_deref(), size + 1);
        let next = (keys.len() > size).then(|| keys[size - 1].to_string());
        let views =
            keys.iter().take(size).map(|key| convert::key(&state.key_view(key, HOLDERS_IN_LIST), now));
        Page { items: views.collect(), next }
    });
    page.await.map(axum::Json)
}

/// Reads a key. One that nobody uses is free, not unknown.
#[utoipa::path(get, path = "/keys/{key}", tag = "keys", params(("key" = String, Path)),
    responses((status = 200, body = KeyBody)))]
pub(super) async fn get(
    _: Acquirer,
    State(app): Shared,
    PathName(key): PathName,
) -> Result<axum::Json<KeyBody>, Problem> {
    app.look(move |state, now| convert::key(&state.key_view(&key, HOLDERS), now)).await.map(axum::Json)
}
