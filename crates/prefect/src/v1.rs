//! Tags: `/concurrency_limits`. The limit of the tag `x` is the limit `tag:x`.

use std::time::Duration;

use admit_kernel::{Command, Limit, Name, Outcome, Part, Terms};
use axum::http::StatusCode;
use uuid::Uuid;

use crate::answer::{Answer, Answered};
use crate::app::{Asked, Prefect};
use crate::bounds::MAX_TRIES;
use crate::keeping::Keeping;
use crate::limits::{Brief, Look, Row, SOURCE, Shown, TAG_PREFIX, TASK_RUN, leases_of};
use crate::registry::{Entry, max_of};
use crate::slots::{Full, Take, Term, possible_names};
use crate::validate::{MAX_PAGE_SIZE, Values};
use crate::wire::TagLimit;

/// What a task is told to wait for a tag whose limit is below zero: nothing will wake it.
const CLOSED_RETRY_AFTER: Duration = Duration::from_secs(10);

fn limit_of(tag: &str) -> Name {
    format!("{TAG_PREFIX}{tag}").into()
}

fn not_found() -> Answer {
    Answer::detail(StatusCode::NOT_FOUND, "Concurrency limit not found")
}

/// 200 and `null`.
fn nothing() -> Answer {
    Answer::ok(&())
}

impl Shown {
    fn tag(&self) -> &str {
        self.limit.name.strip_prefix(TAG_PREFIX).unwrap_or(&self.limit.name)
    }
}

/// Makes the limit of a tag (201), or changes its number (200).
pub(crate) async fn create(app: &Prefect, asked: &Asked) -> Answered {
    let tag = asked.values.text("tag").unwrap_or_default();
    let stated_max = asked.values.int("concurrency_limit").unwrap_or_default();
    let name = limit_of(tag);
    for _ in 0..MAX_TRIES {
        let known = app.limit(&name).await?;
        let _one_at_a_time = app.registry.changes.lock().await;
        let (limit, entry, revision) = match &known {
            Some(shown) => {
                let mut limit = shown.limit.clone();
                limit.terms.max = max_of(stated_max);
                (limit, Entry { stated_max, ..shown.entry.clone() }.touched(), shown.limit.revision)
            }
            None => {
                let terms = Terms::concurrent(max_of(stated_max));
                let limit = Limit { source: SOURCE.into(), ..Limit::new(name.clone(), terms) };
                (limit, Entry::new(name.clone(), stated_max, 0.0), 0)
            }
        };
        let command = Command::SetLimit { limit: Box::new(limit), if_revision: Some(revision) };
        let row = Row::Put(Box::new(entry.clone()));
        match app.change(&asked.caller, "limit.set", &name, command, row).await? {
            Outcome::LimitStored { after, .. } => {
                let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
                let task_runs = known.map(|shown| shown.task_runs).unwrap_or_default();
                let shown = Shown { limit: *after, entry, active_slots: 0, waiting: 0, task_runs };
                return Ok(Answer::json(status, &TagLimit::from(&shown)));
            }
            Outcome::RevisionMismatch { .. } => {}
            other => return Err(Answer::bug(other)),
        }
    }
    Err(Answer::unavailable())
}

/// Reads the limit of a tag.
pub(crate) async fn read(app: &Prefect, tag: &str) -> Answered {
    let shown = app.limit(&limit_of(tag)).await?.ok_or_else(not_found)?;
    Ok(Answer::ok(&TagLimit::from(&shown)))
}

/// Reads the limit of a tag by its id.
pub(crate) async fn read_by_id(app: &Prefect, id: &str) -> Answered {
    let shown = by_id(app, id).await?;
    Ok(Answer::ok(&TagLimit::from(&shown)))
}

async fn by_id(app: &Prefect, id: &str) -> Result<Shown, Answer> {
    let id: Uuid = id.parse().map_err(|_| not_found())?;
    let found = app.limit_by_id(id).await?;
    found.filter(|shown| shown.limit.name.starts_with(TAG_PREFIX)).ok_or_else(not_found)
}

/// Lists the limits of tags, by name.
pub(crate) async fn filter(app: &Prefect, values: &Values) -> Answered {
    let (offset, size) = page(values);
    let page = app.page(TAG_PREFIX, offset, size).await?;
    Ok(Answer::ok(&page.iter().map(TagLimit::from).collect::<Vec<_>>()))
}

/// The part of a list that is asked for: how many to leave out, how many to show.
pub(crate) fn page(values: &Values) -> (usize, usize) {
    let number = |name, usual| usize::try_from(values.int(name).unwrap_or(usual)).unwrap_or(usize::MAX);
    (number("offset", 0), number("limit", MAX_PAGE_SIZE))
}

/// Ends every lease of a tag's limit but those of the task runs that are named: these have a slot each from then on,
/// as far as there are.
pub(crate) async fn reset(app: &Prefect, asked: &Asked) -> Answered {
    let name = limit_of(&asked.part);
    let _one_at_a_time = app.registry.changes.lock().await;
    let keeping = Keeping::begin(app, &name, &asked.values.ids("slot_override")).await?;
    let command = Command::Reset { name: name.clone(), if_version: None };
    let outcome = app.change(&asked.caller, "limit.reset", &name, command, Row::Same).await;
    keeping.end(app).await?;
    match outcome? {
        Outcome::Reset { .. } => Ok(nothing()),
        Outcome::UnknownLimit => Err(not_found()),
        other => Err(Answer::bug(other)),
    }
}

/// Removes the limit of a tag, and ends its leases.
pub(crate) async fn delete(app: &Prefect, asked: &Asked) -> Answered {
    let shown = app.limit(&limit_of(&asked.part)).await?.ok_or_else(not_found)?;
    remove(app, asked, shown).await
}

/// The same by its id.
pub(crate) async fn delete_by_id(app: &Prefect, asked: &Asked) -> Answered {
    let shown = by_id(app, &asked.part).await?;
    remove(app, asked, shown).await
}

async fn remove(app: &Prefect, asked: &Asked, shown: Shown) -> Answered {
    shown.owner()?;
    let name = shown.limit.name;
    let _one_at_a_time = app.registry.changes.lock().await;
    let reset = Command::Reset { name: name.clone(), if_version: None };
    app.change(&asked.caller, "limit.reset", &name, reset, Row::Same).await?;
    let remove = Command::RemoveLimit { name: name.clone(), if_revision: None };
    match app.change(&asked.caller, "limit.remove", &name, remove, Row::Delete(name.clone())).await? {
        Outcome::LimitRemoved(_) => Ok(nothing()),
        Outcome::UnknownLimit => Err(not_found()),
        other => Err(Answer::bug(other)),
    }
}

/// Takes a slot of each tag for a task run.
pub(crate) async fn increment(app: &Prefect, asked: &Asked) -> Answered {
    let tags = asked.values.texts("names");
    let names = possible_names(tags.iter().map(|tag| format!("{TAG_PREFIX}{tag}")).collect());
    let known: Vec<Shown> =
        app.limits(names, Look::Terms).await?.into_iter().filter(Shown::is_active).collect();
    let Some(first) = known.first() else { return Ok(Answer::ok(&Vec::<Brief>::new())) };
    let first = first.tag().to_owned();
    let full = move || {
        let detail = format!("Concurrency limit for the {first} tag has been reached");
        Answer::detail(StatusCode::LOCKED, detail)
    };
    let refusal = |known: &[Shown]| closed(known, &full);
    if let Some(refused) = refusal(&known) {
        return Err(refused);
    }
    let task_run = asked.values.id("task_run_id").unwrap_or_default();
    let holder = Some(format!("{TASK_RUN}{task_run}").into());
    let take =
        Take { caller: &asked.caller, known: &known, slots: 1, term: Term::Open, holder, refusal: &refusal };
    app.take(take).await.map_err(|why| match why {
        Full::Held(after) => full().retry_after(after),
        Full::Refused(answer) => answer,
    })?;
    let taken = known.iter().map(|shown| Brief { name: shown.tag().to_owned(), ..shown.brief() });
    Ok(Answer::ok(&taken.collect::<Vec<_>>()))
}

/// What is said where a limit lets nobody in: who waited for a limit of 0 would wait for ever.
fn closed(known: &[Shown], full: impl Fn() -> Answer) -> Option<Answer> {
    let enforced = || known.iter().filter(|shown| shown.is_enforced());
    if let Some(shown) = enforced().find(|shown| shown.max() == 0) {
        let detail = format!(
            "The concurrency limit on tag \"{}\" is 0 and will deadlock if the task tries to run again.",
            shown.tag()
        );
        return Some(Answer::detail(StatusCode::LOCKED, detail));
    }
    enforced().any(|shown| shown.max() < 0).then(|| full().retry_after(CLOSED_RETRY_AFTER))
}

/// Gives a task run's slots of these tags back; what else its leases hold stays.
pub(crate) async fn decrement(app: &Prefect, values: &Values) -> Answered {
    let tags = values.texts("names").into_iter().map(|tag| format!("{TAG_PREFIX}{tag}")).collect();
    let mut names = possible_names(tags);
    // They are answered by name; those of an increment are as they were asked for.
    names.sort_unstable();
    let known = app.limits(names, Look::Terms).await?;
    let task_run = values.id("task_run_id").unwrap_or_default();
    let holder: Name = format!("{TASK_RUN}{task_run}").into();
    let limits: Vec<Limit> = known.iter().map(|shown| shown.limit.clone()).collect();
    let releases = app.engine.read(move |state| {
        let of = |limit: &Limit| {
            let leases = leases_of(state, limit, Some(&holder));
            leases.map(|lease| (lease.id, limit.name.clone())).collect::<Vec<_>>()
        };
        limits.iter().flat_map(of).collect::<Vec<_>>()
    });
    let release = |(id, key)| Command::Release { id, part: Part::Key(key), counts: true };
    let commands: Vec<Command> = releases.await?.into_iter().map(release).collect();
    if !commands.is_empty() {
        app.engine.execute_all(commands).await?;
    }
    Ok(Answer::ok(&known.iter().map(Shown::brief).collect::<Vec<_>>()))
}
