//! Taking slots: at once, after a hold, or not; and giving back those that no lease stands for.

use std::time::Duration;

use admit_engine::Error;
use admit_http::Caller;
use admit_kernel::{
    Acquire, Claim, Command, IfMissing, Limit, MAX_CLAIMS, MAX_NAME_BYTES, MAX_SLOTS, MAX_TTL_MS, MIN_TTL_MS,
    Name, Part, Patience, Refill, State,
};
use axum::http::StatusCode;
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::Prefect;
use crate::limits::{Shown, leases_of};
use crate::places::{Waiter, Who};

/// The label of leases that stand for slots taken without one.
const NO_LEASE: &str = "prefect-slots";
/// The label of leases that the engine makes when usage is set.
const SET_USAGE: &str = "set-usage";

/// For how long slots are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Term {
    /// As long as a lease lives that is renewed, in milliseconds.
    Lease(u64),
    /// Until they are given back.
    Open,
    /// Until a decrement gives so many back, whoever asks.
    Unheld,
    /// Until they have come back with time.
    Rate,
}

/// What is asked.
pub(crate) struct Take<'a> {
    pub(crate) caller: &'a Caller,
    /// The limits.
    pub(crate) known: &'a [Shown],
    pub(crate) slots: i64,
    pub(crate) term: Term,
    pub(crate) holder: Option<Name>,
    /// Why it can never be, as the limits are; asked again when one of them changes.
    pub(crate) refusal: &'a Refusal<'a>,
}

/// Says why a request can never be granted with these limits, if so.
pub(crate) type Refusal<'a> = dyn Fn(&[Shown]) -> Option<Answer> + Send + Sync + 'a;

/// Why slots were not taken.
pub(crate) enum Full {
    /// Others have them; ask again after so long.
    Held(Duration),
    /// For this reason.
    Refused(Answer),
}

impl From<Answer> for Full {
    fn from(answer: Answer) -> Full {
        Full::Refused(answer)
    }
}

impl From<Error> for Full {
    fn from(error: Error) -> Full {
        Full::Refused(error.into())
    }
}

/// Names that a limit can have; others are those of limits that do not exist.
pub(crate) fn possible_names(names: Vec<String>) -> Vec<Name> {
    let is_possible =
        |name: &String| (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
    names.into_iter().filter(is_possible).map(Name::from).collect()
}

impl Prefect {
    /// Takes slots of all of these limits, or of none.
    pub(crate) async fn take(&self, take: Take<'_>) -> Result<Uuid, Full> {
        let claims = claims(&take)?;
        if claims.is_empty() {
            return Ok(lease_of_nothing());
        }
        let ttl_ms = match take.term {
            Term::Lease(ms) => Some(ms),
            Term::Open => None,
            // Where every slot comes back with time, a record of who took it must not stay for ever.
            Term::Unheld => take.known.iter().all(Shown::decays).then_some(MAX_TTL_MS),
            Term::Rate => Some(MIN_TTL_MS),
        };
        let mut acquire = Acquire {
            ttl_ms,
            rate: take.term == Term::Rate,
            holder: take.holder.clone(),
            patience: Patience::None,
            ..Acquire::new(self.lost.new_id(), claims.clone())
        };
        if take.term == Term::Unheld {
            acquire.labels.insert(NO_LEASE.into(), "true".into());
        }
        let who = take.holder.map_or(Who::Peer(take.caller.peer), Who::Holder);
        let waiter = Waiter { who, claims, ttl_ms, rate: acquire.rate };
        let id = self.wait(take.known, waiter, acquire, take.refusal).await?;
        if take.term == Term::Rate {
            self.engine.execute(Command::Release { id, part: Part::All, counts: true }).await?;
        }
        Ok(id)
    }

    /// Gives back slots of a limit that no lease stands for, the oldest first; at most those that there are.
    pub(crate) async fn give_back(&self, shown: &Shown, slots: i64) -> Result<(), Answer> {
        let wanted = u32::try_from(slots).unwrap_or(u32::MAX).min(MAX_SLOTS);
        let limit = shown.limit.clone();
        let plan = self.engine.read(move |state| plan(state, &limit, wanted)).await?;
        let given: u32 = plan.iter().map(|(_, slots)| slots).sum();
        let release = |(id, slots)| {
            let part = Part::Slots { key: shown.limit.name.clone(), slots };
            Command::Release { id, part, counts: true }
        };
        let mut commands: Vec<Command> = plan.into_iter().map(release).collect();
        if shown.decays() && given < wanted {
            // The rest stands for no lease, only for a level.
            let used = u32::try_from(shown.active_slots).unwrap_or(MAX_SLOTS).saturating_sub(wanted);
            commands.push(Command::SetUsage { name: shown.limit.name.clone(), id: Uuid::now_v7(), used });
        }
        self.engine.execute_all(commands).await?;
        Ok(())
    }
}

/// More slots than the limit has.
pub(crate) fn too_many_slots() -> Answer {
    Answer::detail(StatusCode::UNPROCESSABLE_ENTITY, "Slots requested is greater than the limit")
}

fn claims(take: &Take<'_>) -> Result<Vec<Claim>, Answer> {
    if take.known.len() > MAX_CLAIMS {
        let detail = format!(
            "{} concurrency limits are asked for at once; ask for at most {MAX_CLAIMS}",
            take.known.len()
        );
        return Err(Answer::detail(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let slots = u32::try_from(take.slots).unwrap_or(u32::MAX).clamp(1, MAX_SLOTS);
    let claim = |shown: &Shown| Claim {
        if_missing: IfMissing::Admit,
        ..Claim::limit(shown.limit.name.clone(), slots)
    };
    Ok(take.known.iter().map(claim).collect())
}

/// What the ids of leases of nothing begin with.
const NOTHING: [u8; 6] = *b"nothin";

/// The id of a lease that holds nothing, as none of its limits exists. It is renewed and released like any, and
/// costs no record: tasks with tags that nobody limits are many.
fn lease_of_nothing() -> Uuid {
    let mut bytes = Uuid::new_v4().into_bytes();
    bytes[..NOTHING.len()].copy_from_slice(&NOTHING);
    Uuid::from_bytes(bytes)
}

/// Whether a lease holds nothing.
pub(crate) fn is_of_nothing(lease: Uuid) -> bool {
    lease.as_bytes().starts_with(&NOTHING)
}

/// Which leases give back how many slots: first those taken without one, then those that stand for usage that
/// was set.
fn plan(state: &State, limit: &Limit, wanted: u32) -> Vec<(Uuid, u32)> {
    let mut plan = Vec::new();
    let mut missing = wanted;
    for label in [NO_LEASE, SET_USAGE] {
        for lease in leases_of(state, limit, None).filter(|lease| lease.labels.contains_key(label)) {
            if missing == 0 {
                return plan;
            }
            let claim = lease.claims.iter().find(|claim| claim.key == limit.name);
            let given = claim.map_or(0, |claim| claim.slots).min(missing);
            missing -= given;
            plan.push((lease.id, given));
        }
    }
    plan
}

impl Shown {
    /// Whether it is enforced, or at least counts.
    pub(crate) fn is_active(&self) -> bool {
        self.limit.mode != admit_kernel::Mode::Off
    }

    /// Whether it keeps anyone out.
    pub(crate) fn is_enforced(&self) -> bool {
        self.limit.mode == admit_kernel::Mode::Enforce
    }

    /// Whether slots come back at a rate.
    pub(crate) fn decays(&self) -> bool {
        matches!(self.limit.terms.refill, Refill::Decay { .. })
    }
}
