//! `admit db check`: whether what is stored is what was written, and agrees with itself.

use admit_engine::{Outdated, Verdict};
use admit_store::{Error, FolderLock};
use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::failed;
use super::place::{Found, Place};
use crate::exit::{Outcome, code};
use crate::output::{self, GREEN, RED, paint};
use crate::serve;

/// Check that what is stored is what was written, also while servers run; it changes nothing
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

/// Checks it: exit code 1 where something is wrong.
///
/// # Errors
/// There is no data, or it cannot be read.
pub fn run(args: &Args, json: bool) -> Outcome {
    let found = args.place.find()?;
    let verdict = admit_engine::check(found.home(), &serve::migrations(), &serve::table_checks());
    let verdict = verdict.map_err(failed)?;
    if json {
        output::json(&as_json(&found, &verdict))?
    } else {
        show(&found, &verdict)?
    };
    Ok(if verdict.problems.is_empty() { code::OK } else { code::FAILED })
}

fn as_json(found: &Found, verdict: &Verdict) -> Value {
    let outdated = verdict
        .outdated
        .iter()
        .map(|tables| json!({ "component": tables.component, "from": tables.from, "to": tables.to }));
    let mut value = json!({
        "first_seq": verdict.log.first_seq,
        "last_seq": verdict.log.last_seq,
        "records": verdict.log.records,
        "snapshots": verdict.log.snapshots,
        "format": verdict.format,
        "agreed": verdict.agreed,
        "totals": {
            "leases": verdict.totals.leases,
            "tickets": verdict.totals.tickets,
            "keys": verdict.totals.keys,
            "limits": verdict.totals.limits,
        },
        "outdated": outdated.collect::<Vec<_>>(),
        "problems": verdict.problems,
    });
    let place = match &found.config.database {
        Some(_) => vec![("database", json!(found.shown))],
        None => {
            let user = user(found).map(|pid| pid.map_or(json!("another process"), |pid| json!(pid)));
            vec![("folder", json!(found.config.data)), ("in_use_by", json!(user))]
        }
    };
    for (name, of) in place {
        value[name] = of;
    }
    value
}

fn show(found: &Found, verdict: &Verdict) -> Outcome {
    if let Some(pid) = user(found) {
        let pid = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
        output::note(format_args!(
            "{} is in use by a server{pid}: this is how it was a moment ago",
            found.shown
        ));
    }
    let Verdict { log, format, agreed, totals, .. } = verdict;
    output::line(format_args!(
        "log        {} records ({} to {}) in format {format}, {} snapshots",
        log.records,
        log.first_seq,
        log.last_seq,
        log.snapshots.len()
    ))?;
    output::line(format_args!(
        "state      {} leases, {} tickets, {} keys, {} limits; compared with {agreed} recorded states",
        totals.leases, totals.tickets, totals.keys, totals.limits
    ))?;
    for Outdated { component, from, to } in &verdict.outdated {
        output::line(format_args!(
            "tables     those of `{component}` are at version {from}; `admit db upgrade`, or a server that starts, \
             brings them to {to}"
        ))?;
    }
    for problem in &verdict.problems {
        output::line(paint(RED, output::clean(problem)))?;
    }
    if verdict.problems.is_empty() { output::line(paint(GREEN, "all is well")) } else { Ok(code::OK) }
}

/// Whether a server uses the folder, and which process it is if that is known.
fn user(found: &Found) -> Option<Option<u32>> {
    if found.config.database.is_some() {
        return None;
    }
    match FolderLock::take(&found.config.data) {
        Err(Error::Locked { pid, .. }) => Some(pid),
        _ => None,
    }
}
