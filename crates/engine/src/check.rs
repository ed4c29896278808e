//! Whether a log, its snapshots and the state that they make agree; beside whoever uses them.

use admit_kernel::{FORMAT, OLDEST_FORMAT, State, Totals};
use admit_store::{
    Head, Listed, Migration, PostgresSource, Report, Snapshot, Source, SqliteSource, TableCheck, check_log,
};

use crate::{Error, Home, recover};

/// Bytes of records that are read at a time.
const PAGE_BYTES: usize = 4 << 20;
/// How often the check begins anew because the nodes tidied up what it was about to read.
const MAX_BEGINS: usize = 3;

/// Tables of a component that are older than this program's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// Whose tables.
    pub component: String,
    /// How far they are.
    pub from: u32,
    /// How far this program brings them.
    pub to: u32,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The log, record by record, and the snapshots, byte by byte.
    pub log: Report,
    /// The format of the log.
    pub format: u16,
    /// Recorded digests of the state that replaying agreed with, and snapshots that it arrived at.
    pub agreed: u64,
    /// What there is in the state at the end.
    pub totals: Totals,
    /// Tables that are older than this program's. That is no problem: a start or an upgrade brings them further.
    pub outdated: Vec<Outdated>,
    /// All that is wrong; nothing: all is well.
    pub problems: Vec<String>,
}

/// Checks everything that can be judged without writing: the storage, the log's chain of checksums and the snapshots'
/// hashes, that replaying the records gives the recorded digests and the later snapshots, that the state holds
/// together, and the tables of other crates, as far as they say how.
pub fn check(home: Home, migrations: &[Migration], tables: &[TableCheck]) -> Result<Verdict, Error> {
    let mut source = open(home)?;
    let mut verdict = Verdict::default();
    let is_known = check_versions(&mut *source, migrations, &mut verdict)?;
    let log = check_log(&mut *source)?;
    verdict.problems.extend(log.problems.iter().cloned());
    verdict.log = log;
    check_state(&mut *source, &mut verdict)?;
    if is_known {
        check_tables(&*source, tables, &mut verdict)?;
    }
    Ok(verdict)
}

/// How far the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// As in [`Verdict::outdated`].
    pub outdated: Vec<Outdated>,
    /// The format of the log.
    pub format: u16,
}

/// How far the data is before a start or an upgrade brings it further. A database that has none yet has everything
/// before it; a folder has to be there.
pub fn standing(home: Home, migrations: &[Migration]) -> Result<Standing, Error> {
    let is_database = matches!(home, Home::Postgres(_));
    let mut source = match open(home) {
        Err(Error::Store(admit_store::Error::Refused(_))) if is_database => {
            let outdated = outdated(&[], PostgresSource::OWN_VERSION, migrations);
            return Ok(Standing { outdated, format: OLDEST_FORMAT });
        }
        source => source?,
    };
    let outdated = outdated(&source.versions()?, source.own_version(), migrations);
    let end = source.head()?.seq;
    let last = source.records_after(end.saturating_sub(1), 1)?;
    Ok(Standing { outdated, format: last.first().map_or(OLDEST_FORMAT, |last| last.format) })
}

fn open(home: Home) -> Result<Box<dyn Source>, Error> {
    Ok(match home {
        Home::Folder(folder) => Box::new(SqliteSource::open(&folder)?),
        Home::Postgres(database) => Box::new(PostgresSource::open(database)?),
    })
}

/// The components that are known, and how far they can be brought.
fn known(own: u32, migrations: &[Migration]) -> Vec<(&str, u32)> {
    let mut known = vec![("store", own)];
    for step in migrations {
        match known.iter_mut().find(|(component, _)| *component == step.component) {
            Some((_, version)) => *version = step.version.max(*version),
            None => known.push((step.component, step.version)),
        }
    }
    known
}

fn version_of(component: &str, found: &[(String, u32)]) -> u32 {
    found.iter().find(|(name, _)| name == component).map_or(0, |(_, version)| *version)
}

fn outdated(found: &[(String, u32)], own: u32, migrations: &[Migration]) -> Vec<Outdated> {
    let known = known(own, migrations).into_iter();
    let all = known.map(|(component, to)| Outdated {
        component: component.to_owned(),
        from: version_of(component, found),
        to,
    });
    all.filter(|tables| tables.from < tables.to).collect()
}

/// Whether the tables are those that this program knows.
fn check_versions(
    source: &mut dyn Source,
    migrations: &[Migration],
    verdict: &mut Verdict,
) -> Result<bool, Error> {
    let (found, own) = (source.versions()?, source.own_version());
    for (component, to) in known(own, migrations) {
        let version = version_of(component, &found);
        if version > to {
            verdict.problems.push(format!(
                "the tables of `{component}` are at version {version}, and this program knows them up to {to}: \
                 check them with a newer one"
            ));
        }
    }
    verdict.outdated = outdated(&found, own, migrations);
    Ok(verdict.outdated.is_empty() && verdict.problems.is_empty())
}

/// Where a state came from, and how far it has got.
struct Fold {
    state: State,
    head: Head,
    /// Snapshots that lie ahead, the next one last.
    ahead: Vec<Listed>,
}

fn check_state(source: &mut dyn Source, verdict: &mut Verdict) -> Result<(), Error> {
    for _ in 0..MAX_BEGINS {
        let Some(mut fold) = begin(source, verdict)? else { return Ok(()) };
        if go_on(source, &mut fold, verdict)? {
            verdict.format = fold.state.format();
            verdict.totals = fold.state.totals();
            let problems = fold.state.problems();
            verdict.problems.extend(problems.into_iter().map(|problem| format!("the state: {problem}")));
            return Ok(());
        }
    }
    verdict.problems.push("the log was cut off faster than it could be read; check again".to_owned());
    Ok(())
}

/// The oldest state from which the records that are kept go on.
fn begin(source: &mut dyn Source, verdict: &mut Verdict) -> Result<Option<Fold>, Error> {
    let oldest = source.oldest()?;
    let mut ahead = source.snapshots()?;
    if oldest.map_or(ahead.is_empty(), |oldest| oldest == 1) {
        return Ok(Some(Fold { state: State::new(), head: Head::default(), ahead }));
    }
    while let Some(listed) = ahead.pop() {
        match restore(source, &listed)? {
            Ok(state) => return Ok(Some(Fold { state, head: listed.head, ahead })),
            Err(problem) => say(verdict, problem),
        }
    }
    verdict.problems.push("no whole snapshot is there to replay the records from".to_owned());
    Ok(None)
}

/// Replays up to where the log ended before. False: what comes next is gone, others tidied up.
fn go_on(source: &mut dyn Source, fold: &mut Fold, verdict: &mut Verdict) -> Result<bool, Error> {
    let end = verdict.log.last_seq;
    while fold.head.seq < end {
        let page = source.records_after(fold.head.seq, PAGE_BYTES)?;
        let Some(first) = page.first() else { break };
        if first.seq != fold.head.seq + 1 && source.oldest()? == Some(first.seq) {
            return Ok(false);
        }
        for record in page.iter().take_while(|record| record.seq <= end) {
            if let Err(error) = recover::replay(&mut fold.state, &mut fold.head, record, FORMAT) {
                say(verdict, error.to_string());
                return Ok(true);
            }
            verdict.agreed += u64::from(record.state_digest.is_some());
            while fold.ahead.last().is_some_and(|listed| listed.head.seq <= record.seq) {
                if let Some(listed) = fold.ahead.pop() {
                    compare(source, &fold.state, &listed, verdict)?;
                }
            }
        }
    }
    Ok(true)
}

/// Replaying has to come to what the snapshot says.
fn compare(
    source: &mut dyn Source,
    state: &State,
    listed: &Listed,
    verdict: &mut Verdict,
) -> Result<(), Error> {
    match restore(source, listed)? {
        Ok(stored) if stored.snapshot() == state.snapshot() => verdict.agreed += 1,
        Ok(_) => {
            say(verdict, format!("snapshot {}: replaying the records gives another state", listed.head.seq))
        }
        // Another may have taken its place since.
        Err(problem) if source.snapshots()?.contains(listed) => say(verdict, problem),
        Err(_) => {}
    }
    Ok(())
}

fn restore(source: &mut dyn Source, listed: &Listed) -> Result<Result<State, String>, Error> {
    let &Listed { head, format, hash } = listed;
    let snapshot = Snapshot { head, format, bytes: source.snapshot_bytes(head.seq)? };
    if Snapshot::hash(&snapshot.bytes) != hash {
        return Ok(Err(format!("snapshot {}: its hash does not fit its content", head.seq)));
    }
    Ok(recover::restore(&snapshot, FORMAT).map_err(|error| error.to_string()))
}

/// What was said already is not said twice.
fn say(verdict: &mut Verdict, problem: String) {
    if !verdict.problems.contains(&problem) {
        verdict.problems.push(problem);
    }
}

fn check_tables(source: &dyn Source, tables: &[TableCheck], verdict: &mut Verdict) -> Result<(), Error> {
    let reader = source.reader()?;
    for table in tables {
        match table.run(&*reader) {
            Ok(problems) => verdict.problems.extend(problems),
            Err(admit_store::Error::Query(reason)) => verdict.problems.push(format!("a table: {reason}")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
