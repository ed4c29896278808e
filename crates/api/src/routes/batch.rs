//! Several operations in one request.

use admit_http::Problem;
use admit_kernel::{Command, Outcome, Part, Patience};
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;

use super::{Shared, leases};
use crate::app::App;
use crate::convert;
use crate::extract::{Acquirer, Json, parse_value};
use crate::problems::{self, invalid};
use crate::wire::{
    AcquireInput, BatchBody, BatchInput, BatchResult, LeaseBody, OnTimeout, ProblemBody, ReleaseOp, RenewOp,
};

/// Operations of one batch.
const MAX_OPS: usize = 1_000;

/// Carries out operations in order. Each has a status of its own: one that is refused, or wrong in itself,
/// does not keep the others from being done. None waits.
#[utoipa::path(post, path = "/batch", tag = "leases", request_body = BatchInput,
    responses((status = 200, body = BatchBody), (status = 422, body = ProblemBody)))]
pub(super) async fn batch(
    _: Acquirer,
    State(app): Shared,
    Json(input): Json<BatchInput>,
) -> Result<axum::Json<BatchBody>, Problem> {
    if input.ops.len() > MAX_OPS {
        return Err(invalid("ops", input.ops.len(), &format!("at most {MAX_OPS} operations")));
    }
    let ops = input.ops.into_iter().enumerate();
    let commands: Vec<_> = ops.map(|(index, op)| command(&app, &format!("ops[{index}]"), op)).collect();
    let good = commands.iter().filter_map(|command| command.as_ref().ok().cloned()).collect();
    let mut outcomes = app.engine.execute_all(good).await.map_err(problems::engine)?.into_iter();
    let mut results = Vec::with_capacity(commands.len());
    for command in commands {
        let done = match command.map(|command| (command, outcomes.next())) {
            Ok((command, Some(outcome))) => answer(&app, &command, outcome).await,
            Ok((_, None)) => Err(problems::unexpected(&"fewer outcomes than commands")),
            Err(problem) => Err(problem),
        };
        let (status, lease, problem) = match done {
            Ok((status, lease)) => (status, lease, None),
            Err(problem) => (problem.status(), None, Some(problem.to_json())),
        };
        results.push(BatchResult { status: status.as_u16(), lease, problem });
    }
    Ok(axum::Json(BatchBody { results }))
}

fn command(app: &App, at: &str, op: Value) -> Result<Command, Problem> {
    let Value::Object(mut fields) = op else { return Err(invalid(at, op, "an object with `op`")) };
    let kind = fields.remove("op").unwrap_or_default();
    let fields = Value::Object(fields);
    match kind.as_str() {
        Some("acquire") => {
            let input: AcquireInput = parse_value(at, fields)?;
            if input.wait_ms != 0 || input.on_timeout == OnTimeout::Keep {
                let right = "nothing waits in a batch; leave `wait_ms` and `on_timeout` out";
                return Err(invalid(format!("{at}.wait_ms"), input.wait_ms, right));
            }
            let acquire = convert::acquire(input, at, Patience::None, app.now())?;
            Ok(Command::Acquire(Box::new(acquire)))
        }
        Some("renew") => {
            let RenewOp { id, ttl_ms } = parse_value(at, fields)?;
            let ttl_ms = ttl_ms.map(|ms| convert::ttl(&format!("{at}.ttl_ms"), ms)).transpose()?;
            Ok(Command::Renew { id, ttl_ms })
        }
        Some("release") => {
            let ReleaseOp { id } = parse_value(at, fields)?;
            Ok(Command::Release { id, part: Part::All, counts: true })
        }
        _ => Err(invalid(format!("{at}.op"), kind, "`acquire`, `renew` or `release`")),
    }
}

async fn answer(
    app: &App,
    command: &Command,
    outcome: Outcome,
) -> Result<(StatusCode, Option<LeaseBody>), Problem> {
    match command {
        Command::Renew { id, .. } => {
            leases::renewed(app, *id, outcome).await.map(|lease| (StatusCode::OK, Some(lease)))
        }
        Command::Release { .. } => leases::released(app, outcome).map(|status| (status, None)),
        _ => match outcome {
            Outcome::Granted(lease) => {
                let now = app.now().max(lease.granted_at);
                Ok((StatusCode::CREATED, Some(convert::lease(&lease, now))))
            }
            Outcome::Waiting { id } => Err(problems::waits_already(id)),
            Outcome::Denied(denial) => Err(problems::denial(*denial, app.now())),
            other => Err(problems::unexpected(&other)),
        },
    }
}
