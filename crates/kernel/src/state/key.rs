//! A key: who holds its slots, what it remembers, who waits at it.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::Leases;
use super::history::History;
use super::level::{Level, PICO};
use super::waitlist::Waitlist;
use crate::{Counts, HOLD_SAMPLES, Name, QueueNo, Refill, Terms, TermsRef, Time};

/// Where a key stands in the table of keys, while it is known.
pub(super) type KeyIx = u32;
/// Where a lease stands in the table of leases, while it lives.
pub(super) type LeaseIx = u32;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: Name,
    pub(super) holders: Holders,
    /// Slots that heads of queues hold while they wait for their other keys.
    pub(super) held: SmallVec<[Held; 1]>,
    pub(super) past: Option<Box<Past>>,
    pub(super) waitlists: Vec<Waitlist>,
    /// Tickets that claim this key, wherever they are parked.
    pub(super) waiting: u32,
    /// A limit of this name exists, so the key is kept.
    pub(super) pinned: bool,
    pub(super) samples: HoldSamples,
    /// The timers that are set for it: the next time at which the front of a waitlist can fit by time
    /// alone, and the time at which it has nothing left to remember.
    pub(super) edge: Option<Time>,
    pub(super) forget: Option<Time>,
}

/// Leases that hold slots of a key, oldest first. What they hold together is a property of the
/// collection, kept with it: there is no other count of usage.
#[derive(Debug, Default)]
pub(super) struct Holders {
    by_token: BTreeMap<u64, (LeaseIx, u32)>,
    slots: u64,
}

impl Holders {
    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    pub(super) fn len(&self) -> usize {
        self.by_token.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    pub(super) fn insert(&mut self, token: u64, lease: LeaseIx, slots: u32) {
        self.remove(token);
        self.slots += u64::from(slots);
        self.by_token.insert(token, (lease, slots));
    }

    pub(super) fn remove(&mut self, token: u64) {
        if let Some((_, slots)) = self.by_token.remove(&token) {
            self.slots -= u64::from(slots);
        }
    }

    /// Leases and their slots, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (LeaseIx, u32)> {
        self.by_token.values().copied()
    }

    /// Leases whose tokens are above `token`, oldest first.
    pub(super) fn after(&self, token: u64) -> impl Iterator<Item = LeaseIx> {
        self.by_token.range(token.saturating_add(1)..).map(|(_, &(lease, _))| lease)
    }
}

/// Slots that the head of a queue holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) queue: QueueNo,
    pub(super) terms: TermsRef,
    pub(super) slots: u32,
}

/// What a key remembers beyond its live leases.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The longest window in use on the key, in milliseconds; 0: none.
    pub(super) horizon_ms: u64,
    /// Since when everything within the horizon is known.
    pub(super) known_since: Time,
    pub(super) starts: History,
    pub(super) ends: History,
    pub(super) levels: BTreeMap<TermsRef, Level>,
}

/// The latest measured holds, for estimates.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct HoldSamples {
    ms: [u32; HOLD_SAMPLES],
    len: u8,
    next: u8,
}

impl HoldSamples {
    pub(super) fn push(&mut self, ms: u64) {
        self.ms[usize::from(self.next)] = u32::try_from(ms).unwrap_or(u32::MAX);
        self.next = (self.next + 1) % HOLD_SAMPLES as u8;
        self.len = (self.len + 1).min(HOLD_SAMPLES as u8);
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let start = if usize::from(self.len) < HOLD_SAMPLES { 0 } else { usize::from(self.next) };
        (0..usize::from(self.len)).map(move |n| self.ms[(start + n) % HOLD_SAMPLES])
    }

    pub(super) fn median(&self) -> Option<u64> {
        let mut sorted = self.ms;
        let sorted = &mut sorted[..usize::from(self.len)];
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map(|&ms| u64::from(ms))
    }
}

impl Key {
    fn new(name: Name) -> Key {
        Key {
            name,
            holders: Holders::default(),
            held: SmallVec::new(),
            past: None,
            waitlists: Vec::new(),
            waiting: 0,
            pinned: false,
            samples: HoldSamples::default(),
            edge: None,
            forget: None,
        }
    }

    pub(super) fn past_mut(&mut self) -> &mut Past {
        self.past.get_or_insert_default()
    }

    pub(super) fn waitlist(&self, terms: &TermsRef) -> Option<&Waitlist> {
        self.waitlists.iter().find(|list| list.terms == *terms)
    }

    pub(super) fn waitlist_mut(&mut self, terms: &TermsRef) -> Option<&mut Waitlist> {
        self.waitlists.iter_mut().find(|list| list.terms == *terms)
    }

    /// Slots held for heads of queues other than `but`.
    pub(super) fn held_slots(&self, but: Option<QueueNo>) -> u64 {
        self.held.iter().filter(|held| Some(held.queue) != but).map(|held| u64::from(held.slots)).sum()
    }

    /// Usage under `terms` at `now`, in 10^-12 slots, leaving out what the queue `but` holds and the end of
    /// the run `continues` (its lease and when it ended).
    pub(super) fn used_pico(
        &self,
        terms: &Terms,
        by: &TermsRef,
        now: Time,
        but: Option<QueueNo>,
        leases: &Leases,
    ) -> u128 {
        let used = match terms.refill {
            Refill::Release => u128::from(self.holders.slots()) * PICO,
            Refill::Window { ms, counts: Counts::Runs } => {
                let ended = self.past.as_ref().map_or(0, |past| past.ends.slots_after(now.minus(ms)));
                u128::from(self.holders.slots() + ended) * PICO
            }
            Refill::Window { ms, counts: Counts::Starts } => {
                u128::from(self.started_after(now.minus(ms), ms, leases)) * PICO
            }
            Refill::Decay { nano_per_second } => self
                .past
                .as_ref()
                .and_then(|past| past.levels.get(by))
                .map_or(0, |level| level.pico_at(now, nano_per_second)),
        };
        used + u128::from(self.held_slots(but)) * PICO
    }

    /// Slots of the starts after `since`, a window of `ms` ago.
    fn started_after(&self, since: Time, ms: u64, leases: &Leases) -> u64 {
        let past = self.past.as_ref();
        let remembered = past.map_or(0, |past| past.starts.slots_after(since));
        if past.is_some_and(|past| past.horizon_ms >= ms) {
            return remembered;
        }
        // A first claim with a longer window: what still runs tells as much as is known.
        let youngest_first = self.holders.iter().rev();
        let started = |lease| leases.at(lease).is_some_and(|live| live.lease.granted_at > since);
        let running = youngest_first.take_while(|&(lease, _)| started(lease));
        remembered.max(running.map(|(_, slots)| u64::from(slots)).sum())
    }

    /// Slots of the run `id`, which ended at `at`, that a window of `ms` still counts.
    pub(super) fn ended_slots(&self, id: uuid::Uuid, at: Time, now: Time, ms: u64) -> u32 {
        let counted = at > now.minus(ms);
        self.past.as_ref().filter(|_| counted).and_then(|past| past.ends.slots_of(id, at)).unwrap_or(0)
    }

    /// Whether nobody holds, waits for or defined it.
    pub(super) fn is_idle(&self) -> bool {
        self.holders.is_empty()
            && self.held.is_empty()
            && self.waitlists.is_empty()
            && self.waiting == 0
            && !self.pinned
    }

    /// When an idle key has nothing left to remember; none if it never forgets, now or earlier if it
    /// remembers nothing. `rate` tells how fast a level falls.
    pub(super) fn forget_at(&self, rate: impl Fn(&TermsRef) -> u64) -> Option<Time> {
        let Some(past) = &self.past else { return Some(Time(0)) };
        // What began to remember does so for a while, even if nothing has come yet.
        let begun = (past.horizon_ms > 0).then_some(past.known_since);
        let last = [begun, past.starts.last(), past.ends.last()].into_iter().flatten().max();
        let mut at = last.map_or(Time(0), |last| last.plus(past.horizon_ms));
        for (terms, level) in &past.levels {
            at = at.max(level.time_of(0, rate(terms))?);
        }
        Some(at)
    }
}

/// All keys that are known.
#[derive(Debug, Default)]
pub(super) struct Keys {
    by_name: HashMap<Name, KeyIx, RandomState>,
    table: Vec<Option<Key>>,
    free: Vec<KeyIx>,
}

impl Keys {
    pub(super) fn ix(&self, name: &str) -> Option<KeyIx> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Key> {
        self.at(self.ix(name)?)
    }

    pub(super) fn at(&self, ix: KeyIx) -> Option<&Key> {
        self.table.get(ix as usize)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, ix: KeyIx) -> Option<&mut Key> {
        self.table.get_mut(ix as usize)?.as_mut()
    }

    pub(super) fn ensure(&mut self, name: &Name) -> KeyIx {
        if let Some(ix) = self.ix(name) {
            return ix;
        }
        let key = Some(Key::new(name.clone()));
        let ix = match self.free.pop() {
            Some(ix) => {
                self.table[ix as usize] = key;
                ix
            }
            None => {
                self.table.push(key);
                KeyIx::try_from(self.table.len() - 1).unwrap_or(KeyIx::MAX)
            }
        };
        self.by_name.insert(name.clone(), ix);
        ix
    }

    pub(super) fn remove(&mut self, ix: KeyIx) -> Option<Key> {
        let key = self.table.get_mut(ix as usize)?.take()?;
        self.by_name.remove(&key.name);
        self.free.push(ix);
        Some(key)
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyIx, &Key)> {
        self.table.iter().enumerate().filter_map(|(ix, key)| Some((ix as KeyIx, key.as_ref()?)))
    }
}
