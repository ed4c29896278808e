//! Lists and what selects from them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// One page of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// What to give as `cursor` for the next page; null: this was the last.
    pub next: Option<String>,
}

/// Which page.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Rows of a page, 1 to 1,000; 200 if left out.
    pub page_size: Option<usize>,
    /// The `next` of the page before.
    pub cursor: Option<String>,
}

/// Which leases.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LeaseQuery {
    /// Those that hold slots of this key.
    pub key: Option<String>,
    /// Those that claim this limit, by name or by match.
    pub limit: Option<String>,
    /// Those of this holder.
    pub holder: Option<String>,
    /// Rows of a page, 1 to 1,000; 200 if left out.
    pub page_size: Option<usize>,
    /// The `next` of the page before.
    pub cursor: Option<String>,
}

/// Which keys.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KeyQuery {
    /// Those that begin with this.
    pub prefix: Option<String>,
    /// Rows of a page, 1 to 1,000; 200 if left out.
    pub page_size: Option<usize>,
    /// The `next` of the page before.
    pub cursor: Option<String>,
}

/// For how long to wait for a ticket's grant.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TicketQuery {
    /// Milliseconds, at most 10 minutes; 0 if left out.
    pub wait_ms: Option<u64>,
}
