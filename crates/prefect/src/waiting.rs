//! Waiting for slots: how long, behind whom, and what ends it.

use admit_engine::Error;
use admit_kernel::{Acquire, Denial, End, Name, Outcome};
use tokio::time::Instant;
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::Prefect;
use crate::bounds::{AT_ONCE, RETRY_AFTER, RETRY_AFTER_HOLD};
use crate::limits::{Look, Shown, refused};
use crate::places::{Place, Waiter, patiently};
use crate::slots::{Full, Refusal, too_many_slots};

/// What a request waits for.
struct Wanted<'a> {
    names: Vec<Name>,
    until: Instant,
    refusal: &'a Refusal<'a>,
}

impl Prefect {
    /// Waits until the slots are granted, for as long as a request is held.
    pub(crate) async fn wait(
        &self,
        known: &[Shown],
        waiter: Waiter,
        acquire: Acquire,
        refusal: &Refusal<'_>,
    ) -> Result<Uuid, Full> {
        let hold = self.options.hold;
        // Without a hold the engine answers at once; the time is for a slow disk.
        let until = Instant::now() + if hold.is_zero() { crate::MAX_HOLD } else { hold };
        let names = known.iter().map(|shown| shown.limit.name.clone()).collect();
        let wanted = Wanted { names, until, refusal };
        let somebody_waits = known.iter().any(|shown| shown.waiting > 0);
        let kept = self.places.take(&waiter);
        let had_place = kept.is_some();
        let mut place = match kept {
            Some(place) => place.resume(),
            None => {
                let acquire = self.aged(known, acquire.clone()).await?;
                self.enter(&waiter, acquire, somebody_waits).await?
            }
        };
        let mut outcome = self.outcome(&mut place, &wanted).await?;
        let again = |age| Acquire { id: self.lost.new_id(), age, ..acquire.clone() };
        match &outcome {
            // It ended between the two requests; unless another node has it, it goes by its age if that is known,
            // else to the back of the line.
            Some(Outcome::Denied(_) | Outcome::UnknownId) if had_place => {
                place = self.enter(&waiter, again(place.age()), true).await?;
                outcome = self.outcome(&mut place, &wanted).await?;
            }
            // The same holder asked for the same on another node and goes in its place, so this one goes in the
            // other's: at the back of the line.
            Some(Outcome::Denied(denial)) if ended_as(denial, End::Withdrawn) => {
                place = self.queue(again(None));
                outcome = self.outcome(&mut place, &wanted).await?;
            }
            _ => {}
        }
        // The limit ends waits sooner: that is the end of the hold, not of the place.
        if let Some(Outcome::Denied(denial)) = &outcome
            && ended_as(denial, End::TimedOut)
            && place.age().is_some()
        {
            place = self.queue(again(place.age()));
            outcome = place.wait_until(Instant::now()).await.transpose()?;
        }
        match outcome {
            None => {
                self.places.keep(waiter, place, RETRY_AFTER_HOLD);
                Err(Full::Held(RETRY_AFTER_HOLD))
            }
            Some(Outcome::Granted(_)) => Ok(place.hand_over()),
            Some(Outcome::Denied(denial)) => {
                // Nothing waits and nothing is held.
                place.hand_over();
                Err(denied(*denial))
            }
            Some(other) => Err(Answer::bug(other).into()),
        }
    }

    /// What comes of a place, if that is known in time.
    async fn outcome(&self, place: &mut Place, wanted: &Wanted<'_>) -> Result<Option<Outcome>, Full> {
        // Most need not wait, and so not watch anything.
        let at_once = wanted.until.min(Instant::now() + AT_ONCE);
        if let Some(outcome) = place.wait_until(at_once).await {
            return Ok(Some(outcome?));
        }
        let mut changes = self.changes.listen(&self.engine);
        // They may have changed before.
        self.may_be(wanted).await?;
        loop {
            let clear_at = self.lost.clear_at().filter(|at| *at < wanted.until);
            tokio::select! {
                outcome = place.wait_until(clear_at.unwrap_or(wanted.until)) => match outcome {
                    Some(outcome) => return Ok(Some(outcome?)),
                    None if clear_at.is_some() => self.lost.clear().await,
                    None => return Ok(None),
                },
                () = changes.of(&wanted.names) => self.may_be(wanted).await?,
            }
        }
    }

    /// Refuses what can never be granted as the limits are now.
    async fn may_be(&self, wanted: &Wanted<'_>) -> Result<(), Full> {
        let known = self.limits(wanted.names.clone(), Look::Terms).await?;
        (wanted.refusal)(&known).map_or(Ok(()), |answer| Err(Full::Refused(answer)))
    }

    /// The same with an age, where limits end waits: its place is to outlive these.
    async fn aged(&self, known: &[Shown], acquire: Acquire) -> Result<Acquire, Error> {
        if self.options.hold.is_zero() || known.iter().all(|shown| shown.limit.max_wait_ms.is_none()) {
            return Ok(acquire);
        }
        let now = self.engine.read(|state| state.now()).await?;
        Ok(Acquire { age: Some(now), ..acquire })
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

    /// A place where its age belongs, without one at the back of the line; or past it.
    fn queue(&self, acquire: Acquire) -> Place {
        let acquire = if self.options.hold.is_zero() { acquire } else { patiently(acquire) };
        Place::take(&self.engine, acquire)
    }
}

fn denied(denial: Denial) -> Full {
    match denial {
        Denial::Full { .. } | Denial::QueueFull { .. } | Denial::Ended { .. } => Full::Held(RETRY_AFTER),
        // The limit was lowered between the look at it and the request.
        Denial::Impossible { .. } => Full::Refused(too_many_slots()),
        other => Full::Refused(refused(other)),
    }
}

fn ended_as(denial: &Denial, end: End) -> bool {
    matches!(denial, Denial::Ended { how, .. } if *how == end)
}
