//! D. Identifier copy: does the model write a name again that it has met in the file, and hardly
//! ever in training?
//!
//! Of each name of at least two characters that stands in the training text at most five times: after
//! its first character is read, whether the likeliest characters one by one are the rest of the name
//! and then no further name character; and the bits a character of that rest. The first place of a name
//! in a file tells what can be known without copying, the later ones what copying adds.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::reading::Reading;
use crate::programs::charlm::study::bins::Span;
use crate::programs::charlm::study::dump::FileDump;
use crate::programs::charlm::study::estimate::{Bootstrap, Estimate, Tally};
use crate::programs::charlm::study::lexer::{is_name, lex};
use crate::programs::charlm::study::source::SourceFile;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// Names that stand more often in the training text are left out.
pub const RARE: u32 = 5;

/// How often each name stands in a training text.
pub type NameCounts = HashMap<String, u32>;

/// Counts the names of texts.
pub fn count_names(texts: &[Vec<char>]) -> NameCounts {
    let each = texts.par_iter().map(|chars| {
        let mut counts = NameCounts::new();
        for name in lex(chars).1.identifiers {
            *counts.entry(chars[name].iter().collect()).or_default() += 1;
        }
        counts
    });
    each.reduce(NameCounts::new, |mut all, counts| {
        for (name, n) in counts {
            *all.entry(name).or_default() += n;
        }
        all
    })
}

/// How names are copied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identifiers {
    /// Names of files, each the first time.
    pub first: IdentifierRow,
    /// All later times.
    pub later: IdentifierRow,
    /// The later times by the characters since the last one.
    pub later_by_distance: Vec<IdentifierRow>,
}

/// Names of a bin. Figures of fewer than 50 names are blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdentifierRow {
    /// Characters since the start of the same name before; none is any.
    pub distance: Option<Span>,
    /// Names.
    pub n: u64,
    /// Share of names that are completed right after their first character.
    pub completed: Option<Estimate>,
    /// Bits a character behind the first.
    pub bits: Option<Estimate>,
    /// So many bits a character fewer than the first time.
    pub gain: Option<Estimate>,
}

/// Measures it; none where no file has such a name. `chars` has the character of each id.
pub fn measure(reading: &Reading, trained: &NameCounts, chars: &[char]) -> Option<Identifiers> {
    let mut first = [Tally::default(), Tally::default()];
    let mut later: BTreeMap<Option<Span>, [Tally; 2]> = BTreeMap::new();
    for (i, file, dump) in reading.each() {
        let mut last: HashMap<&[char], usize> = HashMap::new();
        for name in &file.syntax.identifiers {
            let text = &file.chars[name.clone()];
            let trained = trained.get(&text.iter().collect::<String>());
            if text.len() < 2 || trained.is_some_and(|&n| n > RARE) {
                continue;
            }
            match last.insert(text, name.start) {
                None => count(&mut first, (i, file, dump), name, chars),
                Some(before) => {
                    let distance = Span::between_powers(name.start - before);
                    for key in [None, Some(distance)] {
                        let tallies = later.entry(key).or_default();
                        count(tallies, (i, file, dump), name, chars);
                    }
                }
            }
        }
    }
    let all = later.remove(&None).unwrap_or_default();
    let bootstrap = reading.bootstrap;
    let row = |distance, tallies| row(distance, tallies, &first[1], bootstrap);
    (first[0].events() > 0).then(|| Identifiers {
        first: IdentifierRow {
            gain: None,
            ..row(None, &first)
        },
        later: row(None, &all),
        later_by_distance: later.iter().map(|(&d, tallies)| row(d, tallies)).collect(),
    })
}

fn row(
    distance: Option<Span>,
    [completed, bits]: &[Tally; 2],
    first: &Tally,
    bootstrap: &Bootstrap,
) -> IdentifierRow {
    IdentifierRow {
        distance,
        n: completed.events(),
        completed: bootstrap.estimate(completed),
        bits: bootstrap.estimate(bits),
        gain: bootstrap.of(&[first, bits], |means| means[0] - means[1]),
    }
}

fn count(
    [completed, bits]: &mut [Tally; 2],
    (i, file, dump): (usize, &SourceFile, &FileDump),
    name: &Range<usize>,
    chars: &[char],
) {
    let rest = name.start + 1..name.end;
    let is_right = rest
        .clone()
        .all(|at| dump.positions[at].argmax == file.ids[at]);
    // Behind the end of a file nothing is asked.
    let behind = dump.positions.get(name.end);
    let ends = behind.is_none_or(|p| !is_name(chars[p.argmax as usize]));
    completed.add(i, f64::from(u8::from(is_right && ends)));
    let length = rest.len() as f64;
    let sum: f64 = dump.positions[rest].iter().map(|p| p.bits()).sum();
    bits.add_weighted(i, sum / length, length);
}
