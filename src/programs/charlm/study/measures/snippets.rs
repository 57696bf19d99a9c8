//! N. Whole snippets: closers one by one are not enough evidence (Yu, Vu and Kuhn 2019), so how
//! many lines and statements have *all* their closers right?
//!
//! A logical line counts with the brackets that are closed in it, a statement of the module (a
//! function or a class with all of its body) with those of all its lines. What is right is as in
//! [`closure`](super::closure); the probability is the product over the closers.

use serde::{Deserialize, Serialize};

use super::groups::Groups;
use super::reading::{Reading, top1, type_right};
use crate::programs::charlm::study::bins::Span;
use crate::programs::charlm::study::dump::FileDump;
use crate::programs::charlm::study::estimate::Estimate;
use crate::programs::charlm::study::source::SourceFile;
use crate::programs::charlm::study::syntax::{Bracket, LogicalLine};

/// Snippets whose closers are all right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snippets {
    /// Logical lines with a closer.
    pub lines: SnippetRow,
    /// By their number of closers.
    pub lines_by_closers: Vec<SnippetRow>,
    /// Statements of modules with a closer.
    pub statements: SnippetRow,
    /// By their number of closers.
    pub statements_by_closers: Vec<SnippetRow>,
}

/// Snippets of a bin. Figures of fewer than 50 snippets are blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnippetRow {
    /// Closers in a snippet; none is any number.
    pub closers: Option<Span>,
    /// Snippets.
    pub n: u64,
    /// Share of snippets in which every closer is the likeliest character.
    pub top1: Option<Estimate>,
    /// Share of snippets in which every closer is the likeliest closer.
    pub type_accuracy: Option<Estimate>,
    /// Probability of all closers.
    pub p: Option<Estimate>,
}

/// Measures it; none where no line has a closer.
pub fn measure(reading: &Reading) -> Option<Snippets> {
    let mut groups: Groups<(bool, Option<Span>), 3> = Groups::default();
    for (i, file, dump) in reading.each() {
        let lines = &file.syntax.lines;
        let statements = lines.chunk_by(|_, line| line.level > 0);
        let snippets = lines
            .chunks(1)
            .map(|line| (false, line))
            .chain(statements.map(|lines| (true, lines)));
        for (is_statement, lines) in snippets {
            let closed = closed_in(file, lines);
            if closed.is_empty() {
                continue;
            }
            let bins = [None, Some(Span::between_powers(closed.len()))];
            for closers in bins {
                groups.add((is_statement, closers), i, figures(file, dump, closed));
            }
        }
    }
    let mut of = [Vec::new(), Vec::new()];
    let rows = groups.rows(
        reading.bootstrap,
        |(is_statement, closers), n, [top1, type_accuracy, p]| {
            let row = SnippetRow {
                closers,
                n,
                top1,
                type_accuracy,
                p,
            };
            (is_statement, row)
        },
    );
    for (is_statement, row) in rows {
        of[usize::from(is_statement)].push(row);
    }
    let [mut lines, mut statements] = of;
    // Wherever a line has a closer, so has its statement.
    (!lines.is_empty()).then(|| Snippets {
        lines: lines.remove(0),
        lines_by_closers: lines,
        statements: statements.remove(0),
        statements_by_closers: statements,
    })
}

/// The brackets that are closed in lines that follow each other.
fn closed_in<'a>(file: &'a SourceFile, lines: &[LogicalLine]) -> &'a [Bracket] {
    let brackets = &file.syntax.brackets;
    let before = |place: usize| brackets.partition_point(|pair| pair.close < place);
    match (lines.first(), lines.last()) {
        (Some(first), Some(last)) => &brackets[before(first.start)..before(last.end)],
        _ => &[],
    }
}

/// Whether all closers are right as a character and as a closer, and the product of their
/// probabilities.
fn figures(file: &SourceFile, dump: &FileDump, closed: &[Bracket]) -> [f64; 3] {
    let product = |of: &dyn Fn(&Bracket) -> f64| closed.iter().map(of).product();
    [
        product(&|pair| top1(file, dump, pair.close)),
        product(&|pair| type_right(&dump.positions[pair.close], pair.kind)),
        product(&|pair| f64::from(dump.positions[pair.close].p)),
    ]
}
