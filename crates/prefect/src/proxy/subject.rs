//! What a request to our trees is about, and whether that is here.

use admit_kernel::{Name, State};
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::{Prefect, name_or_id};
use crate::limits::TAG_PREFIX;
use crate::routes::Call;
use crate::slots::{is_of_nothing, possible_names};
use crate::validate::{Values, parse_uuid};

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// What is made here, is about nothing, or is refused: it is answered here.
    Here,
    /// The limit of this name.
    Limit(String),
    /// The limit of this id.
    Id(Uuid),
    /// The limits of these names, as far as they exist.
    Limits(Vec<String>),
    /// The lease of this id.
    Lease(Uuid),
}

/// What a request is about: from the open part of its path, or from the fields of its body, which are those that it is
/// answered by; none: it is refused.
pub(super) fn subject(call: Call, part: &str, values: Option<&Values>) -> Subject {
    let limits = |prefix: &str| match values.map(|values| values.texts("names")) {
        // Of nothing, or of nobody knows what.
        None => Subject::Here,
        Some(names) if names.is_empty() => Subject::Here,
        Some(names) => Subject::Limits(names.iter().map(|name| format!("{prefix}{name}")).collect()),
    };
    let lease = |id: Option<Uuid>| id.map_or(Subject::Here, Subject::Lease);
    let by_name_or_id = || match name_or_id(part) {
        Ok(id) => Subject::Id(id),
        Err(name) => Subject::Limit(name.to_owned()),
    };
    match call {
        Call::TagRead | Call::TagReset | Call::TagDelete => Subject::Limit(format!("{TAG_PREFIX}{part}")),
        Call::TagReadById | Call::TagDeleteById | Call::LimitRead | Call::LimitUpdate | Call::LimitDelete => {
            by_name_or_id()
        }
        Call::TagIncrement | Call::TagDecrement => limits(TAG_PREFIX),
        Call::Increment | Call::IncrementWithLease | Call::Decrement => limits(""),
        Call::DecrementWithLease => lease(values.and_then(|values| values.id("lease_id"))),
        Call::Renew => lease(parse_uuid(part).ok()),
        Call::Health
        | Call::Ready
        | Call::Version
        | Call::AdminVersion
        | Call::CsrfToken
        | Call::TagCreate
        | Call::TagFilter
        | Call::LimitCreate
        | Call::LimitFilter => Subject::Here,
    }
}

impl Subject {
    /// Whether it is here. Of several limits one is enough: no slots are taken of two servers at once.
    pub(super) async fn is_here(&self, app: &Prefect) -> Result<bool, Answer> {
        let names: Vec<Name> = match self {
            Subject::Here => return Ok(true),
            Subject::Lease(id) if is_of_nothing(*id) => return Ok(true),
            Subject::Lease(id) => {
                let id = *id;
                // One that has ended here is not asked for elsewhere: nobody else knows it.
                let is_known = move |state: &State| state.lease(id).is_some() || state.ended(id).is_some();
                return Ok(app.engine.read(is_known).await?);
            }
            // Another node may have made it.
            Subject::Id(id) => return Ok(app.limit_by_id(*id).await?.is_some()),
            Subject::Limit(name) => vec![name.as_str().into()],
            Subject::Limits(names) => possible_names(names.clone()),
        };
        Ok(app.engine.read(move |state| names.iter().any(|name| state.limit(name).is_some())).await?)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;
    use crate::request::read;
    use crate::routes::ROUTES;

    #[test]
    fn requests_say_what_they_are_about() {
        let id = "00000000-0000-4000-8000-00000000000a";
        let check = |call, part: &str, body: &str, expect: Subject| {
            let route = ROUTES.iter().find(|route| route.call == call).unwrap();
            let read = read(route.form, &HeaderMap::new(), body.as_bytes()).unwrap();
            assert_eq!(subject(call, part, read.values()), expect, "{call:?} {part} {body}");
        };
        check(Call::TagRead, "etl", "", Subject::Limit("tag:etl".into()));
        check(Call::LimitRead, "etl", "", Subject::Limit("etl".into()));
        check(Call::LimitRead, id, "", Subject::Id(id.parse().unwrap()));
        let tags = format!(r#"{{"names":["a"],"task_run_id":"{id}"}}"#);
        check(Call::TagIncrement, "", &tags, Subject::Limits(vec!["tag:a".into()]));
        let of = |names: &[&str]| Subject::Limits(names.iter().map(|name| (*name).to_owned()).collect());
        let take = |body: &str, expect| check(Call::IncrementWithLease, "", body, expect);
        take(r#"{"names":["a","b"],"slots":1}"#, of(&["a", "b"]));
        // However it is written, it is about what it is answered by.
        take(r#"{"names":["a"],"names":["b"],"slots":1}"#, of(&["b"]));
        take(r#"{"names":["a"],"slots":"1","lease_id":"none"}"#, of(&["a"]));
        take(r#"{"x":NaN,"names":["a"],"slots":1.0}"#, of(&["a"]));
        take("\u{feff}{\"names\":[\"a\"],\"slots\":1}", of(&["a"]));
        take(r#"{"names":[],"slots":1}"#, Subject::Here);
        take(r#"{"names":7,"slots":1}"#, Subject::Here);
        take(r#"{"names":["a"]}"#, Subject::Here);
        check(Call::Renew, id, "", Subject::Lease(id.parse().unwrap()));
        check(Call::Renew, "x", "", Subject::Here);
        for written in [id.to_owned(), format!("{{{id}}}"), id.replace('-', "")] {
            let body = format!(r#"{{"lease_id":"{written}","note":NaN}}"#);
            check(Call::DecrementWithLease, "", &body, Subject::Lease(id.parse().unwrap()));
        }
        check(Call::DecrementWithLease, "", "", Subject::Here);
        check(Call::LimitCreate, "", r#"{"name":"a","limit":1}"#, Subject::Here);
    }
}
