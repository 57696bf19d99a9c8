//! B. Indentation return: does the model know, at the start of a logical line, how far the line is
//! indented?
//!
//! For a line of true width w: P(w) = prod_{j < w} p(blank | j blanks) * (1 - p(blank | w blanks)),
//! and the width of the likeliest line, written out blank by blank. That is exact where it is w, and
//! legal where Python allows it there: deeper behind a line that ends with a colon, else one of the
//! widths that are open. The first line of a file is left out, and so are lines with tabs.

use serde::{Deserialize, Serialize};

use super::groups::Groups;
use super::reading::Reading;
use crate::programs::charlm::study::bins::Span;
use crate::programs::charlm::study::dump::FileDump;
use crate::programs::charlm::study::estimate::Estimate;
use crate::programs::charlm::study::syntax::{LogicalLine, Step};

/// Levels from this one on are one bin.
const DEEPEST: usize = 4;

/// How lines are indented.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Indentation {
    /// Every line.
    pub all: Vec<IndentationRow>,
    /// By how it follows the line before.
    pub by_step: Vec<IndentationRow>,
    /// By its level.
    pub by_level: Vec<IndentationRow>,
    /// By how it follows the line before, and by the characters since the line that opened its level.
    /// Lines of level 0 have no such line.
    pub by_step_and_distance: Vec<IndentationRow>,
    /// Lines left out for their tabs.
    pub with_tabs: u64,
}

/// How a line follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Move {
    /// At its level.
    Same,
    /// A level deeper.
    Indent,
    /// A level back.
    DedentOne,
    /// Several levels back.
    DedentMore,
}

impl Move {
    /// Every one, in the order of tables.
    pub const ALL: [Move; 4] = [Move::Same, Move::Indent, Move::DedentOne, Move::DedentMore];

    fn of(step: Step) -> Self {
        match step {
            Step::Same => Move::Same,
            Step::Indent => Move::Indent,
            Step::Dedent(1) => Move::DedentOne,
            Step::Dedent(_) => Move::DedentMore,
        }
    }

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Move::Same => "same",
            Move::Indent => "indent",
            Move::DedentOne => "dedent by one",
            Move::DedentMore => "dedent by more",
        }
    }
}

/// Lines of a bin. Figures of fewer than 50 lines are blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndentationRow {
    /// How they follow the line before; none is any way.
    pub step: Option<Move>,
    /// Their level; none is every level.
    pub level: Option<Span>,
    /// Characters since the line that opened their level; none is every distance.
    pub distance: Option<Span>,
    /// Lines.
    pub n: u64,
    /// Probability of the true width, P(w).
    pub p: Option<Estimate>,
    /// Share of lines where the likeliest width is the true one.
    pub exact: Option<Estimate>,
    /// Share of lines where the likeliest width is a legal one.
    pub legal: Option<Estimate>,
}

/// Measures it; none where there is no line to measure.
pub fn measure(reading: &Reading) -> Option<Indentation> {
    let mut groups: Groups<(Option<Move>, Option<Span>, Option<Span>), 3> = Groups::default();
    let mut with_tabs = 0;
    for (i, file, dump) in reading.each() {
        let later = dump.greedy_widths.iter().skip(1);
        let lines = file.syntax.lines.windows(2).zip(later);
        for (pair, greedy) in lines {
            let (before, line) = (&pair[0], &pair[1]);
            let Some(greedy) = *greedy else {
                with_tabs += 1;
                continue;
            };
            let figures = [
                probability(line, dump),
                f64::from(u8::from(greedy == line.width)),
                f64::from(u8::from(is_legal(before, line, greedy))),
            ];
            let step = Some(Move::of(line.step));
            let level = Some(Span::up_to(line.level, DEEPEST));
            groups.add((None, None, None), i, figures);
            groups.add((step, None, None), i, figures);
            groups.add((None, level, None), i, figures);
            if let Some(opened_at) = line.opened_at {
                let distance = Span::between_powers(line.start - opened_at);
                groups.add((step, None, Some(distance)), i, figures);
            }
        }
    }
    let rows = groups.rows(reading.bootstrap, |(step, level, distance), n, figures| {
        let [p, exact, legal] = figures;
        IndentationRow {
            step,
            level,
            distance,
            n,
            p,
            exact,
            legal,
        }
    });
    let part = |has: [bool; 3]| {
        let of = |r: &&IndentationRow| {
            [r.step.is_some(), r.level.is_some(), r.distance.is_some()] == has
        };
        rows.iter().filter(of).cloned().collect::<Vec<_>>()
    };
    (!rows.is_empty()).then(|| Indentation {
        all: part([false; 3]),
        by_step: part([true, false, false]),
        by_level: part([false, true, false]),
        by_step_and_distance: part([true, false, true]),
        with_tabs,
    })
}

/// P(w): of blanks what stands there is the probability itself.
fn probability(line: &LogicalLine, dump: &FileDump) -> f64 {
    let blanks = &dump.positions[line.start..line.text];
    let blanks: f64 = blanks.iter().map(|p| f64::from(p.space)).product();
    blanks * (1.0 - f64::from(dump.positions[line.text].space))
}

fn is_legal(before: &LogicalLine, line: &LogicalLine, width: usize) -> bool {
    let deepest = line.open_widths.last().copied().unwrap_or(0);
    match before.opens_block {
        true => width > deepest,
        false => line.open_widths.contains(&width),
    }
}
