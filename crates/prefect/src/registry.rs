//! What Prefect knows of a limit that the engine does not: its id, when it was made and changed, its numbers as
//! they were stated. A table of our own, written in the transaction of the change, and the same in memory.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use admit_engine::{Engine, Error, Migration, Row, TableCheck, Value, Write};
use admit_kernel::{Limit, MAX_DECAY_NANO, MAX_SLOTS, Name};
use jiff::Timestamp;
use uuid::Uuid;

/// The tables of this crate.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        component: "prefect",
        version: 1,
        sql: "CREATE TABLE prefect_limits (
              name TEXT PRIMARY KEY,
              id BLOB NOT NULL,
              created_us BIGINT NOT NULL,
              updated_us BIGINT NOT NULL,
              stated_max BIGINT NOT NULL,
              stated_decay DOUBLE PRECISION NOT NULL,
              denied_slots BIGINT NOT NULL
          );
          CREATE INDEX prefect_limits_by_id ON prefect_limits (id)",
    },
    Migration {
        component: "prefect",
        version: 2,
        sql: "ALTER TABLE prefect_limits ADD COLUMN revision BIGINT NOT NULL DEFAULT 0",
    },
];

/// What can be judged of them.
pub const TABLE_CHECKS: &[TableCheck] = &[
    TableCheck {
        problem: "what Prefect calls it is no UUID",
        sql: "SELECT name FROM prefect_limits WHERE length(id) <> 16 ORDER BY name LIMIT 10",
    },
    TableCheck {
        problem: "Prefect calls another limit by the same UUID",
        sql: "SELECT max(name) FROM prefect_limits GROUP BY id HAVING count(*) > 1 ORDER BY 1 LIMIT 10",
    },
];

const SELECT: &str = "SELECT name, id, created_us, updated_us, stated_max, stated_decay, denied_slots, revision FROM prefect_limits";
const INSERT: &str =
    "INSERT INTO prefect_limits (name, id, created_us, updated_us, stated_max, stated_decay, denied_slots, revision)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// One row. Times are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) id: Uuid,
    pub(crate) created_us: i64,
    pub(crate) updated_us: i64,
    /// The limit as it was stated: it may be negative, or more than the engine counts.
    pub(crate) stated_max: i64,
    /// The decay as it was stated, before it was rounded to what the engine counts in.
    pub(crate) stated_decay: f64,
    pub(crate) denied_slots: i64,
    /// The revision of the limit that this is about; 0: unknown, as of rows that were written before it was kept.
    pub(crate) revision: u64,
}

impl Entry {
    /// A new one, of now.
    pub(crate) fn new(name: Name, stated_max: i64, stated_decay: f64) -> Entry {
        let now_us = now_us();
        let id = Uuid::new_v4();
        Entry {
            name,
            id,
            created_us: now_us,
            updated_us: now_us,
            stated_max,
            stated_decay,
            denied_slots: 0,
            revision: 0,
        }
    }

    /// The same, changed now.
    pub(crate) fn touched(self) -> Entry {
        Entry { updated_us: now_us(), ..self }
    }

    /// The same of another revision of its limit.
    pub(crate) fn of_revision(self, revision: u64) -> Entry {
        Entry { revision, ..self }
    }

    /// What it is if its limit was changed elsewhere since: what was stated then is no longer true.
    pub(crate) fn caught_up(self, limit: &Limit) -> Entry {
        if self.revision == 0 || self.revision >= limit.revision {
            return self.of_revision(limit.revision);
        }
        Entry { stated_max: limit.terms.max.into(), stated_decay: 0.0, revision: limit.revision, ..self }
            .touched()
    }

    /// The row, unless there is one of a later revision.
    pub(crate) fn write(&self) -> Write {
        let sql = format!(
            "{INSERT} ON CONFLICT (name) DO UPDATE SET id = excluded.id, created_us = excluded.created_us,
                 updated_us = excluded.updated_us, stated_max = excluded.stated_max,
                 stated_decay = excluded.stated_decay, denied_slots = excluded.denied_slots,
                 revision = excluded.revision
             WHERE prefect_limits.revision <= excluded.revision"
        );
        Write::new(sql, self.values())
    }

    /// The row, unless there is one.
    pub(crate) fn write_if_absent(&self) -> Write {
        Write::new(format!("{INSERT} ON CONFLICT (name) DO NOTHING"), self.values())
    }

    fn values(&self) -> Vec<Value> {
        vec![
            self.name.clone().into(),
            self.id.into(),
            self.created_us.into(),
            self.updated_us.into(),
            self.stated_max.into(),
            self.stated_decay.into(),
            self.denied_slots.into(),
            self.revision.into(),
        ]
    }

    /// No row any more, unless its limit was made anew since.
    pub(crate) fn delete_this(&self) -> Write {
        let sql = "DELETE FROM prefect_limits WHERE name = $1 AND id = $2 AND revision <= $3";
        Write::new(sql, vec![self.name.clone().into(), self.id.into(), self.revision.into()])
    }

    /// No row any more.
    pub(crate) fn delete(name: &Name) -> Write {
        Write::new("DELETE FROM prefect_limits WHERE name = $1", vec![name.clone().into()])
    }
}

/// The slots that the engine counts with where these are stated: none below 0.
pub(crate) fn max_of(stated: i64) -> u32 {
    u32::try_from(stated.clamp(0, i64::from(MAX_SLOTS))).unwrap_or(MAX_SLOTS)
}

/// The decay that the engine counts with where this is stated, in 10^-9 slots per second: more than none where
/// some is stated.
pub(crate) fn nano_of(stated: f64) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
    let nano = (stated * 1e9).round() as u64;
    (stated > 0.0).then_some(nano.clamp(1, MAX_DECAY_NANO))
}

fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

/// Rows that were read. One belongs to a revision of its limit: whoever changes the limit, on any node, changes
/// that, and the row is read again.
#[derive(Debug)]
pub(crate) struct Registry {
    known: RwLock<Known>,
    /// One change at a time, so that none is lost.
    pub(crate) changes: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    by_name: HashMap<Name, (Entry, Option<u64>)>,
    name_of: HashMap<Uuid, Name>,
}

impl Registry {
    /// Reads the table.
    pub(crate) async fn load(engine: &Engine) -> Result<Registry, Error> {
        let mut known = Known::default();
        for entry in rows(engine, SELECT.to_owned(), Vec::new()).await? {
            known.put(entry, None);
        }
        Ok(Registry { known: RwLock::new(known), changes: tokio::sync::Mutex::new(()) })
    }

    /// The row of a limit of this revision, if it was read.
    pub(crate) fn entry(&self, name: &str, revision: u64) -> Option<Entry> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_name.get(name).filter(|(_, of)| *of == Some(revision)).map(|(entry, _)| entry.clone())
    }

    /// The row of this name, of whichever revision.
    pub(crate) fn known(&self, name: &str) -> Option<Entry> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_name.get(name).map(|(entry, _)| entry.clone())
    }

    /// All rows that were read.
    pub(crate) fn all(&self) -> Vec<Entry> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_name.values().map(|(entry, _)| entry.clone()).collect()
    }

    /// The limit of this id, as far as was read.
    pub(crate) fn name_of(&self, id: Uuid) -> Option<Name> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).name_of.get(&id).cloned()
    }

    /// Takes note of a row of a limit of this revision.
    pub(crate) fn put(&self, entry: Entry, revision: u64) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).put(entry, Some(revision));
    }

    /// Takes note of a row that was removed.
    pub(crate) fn forget(&self, name: &str) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).forget(name);
    }
}

/// Reads the rows of limits again.
pub(crate) async fn fetch(engine: &Engine, names: &[Name]) -> Result<HashMap<Name, Entry>, Error> {
    let found = match names {
        [] => Vec::new(),
        [name] => rows(engine, format!("{SELECT} WHERE name = $1"), vec![name.clone().into()]).await?,
        _ => rows(engine, SELECT.to_owned(), Vec::new()).await?,
    };
    Ok(found.into_iter().map(|entry| (entry.name.clone(), entry)).collect())
}

/// Reads the name of the limit of an id again.
pub(crate) async fn fetch_name(engine: &Engine, id: Uuid) -> Result<Option<Name>, Error> {
    let found = rows(engine, format!("{SELECT} WHERE id = $1"), vec![id.into()]).await?;
    Ok(found.into_iter().next().map(|entry| entry.name))
}

async fn rows(engine: &Engine, sql: String, params: Vec<Value>) -> Result<Vec<Entry>, Error> {
    let rows = engine.query(sql, params).await?;
    rows.iter().map(read).collect::<Result<_, _>>().map_err(Error::Store)
}

impl Known {
    fn put(&mut self, entry: Entry, revision: Option<u64>) {
        self.forget(&entry.name);
        self.name_of.insert(entry.id, entry.name.clone());
        self.by_name.insert(entry.name.clone(), (entry, revision));
    }

    fn forget(&mut self, name: &str) {
        // A renamed limit took its id along.
        if let Some((entry, _)) = self.by_name.remove(name)
            && self.name_of.get(&entry.id) == Some(&entry.name)
        {
            self.name_of.remove(&entry.id);
        }
    }
}

fn read(row: &Row) -> Result<Entry, admit_store::Error> {
    Ok(Entry {
        name: row.text(0)?.into(),
        id: Uuid::from_slice(row.blob(1)?).unwrap_or_default(),
        created_us: row.int(2)?,
        updated_us: row.int(3)?,
        stated_max: row.int(4)?,
        stated_decay: row.real(5)?,
        denied_slots: row.int(6)?,
        revision: u64::try_from(row.int(7)?).unwrap_or_default(),
    })
}
