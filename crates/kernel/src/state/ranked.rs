//! A sorted list that knows the rank of each of its entries.

use crate::Time;

/// What a ticket is ordered by: its age, then the number of its arrival.
pub(super) type Rank = (Time, u64);

/// Entries in the order of their ranks. Insertion, removal and rank cost O(chunk + entries / chunk), which
/// keeps positions exact in queues of 100,000.
#[derive(Debug)]
pub(super) struct Ranked<T> {
    chunks: Vec<Vec<(Rank, T)>>,
    len: usize,
}

/// Entries of one chunk at most: half a chunk is moved by an insertion, one step is made per chunk by a rank.
const CHUNK: usize = 256;

impl<T> Default for Ranked<T> {
    fn default() -> Self {
        Ranked { chunks: Vec::new(), len: 0 }
    }
}

impl<T> Ranked<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn first(&self) -> Option<&(Rank, T)> {
        self.chunks.first().and_then(|chunk| chunk.first())
    }

    /// The chunk in which `rank` stands, or would stand.
    fn chunk_of(&self, rank: Rank) -> usize {
        let behind = self.chunks.partition_point(|chunk| chunk.last().is_some_and(|(last, _)| *last < rank));
        behind.min(self.chunks.len().saturating_sub(1))
    }

    pub(super) fn insert(&mut self, rank: Rank, value: T) {
        self.len += 1;
        if self.chunks.is_empty() {
            self.chunks.push(vec![(rank, value)]);
            return;
        }
        let at = self.chunk_of(rank);
        let chunk = &mut self.chunks[at];
        chunk.insert(chunk.partition_point(|(other, _)| *other < rank), (rank, value));
        if chunk.len() > CHUNK {
            // A queue grows at its end: leaving full chunks behind keeps them few.
            let keep = if at + 1 == self.chunks.len() { CHUNK } else { CHUNK / 2 };
            let rest = self.chunks[at].split_off(keep);
            self.chunks.insert(at + 1, rest);
        }
    }

    pub(super) fn remove(&mut self, rank: Rank) -> Option<T> {
        let at = self.chunk_of(rank);
        let chunk = self.chunks.get_mut(at)?;
        let index = chunk.binary_search_by(|(other, _)| other.cmp(&rank)).ok()?;
        let (_, value) = chunk.remove(index);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        self.len -= 1;
        Some(value)
    }

    pub(super) fn get_mut(&mut self, rank: Rank) -> Option<&mut T> {
        let at = self.chunk_of(rank);
        let chunk = self.chunks.get_mut(at)?;
        let index = chunk.binary_search_by(|(other, _)| other.cmp(&rank)).ok()?;
        Some(&mut chunk[index].1)
    }

    pub(super) fn get(&self, rank: Rank) -> Option<&T> {
        let chunk = self.chunks.get(self.chunk_of(rank))?;
        let index = chunk.binary_search_by(|(other, _)| other.cmp(&rank)).ok()?;
        Some(&chunk[index].1)
    }

    /// How many entries have a smaller rank.
    pub(super) fn rank(&self, rank: Rank) -> usize {
        if self.chunks.is_empty() {
            return 0;
        }
        let at = self.chunk_of(rank);
        let before: usize = self.chunks[..at].iter().map(Vec::len).sum();
        before + self.chunks[at].partition_point(|(other, _)| *other < rank)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_does_what_an_ordered_map_does(ops in prop::collection::vec((0u64..600, any::<bool>()), 0..2_000)) {
            let (mut ranked, mut model) = (Ranked::default(), BTreeMap::new());
            for (n, insert) in ops {
                let rank = (Time(n / 7), n);
                if insert && !model.contains_key(&rank) {
                    ranked.insert(rank, n);
                    model.insert(rank, n);
                } else if !insert {
                    prop_assert_eq!(ranked.remove(rank), model.remove(&rank));
                }
                prop_assert_eq!(ranked.len(), model.len());
                prop_assert_eq!(ranked.first().map(|(rank, _)| *rank), model.keys().next().copied());
                prop_assert_eq!(ranked.rank(rank), model.range(..rank).count());
                prop_assert_eq!(ranked.get(rank), model.get(&rank));
            }
            prop_assert_eq!(ranked.iter().collect::<Vec<_>>(), model.values().collect::<Vec<_>>());
        }
    }
}
