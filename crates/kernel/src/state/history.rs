//! The starts or ends that a key remembers, for windows.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{MAX_HISTORY, Time};

/// Starts or ends of runs, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    /// Slots of all entries that there ever were; an entry's `upto` tells what lies behind it.
    total: u64,
}

/// One start or end.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    at: Time,
    id: Uuid,
    slots: u32,
    /// Slots of all entries up to and with this one.
    upto: u64,
}

/// One start or end, as snapshots have it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) at: Time,
    pub(super) id: Uuid,
    pub(super) slots: u32,
}

impl History {
    pub(super) fn push(&mut self, at: Time, id: Uuid, slots: u32) {
        // The log's time never runs backwards, so entries come in order.
        debug_assert!(self.entries.back().is_none_or(|last| last.at <= at));
        self.total += u64::from(slots);
        self.entries.push_back(Entry { at, id, slots, upto: self.total });
        if self.entries.len() > MAX_HISTORY {
            self.merge_neighbours();
        }
    }

    /// Halves the entries; each pair goes by the younger of the two, so a window frees later, never earlier.
    /// It belongs to neither run: what strikes out one of them must not take the other along.
    fn merge_neighbours(&mut self) {
        let mut entries = std::mem::take(&mut self.entries).into_iter();
        while let Some(older) = entries.next() {
            let merged = match entries.next() {
                Some(younger) => {
                    let slots = older.slots.saturating_add(younger.slots);
                    Entry { id: Uuid::nil(), slots, ..younger }
                }
                None => older,
            };
            self.entries.push_back(merged);
        }
    }

    /// Puts runs before all that are known: they began before the key remembered.
    pub(super) fn prepend(&mut self, runs: Vec<Run>) {
        let known = std::mem::take(self);
        for run in runs {
            self.push(run.at, run.id, run.slots);
        }
        for run in known.runs() {
            self.push(run.at, run.id, run.slots);
        }
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = Run> {
        self.entries.iter().map(|entry| Run { at: entry.at, id: entry.id, slots: entry.slots })
    }

    /// Forgets what lies at or before `until`.
    pub(super) fn forget(&mut self, until: Time) {
        while self.entries.front().is_some_and(|entry| entry.at <= until) {
            self.entries.pop_front();
        }
    }

    fn first_after(&self, since: Time) -> usize {
        self.entries.partition_point(|entry| entry.at <= since)
    }

    /// Slots of the entries after `since`.
    pub(super) fn slots_after(&self, since: Time) -> u64 {
        match self.entries.get(self.first_after(since)) {
            Some(first) => self.total - (first.upto - u64::from(first.slots)),
            None => 0,
        }
    }

    /// The time of the entry, among those after `since`, with which `slots` slots have passed.
    pub(super) fn time_of_slot(&self, since: Time, slots: u64) -> Option<Time> {
        let first = self.first_after(since);
        let before = self.entries.get(first).map(|entry| entry.upto - u64::from(entry.slots))?;
        let at = self.entries.partition_point(|entry| entry.upto < before + slots);
        self.entries.get(at.max(first)).map(|entry| entry.at)
    }

    pub(super) fn last(&self) -> Option<Time> {
        self.entries.back().map(|entry| entry.at)
    }

    /// The slots of the entry of `id` at `at`, if it is remembered on its own.
    pub(super) fn slots_of(&self, id: Uuid, at: Time) -> Option<u32> {
        self.find(id, at).map(|index| self.entries[index].slots)
    }

    fn find(&self, id: Uuid, at: Time) -> Option<usize> {
        if id.is_nil() {
            return None;
        }
        let from = self.entries.partition_point(|entry| entry.at < at);
        let same_time = self.entries.range(from..).take_while(|entry| entry.at == at);
        same_time.enumerate().find(|(_, entry)| entry.id == id).map(|(index, _)| from + index)
    }

    /// Takes out what `id` did at `at`, as if it had never been.
    pub(super) fn strike(&mut self, id: Uuid, at: Time) {
        let Some(index) = self.find(id, at) else { return };
        let Some(entry) = self.entries.remove(index) else { return };
        for later in self.entries.range_mut(index..) {
            later.upto -= u64::from(entry.slots);
        }
        self.total -= u64::from(entry.slots);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(runs: &[(u64, u32)]) -> History {
        let mut history = History::default();
        for (n, &(at, slots)) in runs.iter().enumerate() {
            history.push(Time(at), Uuid::from_u128(n as u128), slots);
        }
        history
    }

    #[test]
    fn a_window_is_open_at_its_far_end() {
        let history = history(&[(10, 1), (20, 2), (30, 4)]);
        let check = |since, expect| assert_eq!(history.slots_after(Time(since)), expect, "after {since}");
        check(9, 7);
        check(10, 6);
        check(29, 4);
        check(30, 0);
    }

    #[test]
    fn the_time_at_which_slots_pass_is_that_of_the_entry_that_completes_them() {
        let history = history(&[(10, 1), (20, 2), (30, 4)]);
        let check = |since, slots, expect: Option<u64>| {
            assert_eq!(history.time_of_slot(Time(since), slots), expect.map(Time), "{slots} after {since}");
        };
        check(0, 1, Some(10));
        check(0, 2, Some(20));
        check(0, 3, Some(20));
        check(0, 4, Some(30));
        check(10, 1, Some(20));
        check(0, 8, None);
        check(30, 1, None);
    }

    #[test]
    fn a_run_struck_out_counts_nowhere() {
        let mut history = history(&[(10, 1), (20, 2), (20, 4)]);
        history.strike(Uuid::from_u128(1), Time(20));
        assert_eq!(history.slots_after(Time(0)), 5);
        history.strike(Uuid::from_u128(1), Time(20));
        assert_eq!(history.slots_after(Time(0)), 5);
        history.forget(Time(10));
        assert_eq!(history.slots_after(Time(0)), 4);
    }

    #[test]
    fn beyond_its_bound_a_history_frees_later_never_earlier() {
        let mut history = History::default();
        for n in 0..=MAX_HISTORY as u64 {
            history.push(Time(n), Uuid::from_u128(u128::from(n)), 1);
        }
        assert!(history.entries.len() <= MAX_HISTORY / 2 + 1);
        assert_eq!(
            history.slots_after(Time(0)),
            MAX_HISTORY as u64 + 1,
            "the first went by its neighbour's time"
        );
        assert_eq!(history.slots_after(Time(1)), MAX_HISTORY as u64 - 1);
    }
}
