//! A record of the log, and how records hang together.

use twox_hash::XxHash3_64;
use uuid::Uuid;

use crate::Error;

/// What one batch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number; the first is 1, each next is one more.
    pub seq: u64,
    /// Who wrote it: a number that no other batch has, by which a writer finds out what became of it.
    pub batch: Uuid,
    /// The epoch of fencing tokens.
    pub epoch: u32,
    /// The log's time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The format of the payload, and of the log from here on; what it means is for those to know who read it.
    pub format: u16,
    /// The checksum of the record before it; 0 for the first.
    pub prev_checksum: u64,
    /// The checksum of this record, that of the one before included.
    pub checksum: u64,
    /// A digest of the state after this record, in some of them.
    pub state_digest: Option<u64>,
    /// What happened.
    pub payload: Vec<u8>,
}

impl Record {
    /// The record that comes after `head`.
    #[must_use]
    pub fn after(
        head: &Head,
        batch: Uuid,
        epoch: u32,
        format: u16,
        time_ms: u64,
        state_digest: Option<u64>,
        payload: Vec<u8>,
    ) -> Record {
        let mut record = Record {
            seq: head.seq + 1,
            batch,
            epoch,
            time_ms,
            format,
            prev_checksum: head.checksum,
            checksum: 0,
            state_digest,
            payload,
        };
        record.checksum = record.compute_checksum();
        record
    }

    /// The head of a log that ends with this record.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { seq: self.seq, checksum: self.checksum, epoch: self.epoch, time_ms: self.time_ms }
    }

    /// Checks that it is what was written, and the next one after `head`.
    pub fn verify_after(&self, head: &Head) -> Result<(), Error> {
        let corrupt = |reason: String| Err(Error::Corrupt { seq: self.seq, reason });
        if self.seq != head.seq + 1 {
            return Err(Error::Corrupt {
                seq: head.seq + 1,
                reason: format!("a gap: the next record is {}", self.seq),
            });
        }
        if self.checksum != self.compute_checksum() {
            return corrupt("its checksum does not fit its content".to_owned());
        }
        if self.prev_checksum != head.checksum {
            return corrupt(format!("it does not follow the record {} that is there", head.seq));
        }
        Ok(())
    }

    fn compute_checksum(&self) -> u64 {
        let mut header = [0u8; 56];
        header[..8].copy_from_slice(&self.seq.to_le_bytes());
        header[8..24].copy_from_slice(self.batch.as_bytes());
        header[24..28].copy_from_slice(&self.epoch.to_le_bytes());
        header[28..36].copy_from_slice(&self.time_ms.to_le_bytes());
        header[36..38].copy_from_slice(&self.format.to_le_bytes());
        header[38] = u8::from(self.state_digest.is_some());
        header[40..48].copy_from_slice(&self.state_digest.unwrap_or(0).to_le_bytes());
        header[48..].copy_from_slice(&self.prev_checksum.to_le_bytes());
        XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(&header), &self.payload)
    }
}

/// The end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The number of the last record; 0: there is none.
    pub seq: u64,
    /// Its checksum.
    pub checksum: u64,
    /// Its epoch.
    pub epoch: u32,
    /// Its time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// A state, as it was after some record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The record.
    pub head: Head,
    /// The format of the bytes.
    pub format: u16,
    /// The state.
    pub bytes: Vec<u8>,
}

impl Snapshot {
    /// The hash that a snapshot is stored with.
    #[must_use]
    pub fn hash(bytes: &[u8]) -> u64 {
        XxHash3_64::oneshot(bytes)
    }
}
