//! How likely a character LM holds a text: log p(x_1 .. x_N) = sum_t log p(x_t | x_1 .. x_{t-1}).
//!
//! The state is carried along the whole text. It begins at zero, and the first character is predicted
//! as what follows [`CharVocab::start`], a newline, as a study does it. Arithmetic is that of training,
//! on a GPU in f16 where [`Chosen::mixed`] says so; softmax and sums are in f64.

use super::config::CharLmConfig;
use super::generate::sample;
use super::model::CharLm;
use super::stateful::Stateful;
use crate::data::chars::CharVocab;
use crate::error::Result;
use crate::files::run::{MODEL, RunFolder};
use crate::programs::position::Position;
use crate::train::config_file::trained;
use crate::train::device::Chosen;
use crate::train::init::load_weights;
use crate::train::model::Model;
use std::path::Path;

/// Characters of a forward pass.
const CHUNK: usize = 512;

/// A character LM that reads a text, piece by piece.
pub struct Scorer {
    /// After all but the last character.
    model: Stateful,
    last: u16,
}

impl Scorer {
    /// The model of a run's checkpoint, at the beginning of a text.
    ///
    /// # Errors
    /// If the weights are damaged, another model's or another vocabulary's, or the device fails.
    pub fn open(
        (run, checkpoint): (&RunFolder, &Path),
        vocab: &CharVocab,
        chosen: &Chosen,
    ) -> Result<Self> {
        let config: CharLmConfig = trained(run, checkpoint)?;
        let file = load_weights(&checkpoint.join(MODEL))?;
        let weights = sample::weights(&file, config.tie_embeddings)?;
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
        Ok(Scorer {
            model: Stateful::new(model)?,
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
        let logits = self.model.step(&inputs, [ids.len(), 1])?;
        let rows = logits.data::<f32>()?.chunks_exact(self.model.vocab());
        for (&id, row) in ids.iter().zip(rows) {
            each(id, row);
        }
        self.last = *last;
        Ok(())
    }
}

// ---- what is found -------------------------------------------------------------------------

/// How likely a model holds a text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    /// Characters, N.
    pub characters: usize,
    /// -log p(x_1 .. x_N), in nats.
    pub nats: f64,
    /// Characters that are the likeliest of their place; of a tie the first of the vocabulary is.
    pub correct: usize,
}

impl Score {
    /// Scores a text. `each` gets every position, with the score up to there, as long as it says true.
    ///
    /// # Errors
    /// As [`Scorer::read`] and `each`.
    pub fn of(
        scorer: &mut Scorer,
        ids: &[u16],
        mut each: impl FnMut(&Score, &Position) -> Result<bool>,
    ) -> Result<Self> {
        let mut score = Score::default();
        for piece in ids.chunks(CHUNK) {
            let mut told = Ok(true);
            scorer.read(piece, |id, logits| {
                if let Ok(true) = told {
                    let position = score.add(id, logits);
                    told = each(&score, &position);
                }
            })?;
            if !told? {
                break;
            }
        }
        Ok(score)
    }

    /// Mean loss in nats a character.
    pub fn loss(&self) -> f64 {
        self.nats / self.characters as f64
    }

    /// Adds a character, given the logits `[V]` of its place.
    fn add<'a>(&mut self, id: u16, logits: &'a [f32]) -> Position<'a> {
        let position = Position::new(id.into(), logits);
        self.characters += 1;
        self.nats -= position.log_p();
        self.correct += usize::from(position.is_likeliest());
        position
    }
}
