//! The description of its API that the server behind publishes, and what is not in it of the part that is served here.

use admit_http::Caller;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::Response;

use super::{Proxy, headers};
use crate::answer::Answer;
use crate::json::{Json, parse};
use crate::openapi;

/// Where it tells of the route that makes a tag's limit.
const TAG_CREATE: [&str; 4] = ["paths", "/concurrency_limits/", "post", "responses"];

impl Proxy {
    /// The description of everything that this port answers; of what is here alone while there is no other.
    pub(super) async fn describe(
        &self,
        caller: &Caller,
        path: &'static str,
        request: Request,
    ) -> Result<Response, Answer> {
        let credentials = headers::credentials(request.headers());
        match self.link.ask(Method::GET, path, credentials, None).await {
            Ok((StatusCode::OK, text)) => match amended(&String::from_utf8_lossy(&text)) {
                Some(document) => Ok(Answer::raw(document).into_response()),
                None => self.pass(caller, request).await,
            },
            Ok(_) => self.pass(caller, request).await,
            Err(_) => openapi::answer(request.method()).map(Answer::into_response),
        }
    }
}

/// The description with the 201 that is answered to a new tag, by its server and by this one; none: it has no place
/// for it.
fn amended(text: &str) -> Option<String> {
    let mut document = parse(text).ok()?;
    let mut responses = &mut document;
    for name in TAG_CREATE {
        responses = responses.get_mut(name)?;
    }
    let Json::Object(members) = responses else { return None };
    if !members.iter().any(|(status, _)| status == "201") {
        let at = members.iter().position(|(status, _)| status == "200")? + 1;
        let mut made = members[at - 1].1.clone();
        if let Some(about) = made.get_mut("description") {
            *about = "The limit was made.".into();
        }
        members.insert(at, ("201".to_owned(), made));
    }
    let mut written = String::with_capacity(text.len());
    document.write(&mut written);
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_tag_is_told_to_be_201() {
        let check = |responses: &str, expect: &str| {
            let around = |responses: &str| {
                format!(
                    r#"{{"info":{{}},"paths":{{"/flows/":{{}},"/concurrency_limits/":{{"post":{{"responses":{responses}}}}}}}}}"#
                )
            };
            assert_eq!(amended(&around(responses)), Some(around(expect)));
        };
        let (old, new) = (r#"{"description":"OK","content":{"$ref":"x"}}"#, "The limit was made.");
        let new = old.replace("OK", new);
        check(
            &format!(r#"{{"200":{old},"422":{{}}}}"#),
            &format!(r#"{{"200":{old},"201":{new},"422":{{}}}}"#),
        );
        check(&format!(r#"{{"200":{old},"201":{{}}}}"#), &format!(r#"{{"200":{old},"201":{{}}}}"#));
        assert_eq!(amended(r#"{"paths":{}}"#), None);
        assert_eq!(amended("no JSON"), None);
    }
}
