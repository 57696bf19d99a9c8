//! How likely a character LM holds a text: log p(x_1 .. x_N) = sum_t log p(x_t | x_1 .. x_{t-1}).
//!
//! The state is carried along the whole text. It begins at zero, and the first character is predicted
//! as what follows [`CharVocab::start`], a newline, as a study does it. Arithmetic is that of training
//! and `rnnx eval`, in f32 unless the device is asked for f16; softmax and sums are in f64.

use super::generate::sample;
use super::model::{CharLm, State};
use crate::autograd::{Tape, Var};
use crate::data::chars::CharVocab;
use crate::device::Gpu;
use crate::dtype::DType;
use crate::error::Result;
use crate::files::run::MODEL;
use crate::nn::Bound;
use crate::ops::cast::convert;
use crate::tensor::Tensor;
use crate::train::device::Chosen;
use crate::train::init::load_weights;
use crate::train::model::Model;
use std::path::Path;
use std::sync::Arc;

/// Characters of a forward pass.
const CHUNK: usize = 512;

/// A character LM that reads a text, piece by piece.
pub struct Scorer {
    model: CharLm,
    gpu: Option<Arc<Gpu>>,
    params: Bound,
    /// The first layer's gate table `[V, G H]`.
    table: Var,
    /// After all but the last character.
    state: Option<State>,
    last: u16,
}

impl Scorer {
    /// The model of a checkpoint, at the beginning of a text.
    ///
    /// # Errors
    /// If the weights are damaged, another model's or another vocabulary's, or the device fails.
    pub fn open(checkpoint: &Path, vocab: &CharVocab, chosen: &Chosen) -> Result<Self> {
        let file = load_weights(&checkpoint.join(MODEL))?;
        let weights = sample::weights(&file)?;
        weights.check_vocab(vocab.len())?;
        let mut model = CharLm::new::<f32>(weights.sizes(), 0);
        model.import(&file)?;
        if let Some(gpu) = &chosen.gpu {
            model.params_mut().to_gpu(gpu, chosen.mixed)?;
        }
        Scorer::new(model, vocab.start())
    }

    /// A model in zero state; a text begins after the character `start`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(model: CharLm, start: u16) -> Result<Self> {
        let mut tape = Tape::inference();
        let params = model.params().bind(&mut tape);
        Ok(Scorer {
            gpu: model.params().values().gpu().cloned(),
            table: model.table(&mut tape, &params)?,
            model,
            params,
            state: None,
            last: start,
        })
    }

    /// Reads more of the text, in one forward pass. `each` gets every character with the logits `[V]`
    /// of its place.
    ///
    /// # Errors
    /// If an id is outside the vocabulary, or the device fails.
    pub fn read(&mut self, ids: &[u16], mut each: impl FnMut(u16, &[f32])) -> Result<()> {
        let Some((last, before)) = ids.split_last() else {
            return Ok(());
        };
        let inputs = [&[self.last], before].concat();
        let inputs: Vec<u32> = inputs.into_iter().map(u32::from).collect();
        let mut inputs = Tensor::from_slice(&inputs, [ids.len(), 1])?;
        if let Some(gpu) = &self.gpu {
            inputs = inputs.to_gpu(gpu)?;
        }
        let mut tape = Tape::inference();
        let (params, state) = (&self.params, self.state.as_ref());
        let (logits, state) =
            (self.model).forward_table(&mut tape, params, &self.table, &inputs, state)?;
        let logits = convert(logits.value(), DType::F32)?.to_cpu()?;
        let rows = logits.data::<f32>()?.chunks_exact(self.model.sizes().vocab);
        for (&id, row) in ids.iter().zip(rows) {
            each(id, row);
        }
        (self.state, self.last) = (Some(state), *last);
        Ok(())
    }
}

// ---- what is found -------------------------------------------------------------------------

/// How likely a model holds a text.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Characters, N.
    pub characters: usize,
    /// -log p(x_1 .. x_N), in nats.
    pub nats: f64,
    /// Characters that are the likeliest of their place.
    pub correct: usize,
    /// Each of them, where that was asked for.
    pub positions: Vec<Position>,
}

/// How likely a model holds one character of a text.
#[derive(Clone, Debug)]
pub struct Position {
    /// The character.
    pub id: u16,
    /// Its probability.
    pub p: f64,
    /// Entropy of the distribution over all characters there, in nats.
    pub entropy: f64,
    /// The likeliest characters with their probabilities, the likeliest first.
    pub top: Vec<(u16, f64)>,
}

impl Score {
    /// Scores a text. With `top` every position is kept, with so many of its likeliest characters.
    ///
    /// # Errors
    /// As [`Scorer::read`].
    pub fn of(scorer: &mut Scorer, ids: &[u16], top: Option<usize>) -> Result<Self> {
        let mut score = Score::default();
        for piece in ids.chunks(CHUNK) {
            scorer.read(piece, |id, logits| score.add(id, logits, top))?;
        }
        Ok(score)
    }

    /// Mean loss in nats a character.
    pub fn loss(&self) -> f64 {
        self.nats / self.characters as f64
    }

    /// Adds a character, given the logits `[V]` of its place.
    fn add(&mut self, id: u16, logits: &[f32], top: Option<usize>) {
        let row = Distribution::of(logits);
        let nats = -row.log_p(id);
        self.characters += 1;
        self.nats += nats;
        let likeliest = logits.iter().all(|&l| l <= logits[usize::from(id)]);
        self.correct += usize::from(likeliest);
        if let Some(top) = top {
            self.positions.push(Position {
                id,
                p: (-nats).exp(),
                entropy: row.entropy(),
                top: row.top(top),
            });
        }
    }
}

/// softmax(l)_j = exp(l_j - max) / sum_k exp(l_k - max), in f64.
struct Distribution<'a> {
    logits: &'a [f32],
    max: f64,
    log_sum: f64, // log of that sum
}

impl<'a> Distribution<'a> {
    fn of(logits: &'a [f32]) -> Self {
        let numbers = logits.iter().copied().map(f64::from);
        let max = numbers.clone().fold(f64::NEG_INFINITY, f64::max);
        Distribution {
            logits,
            max,
            log_sum: numbers.map(|l| (l - max).exp()).sum::<f64>().ln(),
        }
    }

    fn log_p(&self, id: u16) -> f64 {
        f64::from(self.logits[usize::from(id)]) - self.max - self.log_sum
    }

    /// H = -sum_j p_j log p_j.
    fn entropy(&self) -> f64 {
        let ids = 0..self.logits.len();
        let terms = ids.map(|id| self.log_p(id as u16)).map(|log_p| {
            // An underflow of p leaves nothing of the term.
            let p = log_p.exp();
            if p > 0.0 { -p * log_p } else { 0.0 }
        });
        terms.sum()
    }

    /// The `n` likeliest; of a tie the one that is first in the vocabulary.
    fn top(&self, n: usize) -> Vec<(u16, f64)> {
        let mut ids: Vec<u16> = (0..self.logits.len()).map(|id| id as u16).collect();
        ids.sort_by(|&a, &b| {
            let [a, b] = [a, b].map(|id| self.logits[usize::from(id)]);
            b.total_cmp(&a)
        });
        ids.truncate(n);
        let p = |id: u16| (id, self.log_p(id).exp());
        ids.into_iter().map(p).collect()
    }
}
