//! The state = the newest whole snapshot + the records after it.

use admit_kernel::{Event, State};
use admit_store::{FORMAT, Head, Record, Snapshot, Store};

use crate::Error;

/// Records that are read at a time, in bytes: enough to be fast, little beside the state.
const PAGE_BYTES: usize = 8 << 20;

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

pub(crate) fn recover(store: &mut impl Store) -> Result<Recovered, Error> {
    let (mut state, mut head, mut snapshot_bytes) = (State::new(), Head::default(), 0);
    if let Some(snapshot) = store.latest_snapshot()? {
        let plain = postcard::from_bytes(&snapshot.bytes).map_err(|error| admit_store::Error::Corrupt {
            seq: snapshot.head.seq,
            reason: format!("its snapshot cannot be read: {error}"),
        })?;
        state = State::restore(plain);
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
            replay(&mut state, &mut head, record)?;
        }
    }
    let end = store.head()?;
    if end.seq < head.seq {
        let reason = format!("the log ends there, but a snapshot of record {} was taken", head.seq);
        return Err(admit_store::Error::Corrupt { seq: end.seq, reason }.into());
    }
    let is_copy = store.is_copy()?;
    Ok(Recovered { state, head, snapshot_seq, snapshot_bytes, tail_bytes, is_copy })
}

/// Applies a record that was decided elsewhere or before; gives its events.
pub(crate) fn replay(state: &mut State, head: &mut Head, record: &Record) -> Result<Vec<Event>, Error> {
    record.verify_after(head)?;
    let events: Vec<Event> =
        postcard::from_bytes(&record.payload).map_err(|error| admit_store::Error::Corrupt {
            seq: record.seq,
            reason: format!("its events cannot be read (format {}): {error}", record.format),
        })?;
    state.replay(&events);
    if let Some(recorded) = record.state_digest {
        let found = state.digest();
        if found != recorded {
            return Err(Error::Diverged { seq: record.seq, recorded, found });
        }
    }
    *head = record.head();
    Ok(events)
}

/// A snapshot of the state after `head`.
pub(crate) fn snapshot(state: &State, head: Head) -> Result<Snapshot, Error> {
    let bytes = postcard::to_extend(&state.snapshot(), Vec::new())
        .map_err(|error| admit_store::Error::Unavailable(format!("the state cannot be encoded: {error}")))?;
    Ok(Snapshot { head, format: FORMAT, bytes })
}
