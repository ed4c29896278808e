//! What every route works with, and the way of a request to its route.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use admit_engine::{Engine, Error};
use admit_http::{Caller, Role, Tokens};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::answer::{Answer, Answered};
use crate::bounds::{DEFAULT_HOLD, MAX_HOLD};
use crate::changes::LimitChanges;
use crate::json::Json;
use crate::lost::LostPlaces;
use crate::places::Places;
use crate::proxy::{self, Behind};
use crate::registry::Registry;
use crate::request::Read;
use crate::routes::{self, Call, Found, Route};
use crate::validate::{self, Refused, Values};
use crate::{elsewhere, events, handshake, openapi, request, v1, v2};

/// Where the API is.
const API: &str = "/api";

/// How the dialect behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a request that finds its limit full is held open, at most [`crate::MAX_HOLD`]; zero: it is
    /// answered at once, as Prefect's own server does.
    pub hold: Duration,
    /// Whether the listener speaks TLS, which redirects have to say.
    pub is_tls: bool,
    /// The Prefect server that this one stands before; none: what is not served here is not served.
    pub behind: Option<Arc<Behind>>,
}

impl Default for Options {
    fn default() -> Options {
        Options { hold: DEFAULT_HOLD, is_tls: false, behind: None }
    }
}

/// Prefect's concurrency API on an engine. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Prefect {
    shared: Arc<Shared>,
}

/// What clones share.
pub struct Shared {
    pub(crate) engine: Engine,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) registry: Registry,
    pub(crate) places: Places,
    pub(crate) lost: LostPlaces,
    pub(crate) changes: LimitChanges,
    pub(crate) options: Options,
    /// One release without a lease at a time, so that no two give the same slots back.
    pub(crate) decrements: tokio::sync::Mutex<()>,
}

impl Deref for Prefect {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// A request that found its route.
pub(crate) struct Asked {
    /// Who asks.
    pub(crate) caller: Caller,
    /// The part of the path that the route leaves open.
    pub(crate) part: String,
    /// The body's fields.
    pub(crate) values: Values,
}

impl Prefect {
    /// Reads what is known of limits. The engine was opened with [`crate::MIGRATIONS`].
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn open(engine: Engine, tokens: Arc<Tokens>, options: Options) -> Result<Prefect, Error> {
        let options = Options { hold: options.hold.min(MAX_HOLD), ..options };
        let registry = Registry::load(&engine).await?;
        let (places, lost) = (Places::default(), LostPlaces::new(&engine).await?);
        let decrements = tokio::sync::Mutex::new(());
        let changes = LimitChanges::default();
        let shared = Shared { engine, tokens, registry, places, lost, changes, options, decrements };
        let app = Prefect { shared: Arc::new(shared) };
        app.forget_the_removed().await?;
        Ok(app)
    }

    /// Everything that this port answers; its requests carry a [`Caller`]. Call it once in each runtime that
    /// serves it.
    pub fn router(&self) -> Router {
        if let Some(behind) = &self.options.behind {
            return proxy::router(self.clone(), behind.clone());
        }
        Router::new().fallback(enter).with_state(self.clone())
    }

    /// Answers a request to what is served here.
    pub(crate) async fn dispatch(&self, caller: Caller, request: Request) -> Answered {
        let (head, body) = request.into_parts();
        let whole = percent_decode_str(head.uri.path()).decode_utf8_lossy().into_owned();
        if openapi::PATHS.contains(&whole.as_str()) {
            return openapi::answer(&head.method);
        }
        let path = whole.strip_prefix(API).filter(|path| path.starts_with('/'));
        let Some(path) = path else { return Err(elsewhere::outside()) };
        match routes::find(&head.method, path) {
            Found::Route(route, part) => {
                may(&caller, route.role)?;
                let bytes = match route.form {
                    Some(_) => request::bytes(body).await?,
                    None => Bytes::new(),
                };
                let read = request::read(route.form, &head.headers, &bytes)?;
                self.answer(caller, route, part, &head, read).await
            }
            Found::OtherMethod(allowed) => {
                may(&caller, Some(Role::Acquire))?;
                Err(Answer::detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
                    .with(header::ALLOW, allowed.as_str()))
            }
            Found::Redirect => {
                may(&caller, Some(Role::Acquire))?;
                Err(self.redirect(&head.headers, &head.uri))
            }
            Found::Nothing => {
                may(&caller, Some(Role::Acquire))?;
                Err(if routes::is_ours(path) { elsewhere::nothing() } else { elsewhere::not_served(&whole) })
            }
        }
    }

    /// Answers a request that was read.
    pub(crate) async fn answer(
        &self,
        caller: Caller,
        route: &Route,
        part: String,
        head: &Parts,
        read: Read,
    ) -> Answered {
        let values = passed(route, &part, &head.headers, read)?;
        self.call(route.call, Asked { caller, part, values }, &head.uri).await
    }

    async fn call(&self, call: Call, asked: Asked, uri: &Uri) -> Answered {
        match call {
            Call::Health => Ok(handshake::health()),
            Call::Ready => handshake::ready(self).await,
            Call::Version => Ok(handshake::version()),
            Call::AdminVersion => Ok(handshake::admin_version()),
            Call::CsrfToken => Err(handshake::csrf_token(uri.query())),
            Call::TagCreate => v1::create(self, &asked).await,
            Call::TagRead => v1::read(self, &asked.part).await,
            Call::TagReadById => v1::read_by_id(self, &asked.part).await,
            Call::TagFilter => v1::filter(self, &asked.values).await,
            Call::TagReset => v1::reset(self, &asked).await,
            Call::TagDelete => v1::delete(self, &asked).await,
            Call::TagDeleteById => v1::delete_by_id(self, &asked).await,
            Call::TagIncrement => v1::increment(self, &asked).await,
            Call::TagDecrement => v1::decrement(self, &asked.values).await,
            Call::LimitCreate => v2::create(self, &asked).await,
            Call::LimitRead => v2::read(self, &asked.part).await,
            Call::LimitFilter => v2::filter(self, &asked.values).await,
            Call::LimitUpdate => v2::update(self, &asked).await,
            Call::LimitDelete => v2::delete(self, &asked).await,
            Call::Increment => v2::increment(self, &asked).await,
            Call::IncrementWithLease => v2::increment_with_lease(self, &asked).await,
            Call::Decrement => v2::decrement(self, &asked.values).await,
            Call::DecrementWithLease => v2::decrement_with_lease(self, &asked.values).await,
            Call::Renew => v2::renew(self, &asked).await,
        }
    }

    /// To the same path with a slash at its end, or without.
    fn redirect(&self, headers: &HeaderMap, uri: &Uri) -> Answer {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let scheme = if self.options.is_tls { "https" } else { "http" };
        let path = uri.path().strip_suffix('/').map_or_else(|| format!("{}/", uri.path()), str::to_owned);
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        Answer::empty(StatusCode::TEMPORARY_REDIRECT)
            .with(header::LOCATION, format!("{scheme}://{host}{path}{query}"))
    }
}

/// The fields of a request that nothing is wrong with.
pub(crate) fn passed(route: &Route, part: &str, headers: &HeaderMap, read: Read) -> Result<Values, Answer> {
    let is_versioned = !matches!(route.call, Call::Health | Call::Ready | Call::Version);
    if is_versioned {
        request::check_version(headers)?;
    }
    let mut faults = Vec::new();
    if route.call == Call::Renew {
        faults.extend(v2::lease_id_fault(part));
    }
    let values = match read.checked {
        Ok(values) => values,
        Err(Refused::Sentence(detail)) => {
            return Err(Answer::detail(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
        Err(Refused::Faults(more)) => {
            faults.extend(more);
            Values::default()
        }
    };
    if !faults.is_empty() {
        return Err(Answer::invalid(&faults, read.body.as_ref().unwrap_or(&Json::Null)));
    }
    Ok(values)
}

/// A limit's name or id in a path: what reads as a UUID is one.
pub(crate) fn name_or_id(part: &str) -> Result<Uuid, &str> {
    validate::parse_uuid(part).map_err(|_| part)
}

async fn enter(State(app): State<Prefect>, mut request: Request) -> Response {
    let Some(caller) = request.extensions_mut().remove::<Caller>() else {
        return Answer::bug("a request without its caller").into_response();
    };
    if request.method() == Method::GET && request.uri().path() == events::PATH {
        return events::enter(&app, &caller, request).await;
    }
    app.dispatch(caller, request).await.unwrap_or_else(|refused| refused).into_response()
}

/// Whether the caller may do what takes this role.
pub(crate) fn may(caller: &Caller, role: Option<Role>) -> Result<(), Answer> {
    let Some(role) = role else { return Ok(()) };
    caller.require(role).map_err(|refusal| {
        let (status, message) = match refusal {
            admit_http::Refusal::Unauthenticated => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            admit_http::Refusal::Forbidden { .. } => (StatusCode::FORBIDDEN, "Forbidden"),
        };
        Answer::refused(status, message, &refusal.to_string())
    })
}
