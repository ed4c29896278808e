//! `admit db upgrade`: brings the data up to date without serving it.

use std::time::{Duration, Instant};

use admit_engine::{Engine, Error, FORMAT, Node, Outdated, Standing, Stats};
use clap::Args as ClapArgs;
use serde_json::json;

use super::failed;
use super::place::Place;
use crate::exit::{Outcome, code};
use crate::output::{self, GREEN, YELLOW, clean, paint};
use crate::serve;

/// How long it is watched who else uses a database: longer than a server that lives may be silent (10 s).
const WATCHED: Duration = Duration::from_secs(20);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Bring the tables and the log's format up to date without serving; a start of a server does the same
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

/// How the format of the log came out.
struct Risen {
    format: u16,
    /// Live servers that know no newer one.
    kept_by: Vec<Node>,
}

/// Upgrades it, and says what was done. Exit code 1 where a server of an older version keeps the format back.
///
/// # Errors
/// There is no data, a newer version has changed it, a server uses the folder.
pub fn run(args: &Args, json: bool) -> Outcome {
    let found = args.place.find()?;
    let before = admit_engine::standing(found.home(), &serve::migrations()).map_err(failed)?;
    let mut config = serve::engine(&found.config);
    config.name += " (upgrade)";
    config.address.clear();
    let engine = Engine::open(config).map_err(failed)?;
    if found.config.database.is_some() && !json {
        output::note("looking for ten seconds who else uses the database");
    }
    let runtime = serve::runtime()?;
    let risen = runtime.block_on(rise(&engine));
    runtime.block_on(engine.shutdown()).map_err(failed)?;
    let risen = risen.map_err(failed)?;
    if json {
        let tables = before
            .outdated
            .iter()
            .map(|tables| json!({ "component": tables.component, "from": tables.from, "to": tables.to }));
        let kept_by = risen.kept_by.iter().map(|node| {
            let info = &node.info;
            json!({ "name": info.name, "address": info.address, "version": info.version, "format": info.format })
        });
        output::json(&json!({
            "tables": tables.collect::<Vec<_>>(),
            "format": { "from": before.format, "to": risen.format, "newest": FORMAT },
            "kept_by": kept_by.collect::<Vec<_>>(),
        }))?;
    } else {
        show(&before, &risen)?;
    }
    Ok(if risen.format == FORMAT { code::OK } else { code::FAILED })
}

/// Waits until the format has risen, or somebody lives whom that would stop.
async fn rise(engine: &Engine) -> Result<Risen, Error> {
    let started = Instant::now();
    loop {
        let Stats { format, .. } = engine.stats().await?;
        let nodes = engine.nodes().await?;
        let kept_by: Vec<Node> =
            nodes.into_iter().filter(|node| node.is_live && node.info.format < FORMAT).collect();
        if format == FORMAT || !kept_by.is_empty() || started.elapsed() > WATCHED {
            return Ok(Risen { format, kept_by });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn show(before: &Standing, risen: &Risen) -> Outcome {
    for Outdated { component, from, to } in &before.outdated {
        output::line(format_args!("tables     those of `{component}` went from version {from} to {to}"))?;
    }
    let format = risen.format;
    if format > before.format {
        output::line(format_args!("log        its format rose from {} to {format}", before.format))?;
    }
    if format == FORMAT {
        let is_new = !before.outdated.is_empty() || format > before.format;
        return output::line(paint(
            GREEN,
            if is_new { "all is up to date" } else { "there was nothing to do" },
        ));
    }
    for node in &risen.kept_by {
        let info = &node.info;
        let (name, address, version) = (clean(&info.name), clean(&info.address), clean(&info.version));
        output::line(paint(
            YELLOW,
            format_args!(
                "log        its format stays {format}, the newest that {name} ({address}, version {version}) knows; \
                 upgrade that server, then it rises by itself"
            ),
        ))?;
    }
    if risen.kept_by.is_empty() {
        let later =
            format_args!("log        its format stays {format} for now; a server will raise it to {FORMAT}");
        output::line(paint(YELLOW, later))?;
    }
    Ok(code::OK)
}
