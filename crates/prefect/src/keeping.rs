//! What task runs keep when the limit of their tag is reset (`slot_override`): while its leases end, they stand in
//! line before all others, so nobody who waits gets what they keep.

use admit_kernel::{Acquire, Claim, Command, IfMissing, Name, Outcome, Patience};
use uuid::Uuid;

use crate::answer::Answer;
use crate::app::Prefect;
use crate::limits::TASK_RUN;

/// How long a reset may take. So long its limit lets nobody in, whatever becomes of the reset.
const RESET_MS: u64 = 5_000;

/// A reset that is under way.
pub(crate) struct Keeping {
    limit: Name,
    /// One for each task run; none where nothing is kept.
    places: Vec<Acquire>,
    /// Whether it was this reset that paused the limit.
    has_paused: bool,
}

impl Keeping {
    /// Stops admission, and lines these task runs up.
    pub(crate) async fn begin(app: &Prefect, limit: &Name, task_runs: &[Uuid]) -> Result<Keeping, Answer> {
        let place = |task_run: &Uuid| Acquire {
            ttl_ms: None,
            patience: Patience::Polled { poll_ttl_ms: RESET_MS },
            priority: i32::MAX,
            holder: Some(format!("{TASK_RUN}{task_run}").into()),
            ..Acquire::new(
                Uuid::now_v7(),
                vec![Claim { if_missing: IfMissing::Admit, ..Claim::limit(limit.clone(), 1) }],
            )
        };
        let places: Vec<Acquire> = task_runs.iter().map(place).collect();
        let name = limit.clone();
        let (now, is_paused) = app
            .engine
            .read(move |state| {
                let now = state.now();
                (now, state.limit(&name).is_none_or(|limit| limit.is_paused(now)))
            })
            .await?;
        let has_paused = !places.is_empty() && !is_paused;
        let keeping = Keeping { limit: limit.clone(), places, has_paused };
        if has_paused {
            let until = Some(now.plus(RESET_MS));
            let pause = Command::Pause { name: keeping.limit.clone(), until, if_version: None };
            let acquires = keeping.places.iter().map(|place| Command::Acquire(Box::new(place.clone())));
            app.engine.execute_all(std::iter::once(pause).chain(acquires).collect()).await?;
        }
        Ok(keeping)
    }

    /// Admits again: those who are kept, then who waits.
    pub(crate) async fn end(self, app: &Prefect) -> Result<(), Answer> {
        let mut missing = self.places;
        if self.has_paused {
            let resume = Command::Pause { name: self.limit, until: None, if_version: None };
            let claims = missing.iter().map(|place| Command::Ask { id: place.id, for_ms: 0 });
            // Who got nothing need not wait for it.
            let withdrawals = missing.iter().map(|place| Command::Withdraw { id: place.id });
            let commands = std::iter::once(resume).chain(claims).chain(withdrawals).collect();
            let outcomes = app.engine.execute_all(commands).await?;
            let mut claimed =
                outcomes.into_iter().skip(1).map(|outcome| matches!(outcome, Outcome::Granted(_)));
            missing.retain(|_| !claimed.next().unwrap_or(false));
        }
        // A limit that holds nobody up, as it is disabled, let them in before their leases ended.
        let acquire = |place: Acquire| Acquire { id: Uuid::now_v7(), patience: Patience::None, ..place };
        let commands = missing.into_iter().map(|place| Command::Acquire(Box::new(acquire(place)))).collect();
        app.engine.execute_all(commands).await?;
        Ok(())
    }
}
