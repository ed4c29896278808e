//! What a request to our trees is about, and whether that is here.

use admit_kernel::Name;
use serde::Deserialize;
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::{Prefect, name_or_id};
use crate::limits::TAG_PREFIX;
use crate::routes::Call;
use crate::slots::possible_names;

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// What is made here, or cannot be understood: it is answered here.
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

/// The fields that say it. Whether a body is right is said by whoever answers.
#[derive(Deserialize, Default)]
struct Fields {
    #[serde(default)]
    names: Vec<String>,
    lease_id: Option<Uuid>,
}

/// What a request is about: from the open part of its path, or from its body.
pub(super) fn subject(call: Call, part: &str, body: &[u8]) -> Subject {
    let fields = || serde_json::from_slice::<Fields>(body).unwrap_or_default();
    let by_name_or_id = || match name_or_id(part) {
        Ok(id) => Subject::Id(id),
        Err(name) => Subject::Limit(name.to_owned()),
    };
    match call {
        Call::TagRead | Call::TagReset | Call::TagDelete => Subject::Limit(format!("{TAG_PREFIX}{part}")),
        Call::TagReadById | Call::TagDeleteById | Call::LimitRead | Call::LimitUpdate | Call::LimitDelete => {
            by_name_or_id()
        }
        Call::TagIncrement | Call::TagDecrement => {
            Subject::Limits(fields().names.iter().map(|tag| format!("{TAG_PREFIX}{tag}")).collect())
        }
        Call::Increment | Call::IncrementWithLease | Call::Decrement => Subject::Limits(fields().names),
        Call::DecrementWithLease => fields().lease_id.map_or(Subject::Here, Subject::Lease),
        Call::Renew => part.parse().map_or(Subject::Here, Subject::Lease),
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
            Subject::Lease(id) => {
                let id = *id;
                return Ok(app.engine.read(move |state| state.lease(id).is_some()).await?);
            }
            Subject::Id(id) => app.registry.name_of(*id).into_iter().collect(),
            Subject::Limit(name) => vec![name.as_str().into()],
            Subject::Limits(names) if names.is_empty() => return Ok(true),
            Subject::Limits(names) => possible_names(names.clone()),
        };
        Ok(app.engine.read(move |state| names.iter().any(|name| state.limit(name).is_some())).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_say_what_they_are_about() {
        let id = "00000000-0000-4000-8000-00000000000a";
        let check = |call, part: &str, body: &str, expect: Subject| {
            assert_eq!(subject(call, part, body.as_bytes()), expect, "{call:?} {part} {body}");
        };
        check(Call::TagRead, "etl", "", Subject::Limit("tag:etl".into()));
        check(Call::LimitRead, "etl", "", Subject::Limit("etl".into()));
        check(Call::LimitRead, id, "", Subject::Id(id.parse().unwrap()));
        check(Call::TagIncrement, "", r#"{"names":["a"]}"#, Subject::Limits(vec!["tag:a".into()]));
        check(
            Call::IncrementWithLease,
            "",
            r#"{"names":["a","b"]}"#,
            Subject::Limits(vec!["a".into(), "b".into()]),
        );
        check(Call::IncrementWithLease, "", r#"{"names":7}"#, Subject::Limits(vec![]));
        check(Call::Renew, id, "", Subject::Lease(id.parse().unwrap()));
        check(Call::Renew, "x", "", Subject::Here);
        check(
            Call::DecrementWithLease,
            "",
            &format!(r#"{{"lease_id":"{id}"}}"#),
            Subject::Lease(id.parse().unwrap()),
        );
        check(Call::DecrementWithLease, "", "", Subject::Here);
        check(Call::LimitCreate, "", r#"{"name":"a"}"#, Subject::Here);
    }
}
