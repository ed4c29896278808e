//! Global limits: `/v2/concurrency_limits`. A limit of this API is the native limit of its name.

use admit_kernel::{Command, Limit, Mode, Name, Outcome, Part, Refill, Terms};
use axum::http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use crate::answer::{Answer, Answered};
use crate::app::{Asked, Prefect, name_or_id};
use crate::bounds::MAX_TRIES;
use crate::json::Json;
use crate::limits::{Brief, Look, Row, SOURCE, Shown};
use crate::registry::{Entry, max_of, nano_of};
use crate::slots::{Full, Take, Term, is_of_nothing, possible_names, too_many_slots};
use crate::v1::page;
use crate::validate::{Fault, Step, Values, parse_uuid};
use crate::wire::{GlobalLimit, NewGlobalLimit};

/// Seconds of a lease whose request does not say.
const LEASE_DURATION_S: f64 = 300.0;

#[derive(Serialize)]
struct Leased {
    lease_id: Uuid,
    limits: Vec<Brief>,
}

fn not_found() -> Answer {
    Answer::detail(StatusCode::NOT_FOUND, "Concurrency Limit not found")
}

fn conflict() -> Answer {
    let detail = "Data integrity conflict. This usually means a unique or foreign key constraint was violated. \
                  See server logs for details.";
    Answer::detail(StatusCode::CONFLICT, detail)
}

fn no_content() -> Answer {
    Answer::empty(StatusCode::NO_CONTENT)
}

/// The limit that a path means.
async fn find(app: &Prefect, part: &str) -> Result<Shown, Answer> {
    let found = match name_or_id(part) {
        Ok(id) => app.limit_by_id(id).await?,
        Err(name) => app.limit(name).await?,
    };
    found.ok_or_else(not_found)
}

/// Makes a limit.
pub(crate) async fn create(app: &Prefect, asked: &Asked) -> Answered {
    let values = &asked.values;
    let name: Name = values.text("name").unwrap_or_default().into();
    let stated_max = values.int("limit").unwrap_or_default();
    let stated_decay = values.float("slot_decay_per_second").unwrap_or_default();
    let mut limit =
        Limit { source: SOURCE.into(), ..Limit::new(name.clone(), Terms::concurrent(max_of(stated_max))) };
    set_decay(&mut limit, stated_decay);
    set_active(&mut limit, values.bool("active").unwrap_or(true));
    let denied_slots = values.int("denied_slots").unwrap_or_default();
    let entry = Entry { denied_slots, ..Entry::new(name.clone(), stated_max, stated_decay) };
    {
        let _one_at_a_time = app.registry.changes.lock().await;
        let command = Command::SetLimit { limit: Box::new(limit), if_revision: Some(0) };
        let row = Row::Put(Box::new(entry));
        match app.change(&asked.caller, "limit.set", &name, command, row).await? {
            Outcome::LimitStored { .. } => {}
            Outcome::RevisionMismatch { .. } => return Err(conflict()),
            other => return Err(Answer::bug(other)),
        }
    }
    if let Some(used) = values.int("active_slots").filter(|used| *used > 0) {
        set_usage(app, asked, &name, used).await?;
    }
    let shown = app.limit(&name).await?.ok_or_else(not_found)?;
    Ok(Answer::json(StatusCode::CREATED, &NewGlobalLimit::from(&shown)))
}

fn set_decay(limit: &mut Limit, stated: f64) {
    limit.terms.refill = match (nano_of(stated), limit.terms.refill) {
        (Some(nano_per_second), _) => Refill::Decay { nano_per_second },
        (None, Refill::Decay { .. }) => Refill::Release,
        // A window is of no concern to Prefect.
        (None, other) => other,
    };
}

fn set_active(limit: &mut Limit, is_active: bool) {
    limit.mode = match (is_active, limit.mode) {
        (false, _) => Mode::Off,
        (true, Mode::Off) => Mode::Enforce,
        (true, other) => other,
    };
}

async fn set_usage(app: &Prefect, asked: &Asked, name: &Name, used: i64) -> Result<(), Answer> {
    let command = Command::SetUsage { name: name.clone(), id: Uuid::now_v7(), used: max_of(used) };
    match app.change(&asked.caller, "limit.usage", name, command, Row::Same).await? {
        Outcome::Done => Ok(()),
        Outcome::UnknownLimit => Err(not_found()),
        other => Err(Answer::bug(other)),
    }
}

/// Reads a limit by its id or name.
pub(crate) async fn read(app: &Prefect, part: &str) -> Answered {
    Ok(Answer::ok(&GlobalLimit::from(&find(app, part).await?)))
}

/// Lists limits by name.
pub(crate) async fn filter(app: &Prefect, values: &Values) -> Answered {
    let (offset, size) = page(values);
    let page = app.page("", offset, size).await?;
    Ok(Answer::ok(&page.iter().map(GlobalLimit::from).collect::<Vec<_>>()))
}

/// Changes what is given of a limit.
pub(crate) async fn update(app: &Prefect, asked: &Asked) -> Answered {
    let values = &asked.values;
    for _ in 0..MAX_TRIES {
        let shown = find(app, &asked.part).await?;
        if values.has_null() {
            return Err(conflict());
        }
        let old = shown.limit.name.clone();
        let (limit, entry) = changed(&shown, values);
        let name = limit.name.clone();
        if name != old {
            rename_is_possible(app, &shown, &name).await?;
        }
        let _one_at_a_time = app.registry.changes.lock().await;
        let (if_revision, row) = if name == old {
            (shown.limit.revision, Row::Put(Box::new(entry)))
        } else {
            (0, Row::Move(Box::new(entry), old.clone()))
        };
        let command = Command::SetLimit { limit: Box::new(limit), if_revision: Some(if_revision) };
        match app.change(&asked.caller, "limit.set", &name, command, row).await? {
            Outcome::LimitStored { .. } => {}
            Outcome::RevisionMismatch { .. } => continue,
            other => return Err(Answer::bug(other)),
        }
        if name != old {
            let remove = Command::RemoveLimit { name: old.clone(), if_revision: None };
            app.change(&asked.caller, "limit.remove", &old, remove, Row::Same).await?;
        }
        if let Some(used) = values.int("active_slots") {
            set_usage(app, asked, &name, used).await?;
        }
        return Ok(no_content());
    }
    Err(Answer::unavailable())
}

/// The limit and its row as they are to be.
fn changed(shown: &Shown, values: &Values) -> (Limit, Entry) {
    let mut limit = shown.limit.clone();
    let mut entry = shown.entry.clone().touched();
    if let Some(name) = values.text("name") {
        limit.name = name.into();
        entry.name = name.into();
    }
    if let Some(stated) = values.int("limit") {
        limit.terms.max = max_of(stated);
        entry.stated_max = stated;
    }
    if let Some(stated) = values.float("slot_decay_per_second") {
        set_decay(&mut limit, stated);
        entry.stated_decay = stated;
    }
    if let Some(is_active) = values.bool("active") {
        set_active(&mut limit, is_active);
    }
    if let Some(denied_slots) = values.int("denied_slots") {
        entry.denied_slots = denied_slots;
    }
    (limit, entry)
}

/// A limit that is in use keeps its name: leases hold slots of the name, and would not count on the new one.
async fn rename_is_possible(app: &Prefect, shown: &Shown, name: &Name) -> Result<(), Answer> {
    shown.owner()?;
    if app.limit(name).await?.is_some() {
        return Err(conflict());
    }
    if shown.active_slots > 0 || shown.waiting > 0 {
        let detail = format!(
            "The concurrency limit {:?} is in use ({} slots, {} waiting), so it keeps its name; make {name:?} instead, \
             or rename it when it is idle",
            shown.limit.name, shown.active_slots, shown.waiting
        );
        return Err(Answer::refused(StatusCode::CONFLICT, "Conflict", &detail));
    }
    Ok(())
}

/// Removes a limit. Leases of it stay, and end as they would.
pub(crate) async fn delete(app: &Prefect, asked: &Asked) -> Answered {
    let shown = find(app, &asked.part).await?;
    shown.owner()?;
    // Slots that nobody holds go with the limit: what is made anew is free.
    app.give_back(&shown, i64::MAX).await?;
    let name = shown.limit.name;
    let _one_at_a_time = app.registry.changes.lock().await;
    let remove = Command::RemoveLimit { name: name.clone(), if_revision: None };
    match app.change(&asked.caller, "limit.remove", &name, remove, Row::Delete(name.clone())).await? {
        Outcome::LimitRemoved(_) => Ok(no_content()),
        Outcome::UnknownLimit => Err(not_found()),
        other => Err(Answer::bug(other)),
    }
}

/// Takes slots until as many are given back, or for a rate.
pub(crate) async fn increment(app: &Prefect, asked: &Asked) -> Answered {
    let (_, known) = acquire(app, asked, Term::Unheld).await?;
    Ok(Answer::ok(&known.iter().map(Shown::brief).collect::<Vec<_>>()))
}

/// Takes slots for as long as a lease lives.
pub(crate) async fn increment_with_lease(app: &Prefect, asked: &Asked) -> Answered {
    let duration_s = asked.values.float("lease_duration").unwrap_or(LEASE_DURATION_S);
    let (lease_id, known) = acquire(app, asked, Term::Lease(ttl_ms(duration_s))).await?;
    Ok(Answer::ok(&Leased { lease_id, limits: known.iter().map(Shown::brief).collect() }))
}

fn ttl_ms(duration_s: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a minute to a day")]
    let ms = (duration_s * 1_000.0).round() as u64;
    ms
}

async fn acquire(app: &Prefect, asked: &Asked, term: Term) -> Result<(Uuid, Vec<Shown>), Answer> {
    let values = &asked.values;
    let names = by_name(values);
    let slots = values.int("slots").unwrap_or(1);
    let known = app.limits(names, Look::Terms).await?;
    let refusal = move |known: &[Shown]| {
        let is_too_small = |shown: &Shown| shown.is_enforced() && shown.max() < slots;
        known.iter().any(is_too_small).then(too_many_slots)
    };
    if let Some(refused) = refusal(&known) {
        return Err(refused);
    }
    let is_rate = values.text("mode") == Some("rate_limit");
    let fixed: Vec<&str> = known
        .iter()
        .filter(|shown| shown.is_active() && !shown.is_rate())
        .map(|shown| &*shown.limit.name)
        .collect();
    if is_rate && !fixed.is_empty() {
        let detail = format!(
            "Only concurrency limits with slot decay can be used for rate limiting. The following limits do not have \
             a decay configured: {}",
            quoted(&fixed.join(","))
        );
        return Err(Answer::detail(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let holder = values
        .object("holder")
        .and_then(|holder| Some(format!("{}:{}", holder.text("type")?, holder.id("id")?).into()));
    // A lease for a rate is still a lease: it can be renewed and released, and the slots come back with time.
    let term = if is_rate && term == Term::Unheld { Term::Rate } else { term };
    let take = Take { caller: &asked.caller, known: &known, slots, term, holder, refusal: &refusal };
    match app.take(take).await {
        Ok(id) => Ok((id, known)),
        Err(Full::Held(after)) => Err(Answer::detail(StatusCode::LOCKED, "Locked").retry_after(after)),
        Err(Full::Refused(answer)) => Err(answer),
    }
}

/// The limits that are asked for, in the order in which they are answered.
fn by_name(values: &Values) -> Vec<Name> {
    let mut names = possible_names(values.texts("names"));
    names.sort_unstable();
    names
}

/// A text in quotes, as Python shows it.
fn quoted(text: &str) -> String {
    if text.contains('\'') && !text.contains('"') {
        return format!("\"{text}\"");
    }
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

impl Shown {
    /// Whether slots come back with time: it decays, or looks at a window.
    fn is_rate(&self) -> bool {
        !matches!(self.limit.terms.refill, Refill::Release)
    }
}

/// Gives back slots that were taken without a lease.
pub(crate) async fn decrement(app: &Prefect, values: &Values) -> Answered {
    let slots = values.int("slots").unwrap_or(1);
    let _one_at_a_time = app.decrements.lock().await;
    let known = app.limits(by_name(values), Look::Usage).await?;
    for shown in &known {
        app.give_back(shown, slots).await?;
    }
    Ok(Answer::ok(&known.iter().map(Shown::brief).collect::<Vec<_>>()))
}

/// Ends a lease, if there is one.
pub(crate) async fn decrement_with_lease(app: &Prefect, values: &Values) -> Answered {
    let id = values.id("lease_id").unwrap_or_default();
    app.engine.execute(Command::Release { id, part: Part::All, counts: true }).await?;
    Ok(no_content())
}

/// What is wrong with a lease's id in a path.
pub(crate) fn lease_id_fault(part: &str) -> Option<Fault> {
    let reason = parse_uuid(part).err()?;
    let fault = Fault::new("uuid_parsing", format!("Input should be a valid UUID, {reason}"), &part.into());
    Some(fault.with("error", Json::Text(reason)).at(&[Step::Name("path"), Step::Name("lease_id")]))
}

/// Holds a lease for longer.
pub(crate) async fn renew(app: &Prefect, asked: &Asked) -> Answered {
    let gone = || Answer::detail(StatusCode::GONE, "Lease not found - it may have expired or been revoked");
    let id = parse_uuid(&asked.part).map_err(|_| gone())?;
    if is_of_nothing(id) {
        return Ok(no_content());
    }
    let ttl_ms = ttl_ms(asked.values.float("lease_duration").unwrap_or(LEASE_DURATION_S));
    match app.engine.execute(Command::Renew { id, ttl_ms: Some(ttl_ms) }).await? {
        Outcome::Renewed(_) => Ok(no_content()),
        Outcome::UnknownId | Outcome::Denied(_) => Err(gone()),
        other => Err(Answer::bug(other)),
    }
}
