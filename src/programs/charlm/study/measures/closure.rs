//! A. Bracket closure: does the model know, at a closer, which bracket is to be closed?
//!
//! For each pair outside strings and comments whose closer stands `d` characters behind its opener:
//! the probability of the closer, whether it is the likeliest character, whether it is the likeliest
//! closer (so that it is remembered *what* is open, whether or not it is known when it ends), and the
//! probability of the two other closers. After Karpathy, Johnson and Fei-Fei 2015 (arXiv 1506.02078)
//! and Hewitt et al. 2020 (arXiv 2010.07515).

use serde::{Deserialize, Serialize};

use super::groups::Groups;
use super::reading::{Reading, top1, type_right};
use crate::programs::charlm::study::bins::Span;
use crate::programs::charlm::study::estimate::{Bootstrap, Estimate, Tally};
use crate::programs::charlm::study::source::Class;

/// Depths from this one on are one bin.
const DEEPEST: usize = 4;
/// Where a curve over the distance is said to have fallen.
pub const THRESHOLDS: [f64; 3] = [0.9, 0.75, 0.5];
/// Those of the figures of a row that fall with the distance.
pub const FALLING: [&str; 3] = ["p", "top1", "type_accuracy"];

/// How brackets are closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Closure {
    /// Every pair.
    pub all: Vec<ClosureRow>,
    /// By distance.
    pub by_distance: Vec<ClosureRow>,
    /// By depth.
    pub by_depth: Vec<ClosureRow>,
    /// By distance and depth.
    pub by_distance_and_depth: Vec<ClosureRow>,
    /// The probability of all closers together at characters where no bracket is open.
    pub closers_at_depth_0: Option<Estimate>,
    /// Where each figure falls.
    pub falls: Vec<Fall>,
}

/// Pairs of a bin. Figures of fewer than 50 pairs are blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosureRow {
    /// Characters from the opener to the closer; none is every distance.
    pub distance: Option<Span>,
    /// Brackets open at the closer; none is every depth.
    pub depth: Option<Span>,
    /// Pairs.
    pub n: u64,
    /// Probability of the closer.
    pub p: Option<Estimate>,
    /// Share of closers that are the likeliest character.
    pub top1: Option<Estimate>,
    /// Share of closers that are the likeliest of the three.
    pub type_accuracy: Option<Estimate>,
    /// Probability of the two others.
    pub wrong_type: Option<Estimate>,
}

/// Where a figure falls below a threshold: the start of the first bin of distances, none where it
/// does not in any bin that is not blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fall {
    /// The figure's name in a row.
    pub figure: String,
    /// The threshold.
    pub below: f64,
    /// The distance in characters.
    pub distance: Option<u64>,
    /// The lower end of its interval.
    pub low: Option<u64>,
    /// The upper end.
    pub high: Option<u64>,
}

/// Measures it; none where no bracket is closed in any file.
pub fn measure(reading: &Reading) -> Option<Closure> {
    let mut groups: Groups<(Option<Span>, Option<Span>), 4> = Groups::default();
    let mut outside = Tally::default();
    for (i, file, dump) in reading.each() {
        for pair in &file.syntax.brackets {
            let position = &dump.positions[pair.close];
            let p = f64::from(position.p);
            let figures = [
                p,
                top1(file, dump, pair.close),
                type_right(position, pair.kind),
                position.any_closer() - position.closer(pair.kind),
            ];
            let distance = Some(Span::between_powers(pair.close - pair.open));
            let depth = Some(Span::up_to(pair.depth, DEEPEST));
            for key in [
                (None, None),
                (distance, None),
                (None, depth),
                (distance, depth),
            ] {
                groups.add(key, i, figures);
            }
        }
        for (mark, position) in file.marks.iter().zip(&dump.positions) {
            let is_text = matches!(
                mark.class,
                Class::String | Class::Docstring | Class::Comment
            );
            if mark.depth == 0 && !is_text {
                outside.add(i, position.any_closer());
            }
        }
    }
    let rows = groups.rows(reading.bootstrap, |(distance, depth), n, figures| {
        let [p, top1, type_accuracy, wrong_type] = figures;
        ClosureRow {
            distance,
            depth,
            n,
            p,
            top1,
            type_accuracy,
            wrong_type,
        }
    });
    let part = |distance: bool, depth: bool| {
        let rows = rows.iter();
        let rows = rows.filter(|r| r.distance.is_some() == distance && r.depth.is_some() == depth);
        rows.cloned().collect::<Vec<_>>()
    };
    (!rows.is_empty()).then(|| Closure {
        all: part(false, false),
        by_distance: part(true, false),
        by_depth: part(false, true),
        by_distance_and_depth: part(true, true),
        closers_at_depth_0: reading.bootstrap.estimate(&outside),
        falls: falls(&groups, reading.bootstrap),
    })
}

fn falls(groups: &Groups<(Option<Span>, Option<Span>), 4>, bootstrap: &Bootstrap) -> Vec<Fall> {
    let curve: Vec<(u64, &[Tally; 4])> = groups
        .tallies()
        .filter_map(|((distance, depth), tallies)| match (distance, depth) {
            (Some(distance), None) if !tallies[0].is_blank() => Some((distance.from, tallies)),
            _ => None,
        })
        .collect();
    let files = curve.iter().map(|(_, tallies)| tallies[0].files()).max();
    let whole = |x: f64| x.is_finite().then_some(x as u64);
    let mut falls = Vec::new();
    for (figure, name) in FALLING.into_iter().enumerate() {
        for below in THRESHOLDS {
            let place = |times: &dyn Fn(usize) -> f64| {
                let mut bins = curve.iter();
                let fallen = bins.find(|(_, tallies)| {
                    let mean = tallies[figure].mean_of(times);
                    mean.is_some_and(|mean| mean < below)
                });
                Some(fallen.map_or(f64::INFINITY, |(from, _)| *from as f64))
            };
            let [low, high] = bootstrap.interval(files.unwrap_or(0), place);
            falls.push(Fall {
                figure: name.to_owned(),
                below,
                distance: place(&|_| 1.0).and_then(whole),
                low: low.and_then(whole),
                high: high.and_then(whole),
            });
        }
    }
    falls
}
