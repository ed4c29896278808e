//! Lists over both servers.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Method, StatusCode};
use serde::Serialize;

use super::bounds::{MAX_LISTED, PAGE_SIZE};
use super::upstream::{Failure, Link};
use crate::json::{Json, parse};

/// A list that both servers have: where it is, and the field by which it is sorted.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    pub(super) path: &'static str,
    pub(super) key: &'static str,
}

/// The limits of tags.
pub(super) const TAGS: List = List { path: "/api/concurrency_limits/filter", key: "tag" };
/// All limits.
pub(super) const LIMITS: List = List { path: "/api/v2/concurrency_limits/filter", key: "name" };

/// A page of both, by name; of two limits of one name the one that is here is shown, as it is the one in force.
pub(super) fn page(here: Vec<Json>, behind: Vec<Json>, key: &str, offset: usize, limit: usize) -> Json {
    let name = |row: &Json| row.get(key).and_then(Json::as_text).unwrap_or_default().to_owned();
    let all: BTreeMap<String, Json> = behind.into_iter().chain(here).map(|row| (name(&row), row)).collect();
    Json::List(all.into_values().skip(offset).take(limit).collect())
}

/// A row of ours, as it is written.
pub(super) fn row(shown: &impl Serialize) -> Option<Json> {
    parse(&serde_json::to_string(shown).ok()?).ok()
}

impl Link {
    /// Everything that a list of the server behind has, up to a bound.
    pub(super) async fn list(&self, list: List, headers: &HeaderMap) -> Result<Vec<Json>, Failure> {
        let mut all = Vec::new();
        while all.len() < MAX_LISTED {
            let body = serde_json::json!({ "limit": PAGE_SIZE, "offset": all.len() });
            let (status, answer) = self.ask(Method::POST, list.path, headers.clone(), Some(&body)).await?;
            if status != StatusCode::OK {
                return Err(Failure::Status(status));
            }
            let Ok(Json::List(rows)) = parse(&String::from_utf8_lossy(&answer)) else {
                return Err(Failure::Strange("it is no list".to_owned()));
            };
            let is_last = rows.len() < PAGE_SIZE;
            all.extend(rows);
            if is_last {
                return Ok(all);
            }
        }
        tracing::warn!(upstream = %self.upstream(), max = MAX_LISTED, "only the first of its limits are listed");
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_cut_from_both_lists() {
        let rows = |names: &[&str], from: &str| -> Vec<Json> {
            names.iter().map(|name| Json::object([("name", (*name).into()), ("from", from.into())])).collect()
        };
        let check = |offset, limit, expect: &str| {
            let (here, behind) = (rows(&["b", "d"], "here"), rows(&["c", "b", "a"], "behind"));
            let mut written = String::new();
            page(here, behind, "name", offset, limit).write(&mut written);
            assert_eq!(written, expect);
        };
        let (a, b) = (r#"{"name":"a","from":"behind"}"#, r#"{"name":"b","from":"here"}"#);
        let (c, d) = (r#"{"name":"c","from":"behind"}"#, r#"{"name":"d","from":"here"}"#);
        check(0, 200, &format!("[{a},{b},{c},{d}]"));
        check(1, 2, &format!("[{b},{c}]"));
        check(4, 2, "[]");
        check(0, 0, "[]");
    }
}
