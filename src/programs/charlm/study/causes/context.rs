//! What of the far context is used: its order, its names, or nothing of it.
//!
//! The last k characters stay as they are; what is before them is left out (Khandelwal et al. 2018,
//! arXiv 1805.04623), or its lines are shuffled, or all but its names is blanked (O'Connor & Andreas,
//! "What context features can Transformer language models use?", ACL 2021, arXiv 2106.08367). What of
//! the loss of leaving it out remains with shuffled lines is due to their order; with the names alone,
//! to all but the names.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::draws::Draw;
use super::network::Network;
use crate::programs::charlm::study::estimate::{Bootstrap, Estimate};
use crate::programs::charlm::study::source::{Class, SourceFile};

/// The k that are tried.
pub const NEAR: [usize; 5] = [32, 64, 128, 256, 512];
/// Characters of context in all.
pub const WHOLE: usize = 1024;
/// Characters that are predicted after it. What has been predicted is context of the next.
pub const SCORED: usize = 16;

/// Losses where the last k characters stay as they are, nats a character.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Near {
    /// k.
    pub chars: usize,
    /// Nothing before them.
    pub truncated: Changed,
    /// The lines before them shuffled.
    pub shuffled: Changed,
    /// The names before them alone, blanks for the rest.
    pub names: Changed,
}

/// A loss with changed context.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Nats a character.
    pub loss: Option<Estimate>,
    /// What it is above the loss with the whole context.
    pub more: Option<Estimate>,
}

/// Losses on what follows changed contexts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contexts {
    /// Places that were tried, in files of more than 1,040 characters.
    pub n: u64,
    /// Loss with all of the last 1024 characters as they are, nats a character.
    pub whole: Option<Estimate>,
    /// By k.
    pub near: Vec<Near>,
}

/// What is done to the far context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Far {
    Truncated,
    Shuffled,
    Names,
}

/// Changes contexts at so many places, drawn at random. `blank` is the id of a blank.
pub fn contexts<N: Network>(
    network: &N,
    files: &[&SourceFile],
    blank: u32,
    places: usize,
) -> Contexts {
    let places = drawn(files, places);
    let losses: Vec<Vec<f64>> = places
        .par_iter()
        .map(|&(file, at)| losses(network, files[file], at, blank))
        .collect();
    let bootstrap = Bootstrap::new(files.len());
    let figure = |value: &dyn Fn(&[f64]) -> f64| {
        let each = places.iter().zip(&losses);
        bootstrap.mean(each.map(|((file, _), losses)| (*file, value(losses))))
    };
    let changed = |n: usize| Changed {
        loss: figure(&|losses| losses[n]),
        more: figure(&|losses| losses[n] - losses[0]),
    };
    Contexts {
        n: places.len() as u64,
        whole: figure(&|losses| losses[0]),
        near: (NEAR.into_iter().zip(0..))
            .map(|(chars, n)| Near {
                chars,
                truncated: changed(1 + 3 * n),
                shuffled: changed(2 + 3 * n),
                names: changed(3 + 3 * n),
            })
            .collect(),
    }
}

/// Files and places in them, with whole context before and what is scored behind.
fn drawn(files: &[&SourceFile], n: usize) -> Vec<(usize, usize)> {
    let mut random = Draw::Contexts.stream(0).reader();
    let room = |file: &SourceFile| file.ids.len().saturating_sub(WHOLE + SCORED);
    let with_room: Vec<usize> = (0..files.len()).filter(|&n| room(files[n]) > 0).collect();
    if with_room.is_empty() {
        return Vec::new();
    }
    // File by file in turn, so that none is left out where there are places enough.
    let places = with_room.iter().cycle().take(n).map(|&n| {
        let at = random.below(u32::try_from(room(files[n])).unwrap_or(u32::MAX));
        (n, WHOLE + at as usize)
    });
    places.collect()
}

/// The mean loss over what follows a place: with the whole context, then for each k truncated,
/// shuffled, names alone.
fn losses<N: Network>(network: &N, file: &SourceFile, at: usize, blank: u32) -> Vec<f64> {
    let whole = file.ids[at - WHOLE..at].to_vec();
    let mut texts = vec![whole];
    for near in NEAR {
        for far in [Far::Truncated, Far::Shuffled, Far::Names] {
            texts.push(text(file, at, near, far, blank));
        }
    }
    // Together, each from its own beginning on, all to the same end.
    let mut lanes = vec![network.begin(); texts.len()];
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&n| std::cmp::Reverse(texts[n].len()));
    for left in (1..=WHOLE).rev() {
        let begun = order.partition_point(|&n| texts[n].len() >= left);
        let ids: Vec<u32> = order[..begun]
            .iter()
            .map(|&n| texts[n][texts[n].len() - left])
            .collect();
        network.read(&mut lanes[..begun], &ids);
    }
    let mut log_p = vec![0.0; network.shape().vocab];
    let mut losses = vec![0.0; texts.len()];
    for &id in &file.ids[at..at + SCORED] {
        for (lane, &n) in lanes.iter().zip(&order) {
            network.log_p(&lane.state, &mut log_p);
            losses[n] -= log_p[id as usize] / SCORED as f64;
        }
        let ids = vec![id; lanes.len()];
        network.read(&mut lanes, &ids);
    }
    losses
}

/// The context before a place with its far part changed.
fn text(file: &SourceFile, at: usize, near: usize, far: Far, blank: u32) -> Vec<u32> {
    let (start, border) = (at - WHOLE, at - near);
    let near = &file.ids[border..at];
    let far = match far {
        Far::Truncated => Vec::new(),
        Far::Shuffled => {
            // The line that the border cuts is shuffled with the others.
            let mut starts = vec![start];
            starts.extend((start + 1..border).filter(|&t| file.chars[t - 1] == '\n'));
            let ends = starts.iter().skip(1).copied().chain([border]);
            let mut lines: Vec<&[u32]> = starts
                .iter()
                .zip(ends)
                .map(|(&start, end)| &file.ids[start..end])
                .collect();
            let mut random = Draw::Lines.stream(at as u32 & 0xFF_FFFF).reader();
            random.shuffle(&mut lines);
            lines.concat()
        }
        Far::Names => (start..border)
            .map(|t| match file.marks[t].class {
                Class::IdentifierStart | Class::IdentifierRest => file.ids[t],
                _ => blank,
            })
            .collect(),
    };
    [&far, near].concat()
}
