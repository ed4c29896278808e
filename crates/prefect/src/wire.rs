//! What answers look like.

use jiff::Timestamp;
use jiff::fmt::strtime;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::limits::{Shown, TAG_PREFIX};

/// A point of time, printed as the real server prints it: with six digits of a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Micros(i64);

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = Timestamp::from_microsecond(self.0).unwrap_or_default();
        let text = strtime::format("%Y-%m-%dT%H:%M:%S.%6fZ", time).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

/// The limit of a tag.
#[derive(Debug, Serialize)]
pub(crate) struct TagLimit {
    id: Uuid,
    created: Micros,
    updated: Micros,
    tag: String,
    concurrency_limit: i64,
    active_slots: Vec<Uuid>,
}

impl From<&Shown> for TagLimit {
    fn from(shown: &Shown) -> TagLimit {
        let name = &*shown.limit.name;
        TagLimit {
            id: shown.entry.id,
            created: Micros(shown.entry.created_us),
            updated: Micros(shown.entry.updated_us),
            tag: name.strip_prefix(TAG_PREFIX).unwrap_or(name).to_owned(),
            concurrency_limit: shown.max(),
            active_slots: shown.task_runs.clone(),
        }
    }
}

/// A global limit as it is read.
#[derive(Debug, Serialize)]
pub(crate) struct GlobalLimit {
    id: Uuid,
    created: Micros,
    updated: Micros,
    active: bool,
    name: String,
    limit: i64,
    active_slots: u64,
    slot_decay_per_second: f64,
}

impl From<&Shown> for GlobalLimit {
    fn from(shown: &Shown) -> GlobalLimit {
        GlobalLimit {
            id: shown.entry.id,
            created: Micros(shown.entry.created_us),
            updated: Micros(shown.entry.updated_us),
            active: shown.is_active(),
            name: shown.limit.name.to_string(),
            limit: shown.max(),
            active_slots: shown.active_slots,
            slot_decay_per_second: shown.decay(),
        }
    }
}

/// A global limit as it is answered when it was made.
#[derive(Debug, Serialize)]
pub(crate) struct NewGlobalLimit {
    id: Uuid,
    created: Micros,
    updated: Micros,
    active: bool,
    name: String,
    limit: i64,
    active_slots: u64,
    denied_slots: i64,
    slot_decay_per_second: f64,
    avg_slot_occupancy_seconds: f64,
}

impl From<&Shown> for NewGlobalLimit {
    fn from(shown: &Shown) -> NewGlobalLimit {
        /// What the real server begins with. Holds are measured here, and shown elsewhere.
        const OCCUPANCY_S: f64 = 2.0;
        NewGlobalLimit {
            id: shown.entry.id,
            created: Micros(shown.entry.created_us),
            updated: Micros(shown.entry.updated_us),
            active: shown.is_active(),
            name: shown.limit.name.to_string(),
            limit: shown.max(),
            active_slots: shown.active_slots,
            denied_slots: shown.entry.denied_slots,
            slot_decay_per_second: shown.decay(),
            avg_slot_occupancy_seconds: OCCUPANCY_S,
        }
    }
}
