//! Whether what is stored is what was written.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::{DB_FILE, connect, error, log, snapshots};
use crate::{Error, Head, Snapshot};

/// Bytes of records that are checked at a time.
const PAGE_BYTES: usize = 4 << 20;
/// Problems that are listed; where there are so many, more say nothing new.
const MAX_PROBLEMS: usize = 100;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The first record that is kept; 0: there is none.
    pub first_seq: u64,
    /// The last record; 0: there is none.
    pub last_seq: u64,
    /// How many records are kept.
    pub records: u64,
    /// The records that the snapshots were taken at, newest first.
    pub snapshots: Vec<u64>,
    /// What is wrong; nothing: all is well.
    pub problems: Vec<String>,
}

/// Checks the data folder, whether or not a server uses it: the file itself, the chain of checksums from the
/// oldest record to the newest, the snapshots' hashes.
pub fn check(folder: &Path) -> Result<Report, Error> {
    let connection = open(folder)?;
    let mut report = Report::default();
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(error::opening)?;
    if verdict != "ok" {
        report.problems.push(format!("the database file: {verdict}"));
    }
    check_snapshots(&connection, &mut report)?;
    check_chain(&connection, &mut report, &mut || {})?;
    Ok(report)
}

/// Checks the records and snapshots of a folder that a server uses, which itself reads no more of them than it
/// needs. After every few megabytes it rests as long as `rest` takes.
pub fn check_history(folder: &Path, rest: &mut dyn FnMut()) -> Result<Report, Error> {
    let connection = open(folder)?;
    let mut report = Report::default();
    check_snapshots(&connection, &mut report)?;
    check_chain(&connection, &mut report, rest)?;
    Ok(report)
}

fn open(folder: &Path) -> Result<Connection, Error> {
    let path = folder.join(DB_FILE);
    if !path.is_file() {
        return Err(Error::File { path, reason: "there is no database here".into() });
    }
    let connection = connect(&path)?;
    connection.pragma_update(None, "query_only", true).map_err(error::opening)?;
    Ok(connection)
}

fn check_snapshots(connection: &Connection, report: &mut Report) -> Result<(), Error> {
    for listed in snapshots::list(connection).map_err(error::outside_commit)? {
        let seq = listed.head.seq;
        report.snapshots.push(seq);
        let bytes = snapshots::bytes(connection, seq).map_err(error::outside_commit)?;
        if Snapshot::hash(&bytes) != listed.hash {
            report.problems.push(format!("snapshot {seq}: its hash does not fit its content"));
        }
        let recorded = connection
            .query_row("SELECT checksum FROM log WHERE seq = ?1", [log::signed(seq)], |row| {
                log::unsigned(row, 0)
            })
            .optional()
            .map_err(error::outside_commit)?;
        if recorded.is_some_and(|checksum| checksum != listed.head.checksum) {
            report.problems.push(format!("snapshot {seq}: it was not taken at the record that is there"));
        }
    }
    Ok(())
}

fn check_chain(connection: &Connection, report: &mut Report, rest: &mut dyn FnMut()) -> Result<(), Error> {
    let mut head: Option<Head> = None;
    loop {
        let page = log::records_after(connection, report.last_seq, PAGE_BYTES)?;
        let Some(first) = page.first() else { break };
        // What a server cut off meanwhile is not missing.
        let was_cut = head.is_some_and(|head| head.seq + 1 < first.seq);
        if was_cut && log::oldest(connection)? == Some(first.seq) {
            head = None;
        }
        for record in page {
            // What the oldest record followed is gone; it is taken at its word.
            let before = head.unwrap_or(Head {
                seq: record.seq.saturating_sub(1),
                checksum: record.prev_checksum,
                ..Head::default()
            });
            if let Err(problem) = record.verify_after(&before)
                && report.problems.len() < MAX_PROBLEMS
            {
                report.problems.push(problem.to_string());
            }
            if report.records == 0 {
                report.first_seq = record.seq;
            }
            report.records += 1;
            report.last_seq = record.seq;
            head = Some(record.head());
        }
        rest();
    }
    let newest = report.snapshots.first().copied().unwrap_or(0);
    if report.last_seq < newest {
        report.problems.push(format!("the log ends at {}, before snapshot {newest}", report.last_seq));
    }
    Ok(())
}
