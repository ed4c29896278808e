//! Limits as Prefect shows and changes them. Each IS the native limit of its name; a tag's is `tag:TAG`.

use admit_engine::Error;
use admit_http::{AuditEntry, Caller};
use admit_kernel::{Command, Denial, LeaseFilter, Limit, Mode, Name, Outcome, Refill, State};
use axum::http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::Prefect;
use crate::bounds::MAX_HOLDERS;
use crate::json::Json;
use crate::registry::{self, Entry, Registry, max_of, nano_of};
use crate::validate::{Fault, Step};

/// The source of limits that are made here.
pub(crate) const SOURCE: &str = "prefect";
/// What makes the name of a tag's limit.
pub(crate) const TAG_PREFIX: &str = "tag:";
/// What the holder of a task run's lease begins with.
pub(crate) const TASK_RUN: &str = "task_run:";

/// A limit, and how much of it is in use.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) limit: Limit,
    pub(crate) entry: Entry,
    /// Slots in use.
    pub(crate) active_slots: u64,
    /// Requests that wait for it.
    pub(crate) waiting: u32,
    /// Task runs that hold a slot, one entry per lease, the oldest first.
    pub(crate) task_runs: Vec<Uuid>,
}

/// What an acquisition or release says of a limit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Brief {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) limit: i64,
}

/// A limit as the engine has it, read at one moment.
struct Seen {
    limit: Limit,
    active_slots: u64,
    waiting: u32,
    task_runs: Vec<Uuid>,
}

impl Shown {
    /// The limit as it was stated, unless it was changed elsewhere since.
    pub(crate) fn max(&self) -> i64 {
        let max = self.limit.terms.max;
        if max_of(self.entry.stated_max) == max { self.entry.stated_max } else { max.into() }
    }

    /// The decay in slots per second as it was stated, unless it was changed elsewhere since; 0: none.
    pub(crate) fn decay(&self) -> f64 {
        let Refill::Decay { nano_per_second } = self.limit.terms.refill else { return 0.0 };
        if nano_of(self.entry.stated_decay) == Some(nano_per_second) {
            return self.entry.stated_decay;
        }
        #[allow(clippy::cast_precision_loss, reason = "shown, not counted with")]
        let decay = nano_per_second as f64 / 1e9;
        decay
    }

    pub(crate) fn brief(&self) -> Brief {
        Brief { id: self.entry.id, name: self.entry.name.to_string(), limit: self.max() }
    }

    /// Who must be asked before it is removed or renamed.
    pub(crate) fn owner(&self) -> Result<(), Answer> {
        let Limit { name, source, patterns, .. } = &self.limit;
        let why = if &**source != SOURCE {
            format!("was made by {source}")
        } else if !patterns.is_empty() {
            format!("also limits {}", patterns.join(", "))
        } else {
            return Ok(());
        };
        let detail = format!(
            "The concurrency limit {name:?} {why}, so it is not removed or renamed here; `admit limit rm {name}` removes it"
        );
        Err(Answer::refused(StatusCode::CONFLICT, "Conflict", &detail))
    }
}

/// How closely a limit is looked at: the engine does nothing else meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Look {
    /// What it allows.
    Terms,
    /// How much of it is in use, too.
    Usage,
    /// And by whom.
    Holders,
}

fn see(state: &State, limit: &Limit, look: Look) -> Seen {
    let (waiting, _) = state.limit_counts(&limit.name);
    let mut seen = Seen { limit: limit.clone(), active_slots: 0, waiting, task_runs: Vec::new() };
    if look >= Look::Usage {
        let view = state.key_view(&limit.name, 0);
        seen.active_slots = match (limit.mode, limit.terms.refill) {
            // A disabled limit counts no lease.
            (Mode::Off, Refill::Release) => 0,
            (_, Refill::Release) => view.running,
            (_, Refill::Window { .. } | Refill::Decay { .. }) => view.used,
        };
    }
    if look >= Look::Holders {
        let task_run = |holder: &Option<Name>| holder.as_ref()?.strip_prefix(TASK_RUN)?.parse().ok();
        let holders = state.holders(&limit.name, MAX_HOLDERS);
        seen.task_runs = holders.iter().filter_map(|view| task_run(&view.holder)).collect();
    }
    seen
}

impl Prefect {
    /// The limits of these names that exist, in this order.
    pub(crate) async fn limits(&self, names: Vec<Name>, look: Look) -> Result<Vec<Shown>, Answer> {
        let asked = names.clone();
        let seen = self.engine.read(move |state| {
            let limits = names.iter().filter_map(|name| state.limit(name));
            limits.map(|limit| see(state, limit, look)).collect::<Vec<_>>()
        });
        let seen = seen.await?;
        if seen.len() < asked.len() {
            let is_gone = |name: &&Name| seen.iter().all(|seen| seen.limit.name != **name);
            let gone = asked.iter().filter(is_gone).filter_map(|name| self.registry.known(name));
            self.forget(gone.collect()).await?;
        }
        self.shown(seen).await
    }

    /// The limit of this name, with those who hold it.
    pub(crate) async fn limit(&self, name: &str) -> Result<Option<Shown>, Answer> {
        Ok(self.limits(vec![name.into()], Look::Holders).await?.pop())
    }

    /// A page of the limits whose names begin so, by name.
    pub(crate) async fn page(
        &self,
        prefix: &'static str,
        offset: usize,
        page_size: usize,
    ) -> Result<Vec<Shown>, Answer> {
        // Only tags list who holds them.
        let look = if prefix == TAG_PREFIX { Look::Holders } else { Look::Usage };
        let seen = self.engine.read(move |state| {
            let all = state.limits(None, usize::MAX);
            let fitting = all.into_iter().filter(|limit| limit.name.starts_with(prefix));
            fitting.skip(offset).take(page_size).map(|limit| see(state, limit, look)).collect::<Vec<_>>()
        });
        self.shown(seen.await?).await
    }

    /// The limit of this id.
    pub(crate) async fn limit_by_id(&self, id: Uuid) -> Result<Option<Shown>, Answer> {
        let known = self.registry.name_of(id);
        let is_it = |shown: &Shown| shown.entry.id == id;
        if let Some(name) = &known
            && let Some(shown) = self.limit(name).await?.filter(is_it)
        {
            return Ok(Some(shown));
        }
        // Another node may have made it, or renamed it.
        match registry::fetch_name(&self.engine, id).await?.filter(|name| known.as_ref() != Some(name)) {
            Some(name) => Ok(self.limit(&name).await?.filter(is_it)),
            None => Ok(None),
        }
    }

    /// Adds what the table says of each. A limit that was made elsewhere gets its row when it is first looked at.
    async fn shown(&self, seen: Vec<Seen>) -> Result<Vec<Shown>, Answer> {
        let entries: Vec<Option<Entry>> =
            seen.iter().map(|seen| self.registry.entry(&seen.limit.name, seen.limit.revision)).collect();
        let unread = seen.iter().zip(&entries).filter(|(_, entry)| entry.is_none());
        let unread: Vec<Name> = unread.map(|(seen, _)| seen.limit.name.clone()).collect();
        let mut fetched = registry::fetch(&self.engine, &unread).await?;
        let mut all = Vec::with_capacity(seen.len());
        for (Seen { limit, active_slots, waiting, task_runs }, entry) in seen.into_iter().zip(entries) {
            let entry = match (entry, fetched.remove(&limit.name)) {
                (Some(entry), _) => entry,
                (None, Some(entry)) => self.catch_up(entry, &limit).await?,
                (None, None) => self.adopt(&limit).await?,
            };
            all.push(Shown { limit, entry, active_slots, waiting, task_runs });
        }
        Ok(all)
    }

    /// The row of a limit that may have been changed elsewhere since.
    async fn catch_up(&self, row: Entry, limit: &Limit) -> Result<Entry, Answer> {
        let entry = row.clone().caught_up(limit);
        if entry.revision != row.revision {
            let row = entry.clone();
            self.engine.execute_with(None, move |_, _| vec![row.write()]).await?;
        }
        self.registry.put(entry.clone(), limit.revision);
        Ok(entry)
    }

    /// Removes rows of limits that were removed elsewhere: what is made anew by their names is something else.
    async fn forget(&self, gone: Vec<Entry>) -> Result<(), Error> {
        if gone.is_empty() {
            return Ok(());
        }
        for entry in &gone {
            self.registry.forget(&entry.name);
        }
        let deletes = move |_: Option<&Outcome>, _| gone.iter().map(Entry::delete_this).collect();
        self.engine.execute_with(None, deletes).await?;
        Ok(())
    }

    /// The same for all that were removed while nobody looked.
    pub(crate) async fn forget_the_removed(&self) -> Result<(), Error> {
        let all = self.registry.all();
        let gone = self.engine.read(move |state| {
            all.into_iter().filter(|entry| state.limit(&entry.name).is_none()).collect::<Vec<_>>()
        });
        self.forget(gone.await?).await
    }

    async fn adopt(&self, limit: &Limit) -> Result<Entry, Answer> {
        let entry = Entry::new(limit.name.clone(), limit.terms.max.into(), 0.0).of_revision(limit.revision);
        let row = entry.write_if_absent();
        self.engine.execute_with(None, move |_, _| vec![row.clone()]).await?;
        // Of several who adopt it at once, one was the first.
        let first =
            registry::fetch(&self.engine, std::slice::from_ref(&limit.name)).await?.remove(&limit.name);
        let entry = first.unwrap_or(entry);
        self.registry.put(entry.clone(), limit.revision);
        Ok(entry)
    }

    /// Executes a change of a limit together with its row and the audit. The registry's lock is held.
    pub(crate) async fn change(
        &self,
        caller: &Caller,
        action: &'static str,
        name: &Name,
        command: Command,
        row: Row,
    ) -> Result<Outcome, Answer> {
        let (audit, id, subject) = (AuditEntry::of_caller(caller), Uuid::now_v7(), name.clone());
        let written = row.clone();
        let outcome = self.engine.execute_with(Some(command), move |outcome, now| {
            let describe = |limit: &Limit| serde_json::to_value(limit).unwrap_or_default();
            let (before, after) = match outcome {
                Some(Outcome::LimitStored { before, after }) => {
                    (before.as_deref().map(describe), Some(describe(after)))
                }
                Some(Outcome::LimitRemoved(limit)) => (Some(describe(limit)), None),
                Some(Outcome::Reset { ended }) => (None, Some(serde_json::json!({ "ended": ended }))),
                Some(Outcome::Done) => (None, None),
                // Nothing was changed.
                _ => return Vec::new(),
            };
            let audit = audit.clone().of(action, &subject, before, after).with_id(id).write(now);
            written.writes(outcome).into_iter().chain([audit]).collect()
        });
        match outcome.await?.unwrap_or(Outcome::Done) {
            Outcome::Denied(denial) => Err(refused(*denial)),
            outcome => {
                row.note(&self.registry, &outcome);
                Ok(outcome)
            }
        }
    }
}

/// What becomes of a limit's row with a change.
#[derive(Debug, Clone)]
pub(crate) enum Row {
    /// It stays as it is.
    Same,
    /// It is this.
    Put(Box<Entry>),
    /// It takes the place of the row of this name.
    Move(Box<Entry>, Name),
    /// It goes.
    Delete(Name),
}

impl Row {
    fn writes(&self, outcome: Option<&Outcome>) -> Vec<admit_engine::Write> {
        let revision = match outcome {
            Some(Outcome::LimitStored { after, .. }) => after.revision,
            _ => 0,
        };
        let write = |entry: &Entry| entry.clone().of_revision(revision).write();
        match self {
            Row::Same => Vec::new(),
            Row::Put(entry) => vec![write(entry)],
            Row::Move(entry, from) => vec![Entry::delete(from), write(entry)],
            Row::Delete(name) => vec![Entry::delete(name)],
        }
    }

    fn note(self, registry: &Registry, outcome: &Outcome) {
        match (self, outcome) {
            (Row::Put(entry), Outcome::LimitStored { after, .. }) => {
                registry.put(entry.of_revision(after.revision), after.revision);
            }
            (Row::Move(entry, from), Outcome::LimitStored { after, .. }) => {
                registry.forget(&from);
                registry.put(entry.of_revision(after.revision), after.revision);
            }
            (Row::Delete(name), Outcome::LimitRemoved(_)) => registry.forget(&name),
            // Nothing was written of it.
            _ => {}
        }
    }
}

/// What the engine would not take.
pub(crate) fn refused(denial: Denial) -> Answer {
    match denial {
        Denial::Invalid { field, reason } => {
            let fault = Fault::value_error(&format!("{field} {reason}"), &Json::Null);
            Answer::invalid(&[fault.at(&[Step::Name("body"), Step::Name(field)])], &Json::Null)
        }
        Denial::Overloaded { what, max } => {
            tracing::warn!(what, max, "the engine is at one of its bounds");
            Answer::unavailable()
        }
        Denial::TooManyMatches { key, max } => {
            let detail = format!("More than {max} limits match {key:?}; let fewer match it");
            Answer::detail(StatusCode::UNPROCESSABLE_ENTITY, detail)
        }
        other => Answer::bug(other),
    }
}

/// The leases that hold slots of a limit and fit, the oldest first; also while it is disabled.
pub(crate) fn leases_of<'a>(
    state: &'a State,
    limit: &Limit,
    holder: Option<&Name>,
) -> impl Iterator<Item = &'a admit_kernel::Lease> {
    /// Leases that are read at a time.
    const PAGE: usize = 256;
    let is_off = limit.mode == Mode::Off;
    let name = limit.name.clone();
    let filter = LeaseFilter {
        key: (!is_off).then(|| name.clone()),
        // A disabled limit counts none of its leases: those that state it are looked for among all.
        limit: is_off.then_some(name),
        holder: holder.cloned(),
        after_token: 0,
        page_size: PAGE,
    };
    let mut pages = std::iter::successors(Some(state.leases(&filter)), move |page| {
        let last = page.last().filter(|_| page.len() == PAGE)?;
        Some(state.leases(&LeaseFilter { after_token: last.token, ..filter.clone() }))
    });
    std::iter::from_fn(move || pages.next()).flatten()
}
