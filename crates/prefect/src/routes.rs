//! Every route of the two trees that this crate owns, and of the handshake, as one table: requests are
//! matched against it, and the published OpenAPI document is made of it.

use admit_http::Role;
use axum::http::Method;

use crate::forms;
use crate::validate::Form;

/// A route.
#[derive(Debug)]
pub(crate) struct Route {
    /// `GET` and so on.
    pub(crate) method: Method,
    /// Its path below `/api`: `{uuid}` takes a UUID and nothing else, other braces any one segment.
    pub(crate) path: &'static str,
    /// What it does.
    pub(crate) call: Call,
    /// What its body has to be; none: a body is not looked at.
    pub(crate) form: Option<&'static Form>,
    /// What it takes to use it; none: it is open to all.
    pub(crate) role: Option<Role>,
    /// What it is for.
    pub(crate) about: &'static str,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Health,
    Ready,
    Version,
    AdminVersion,
    CsrfToken,
    TagCreate,
    TagRead,
    TagReadById,
    TagFilter,
    TagReset,
    TagDelete,
    TagDeleteById,
    TagIncrement,
    TagDecrement,
    LimitCreate,
    LimitRead,
    LimitFilter,
    LimitUpdate,
    LimitDelete,
    Increment,
    IncrementWithLease,
    Decrement,
    DecrementWithLease,
    Renew,
}

/// What a path stands for.
#[derive(Debug)]
pub(crate) enum Found {
    /// A route, and the part of the path that it asks for.
    Route(&'static Route, String),
    /// A path that exists, for this other method.
    OtherMethod(&'static Method),
    /// Nothing, but it exists with a slash at its end, or without.
    Redirect,
    /// Nothing.
    Nothing,
}

const fn route(
    method: Method,
    path: &'static str,
    call: Call,
    form: Option<&'static Form>,
    role: Option<Role>,
    about: &'static str,
) -> Route {
    Route { method, path, call, form, role, about }
}

const OPEN: Option<Role> = None;
const HOLD: Option<Role> = Some(Role::Acquire);
const CHANGE: Option<Role> = Some(Role::Operate);

/// All routes. Of those that share a path, the first names the method that others are told about.
pub(crate) static ROUTES: &[Route] = &[
    route(Method::GET, "/health", Call::Health, None, OPEN, "Whether the server is there."),
    route(Method::GET, "/ready", Call::Ready, None, OPEN, "Whether the server can work."),
    route(Method::GET, "/version", Call::Version, None, HOLD, "The version of this API."),
    route(
        Method::GET,
        "/admin/version",
        Call::AdminVersion,
        None,
        HOLD,
        "The version of Prefect that this API is that of.",
    ),
    route(
        Method::GET,
        "/csrf-token",
        Call::CsrfToken,
        None,
        HOLD,
        "Says that no token against cross-site requests is needed.",
    ),
    route(
        Method::POST,
        "/concurrency_limits/",
        Call::TagCreate,
        Some(&forms::TAG_LIMIT_CREATE),
        CHANGE,
        "Makes the limit of a tag, or changes it.",
    ),
    route(
        Method::GET,
        "/concurrency_limits/{uuid}",
        Call::TagReadById,
        None,
        HOLD,
        "Reads a tag's limit by its id.",
    ),
    route(Method::GET, "/concurrency_limits/tag/{tag}", Call::TagRead, None, HOLD, "Reads a tag's limit."),
    route(
        Method::POST,
        "/concurrency_limits/filter",
        Call::TagFilter,
        Some(&forms::PAGE),
        HOLD,
        "Lists the limits of tags.",
    ),
    route(
        Method::POST,
        "/concurrency_limits/tag/{tag}/reset",
        Call::TagReset,
        Some(&forms::TAG_RESET),
        CHANGE,
        "Ends every lease of a tag's limit.",
    ),
    route(
        Method::DELETE,
        "/concurrency_limits/{uuid}",
        Call::TagDeleteById,
        None,
        CHANGE,
        "Removes a limit by its id.",
    ),
    route(
        Method::DELETE,
        "/concurrency_limits/tag/{tag}",
        Call::TagDelete,
        None,
        CHANGE,
        "Removes a tag's limit.",
    ),
    route(
        Method::POST,
        "/concurrency_limits/increment",
        Call::TagIncrement,
        Some(&forms::TAG_SLOTS),
        HOLD,
        "Takes a slot of each tag for a task run.",
    ),
    route(
        Method::POST,
        "/concurrency_limits/decrement",
        Call::TagDecrement,
        Some(&forms::TAG_SLOTS),
        HOLD,
        "Gives a task run's slots of these tags back.",
    ),
    route(
        Method::POST,
        "/v2/concurrency_limits/",
        Call::LimitCreate,
        Some(&forms::LIMIT_CREATE),
        CHANGE,
        "Makes a limit.",
    ),
    route(
        Method::GET,
        "/v2/concurrency_limits/{id_or_name}",
        Call::LimitRead,
        None,
        HOLD,
        "Reads a limit by its id or name.",
    ),
    route(
        Method::POST,
        "/v2/concurrency_limits/filter",
        Call::LimitFilter,
        Some(&forms::PAGE),
        HOLD,
        "Lists limits by name.",
    ),
    route(
        Method::PATCH,
        "/v2/concurrency_limits/{id_or_name}",
        Call::LimitUpdate,
        Some(&forms::LIMIT_UPDATE),
        CHANGE,
        "Changes a limit.",
    ),
    route(
        Method::DELETE,
        "/v2/concurrency_limits/{id_or_name}",
        Call::LimitDelete,
        None,
        CHANGE,
        "Removes a limit. Leases keep what they hold.",
    ),
    route(
        Method::POST,
        "/v2/concurrency_limits/increment",
        Call::Increment,
        Some(&forms::INCREMENT),
        HOLD,
        "Takes slots until they are given back, or for a rate.",
    ),
    route(
        Method::POST,
        "/v2/concurrency_limits/increment-with-lease",
        Call::IncrementWithLease,
        Some(&forms::INCREMENT_WITH_LEASE),
        HOLD,
        "Takes slots for as long as a lease lives.",
    ),
    route(
        Method::POST,
        "/v2/concurrency_limits/decrement",
        Call::Decrement,
        Some(&forms::DECREMENT),
        HOLD,
        "Gives slots back that were taken without a lease.",
    ),
    route(
        Method::POST,
        "/v2/concurrency_limits/decrement-with-lease",
        Call::DecrementWithLease,
        Some(&forms::DECREMENT_WITH_LEASE),
        HOLD,
        "Ends a lease.",
    ),
    route(
        Method::POST,
        "/v2/concurrency_limits/leases/{lease_id}/renew",
        Call::Renew,
        Some(&forms::RENEW),
        HOLD,
        "Holds a lease for longer.",
    ),
];

/// Whether a path below `/api` lies in one of the trees that are served here alone.
pub(crate) fn is_ours(path: &str) -> bool {
    ["/concurrency_limits", "/v2/concurrency_limits"]
        .iter()
        .any(|tree| path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// What a decoded path below `/api` stands for.
pub(crate) fn find(method: &Method, path: &str) -> Found {
    let mut other = None;
    for route in ROUTES {
        match matched(route.path, path) {
            Some(part) if route.method == method => return Found::Route(route, part.to_owned()),
            Some(_) => other = other.or(Some(&route.method)),
            None => {}
        }
    }
    if let Some(method) = other {
        return Found::OtherMethod(method);
    }
    let slashed = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
    if ROUTES.iter().any(|route| matched(route.path, &slashed).is_some()) {
        return Found::Redirect;
    }
    Found::Nothing
}

/// The part of the path that stands where the template has braces; empty where it has none.
fn matched<'a>(template: &str, path: &'a str) -> Option<&'a str> {
    let mut part = "";
    let mut segments = path.split('/');
    for expected in template.split('/') {
        let segment = segments.next()?;
        match expected {
            "{uuid}" if !is_uuid(segment) => return None,
            braces if braces.starts_with('{') && !segment.is_empty() => part = segment,
            literal if literal == segment => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some(part)
}

/// Whether a segment is a UUID, with or without each of its hyphens.
fn is_uuid(segment: &str) -> bool {
    let mut rest = segment;
    for (n, digits) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if n > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let group = rest.get(..digits).filter(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if group.is_none() {
            return false;
        }
        rest = &rest[digits..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_routes() {
        let check = |method: Method, path: &str, expect: &str| {
            let found = match find(&method, path) {
                Found::Route(route, part) => format!("{:?} {part}", route.call),
                Found::OtherMethod(method) => format!("{method} instead"),
                Found::Redirect => "elsewhere".to_owned(),
                Found::Nothing => "nothing".to_owned(),
            };
            assert_eq!(found, expect, "{method} {path}");
        };
        let id = "00000000-0000-4000-8000-00000000000a";
        check(Method::GET, "/health", "Health ");
        check(Method::GET, "/health/", "elsewhere");
        check(Method::POST, "/concurrency_limits/", "TagCreate ");
        check(Method::POST, "/concurrency_limits", "elsewhere");
        check(Method::GET, "/concurrency_limits/", "POST instead");
        check(Method::GET, &format!("/concurrency_limits/{id}"), &format!("TagReadById {id}"));
        check(Method::DELETE, &format!("/concurrency_limits/{id}"), &format!("TagDeleteById {id}"));
        check(Method::PUT, &format!("/concurrency_limits/{id}"), "GET instead");
        check(Method::GET, "/concurrency_limits/not-a-uuid", "nothing");
        check(Method::GET, "/concurrency_limits/tag/größe 🚀", "TagRead größe 🚀");
        check(Method::GET, "/concurrency_limits/tag/a/b", "nothing");
        check(Method::POST, "/concurrency_limits/tag/a/reset", "TagReset a");
        check(Method::GET, "/v2/concurrency_limits/filter", "LimitRead filter");
        check(Method::POST, "/v2/concurrency_limits/filter", "LimitFilter ");
        check(Method::PUT, "/v2/concurrency_limits/x", "GET instead");
        check(Method::POST, "/v2/concurrency_limits/leases/x/renew", "Renew x");
        check(Method::GET, "/flows", "nothing");
    }
}
