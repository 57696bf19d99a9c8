//! H. Truncated context: how many characters back does the model use?
//!
//! At drawn places of the files the model starts anew, reads the last k characters only, and
//! predicts: L(k), in bits, for k = 1, 2, 4, ... 1024, at the same places for every k. The effective
//! context is the smallest k with L(k) <= 1.01 L(1024). After Khandelwal et al. 2018
//! (arXiv 1805.04623).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::programs::charlm::study::dump::{INTERRUPTED, bits};
use crate::programs::charlm::study::estimate::{Bootstrap, Estimate, SEED, Tally};
use crate::programs::charlm::study::predictor::Predictor;
use crate::programs::charlm::study::source::{Class, SourceFile};
use crate::rng::{Purpose, Stream};
use crate::{Error, Result, interrupt};

/// The contexts, in characters.
pub const LENGTHS: [usize; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
const LONGEST: usize = LENGTHS[LENGTHS.len() - 1];
/// Places that one thread reads one after the other.
const TASK: usize = 16;
/// What the loss of the effective context may be above that of the longest one.
const WITHIN: f64 = 1.01;

/// What a model loses without the far context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// At all drawn places.
    pub all: ContextRow,
    /// By the class of the character that is predicted, in the order of [`Class::ALL`].
    pub by_class: Vec<ContextRow>,
}

/// Places of a class. Figures of fewer than 50 places are blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextRow {
    /// The class; none is every class.
    pub class: Option<Class>,
    /// Places.
    pub n: u64,
    /// L(k) of each context.
    pub losses: Vec<Loss>,
    /// The effective context in characters.
    pub effective: Option<Estimate>,
}

/// L(k).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// k, in characters.
    pub k: usize,
    /// Bits a character.
    pub bits: Option<Estimate>,
    /// The bits that the characters beyond k still save, at the same places: L(k) - L(1024); none of 1,024.
    pub beyond: Option<Estimate>,
}

/// Measures it at so many places; none where no file is longer than the longest context. `make` gives
/// a model for a file.
///
/// # Errors
/// Those of `make`; [`Error::Interrupted`].
pub fn measure<'a>(
    files: &'a [SourceFile],
    bootstrap: &Bootstrap,
    places: usize,
    make: impl Fn(&'a SourceFile) -> Result<Box<dyn Predictor + 'a>> + Sync,
) -> Result<Option<Context>> {
    let drawn = draw(files, places);
    let tasks: Vec<(usize, &[usize])> = drawn
        .iter()
        .enumerate()
        .flat_map(|(file, places)| places.chunks(TASK).map(move |places| (file, places)))
        .collect();
    let read = |&(file, places): &(usize, &[usize])| {
        let file = &files[file];
        let mut predictor = make(file)?;
        let losses = places.iter().map(|&at| losses(&mut *predictor, file, at));
        losses.collect::<Result<Vec<_>>>()
    };
    let each: Vec<_> = tasks.par_iter().map(read).collect::<Result<_>>()?;
    let mut all = Places::default();
    let mut classes: [Places; Class::ALL.len()] = Default::default();
    for ((file, places), losses) in tasks.into_iter().zip(each) {
        for (&at, losses) in places.iter().zip(losses) {
            all.add(file, &losses);
            classes[files[file].marks[at].class as usize].add(file, &losses);
        }
    }
    let by_class = Class::ALL.into_iter().zip(&classes);
    let by_class = by_class.filter(|(_, places)| places.0[0].events() > 0);
    Ok((all.0[0].events() > 0).then(|| Context {
        all: all.row(None, bootstrap),
        by_class: by_class
            .map(|(class, places)| places.row(Some(class), bootstrap))
            .collect(),
    }))
}

/// The drawn places of each file, ascending: every place with the longest context before it is as
/// likely, and may be drawn twice.
fn draw(files: &[SourceFile], places: usize) -> Vec<Vec<usize>> {
    let room = |file: &SourceFile| file.ids.len().saturating_sub(LONGEST);
    let ends = files.iter().scan(0, |end, file| {
        *end += room(file);
        Some(*end)
    });
    let ends: Vec<usize> = ends.collect();
    let total = ends.last().copied().unwrap_or(0);
    let mut drawn = vec![Vec::new(); files.len()];
    let mut reader = Stream::new(SEED, Purpose::Study, 1).reader();
    for _ in 0..if total == 0 { 0 } else { places } {
        let place = (reader.uniform() * total as f64) as usize;
        let file = ends.partition_point(|&end| end <= place);
        drawn[file].push(ends[file] - place - 1 + LONGEST);
    }
    for places in &mut drawn {
        places.sort_unstable();
    }
    drawn
}

/// The bits of the character at a place after each context.
fn losses(
    predictor: &mut dyn Predictor,
    file: &SourceFile,
    at: usize,
) -> Result<[f64; LENGTHS.len()]> {
    if interrupt::asked() {
        return Err(Error::Interrupted(INTERRUPTED.into()));
    }
    let mut probabilities = vec![0.0; predictor.vocab()];
    Ok(LENGTHS.map(|k| {
        predictor.reset();
        for &id in &file.ids[at - k..at] {
            predictor.read(id);
        }
        predictor.predict(&mut probabilities);
        bits(probabilities[file.ids[at] as usize])
    }))
}

/// The losses at places, for each context.
#[derive(Default)]
struct Places([Tally; LENGTHS.len()]);

impl Places {
    fn add(&mut self, file: usize, losses: &[f64; LENGTHS.len()]) {
        for (tally, loss) in self.0.iter_mut().zip(losses) {
            tally.add(file, *loss);
        }
    }

    fn row(&self, class: Option<Class>, bootstrap: &Bootstrap) -> ContextRow {
        let longest = &self.0[LENGTHS.len() - 1];
        let losses = LENGTHS.into_iter().zip(&self.0).map(|(k, tally)| Loss {
            k,
            bits: bootstrap.estimate(tally),
            beyond: (k < LONGEST)
                .then(|| bootstrap.of(&[tally, longest], |means| means[0] - means[1]))
                .flatten(),
        });
        let effective = |means: &[f64]| {
            let limit = WITHIN * means[means.len() - 1];
            let shortest = means.iter().position(|&loss| loss <= limit);
            LENGTHS[shortest.unwrap_or(LENGTHS.len() - 1)] as f64
        };
        ContextRow {
            class,
            n: self.0[0].events(),
            losses: losses.collect(),
            effective: bootstrap.of(&self.0.each_ref(), effective),
        }
    }
}
