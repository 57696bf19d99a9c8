//! What the closer owes to its opener: the opener's type is changed and all else left as it is.
//!
//! If the model closes a bracket because it remembers what opened it, the probability of the true closer
//! falls and that of the other type's closer rises, however far away the opener is. Where neither
//! changes, the closer was guessed from what stands near.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::brackets::{BracketIds, Pair, bin, draw, pairs, walk};
use super::network::{Lane, Network, State};
use crate::programs::charlm::study::bins::Span;
use crate::programs::charlm::study::estimate::{Bootstrap, Estimate};
use crate::programs::charlm::study::source::SourceFile;

/// Which pairs are tried.
#[derive(Clone, Copy, Debug)]
pub struct SwapSpec {
    /// At most so many of each bin of distances, drawn at random.
    pub pairs_per_bin: usize,
    /// Bins of distances: 1, 2 to 3, 4 to 7 and so on.
    pub bins: usize,
    /// Characters of a file that are looked at.
    pub chars: usize,
}

/// Pairs of one bin of distances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swapped {
    /// Characters from the opener to the closer.
    pub distance: Span,
    /// Pairs.
    pub n: u64,
    /// log p(true closer) with the other opener less that with the true one, nats.
    pub true_log_p: Option<Estimate>,
    /// p(true closer) with the true opener.
    pub true_before: Option<Estimate>,
    /// p(true closer) with the other opener.
    pub true_after: Option<Estimate>,
    /// p(closer of the other opener) with the true opener.
    pub other_before: Option<Estimate>,
    /// p(closer of the other opener) with the other opener.
    pub other_after: Option<Estimate>,
}

/// What one pair gives: log p of the true closer and of the other's, with the true opener and with the
/// other.
struct Outcome {
    pair: Pair,
    before: [f64; 2],
    after: [f64; 2],
}

/// Swaps openers.
pub fn swaps<N: Network>(
    network: &N,
    files: &[&SourceFile],
    ids: &BracketIds,
    spec: &SwapSpec,
) -> Vec<Swapped> {
    let all = pairs(files, spec.chars);
    let bins = 0..spec.bins;
    let mut drawn: Vec<Pair> = bins
        .flat_map(|n| {
            let of_bin = all.iter().filter(|pair| bin(pair.distance()) == n);
            draw(of_bin.copied().collect(), spec.pairs_per_bin, n as u32)
        })
        .collect();
    drawn.sort_unstable();
    let by_file: Vec<&[Pair]> = drawn.chunk_by(|a, b| a.file == b.file).collect();
    let outcomes: Vec<Outcome> = by_file
        .par_iter()
        .flat_map_iter(|pairs| {
            let file = files[pairs[0].file];
            let mut outcomes = Vec::new();
            walk(network, file, pairs, |pair, state| {
                outcomes.push(swap(network, file, ids, *pair, state));
            });
            outcomes
        })
        .collect();
    let bootstrap = Bootstrap::new(files.len());
    (0..spec.bins)
        .map(|n| {
            let of_bin = outcomes.iter().filter(|o| bin(o.pair.distance()) == n);
            summary(n, &of_bin.collect::<Vec<_>>(), &bootstrap)
        })
        .collect()
}

fn swap<N: Network>(
    network: &N,
    file: &SourceFile,
    ids: &BracketIds,
    pair: Pair,
    state: &State,
) -> Outcome {
    let (opener, closer) = ids.pair(pair.kind());
    let (other_opener, other_closer) = ids.swapped(pair.kind());
    let mut lanes = [Lane::new(state.clone()), Lane::new(state.clone())];
    network.read(&mut lanes, &[opener, other_opener]);
    for &id in &file.ids[pair.open + 1..pair.close] {
        network.read(&mut lanes, &[id, id]);
    }
    let mut log_p = vec![0.0; network.shape().vocab];
    let [before, after] = lanes.map(|lane| {
        network.log_p(&lane.state, &mut log_p);
        [closer, other_closer].map(|id| log_p[id as usize])
    });
    Outcome {
        pair,
        before,
        after,
    }
}

fn summary(bin: usize, outcomes: &[&Outcome], bootstrap: &Bootstrap) -> Swapped {
    let figure = |value: fn(&Outcome) -> f64| {
        bootstrap.mean(outcomes.iter().map(|o| (o.pair.file, value(o))))
    };
    Swapped {
        distance: Span::between_powers(1 << bin),
        n: outcomes.len() as u64,
        true_log_p: figure(|o| o.after[0] - o.before[0]),
        true_before: figure(|o| o.before[0].exp()),
        true_after: figure(|o| o.after[0].exp()),
        other_before: figure(|o| o.before[1].exp()),
        other_after: figure(|o| o.after[1].exp()),
    }
}
