//! Standing before a whole Prefect server: the two trees of concurrency limits are served here, everything else
//! there. What the trees are asked about that is not here, a lease of a deployment's run or a limit that was
//! made there, is asked there too.
//!
//! Bodies and upgraded connections are streamed, and every worker has connections of its own.

mod absence;
mod body;
mod bounds;
mod description;
mod greeting;
mod headers;
mod judge;
mod merge;
mod start;
mod subject;
mod tunnel;
mod upstream;

use std::sync::Arc;

use admit_http::{Caller, Role};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use percent_encoding::percent_decode_str;

use self::merge::List;
use self::upstream::{Failure, Link};
use crate::answer::Answer;
use crate::app::{Prefect, may, passed};
use crate::json::Json;
use crate::limits::TAG_PREFIX;
use crate::request::Read;
use crate::routes::{self, Call, Found, Route};
use crate::wire::{GlobalLimit, TagLimit};
use crate::{openapi, request, v1};

pub use self::start::IsItself;
pub use self::upstream::{Behind, NoTrust, NoUpstream, Upstream};

/// What helps whoever asks for a list.
const OF_LIST: &str =
    "; a list without its limits would not be whole, `admit limit ls` lists those that are here";

/// One worker's part of it.
struct Proxy {
    app: Prefect,
    link: Link,
}

/// Everything that this port answers, with a Prefect server behind. Call it in the runtime that serves it.
pub(crate) fn router(app: Prefect, behind: Arc<Behind>) -> Router {
    let proxy = Proxy { app, link: Link::new(behind) };
    Router::new().fallback(enter).with_state(Arc::new(proxy))
}

async fn enter(State(proxy): State<Arc<Proxy>>, mut request: Request) -> Response {
    let Some(caller) = request.extensions_mut().remove::<Caller>() else {
        return Answer::bug("a request without its caller").into_response();
    };
    proxy.serve(caller, request).await.unwrap_or_else(Answer::into_response)
}

impl Proxy {
    async fn serve(&self, caller: Caller, request: Request) -> Result<Response, Answer> {
        if headers::came_through(request.headers(), self.link.via()) {
            let detail =
                format!("{} leads back to this server; --prefect-upstream names it", self.link.upstream());
            return Err(Answer::detail(StatusCode::LOOP_DETECTED, detail));
        }
        let whole = percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
        let path = whole.strip_prefix("/api").unwrap_or_default();
        if routes::is_ours(path) {
            let caller = self.let_in(caller, request.headers().get(header::AUTHORIZATION)).await?;
            return match routes::find(request.method(), path) {
                Found::Route(route, part) => self.serve_route(caller, route, part, request).await,
                Found::OtherMethod(_) | Found::Redirect => Ok(self.here(caller, request).await),
                // A newer Prefect may have it; what it changes, nobody knows here.
                Found::Nothing => {
                    may(&caller, Some(Role::Operate))?;
                    self.pass(&caller, request).await
                }
            };
        }
        if let Found::Route(route, _) = routes::find(request.method(), path) {
            return self.greet(caller, route, request).await;
        }
        self.may_pass(&caller, request.headers().get(header::AUTHORIZATION)).await?;
        match openapi::PATHS.into_iter().find(|path| *path == whole) {
            Some(path) if request.method() == Method::GET => self.describe(&caller, path, request).await,
            _ => self.pass(&caller, request).await,
        }
    }

    /// The caller, with what follows from being known to the server behind: there is one kind of user there.
    async fn let_in(&self, caller: Caller, authorization: Option<&HeaderValue>) -> Result<Caller, Answer> {
        let Some(authorization) = authorization.filter(|_| caller.is_rejected || caller.role.is_none())
        else {
            return Ok(caller);
        };
        let is_known = match caller.role {
            // On loopback credentials need not be known, only not refused.
            Some(_) => self.link.judge().lets_in(&self.link, Some(authorization)).await,
            None => self.link.judge().knows(&self.link, authorization).await,
        };
        let is_known = match is_known {
            // Nobody can be asked; who sends none is let in, too.
            Err(_) if caller.role.is_some() => return Ok(Caller { is_rejected: false, ..caller }),
            is_known => is_known.map_err(|failure| self.failed(&failure))?,
        };
        if is_known {
            let name = Some("prefect".into());
            return Ok(Caller { name, role: Some(Role::Operate), is_rejected: false, ..caller });
        }
        Ok(caller)
    }

    /// Whether a request may go through: from those who are known here, or to a server that asks by itself.
    async fn may_pass(&self, caller: &Caller, authorization: Option<&HeaderValue>) -> Result<(), Answer> {
        // On loopback everybody has a role, and credentials are for the server behind to judge.
        if caller.role.is_some()
            || self.link.judge().asks(&self.link).await.map_err(|failure| self.failed(&failure))?
        {
            return Ok(());
        }
        may(&self.let_in(caller.clone(), authorization).await?, Some(Role::Acquire))
    }

    async fn serve_route(
        &self,
        caller: Caller,
        route: &Route,
        part: String,
        request: Request,
    ) -> Result<Response, Answer> {
        may(&caller, route.role)?;
        let (head, body) = request.into_parts();
        let bytes = request::bytes(body).await?;
        let read = request::read(route.form, &head.headers, &bytes);
        let values = read.as_ref().ok().and_then(Read::values);
        if !subject::subject(route.call, &part, values).is_here(&self.app).await? {
            return self.pass(&caller, Request::from_parts(head, Body::from(bytes))).await;
        }
        let list = match route.call {
            Call::TagFilter => merge::TAGS,
            Call::LimitFilter => merge::LIMITS,
            _ => return Ok(self.app.answer(caller, route, part, &head, read?).await?.into_response()),
        };
        let (offset, limit) = v1::page(&passed(route, &part, &head.headers, read?)?);
        match self.merged(list, &head.headers, offset, limit).await? {
            Some(page) => Ok(page),
            None => self.pass(&caller, Request::from_parts(head, Body::from(bytes))).await,
        }
    }

    async fn here(&self, caller: Caller, request: Request) -> Response {
        self.app.dispatch(caller, request).await.unwrap_or_else(|refused| refused).into_response()
    }

    /// A page over both lists. Half of it would pass for the whole: where the other half is missing there is none.
    /// Nothing where the server behind refuses who asks: a client whose proof is old gets another when it is told so
    /// in that server's own words.
    async fn merged(
        &self,
        list: List,
        headers: &HeaderMap,
        offset: usize,
        limit: usize,
    ) -> Result<Option<Response>, Answer> {
        // Those after it are on no page up to this one.
        let last = offset.saturating_add(limit);
        let here: Vec<Json> = if list.key == merge::TAGS.key {
            let shown = self.app.page(TAG_PREFIX, 0, last).await?;
            shown.iter().filter_map(|shown| merge::row(&TagLimit::from(shown))).collect()
        } else {
            let shown = self.app.page("", 0, last).await?;
            shown.iter().filter_map(|shown| merge::row(&GlobalLimit::from(shown))).collect()
        };
        let behind = match self.link.list(list, &headers::credentials(headers)).await {
            Err(Failure::Status(StatusCode::FORBIDDEN)) => return Ok(None),
            behind => behind.map_err(|failure| failure.answer(self.link.upstream(), OF_LIST))?,
        };
        let mut page = String::new();
        merge::page(here, behind, list.key, offset, limit).write(&mut page);
        Ok(Some(Answer::raw(page).into_response()))
    }

    /// Sends a request to the server behind, and its answer back.
    async fn pass(&self, caller: &Caller, request: Request) -> Result<Response, Answer> {
        self.exchange(caller, request).await.map_err(|failure| self.failed(&failure))
    }

    async fn exchange(&self, caller: &Caller, mut request: Request) -> Result<Response, Failure> {
        let upgrade = headers::upgrade(request.headers());
        let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        headers::remove_hop_by_hop(request.headers_mut());
        let is_tls = self.app.options.is_tls;
        headers::say_where_from(request.headers_mut(), caller.peer.ip(), is_tls, self.link.via());
        if let Some(to) = upgrade {
            headers::set_upgrade(request.headers_mut(), to);
        }
        let mut response = self.link.send(request).await?;
        let agreed = headers::upgrade(response.headers());
        let is_upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if let (true, Some(client)) = (is_upgraded, client) {
            tunnel::join(client, hyper::upgrade::on(&mut response));
        }
        headers::remove_hop_by_hop(response.headers_mut());
        if let (true, Some(to)) = (is_upgraded, agreed) {
            headers::set_upgrade(response.headers_mut(), to);
        }
        headers::turn_redirect(response.headers_mut(), self.link.upstream().base());
        Ok(response.map(body::timed))
    }

    fn failed(&self, failure: &Failure) -> Answer {
        failure.answer(self.link.upstream(), "")
    }
}
