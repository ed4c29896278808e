//! What holders believe to hold, each by a clock of its own: from the sending of its last good renewal on.

use std::collections::BTreeMap;

use admit_kernel::Name;
use uuid::Uuid;

use super::{Checked, Rule, broken};

/// What one holder believes.
#[derive(Debug, Clone)]
pub(crate) struct Belief {
    pub id: Uuid,
    /// Until when, in true time; none: until it gives it back.
    pub until_ms: Option<u64>,
    /// What the log's time may have run ahead when this was counted from.
    pub slip_ms: u64,
    /// What it was granted of each key.
    pub takes: Vec<(Name, u32)>,
    /// An operator has ended the lease over its head.
    pub overruled: bool,
}

impl Belief {
    fn holds(&self, now_ms: u64, slip_ms: u64) -> bool {
        self.until_ms.is_none_or(|until| now_ms + (slip_ms - self.slip_ms) < until)
    }
}

/// What all holders believe.
#[derive(Debug, Default)]
pub(crate) struct Beliefs(BTreeMap<usize, Belief>);

impl Beliefs {
    /// A client believes this from now on; `max` says how much of a key anybody was ever to have.
    pub fn hold(
        &mut self,
        client: usize,
        belief: Belief,
        now_ms: u64,
        slip_ms: u64,
        max: impl Fn(&Name) -> u64,
    ) -> Checked {
        let keys: Vec<Name> = belief.takes.iter().map(|(key, _)| key.clone()).collect();
        self.0.insert(client, belief);
        for key in keys {
            let holders = self.0.values().filter(|held| !held.overruled && held.holds(now_ms, slip_ms));
            let takes = holders.clone().flat_map(|held| &held.takes).filter(|(other, _)| *other == key);
            let used: u64 = takes.map(|(_, slots)| u64::from(*slots)).sum();
            if used > max(&key) {
                let ids: Vec<u128> = holders
                    .filter(|held| held.takes.iter().any(|(other, _)| *other == key))
                    .map(|held| held.id.as_u128())
                    .collect();
                return broken(
                    Rule::Believed,
                    format!(
                        "{used} slots of {key} are believed to be held, {} at most: by {ids:?}",
                        max(&key)
                    ),
                );
            }
        }
        Ok(())
    }

    /// A client has given back an unknown part of what it holds.
    pub fn count_no_more(&mut self, client: usize) {
        if let Some(belief) = self.0.get_mut(&client) {
            belief.takes.clear();
        }
    }

    /// A client stops believing.
    pub fn let_go(&mut self, client: usize) {
        self.0.remove(&client);
    }

    /// Whether a client still believes.
    pub fn holds(&self, client: usize, now_ms: u64, slip_ms: u64) -> bool {
        self.0.get(&client).is_some_and(|held| held.holds(now_ms, slip_ms))
    }

    /// The log ends a lease by itself: its holder must not believe in it any more.
    pub fn ended(&self, id: Uuid, now_ms: u64, slip_ms: u64) -> Checked {
        let believes = |held: &&Belief| held.id == id && !held.overruled && held.holds(now_ms, slip_ms);
        match self.0.values().find(believes) {
            Some(held) => broken(
                Rule::Believed,
                format!(
                    "the lease {} has ended, its holder believes in it until {:?} (now {now_ms})",
                    id.as_u128(),
                    held.until_ms
                ),
            ),
            None => Ok(()),
        }
    }

    /// An operator ends a lease: its holder finds out when it renews.
    pub fn overrule(&mut self, id: Uuid) {
        self.0.values_mut().filter(|held| held.id == id).for_each(|held| held.overruled = true);
    }

    /// The log has forgotten whatever it likes.
    pub fn overrule_all(&mut self) {
        self.0.values_mut().for_each(|held| held.overruled = true);
    }
}
