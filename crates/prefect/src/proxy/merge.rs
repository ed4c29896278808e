//! Lists over both servers.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::bounds::{MAX_LISTED, PAGE_SIZE};
use super::upstream::{Failure, Link};

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
pub(super) fn page(
    here: Vec<Value>,
    behind: Vec<Value>,
    key: &str,
    offset: usize,
    limit: usize,
) -> Vec<Value> {
    let name = |row: &Value| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let all: BTreeMap<String, Value> = behind.into_iter().chain(here).map(|row| (name(&row), row)).collect();
    all.into_values().skip(offset).take(limit).collect()
}

impl Link {
    /// Everything that a list of the server behind has, up to a bound.
    pub(super) async fn list(&self, list: List, headers: &HeaderMap) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        while all.len() < MAX_LISTED {
            let body = serde_json::json!({ "limit": PAGE_SIZE, "offset": all.len() });
            let (status, answer) = self.ask(Method::POST, list.path, headers.clone(), Some(&body)).await?;
            if status != StatusCode::OK {
                return Err(Failure::Status(status));
            }
            let rows: Vec<Value> =
                serde_json::from_slice(&answer).map_err(|error| Failure::Strange(error.to_string()))?;
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
        let rows = |names: &[&str], from: &str| -> Vec<Value> {
            names.iter().map(|name| serde_json::json!({ "name": name, "from": from })).collect()
        };
        let check = |offset, limit, expect: &[&str]| {
            let merged =
                page(rows(&["b", "d"], "here"), rows(&["c", "b", "a"], "behind"), "name", offset, limit);
            let shown: Vec<String> =
                merged.iter().map(|row| format!("{} {}", row["name"], row["from"])).collect();
            assert_eq!(shown.join(", ").replace('"', ""), expect.join(", "));
        };
        check(0, 200, &["a behind", "b here", "c behind", "d here"]);
        check(1, 2, &["b here", "c behind"]);
        check(4, 2, &[]);
        check(0, 0, &[]);
    }
}
