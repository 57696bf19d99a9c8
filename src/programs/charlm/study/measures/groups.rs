//! Events in groups, with several figures each.

use std::collections::BTreeMap;

use crate::programs::charlm::study::estimate::{Bootstrap, Estimate, Tally};

/// N figures of each event, by the groups that it is in.
#[derive(Clone, Debug)]
pub struct Groups<K, const N: usize> {
    tallies: BTreeMap<K, [Tally; N]>,
}

impl<K, const N: usize> Default for Groups<K, N> {
    fn default() -> Self {
        Groups {
            tallies: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy, const N: usize> Groups<K, N> {
    /// Counts an event of a file in a group.
    pub fn add(&mut self, key: K, file: usize, figures: [f64; N]) {
        let tallies = self.tallies.entry(key);
        let tallies = tallies.or_insert_with(|| std::array::from_fn(|_| Tally::default()));
        for (tally, figure) in tallies.iter_mut().zip(figures) {
            tally.add(file, figure);
        }
    }

    /// A row for each group that has events, in the order of the groups: its key, its number of
    /// events and its figures, blank where these are too few.
    pub fn rows<R>(
        &self,
        bootstrap: &Bootstrap,
        row: impl Fn(K, u64, [Option<Estimate>; N]) -> R,
    ) -> Vec<R> {
        let groups = self.tallies.iter();
        let groups = groups.map(|(&key, tallies)| {
            let figures = tallies.each_ref().map(|tally| bootstrap.estimate(tally));
            row(key, tallies[0].events(), figures)
        });
        groups.collect()
    }

    /// The groups and their tallies.
    pub fn tallies(&self) -> impl Iterator<Item = (K, &[Tally; N])> {
        self.tallies.iter().map(|(&key, tallies)| (key, tallies))
    }
}
