//! Ground truth: a network of the same cell learns a language of brackets whose rule is known.
//!
//! Four cells, inside and outside the lengths of training by inside and outside its depths
//! (Bhattamishra, Ahuja, Goyal, "On the practical ability of recurrent neural networks to recognize
//! hierarchical languages", COLING 2020, arXiv 2011.03965: LSTMs generalise in length where the depth
//! is bounded). What a trained character LM does with Python's brackets is to be read beside it.

pub mod words;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::network::Network;
use super::stepper::Stepper;
use crate::Result;
use crate::nn::CellKind;
use crate::optim::{Adam, AdamConfig, Clip};
use crate::programs::charlm::data::CharBatch;
use crate::programs::charlm::generate::sample;
use crate::programs::charlm::model::{CharLm, CharLmSizes};
use crate::programs::charlm::study::estimate::{Bootstrap, Estimate, Tally};
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;
use crate::train::model::Model;
use crate::train::step::Step;
use words::{Dyck, Words, max_depth};

/// What is learnt, and how.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DyckSpec {
    /// The cell.
    pub cell: CellKind,
    /// The language of training.
    pub trained: Dyck,
    /// The longest words of training; shorter even ones are as frequent.
    pub trained_length: usize,
    /// H.
    pub hidden: usize,
    /// Training steps.
    pub steps: u64,
    /// Words of a training step, all of one length.
    pub batch: usize,
    /// Words of each of the four cells.
    pub words: usize,
    /// Draws initial weights and words.
    pub seed: u64,
}

impl DyckSpec {
    /// Under a minute on two cores.
    pub fn full(cell: CellKind, seed: u64) -> Self {
        DyckSpec {
            cell,
            trained: Dyck { types: 3, depth: 4 },
            trained_length: 48,
            hidden: 64,
            steps: 2000,
            batch: 32,
            words: 500,
            seed,
        }
    }

    /// Some seconds.
    pub fn quick(cell: CellKind, seed: u64) -> Self {
        DyckSpec {
            trained: Dyck { types: 2, depth: 3 },
            trained_length: 24,
            hidden: 32,
            steps: 400,
            words: 100,
            ..DyckSpec::full(cell, seed)
        }
    }
}

/// Learning rate of training (Adam, clipped to a global norm of 1).
const LEARNING_RATE: f64 = 5e-3;
/// E.
const EMBEDDING: usize = 16;

/// A network that has learnt the language, and its mean loss over the last tenth of training, in nats
/// a character.
///
/// # Errors
/// If the weights stop being numbers.
pub fn train(spec: &DyckSpec) -> Result<(Stepper, f64)> {
    let sizes = CharLmSizes {
        cell: spec.cell,
        vocab: spec.trained.vocab(),
        embedding: EMBEDDING,
        hidden: spec.hidden,
        layers: 1,
        tied: false,
    };
    let model = CharLm::new::<f32>(sizes, spec.seed);
    let adam = Adam::new::<f32>(AdamConfig::torch(LEARNING_RATE), model.params().layout());
    let clip = Clip::Global {
        max: 1.0,
        epsilon: 1e-6,
    };
    let mut step = Step::new(model, adam, clip, spec.seed);
    let source = spec.trained.source(2..=spec.trained_length);
    let last = (spec.steps / 10).max(1);
    let mut loss = 0.0;
    for n in 0..spec.steps {
        let scores = step.train(&batch(spec, &source, n)?, n)?;
        if n + last >= spec.steps {
            loss += scores.loss / last as f64;
        }
    }
    let weights = sample::weights(&step.model().export()?, false)?;
    Ok((Stepper::new(&weights), loss))
}

/// Words of one length as a batch: a boundary and the word are read, the word and a boundary are to
/// be predicted.
fn batch(spec: &DyckSpec, source: &Words, step: u64) -> Result<CharBatch> {
    let mut random = Stream::new(spec.seed, Purpose::Dyck, step as u32).reader();
    let (length, b) = (source.length(&mut random), spec.batch);
    let boundary = spec.trained.boundary();
    let mut ids = vec![boundary; (length + 2) * b];
    for row in 0..b {
        let word = source.word(length, &mut random);
        for (t, id) in word.into_iter().enumerate() {
            ids[(t + 1) * b + row] = id;
        }
    }
    let shape = [length + 1, b];
    Ok(CharBatch {
        ids: Tensor::from_slice(&ids[..(length + 1) * b], shape)?,
        targets: Tensor::from_slice(&ids[b..], shape)?,
    })
}

/// How well closers are predicted in words of one kind. Intervals are over words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DyckCell {
    /// Whether the words are no longer than those of training.
    pub length_inside: bool,
    /// Whether no more brackets are open at a time than in training.
    pub depth_inside: bool,
    /// Words.
    pub words: usize,
    /// Closers in them.
    pub closers: usize,
    /// Share of closers whose type is the most likely one among closers.
    pub right: Option<Estimate>,
    /// Mean probability of the right closer, all closers together being 1.
    pub probability: Option<Estimate>,
    /// Share of words in which every closer is right.
    pub whole: Option<Estimate>,
}

/// What a network of the cell makes of the language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DyckFigures {
    /// What was learnt, and how.
    pub spec: DyckSpec,
    /// Mean loss over the last tenth of training, nats a character.
    pub loss: f64,
    /// Inside and outside the lengths and depths of training.
    pub cells: Vec<DyckCell>,
}

/// Trains a network and tries it.
///
/// # Errors
/// As [`train`].
pub fn figures(spec: &DyckSpec) -> Result<DyckFigures> {
    let (network, loss) = train(spec)?;
    Ok(DyckFigures {
        spec: *spec,
        loss,
        cells: evaluate(&network, spec),
    })
}

/// What one word gives.
struct Word {
    closers: usize,
    right: usize,
    probability: f64,
}

/// The four cells: lengths up to `trained_length` and depths up to m as in training, or lengths up to
/// twice that and depths up to 2 m, and not as in training.
pub fn evaluate<N: Network>(network: &N, spec: &DyckSpec) -> Vec<DyckCell> {
    let kinds = [(true, true), (true, false), (false, true), (false, false)];
    let cells = (0..)
        .zip(kinds)
        .map(|(cell, (length_inside, depth_inside))| {
            let words = words(spec, length_inside, depth_inside, cell);
            let scored: Vec<Word> = words
                .par_iter()
                .map(|w| score(network, spec.trained, w))
                .collect();
            let bootstrap = Bootstrap::new(words.len());
            let [mut right, mut probability, mut whole] = [(); 3].map(|()| Tally::default());
            for (n, word) in scored.iter().enumerate() {
                let closers = word.closers as f64;
                right.add_weighted(n, word.right as f64 / closers, closers);
                probability.add_weighted(n, word.probability / closers, closers);
                whole.add(n, f64::from(u8::from(word.right == word.closers)));
            }
            DyckCell {
                length_inside,
                depth_inside,
                words: words.len(),
                closers: scored.iter().map(|w| w.closers).sum(),
                right: bootstrap.estimate(&right),
                probability: bootstrap.estimate(&probability),
                whole: bootstrap.estimate(&whole),
            }
        });
    cells.collect()
}

/// Words of one kind. Short ones are left out, which hold no deep ones.
fn words(spec: &DyckSpec, length_inside: bool, depth_inside: bool, cell: u32) -> Vec<Vec<u32>> {
    let (m, n) = (spec.trained.depth, spec.trained_length);
    let language = match depth_inside {
        true => spec.trained,
        false => Dyck {
            depth: 2 * m,
            ..spec.trained
        },
    };
    let source = language.source(if length_inside {
        n / 2..=n
    } else {
        n + 2..=2 * n
    });
    let mut random = Stream::new(spec.seed, Purpose::Dyck, 0)
        .lane(1 + cell)
        .reader();
    let drawn = std::iter::repeat_with(|| {
        let length = source.length(&mut random);
        source.word(length, &mut random)
    });
    let fits = drawn.filter(|word| depth_inside || max_depth(word) > m);
    fits.take(spec.words).collect()
}

fn score<N: Network>(network: &N, language: Dyck, word: &[u32]) -> Word {
    let mut lane = network.begin();
    network.read_all(&mut lane, &[language.boundary()]);
    let mut log_p = vec![0.0; language.vocab()];
    let mut scored = Word {
        closers: 0,
        right: 0,
        probability: 0.0,
    };
    for &id in word {
        if let Some(kind) = language.closes(id) {
            network.log_p(&lane.state, &mut log_p);
            let closer = |kind: u32| 2 * kind as usize + 1;
            let closers = (0..language.types).map(closer);
            let total: f64 = closers.map(|id| log_p[id].exp()).sum();
            // Of a tie the first is the likeliest.
            let likeliest = (0..language.types).reduce(|a, b| {
                if log_p[closer(b)] > log_p[closer(a)] {
                    b
                } else {
                    a
                }
            });
            scored.closers += 1;
            scored.right += usize::from(likeliest == Some(kind));
            scored.probability += log_p[id as usize].exp() / total;
        }
        network.read_all(&mut lane, &[id]);
    }
    scored
}
