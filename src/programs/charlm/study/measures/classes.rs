//! E. Bits a character by class of character. The mean of the classes, weighted by their
//! characters, is that of all.

use serde::{Deserialize, Serialize};

use super::groups::Groups;
use super::reading::{Reading, top1};
use crate::programs::charlm::study::estimate::Estimate;
use crate::programs::charlm::study::source::Class;

/// What characters cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classes {
    /// All characters.
    pub all: ClassRow,
    /// Those of each class that there is, in the order of [`Class::ALL`].
    pub by_class: Vec<ClassRow>,
}

/// Characters of a class. Figures of fewer than 50 characters are blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassRow {
    /// The class; none is every class.
    pub class: Option<Class>,
    /// Characters.
    pub n: u64,
    /// Bits a character.
    pub bits: Option<Estimate>,
    /// Share of characters that are the likeliest.
    pub top1: Option<Estimate>,
}

/// Measures it; none where there is no character.
pub fn measure(reading: &Reading) -> Option<Classes> {
    let mut groups: Groups<Option<usize>, 2> = Groups::default();
    for (i, file, dump) in reading.each() {
        for (at, (mark, position)) in file.marks.iter().zip(&dump.positions).enumerate() {
            let figures = [position.bits(), top1(file, dump, at)];
            groups.add(None, i, figures);
            groups.add(Some(mark.class as usize), i, figures);
        }
    }
    let mut rows = groups.rows(reading.bootstrap, |class, n, [bits, top1]| ClassRow {
        class: class.map(|class| Class::ALL[class]),
        n,
        bits,
        top1,
    });
    (!rows.is_empty()).then(|| Classes {
        all: rows.remove(0),
        by_class: rows,
    })
}
