//! Files of a study that are almost the same as one that was trained on.
//!
//! A model knows such a file by heart, so it says little of what the model has learnt. Allamanis, "The
//! Adverse Effects of Code Duplication in Machine Learning Models of Code" (2019), takes them out of the
//! training text; a study leaves them out of its claims instead, for which no model has to be trained
//! anew.
//!
//! As there, a file is near another where the Jaccard index of the sets of their identifiers and literals
//! is at least 0.8, and that of the bags, in which each counts as often as it is there, at least 0.7; a
//! file that has fewer than 20 of them is not compared. A literal is a number or a string (a docstring,
//! too) as it is written.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::lexer::lex;
use super::source::{Class, Mark, SourceFile};
use super::syntax::Syntax;
use crate::data::near::{Bag, BagIndex, Jaccard, bag};

/// The least Jaccard index of the sets, as a fraction.
const SETS: (usize, usize) = (4, 5);
/// The least Jaccard index of the bags.
const BAGS: (usize, usize) = (7, 10);
/// The fewest identifiers and literals of a file that is compared.
const FEWEST: usize = 20;

/// A file that is almost the same as one of the training text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Duplicate {
    /// Its name.
    pub name: String,
    /// The name of the training file that is nearest to it by the sets; of equal ones the first.
    pub of: String,
    /// The Jaccard index of their sets of identifiers and literals.
    pub sets: f64,
    /// That of their bags.
    pub bags: f64,
}

/// Those of `files` that have a near-duplicate among the files of `training` (name, characters), in
/// their order.
pub fn duplicates<'a>(
    files: &[SourceFile],
    training: impl IntoIterator<Item = (&'a str, Vec<char>)>,
) -> Vec<Duplicate> {
    let (mut names, mut bags) = (Vec::new(), Vec::new());
    for (name, chars) in training {
        let (marks, syntax) = lex(&chars);
        names.push(name);
        bags.push(compared(&chars, &marks, &syntax));
    }
    let index = BagIndex::new(bags);
    let of = |file: &SourceFile| {
        let bag = compared(&file.chars, &file.marks, &file.syntax);
        let near = index.overlaps(&bag).filter(|(_, overlap)| {
            overlap.sets.is_at_least(SETS) && overlap.bags.is_at_least(BAGS)
        });
        // Of equal ones max_by takes the last.
        let (n, overlap) = near.max_by(|(m, a), (n, b)| order(a.sets, b.sets).then(n.cmp(m)))?;
        Some(Duplicate {
            name: file.name.clone(),
            of: names[n].to_owned(),
            sets: overlap.sets.value(),
            bags: overlap.bags.value(),
        })
    };
    files.iter().filter_map(of).collect()
}

fn order(a: Jaccard, b: Jaccard) -> std::cmp::Ordering {
    a.value().total_cmp(&b.value())
}

/// The identifiers and literals of a file; none of one that has too few.
fn compared(chars: &[char], marks: &[Mark], syntax: &Syntax) -> Bag<String> {
    let strings = syntax
        .strings
        .iter()
        .map(|string| string.start..string.end());
    let tokens = syntax
        .identifiers
        .iter()
        .cloned()
        .chain(strings)
        .chain(numbers(marks));
    let text = |token: Range<usize>| chars[token].iter().collect::<String>();
    let bag = bag(tokens.map(text));
    match bag.values().sum::<usize>() < FEWEST {
        true => Bag::new(),
        false => bag,
    }
}

/// Runs of characters of numbers.
fn numbers(marks: &[Mark]) -> impl Iterator<Item = Range<usize>> {
    let runs = marks.chunk_by(|a, b| a.class == b.class);
    let places = runs.scan(0, |end, run| {
        let start = *end;
        *end += run.len();
        Some((run[0].class, start..*end))
    });
    places.filter_map(|(class, place)| (class == Class::Number).then_some(place))
}
