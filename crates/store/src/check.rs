//! Whether what is stored is what was written.

use crate::{Error, Head, Reader, Record, Snapshot};

/// Bytes of records that are read at a time.
const PAGE_BYTES: usize = 4 << 20;
/// Problems that are listed; where there are so many, more say nothing new.
const MAX_PROBLEMS: usize = 100;

/// What is stored, for those who check it. Nothing is written, and whoever uses it meanwhile goes on.
pub trait Source {
    /// What is wrong with the storage below the log.
    fn storage_problems(&mut self) -> Result<Vec<String>, Error>;
    /// How far the tables of each component are.
    fn versions(&mut self) -> Result<Vec<(String, u32)>, Error>;
    /// How far this program brings the store's own.
    fn own_version(&self) -> u32;
    /// The end of the log.
    fn head(&mut self) -> Result<Head, Error>;
    /// The oldest record that is kept; none: there is none.
    fn oldest(&mut self) -> Result<Option<u64>, Error>;
    /// Records after `seq` in order: as many as fit in `max_bytes`, at least one if there is one.
    fn records_after(&mut self, seq: u64, max_bytes: usize) -> Result<Vec<Record>, Error>;
    /// The snapshots, newest first.
    fn snapshots(&mut self) -> Result<Vec<Listed>, Error>;
    /// The bytes of a snapshot, as they are stored.
    fn snapshot_bytes(&mut self, seq: u64) -> Result<Vec<u8>, Error>;
    /// A handle to read rows with.
    fn reader(&self) -> Result<Box<dyn Reader>, Error>;
}

/// What can be judged of a table: a query that gives what is wrong in it, and nothing where all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableCheck {
    /// What is wrong with what the query names.
    pub problem: &'static str,
    /// The query: its first column is a name; it has a LIMIT.
    pub sql: &'static str,
}

impl TableCheck {
    /// What it finds.
    pub fn run(&self, reader: &dyn Reader) -> Result<Vec<String>, Error> {
        let rows = reader.query(self.sql, &[])?;
        rows.iter().map(|row| Ok(format!("{}: {}", row.text(0)?, self.problem))).collect()
    }
}

/// What is said of a snapshot beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// The record that it was taken at.
    pub head: Head,
    /// Its format.
    pub format: u16,
    /// The hash of its bytes.
    pub hash: u64,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The first record that is kept; 0: there is none.
    pub first_seq: u64,
    /// The last record that was checked, the end of the log when the check began; 0: there was none.
    pub last_seq: u64,
    /// How many records are kept.
    pub records: u64,
    /// The records that the snapshots were taken at, newest first.
    pub snapshots: Vec<u64>,
    /// What is wrong; nothing: all is well.
    pub problems: Vec<String>,
}

impl Report {
    fn say(&mut self, problem: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

/// Checks the storage, the snapshots' hashes, and the chain of checksums from the oldest record to the newest.
pub fn check_log(source: &mut dyn Source) -> Result<Report, Error> {
    let problems = source.storage_problems()?;
    let mut report = check_records(source, &mut || {})?;
    report.problems.splice(..0, problems);
    Ok(report)
}

/// The same without the storage; after every few megabytes it rests as long as `rest` takes.
pub(crate) fn check_records(source: &mut dyn Source, rest: &mut dyn FnMut()) -> Result<Report, Error> {
    let mut report = Report::default();
    check_snapshots(source, &mut report)?;
    // Asked after the snapshots, which are of records that are there. What comes later is not waited for.
    let end = source.head()?;
    check_chain(source, &end, &mut report, rest)?;
    Ok(report)
}

fn check_snapshots(source: &mut dyn Source, report: &mut Report) -> Result<(), Error> {
    for listed in source.snapshots()? {
        let seq = listed.head.seq;
        let bytes = source.snapshot_bytes(seq)?;
        if Snapshot::hash(&bytes) != listed.hash {
            // Another may have taken its place since.
            if !source.snapshots()?.contains(&listed) {
                continue;
            }
            report.say(format!("snapshot {seq}: its hash does not fit its content"));
        }
        report.snapshots.push(seq);
        let recorded = source.records_after(seq.saturating_sub(1), 1)?;
        let recorded = recorded.first().filter(|record| record.seq == seq);
        if recorded.is_some_and(|record| record.checksum != listed.head.checksum) {
            report.say(format!("snapshot {seq}: it was not taken at the record that is there"));
        }
    }
    Ok(())
}

fn check_chain(
    source: &mut dyn Source,
    end: &Head,
    report: &mut Report,
    rest: &mut dyn FnMut(),
) -> Result<(), Error> {
    let mut head: Option<Head> = None;
    while report.last_seq < end.seq {
        let page = source.records_after(report.last_seq, PAGE_BYTES)?;
        let Some(first) = page.first() else { break };
        // What a server cut off meanwhile is not missing.
        let was_cut = head.is_some_and(|head| head.seq + 1 < first.seq);
        if was_cut && source.oldest()? == Some(first.seq) {
            head = None;
        }
        for record in page {
            // What the oldest record followed is gone; it is taken at its word.
            let before = head.unwrap_or(Head {
                seq: record.seq.saturating_sub(1),
                checksum: record.prev_checksum,
                ..Head::default()
            });
            if let Err(problem) = record.verify_after(&before) {
                report.say(problem.to_string());
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
        report.say(format!("the log ends at {}, before snapshot {newest}", report.last_seq));
    }
    Ok(())
}
