//! Text from a model in training.

use crate::data::chars::CharVocab;
use crate::error::{Error, Result};
use crate::files::tensors::TensorFile;
use crate::programs::charlm::generate::generator::Generator;
use crate::programs::charlm::generate::weights::CharLmWeights;
use crate::sampling::{Sampler, SamplingOptions, TEMPERATURE};

/// The weights of a checkpoint's model for generation.
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn weights(file: &TensorFile) -> Result<CharLmWeights> {
    CharLmWeights::from_tensors(
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
