//! Access tokens (role admin).

use admit_http::{AuditEntry, Problem, Role};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::Shared;
use crate::convert;
use crate::extract::{Administrator, Json, PathName, Query, page_size};
use crate::problems;
use crate::wire::{self, NewTokenBody, Page, PageQuery, ProblemBody, TokenBody, TokenInput};

/// The longest life of a token that ends by itself: ten years.
const MAX_EXPIRES_MS: u64 = 3_653 * 24 * 3_600_000;

/// Makes a token. The answer is the only one that ever holds its secret.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = TokenInput,
    responses((status = 201, body = NewTokenBody), (status = 409, body = ProblemBody)))]
pub(super) async fn create(
    Administrator(caller): Administrator,
    State(app): Shared,
    Json(input): Json<TokenInput>,
) -> Result<impl IntoResponse, Problem> {
    let name = crate::extract::name("name", &input.name)?;
    let role = match input.role {
        wire::Role::Acquire => Role::Acquire,
        wire::Role::Operate => Role::Operate,
        wire::Role::Admin => Role::Admin,
    };
    let now = crate::app::wall();
    let expires_in_ms = input.expires_in_ms.map(|ms| convert::within("expires_in_ms", ms, 1, MAX_EXPIRES_MS));
    let expires_at_ms = expires_in_ms.transpose()?.map(|ms| now.plus(ms).0);
    let entry = AuditEntry::of_caller(&caller);
    let created = app.tokens.create(&app.engine, &name, role, expires_at_ms, entry).await;
    let (token, about) = created.map_err(problems::token)?;
    let about = convert::token(&about, now);
    let not_kept = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, not_kept, axum::Json(NewTokenBody { about, token })))
}

/// Lists tokens by name, those that ended included.
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(PageQuery),
    responses((status = 200, body = Page<TokenBody>)))]
pub(super) async fn list(
    _: Administrator,
    State(app): Shared,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<TokenBody>>, Problem> {
    let size = page_size(query.page_size)?;
    let now = crate::app::wall();
    let after = query.cursor.unwrap_or_default();
    let mut items: Vec<TokenBody> = app
        .tokens
        .list()
        .iter()
        .filter(|token| *token.name > *after)
        .take(size + 1)
        .map(|token| convert::token(token, now))
        .collect();
    let next = (items.len() > size).then(|| items[size - 1].name.clone());
    items.truncate(size);
    Ok(axum::Json(Page { items, next }))
}

/// Revokes a token, at once.
#[utoipa::path(delete, path = "/tokens/{name}", tag = "tokens", params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(super) async fn revoke(
    Administrator(caller): Administrator,
    State(app): Shared,
    PathName(name): PathName,
) -> Result<StatusCode, Problem> {
    let revoked = app.tokens.revoke(&app.engine, &name, AuditEntry::of_caller(&caller)).await;
    revoked.map(|()| StatusCode::NO_CONTENT).map_err(problems::token)
}
