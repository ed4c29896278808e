//! `If-Match` and `If-None-Match`: change a limit only if it is what the client takes it for.

use admit_http::Problem;
use admit_kernel::Version;
use axum::http::{HeaderMap, HeaderName, header};

use crate::convert;
use crate::problems::{self, invalid};

/// There is no limit: none has this revision.
const NO_LIMIT: Version = Version { revision: 0, paused_until: None };

/// What the limit must still be like when it is changed; none: it does not matter. `current` is what it is
/// like now.
pub(super) fn check(headers: &HeaderMap, current: Option<Version>) -> Result<Option<Version>, Problem> {
    let revision = current.map(|limit| limit.revision);
    match (text(headers, header::IF_MATCH)?, text(headers, header::IF_NONE_MATCH)?) {
        (None, None) => Ok(None),
        (None, Some(none)) if none == "*" && current.is_none() => Ok(Some(NO_LIMIT)),
        (None, Some(none)) if none == "*" => Err(problems::revision_mismatch(revision)),
        (_, Some(none)) => Err(invalid("if-none-match", none, "* alone, without If-Match")),
        (Some(any), None) => {
            let is_met = any == "*" || {
                let right = "ETags as answers give them, such as \"7\", or *";
                let tags = strong_tags(&any).ok_or_else(|| invalid("if-match", &*any, right))?;
                current.map(convert::etag).is_some_and(|current| tags.contains(&&*current))
            };
            let met = current.filter(|_| is_met).map(Some);
            met.ok_or_else(|| problems::revision_mismatch(revision))
        }
    }
}

/// The same for a command on an existing limit. It sees by itself whether there still is one, which is all that
/// `*` asks for.
pub(super) fn check_existing(headers: &HeaderMap, current: Version) -> Result<Option<Version>, Problem> {
    let version = check(headers, Some(current))?;
    let any = text(headers, header::IF_MATCH)?.is_some_and(|tags| tags == "*");
    Ok(version.filter(|_| !any))
}

/// A header's value; several lines of it are one list.
fn text(headers: &HeaderMap, name: HeaderName) -> Result<Option<String>, Problem> {
    let lines: Result<Vec<&str>, _> = headers.get_all(&name).iter().map(|value| value.to_str()).collect();
    let lines = lines.map_err(|_| invalid(name.as_str(), (), "printable ASCII"))?;
    Ok((!lines.is_empty()).then(|| lines.join(",").trim().to_owned()))
}

/// The strong tags of a list, with their quotes: weak ones match nothing that is to be changed. None: it is
/// no list of tags.
fn strong_tags(list: &str) -> Option<Vec<&str>> {
    let mut tags = Vec::new();
    let mut rest = list;
    loop {
        rest = rest.trim_start();
        let (is_weak, tag) = rest.strip_prefix("W/").map_or((false, rest), |tag| (true, tag));
        let length = tag.strip_prefix('"')?.find('"')? + 2;
        if !is_weak {
            tags.push(&tag[..length]);
        }
        match tag[length..].trim_start().split_once(',') {
            Some(("", next)) => rest = next,
            None if tag[length..].trim().is_empty() => return Some(tags),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tags_are_taken_apart() {
        let check = |list: &str, expect: Option<&[&str]>| {
            assert_eq!(strong_tags(list).as_deref(), expect, "{list}");
        };
        check("\"7\"", Some(&["\"7\""]));
        check("\"7\", \"8-paused\" ,\"a,b\"", Some(&["\"7\"", "\"8-paused\"", "\"a,b\""]));
        check("W/\"7\"", Some(&[]));
        check("W/\"7\", \"8\"", Some(&["\"8\""]));
        check("7", None);
        check("\"7", None);
        check("\"7\" \"8\"", None);
        check("\"7\",", None);
        check("", None);
    }
}
