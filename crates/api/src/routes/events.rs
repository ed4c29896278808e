//! The log as it grows, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use admit_engine::{Committed, Next, Subscription};
use admit_http::{Problem, Shutdown};
use admit_kernel::{Claim, Event, LeaseFilter, Name};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use uuid::Uuid;

use super::Shared;
use crate::app::{About, App};
use crate::convert::{self, Subjects};
use crate::extract::{Acquirer, Query, filter};
use crate::problems;

/// Streams at once: each is a connection that stays, and a copy of every event.
const MAX_STREAMS: usize = 256;
/// Frames that wait for a slow reader. When it is further behind than this and the engine's own bound, it is
/// told how much it missed.
const MAX_FRAMES: usize = 64;
/// How often a silent stream says that it lives, so that neither side keeps a dead connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Which events.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Those that concern this key.
    key: Option<String>,
    /// Those that concern this limit.
    limit: Option<String>,
}

/// Streams what is committed from now on, as server-sent events.
///
/// `event` is the kind (`granted`, `queued`, `lease-ended`, `limit-set` ...), `data` is JSON, `id` the number of
/// the log's record. `lagged` says that a slow reader missed records.
#[utoipa::path(get, path = "/events", tag = "server", params(EventQuery),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(super) async fn events(
    _: Acquirer,
    State(app): Shared,
    Query(query): Query<EventQuery>,
) -> Result<Response, Problem> {
    let key = filter("key", query.key.as_deref())?;
    let limit = filter("limit", query.limit.as_deref())?;
    let place = Place::take(&app.about).ok_or_else(problems::too_many_streams)?;
    let subscription = app.engine.subscribe().map_err(problems::engine)?;
    let subjects = subjects(&app, key, limit).await?;
    let (sender, body) = Channel::<Bytes, Infallible>::new(MAX_FRAMES);
    let stream = Stream { app, subscription, subjects, sender, _place: place };
    tokio::spawn(stream.run());
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(body)).into_response())
}

/// One of the streams that there may be.
struct Place(Arc<About>);

impl Place {
    fn take(about: &Arc<About>) -> Option<Place> {
        let one_more = |open| (open < MAX_STREAMS).then_some(open + 1);
        about.streams.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Place(about.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

/// What a stream is about, with the leases that live already.
async fn subjects(app: &App, key: Option<Name>, limit: Option<Name>) -> Result<Subjects, Problem> {
    /// Leases of before that a stream knows; the end of others is not told.
    const MAX_KNOWN: usize = 10_000;
    let mut subjects = Subjects::new(key.clone(), limit.clone());
    if !subjects.is_all() {
        let wanted = LeaseFilter { key, limit, page_size: MAX_KNOWN, ..LeaseFilter::default() };
        let known =
            app.look(move |state, _| state.leases(&wanted).iter().map(|lease| lease.id).collect::<Vec<_>>());
        known.await?.into_iter().for_each(|id| subjects.remember(id));
    }
    Ok(subjects)
}

struct Stream {
    app: Arc<App>,
    subscription: Subscription,
    subjects: Subjects,
    sender: Sender<Bytes, Infallible>,
    _place: Place,
}

impl Stream {
    async fn run(mut self) {
        let shutdown: Shutdown = self.app.shutdown.clone();
        let mut sent = self.sender.send_data(Bytes::from_static(b": admit\n\n")).await;
        while sent.is_ok() {
            let frame = tokio::select! {
                next = self.subscription.next() => match next {
                    Next::Record(record) => self.record(record).await,
                    Next::Lagged { missed } => frame(None, "lagged", &json!({"missed_records": missed})),
                    Next::Ended => return,
                },
                () = tokio::time::sleep(HEARTBEAT) => ": alive\n\n".to_owned(),
                () = shutdown.triggered() => return,
            };
            sent = if frame.is_empty() { Ok(()) } else { self.sender.send_data(frame.into()).await };
        }
    }

    /// What is told of a record; its id comes last, so that a reader who has it has all of it.
    async fn record(&mut self, record: Committed) -> String {
        let claims = self.unknown_claims(&record).await;
        let claims_of =
            |id: Uuid| claims.iter().find(|(known, _)| *known == id).map(|(_, claims)| claims.clone());
        let taken: Vec<_> = record
            .events
            .iter()
            .filter(|event| self.subjects.takes(event, claims_of))
            .filter_map(|event| convert::event(event, record.time))
            .collect();
        let last = taken.len().saturating_sub(1);
        let mut text = String::new();
        for (index, (kind, mut data)) in taken.into_iter().enumerate() {
            data["seq"] = record.seq.into();
            data["at"] = convert::at(record.time).into();
            data["ago_ms"] = self.app.now().since(record.time).into();
            text.push_str(&frame((index == last).then_some(record.seq), kind, &data));
        }
        text
    }

    /// What the ids of a record claim that say no more than their id: tickets from before the stream.
    async fn unknown_claims(&self, record: &Committed) -> Vec<(Uuid, Arc<[Claim]>)> {
        if self.subjects.is_all() {
            return Vec::new();
        }
        let granted = |event: &Event| match event {
            Event::TicketGranted { id, .. } => Some(*id),
            _ => None,
        };
        let ids: Vec<Uuid> = record.events.iter().filter_map(granted).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let look = self.app.look(move |state, _| {
            ids.into_iter().filter_map(|id| Some((id, state.lease(id)?.claims.clone()))).collect()
        });
        look.await.unwrap_or_default()
    }
}

fn frame(id: Option<u64>, kind: &str, data: &serde_json::Value) -> String {
    let id = id.map_or(String::new(), |id| format!("id: {id}\n"));
    format!("{id}event: {kind}\ndata: {data}\n\n")
}
