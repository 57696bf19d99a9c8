//! How the rows of a step are divided: among shards, whose number is part of the run, and the shards
//! among ranks, whose number is not.

use super::exchange::Devices;
use super::outer::Local;
use crate::error::{Error, Result};
use crate::ranks::{Ranks, tree};
use std::ops::Range;
use std::sync::Arc;

/// What decides the bits of a step on several ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduce {
    /// The run's shards: any number of ranks gives the same bits.
    Exact,
    /// The ranks: each takes its rows at once.
    Fast,
}

impl Reduce {
    /// The words of the setting.
    pub const NAMES: [&'static str; 2] = ["exact", "fast"];
}

/// Shards of a run that has none of its own.
pub const OF_RANKS: usize = 8;

/// The shards of a step and the ranks that have them.
///
/// The gradient of each shard is computed by itself, with random numbers of its own, and the shards are
/// added in the order of a [tree] over their numbers. So their number changes the bits of a
/// step, and how many ranks there are does not.
#[derive(Clone, Debug)]
pub struct Shards {
    ranks: Arc<Ranks>,
    count: usize,
    reduce: Reduce,
    /// What the ranks exchange through, where that is not their hosts.
    devices: Option<Arc<Devices>>,
    local: Option<Local>,
}

impl Default for Shards {
    /// One shard on one rank: a batch is taken at once.
    fn default() -> Self {
        Shards {
            ranks: Ranks::alone(),
            count: 1,
            reduce: Reduce::Exact,
            devices: None,
            local: None,
        }
    }
}

impl Shards {
    /// So many shards on these ranks.
    ///
    /// # Errors
    /// [`Error::Usage`] for fewer shards than ranks.
    pub fn new(ranks: &Arc<Ranks>, shards: usize, reduce: Reduce) -> Result<Self> {
        let size = ranks.size();
        let count = match reduce {
            Reduce::Exact => shards,
            Reduce::Fast => size,
        };
        if count < size {
            return Err(Error::Usage(format!(
                "virtual-shards = {shards} is fewer than the {size} ranks, and a rank needs one at least: \
                 start at most {shards}, or a new run with virtual-shards = {size} or more (--init-from \
                 takes the weights of this one)"
            )));
        }
        Ok(Shards {
            ranks: ranks.clone(),
            count,
            reduce,
            devices: None,
            local: None,
        })
    }

    /// A shard for each of the ranks, which train by themselves.
    pub fn of_each(ranks: &Arc<Ranks>, local: Local) -> Self {
        Shards {
            ranks: ranks.clone(),
            count: ranks.size(),
            reduce: Reduce::Exact,
            devices: None,
            local: Some(local),
        }
    }

    /// The same of ranks that exchange through their devices.
    #[must_use]
    pub fn with_devices(self, devices: Option<Arc<Devices>>) -> Self {
        Shards { devices, ..self }
    }

    /// What the ranks exchange through, where that is not their hosts.
    pub fn devices(&self) -> Option<&Arc<Devices>> {
        self.devices.as_ref()
    }

    /// The rounds of ranks that train by themselves.
    pub fn local(&self) -> Option<Local> {
        self.local
    }

    /// Shards of a step.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The ranks.
    pub fn ranks(&self) -> &Arc<Ranks> {
        &self.ranks
    }

    /// Whether the number of ranks decides the bits.
    pub fn is_fast(&self) -> bool {
        self.reduce == Reduce::Fast
    }

    /// Whether a batch is one shard, which this process has, and each step that of all.
    pub fn is_whole(&self) -> bool {
        self.count == 1 && self.local.is_none()
    }

    /// The nodes of the tree that a rank adds up by itself.
    pub fn nodes(&self, rank: usize) -> Vec<Range<usize>> {
        let own = tree::owned(self.count, rank, self.ranks.size());
        tree::cover(0..self.count, &own)
    }

    /// The rows of a batch that a shard has: every so-manieth, so that rows which stand in the order of
    /// their lengths are shared out evenly. A small batch has none for some shards.
    pub fn rows(&self, batch: &[u32], shard: usize) -> Vec<u32> {
        let rows = batch.iter().skip(shard).step_by(self.count);
        rows.copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(shards: usize) -> Shards {
        Shards::new(&Ranks::alone(), shards, Reduce::Exact).unwrap()
    }

    #[test]
    fn each_row_has_one_shard() {
        let batch = [10, 11, 12, 13, 14, 15, 16];
        let rows = |shard| of(3).rows(&batch, shard);
        assert_eq!(rows(0), [10, 13, 16]);
        assert_eq!(rows(1), [11, 14]);
        assert_eq!(rows(2), [12, 15]);
        assert!(of(8).rows(&batch, 7).is_empty());
    }

    #[test]
    fn fast_has_a_shard_a_rank() {
        let fast = Shards::new(&Ranks::alone(), 8, Reduce::Fast).unwrap();
        assert!(fast.is_whole() && !of(8).is_whole());
    }
}
