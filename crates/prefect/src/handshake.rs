//! What a client asks before it works.

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};

use crate::answer::{Answer, Answered};
use crate::app::Prefect;
use crate::json::Json;
use crate::request::{API_VERSION, PREFECT_VERSION};
use crate::validate::{Fault, Step};

pub(crate) fn health() -> Answer {
    Answer::ok(&true)
}

/// Ready once the engine answers.
pub(crate) async fn ready(app: &Prefect) -> Answered {
    let ready = app.engine.read(|_| ()).await;
    Ok(match ready {
        Ok(()) => Answer::ok(&serde_json::json!({ "message": "OK" })),
        Err(error) => {
            let body = serde_json::json!({ "message": error.to_string() });
            Answer::json(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    })
}

pub(crate) fn version() -> Answer {
    Answer::ok(&API_VERSION)
}

pub(crate) fn admin_version() -> Answer {
    Answer::ok(&PREFECT_VERSION)
}

/// Origin and Host are checked at every request, so no token is needed; clients know this answer, and go on
/// without.
pub(crate) fn csrf_token(query: Option<&str>) -> Answer {
    let names_client =
        query.unwrap_or_default().split('&').any(|pair| pair == "client" || pair.starts_with("client="));
    if names_client {
        return Answer::detail(StatusCode::UNPROCESSABLE_ENTITY, "CSRF protection is disabled.");
    }
    let fault = Fault::missing(&Json::Null).at(&[Step::Name("query"), Step::Name("client")]);
    Answer::invalid(&[fault], &Json::Null)
}

/// For how long a token counts that stands for one of a server that is not there: a client that was told that there
/// are none would never again ask for one, and be refused by that server once it is back.
const MEANWHILE: SignedDuration = SignedDuration::from_secs(10);

/// A token that proves nothing, and for a moment keeps a client from asking: here none is needed.
pub(crate) fn token_meanwhile(query: Option<&str>) -> Answer {
    let client = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("client="));
    let Some(client) = client else { return csrf_token(query) };
    Answer::ok(&serde_json::json!({
        "token": "none-is-needed",
        "client": client,
        "expiration": (Timestamp::now() + MEANWHILE).to_string(),
    }))
}
