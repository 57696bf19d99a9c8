//! The weights of a model for generation, and a short text from them.

use std::path::Path;

use crate::data::chars::CharVocab;
use crate::error::{Error, Result};
use crate::files::run::{MODEL, RunFolder};
use crate::files::tensors::TensorFile;
use crate::programs::charlm::config::CharLmConfig;
use crate::programs::charlm::generate::generator::Generator;
use crate::programs::charlm::generate::weights::CharLmWeights;
use crate::sampling::{Sampler, SamplingOptions, TEMPERATURE};
use crate::train::config_file::trained;

/// The weights of a run's checkpoint.
///
/// # Errors
/// [`Error::Checkpoint`] for a run or a file that is damaged or of another model, and as [`weights`].
pub fn of_checkpoint(run: &RunFolder, checkpoint: &Path) -> Result<CharLmWeights> {
    let config: CharLmConfig = trained(run, checkpoint)?;
    let file = TensorFile::load(&checkpoint.join(MODEL))?;
    weights(&file, config.tie_embeddings)
}

/// The weights of a model, whose embeddings may be `tied`.
///
/// # Errors
/// [`Error::Data`] if a tensor is missing or has another shape.
pub fn weights(file: &TensorFile, tied: bool) -> Result<CharLmWeights> {
    CharLmWeights::from_tensors(
        tied,
        |name| file.tensors.contains_key(name),
        |name| match file.tensors.get(name) {
            Some(t) => Ok((t.shape.clone(), t.data.clone())),
            None => Err(Error::Data(format!(
                "tensor {name} is missing: is this a character LM?"
            ))),
        },
    )
}

/// `length` characters that follow a line break, at [`TEMPERATURE`]. Bytes that are no UTF-8 show as
/// U+FFFD.
///
/// # Errors
/// If the model has more characters than generation can take.
pub fn text(
    weights: &CharLmWeights,
    vocab: &CharVocab,
    length: usize,
    seed: u64,
) -> Result<String> {
    let options = SamplingOptions {
        temperature: TEMPERATURE,
        top_k: None,
        top_p: None,
    };
    let mut generator = Generator::new(weights, 1)?;
    let sampler = Sampler::new(options, vocab.len(), seed, 0)?;
    let mut sampler = sampler.never(vocab.unknown().map(usize::from));
    let mut id = vocab.start();
    let mut text = Vec::with_capacity(length);
    for _ in 0..length {
        id = sampler.sample(generator.step(&[id])) as u16;
        vocab.decode_into(id, &mut text);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
