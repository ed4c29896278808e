//! The state = the newest whole snapshot + the records after it.

use admit_kernel::{Event, OLDEST_FORMAT, Snapshot as Plain, State, Time};
use admit_store::{Entry, Head, Record, Snapshot, Store};

use crate::Error;
use crate::batch::Committed;

/// Records that are read at a time, in bytes: enough to be fast, little beside the state.
const PAGE_BYTES: usize = 8 << 20;

/// How often it is read, when others change it meanwhile.
const MAX_TRIES: usize = 8;

/// What the store holds.
pub(crate) struct Recovered {
    pub state: State,
    pub head: Head,
    /// The record of the snapshot, and its size.
    pub snapshot_seq: u64,
    pub snapshot_bytes: u64,
    /// Bytes of the records after it.
    pub tail_bytes: u64,
    /// Leases given after this copy was made are unknown here; their tokens must stay behind.
    pub is_copy: bool,
}

/// Reads the state back, as long as nothing is in a newer format than `newest`.
///
/// Other nodes may take snapshots, truncate, or lose the log's end with a crash of the database while this one
/// reads. What does not fit together is read again, as long as it is not the same that did not fit before.
pub(crate) fn recover(store: &mut impl Store, newest: u16) -> Result<Recovered, Error> {
    let mut failed: Option<(Option<Head>, Head, Error)> = None;
    for _ in 0..MAX_TRIES {
        let snapshot = store.latest_snapshot()?;
        let (from, end) = (snapshot.as_ref().map(|snapshot| snapshot.head), store.head()?);
        if let Some((last_from, last_end, error)) = &failed {
            if (*last_from, *last_end) == (from, end) {
                return Err(error.clone());
            }
            tracing::warn!(%error, "the log was changed while it was read; it is read again");
        }
        use admit_store::Error as E;
        match read_back(store, snapshot, newest) {
            Err(error @ Error::Store(E::Corrupt { .. } | E::Rewritten(_))) => {
                failed = Some((from, end, error))
            }
            done => return done,
        }
    }
    let error = failed.map_or_else(String::new, |(.., error)| error.to_string());
    Err(admit_store::Error::Unavailable(format!("the log changes faster than it is read: {error}")).into())
}

fn read_back(store: &mut impl Store, snapshot: Option<Snapshot>, newest: u16) -> Result<Recovered, Error> {
    let (mut state, mut head, mut snapshot_bytes) = (State::new(), Head::default(), 0);
    if let Some(snapshot) = snapshot {
        state = restore(&snapshot, newest)?;
        head = snapshot.head;
        snapshot_bytes = snapshot.bytes.len() as u64;
    }
    let snapshot_seq = head.seq;
    let mut tail_bytes = 0;
    loop {
        let page = store.records_after(head.seq, PAGE_BYTES)?;
        if page.is_empty() {
            break;
        }
        for record in &page {
            tail_bytes += record.payload.len() as u64;
            replay(&mut state, &mut head, record, newest)?;
        }
    }
    let end = store.head()?;
    if end.seq < head.seq {
        let reason = format!("the log ends there, but record {} was read", head.seq);
        return Err(admit_store::Error::Corrupt { seq: end.seq, reason }.into());
    }
    if end != head {
        // Written since, or in the place of what was read.
        for record in &store.missed(&head)? {
            tail_bytes += record.payload.len() as u64;
            replay(&mut state, &mut head, record, newest)?;
        }
    }
    let is_copy = store.is_copy()?;
    Ok(Recovered { state, head, snapshot_seq, snapshot_bytes, tail_bytes, is_copy })
}

/// The state that a snapshot was taken of.
pub(crate) fn restore(snapshot: &Snapshot, newest: u16) -> Result<State, Error> {
    let Snapshot { head, format, bytes } = snapshot;
    check_format(|| format!("the snapshot of record {}", head.seq), *format, newest)?;
    let mut plain: Plain = postcard::from_bytes(bytes).map_err(|error| admit_store::Error::Corrupt {
        seq: head.seq,
        reason: format!("its snapshot (format {format}) cannot be read: {error}"),
    })?;
    plain.format = *format;
    Ok(State::restore(plain))
}

/// Applies a record that was decided elsewhere or before; gives its events.
pub(crate) fn replay(
    state: &mut State,
    head: &mut Head,
    record: &Record,
    newest: u16,
) -> Result<Vec<Event>, Error> {
    let &Record { seq, format, .. } = record;
    // Before anything else of it: what a newer format means by its checksum is not known here either.
    check_format(|| format!("record {seq} of the log"), format, newest)?;
    record.verify_after(head)?;
    let events = events(seq, format, &record.payload)?;
    state.replay(&events);
    if state.format() != format {
        let reason = format!("it says format {format}, the log is in format {}", state.format());
        return Err(admit_store::Error::Corrupt { seq, reason }.into());
    }
    if let Some(recorded) = record.state_digest {
        let found = state.digest();
        if found != recorded {
            return Err(Error::Diverged { seq, recorded, found });
        }
    }
    *head = record.head();
    Ok(events)
}

/// A record as it is told to those who watch.
pub(crate) fn committed(entry: &Entry) -> Result<Committed, Error> {
    let events = events(entry.seq, entry.format, &entry.payload)?.into();
    Ok(Committed { seq: entry.seq, time: Time(entry.time_ms), events })
}

fn events(seq: u64, format: u16, payload: &[u8]) -> Result<Vec<Event>, Error> {
    postcard::from_bytes(payload).map_err(|error| Error::Unknown { seq, format, reason: error.to_string() })
}

fn check_format(what: impl Fn() -> String, found: u16, newest: u16) -> Result<(), Error> {
    if (OLDEST_FORMAT..=newest).contains(&found) {
        return Ok(());
    }
    Err(Error::Format { what: what(), found, newest })
}

/// A snapshot of the state after `head`, in the format of the log: who reads that reads this.
pub(crate) fn snapshot(state: &State, head: Head) -> Result<Snapshot, Error> {
    let bytes = postcard::to_extend(&state.snapshot(), Vec::new())
        .map_err(|error| admit_store::Error::Unavailable(format!("the state cannot be encoded: {error}")))?;
    Ok(Snapshot { head, format: state.format(), bytes })
}
