//! The schema of problem details, for the OpenAPI document.

use serde::Serialize;
use utoipa::ToSchema;

use super::BlockBody;

/// An error (RFC 9457). Programs go by `type`, people by the rest.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ProblemBody {
    /// Which kind of problem: `/problems/full`, `/problems/queue-full`, `/problems/invalid-request` ...
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and what would be right.
    pub detail: String,
    /// The field that is wrong, as a path: `claims[0].slots`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Its value, shortened where it is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
    /// The claims that are short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<Vec<BlockBody>>,
}
