//! Taking slots: at once, after a hold, or not; and giving back those that no lease stands for.

use std::time::Duration;

use admit_engine::Error;
use admit_http::Caller;
use admit_kernel::{
    Acquire, Claim, Command, Denial, End, IfMissing, Limit, MAX_CLAIMS, MAX_NAME_BYTES, MAX_SLOTS,
    MAX_TTL_MS, MIN_TTL_MS, Name, Outcome, Part, Patience, Refill, State,
};
use axum::http::StatusCode;
use tokio::time::Instant;
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::Prefect;
use crate::bounds::{RETRY_AFTER, RETRY_AFTER_HOLD};
use crate::limits::{Shown, leases_of, refused};
use crate::places::{Place, Waiter, Who, patiently};

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
#[derive(Debug)]
pub(crate) struct Take<'a> {
    pub(crate) caller: &'a Caller,
    /// The limits.
    pub(crate) known: &'a [Shown],
    pub(crate) slots: i64,
    pub(crate) term: Term,
    pub(crate) holder: Option<Name>,
}

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
        let somebody_waits = take.known.iter().any(|shown| shown.waiting > 0);
        let id = self.wait(waiter, acquire, somebody_waits).await?;
        if take.term == Term::Rate {
            self.engine.execute(Command::Release { id, part: Part::All, counts: true }).await?;
        }
        Ok(id)
    }

    async fn wait(&self, waiter: Waiter, acquire: Acquire, somebody_waits: bool) -> Result<Uuid, Full> {
        let hold = self.options.hold;
        // Without a hold the engine answers at once; the time is for a slow disk.
        let until = Instant::now() + if hold.is_zero() { crate::MAX_HOLD } else { hold };
        let kept = self.places.take(&waiter);
        let had_place = kept.is_some();
        let mut place = match kept {
            Some(place) => place.resume(),
            None => self.enter(&waiter, acquire.clone(), somebody_waits).await?,
        };
        let mut outcome = self.wait_until(&mut place, until).await;
        match &outcome {
            // It ended between the two requests; unless another node has it, this is the back of the line.
            Some(Ok(Outcome::Denied(_) | Outcome::UnknownId)) if had_place => {
                place = self.enter(&waiter, self.again(acquire), true).await?;
                outcome = self.wait_until(&mut place, until).await;
            }
            // The same holder asked for the same on another node and goes in its place, so this one goes in the
            // other's: at the back of the line.
            Some(Ok(Outcome::Denied(denial))) if is_withdrawn(denial) => {
                place = self.queue(self.again(acquire));
                outcome = self.wait_until(&mut place, until).await;
            }
            _ => {}
        }
        match outcome {
            None => {
                self.places.keep(waiter, place, RETRY_AFTER_HOLD);
                Err(Full::Held(RETRY_AFTER_HOLD))
            }
            Some(Ok(Outcome::Granted(_))) => Ok(place.hand_over()),
            Some(Ok(Outcome::Denied(denial))) => {
                // Nothing waits and nothing is held.
                place.hand_over();
                Err(self.denied(*denial))
            }
            Some(Ok(other)) => Err(Answer::bug(other).into()),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// A place for a request that has none here.
    async fn enter(&self, waiter: &Waiter, acquire: Acquire, somebody_waits: bool) -> Result<Place, Error> {
        let lost = match self.options.hold.is_zero() {
            true => None,
            false => self.lost.take(waiter, somebody_waits).await?,
        };
        let Some(lost) = lost else { return Ok(self.queue(acquire)) };
        Ok(Place::take_up(&self.engine, patiently(acquire), lost))
    }

    /// A place at the back of the line, or past it.
    fn queue(&self, acquire: Acquire) -> Place {
        let acquire = if self.options.hold.is_zero() { acquire } else { patiently(acquire) };
        Place::take(&self.engine, acquire)
    }

    /// The same request by another id: that of a ticket that has ended is of no use any more.
    fn again(&self, acquire: Acquire) -> Acquire {
        Acquire { id: self.lost.new_id(), ..acquire }
    }

    /// What comes of a place, if that is known in time.
    async fn wait_until(&self, place: &mut Place, until: Instant) -> Option<Result<Outcome, Error>> {
        while let Some(clear_at) = self.lost.clear_at().filter(|at| *at < until) {
            if let Some(outcome) = place.wait_until(clear_at).await {
                return Some(outcome);
            }
            self.lost.clear().await;
        }
        place.wait_until(until).await
    }

    fn denied(&self, denial: Denial) -> Full {
        match denial {
            Denial::Full { .. } | Denial::QueueFull { .. } | Denial::Ended { .. } => Full::Held(RETRY_AFTER),
            // The limit was lowered between the look at it and the request.
            Denial::Impossible { .. } => Full::Refused(too_many_slots()),
            other => Full::Refused(refused(other)),
        }
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

fn is_withdrawn(denial: &Denial) -> bool {
    matches!(denial, Denial::Ended { how: End::Withdrawn, .. })
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
