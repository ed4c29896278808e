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
use axum::http::{HeaderMap, header};
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
/// Records that a stream reads back at most for who comes back: further behind, a look at the state says more.
const MAX_CAUGHT_UP: u64 = 10_000;
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
/// the log's record. Who comes back with `Last-Event-ID` goes on from there; of leases and tickets of before, a
/// filtered stream then tells every end. `lagged` says that records were missed, by a slow reader or because the log
/// has them no more (`missed_records`; null: it is another log).
#[utoipa::path(get, path = "/events", tag = "server",
    params(EventQuery, ("Last-Event-ID" = Option<u64>, Header)),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(super) async fn events(
    _: Acquirer,
    State(app): Shared,
    headers: HeaderMap,
    Query(query): Query<EventQuery>,
) -> Result<Response, Problem> {
    let last_id = last_id(&headers)?;
    let key = filter("key", query.key.as_deref())?;
    let limit = filter("limit", query.limit.as_deref())?;
    let place = Place::take(&app.about).ok_or_else(problems::too_many_streams)?;
    let subscription = app.engine.subscribe().map_err(problems::engine)?;
    if last_id.is_some() {
        // Other nodes may have told of records that this one does not know yet.
        app.look(|_, _| ()).await?;
    }
    let subjects = subjects(&app, key, limit).await?;
    let (sender, body) = Channel::<Bytes, Infallible>::new(MAX_FRAMES);
    let stream = Stream { app, subscription, subjects, told: 0, sender, _place: place };
    tokio::spawn(stream.run(last_id));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(body)).into_response())
}

/// The latest record that whoever comes back has seen.
fn last_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    const NAME: &str = "last-event-id";
    let Some(value) = headers.get(NAME) else { return Ok(None) };
    let seen = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let wrong = || problems::invalid(NAME, String::from_utf8_lossy(value.as_bytes()), "the `id` of an event");
    seen.map(Some).ok_or_else(wrong)
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
    /// The latest record that was told.
    told: u64,
    sender: Sender<Bytes, Infallible>,
    _place: Place,
}

/// Whoever reads the stream is gone, or the server stops.
struct Gone;

impl Stream {
    async fn run(mut self, last_id: Option<u64>) {
        let shutdown: Shutdown = self.app.shutdown.clone();
        tokio::select! {
            _ = self.tell(last_id) => {}
            () = shutdown.triggered() => {}
        }
    }

    async fn tell(&mut self, last_id: Option<u64>) -> Result<(), Gone> {
        self.send(": admit\n\n".to_owned()).await?;
        if let Some(last_id) = last_id {
            self.catch_up(last_id).await?;
        }
        loop {
            let frame = tokio::select! {
                next = self.subscription.next() => match next {
                    // What was read back from the log already.
                    Next::Record(record) if record.seq <= self.told => continue,
                    Next::Record(record) => self.record(record).await,
                    Next::Lagged { missed } => lagged(Some(missed)),
                    Next::Ended => return Err(Gone),
                },
                () = tokio::time::sleep(HEARTBEAT) => self.alive(),
            };
            self.send(frame).await?;
        }
    }

    /// Tells what was committed since the record that whoever comes back has seen, as far as the log has it.
    async fn catch_up(&mut self, last_id: u64) -> Result<(), Gone> {
        // What comes later is waiting in the subscription.
        let end = self.app.engine.stats().await.map_err(|_| Gone)?.seq;
        if last_id > end {
            return self.send(lagged(None)).await;
        }
        self.subjects.tells_unknown_ends = true;
        self.told = last_id;
        let mut after = last_id.max(end.saturating_sub(MAX_CAUGHT_UP));
        while after < end {
            let page = self.app.engine.records_after(after).await.map_err(|_| Gone)?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            for record in page {
                let missed = record.seq - self.told - 1;
                let mut frames = if missed > 0 { lagged(Some(missed)) } else { String::new() };
                frames += &self.record(record).await;
                self.send(frames).await?;
            }
        }
        self.subjects.tells_unknown_ends = false;
        Ok(())
    }

    /// That the stream lives. An id without an event moves where who comes back goes on from.
    fn alive(&self) -> String {
        match self.told {
            0 => ": alive\n\n".to_owned(),
            told => format!(": alive\nid: {told}\n\n"),
        }
    }

    async fn send(&mut self, frames: String) -> Result<(), Gone> {
        if frames.is_empty() {
            return Ok(());
        }
        self.sender.send_data(frames.into()).await.map_err(|_| Gone)
    }

    /// What is told of a record; its id comes last, so that a reader who has it has all of it.
    async fn record(&mut self, record: Committed) -> String {
        self.told = record.seq;
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

fn lagged(missed: Option<u64>) -> String {
    frame(None, "lagged", &json!({"missed_records": missed}))
}

fn frame(id: Option<u64>, kind: &str, data: &serde_json::Value) -> String {
    let id = id.map_or(String::new(), |id| format!("id: {id}\n"));
    format!("{id}event: {kind}\ndata: {data}\n\n")
}
