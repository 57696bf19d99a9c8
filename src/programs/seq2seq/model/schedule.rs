//! Teacher forcing below 1 (scheduled sampling, Bengio et al. 2015): some of the decoder's inputs
//! are its own predictions.
//!
//! No gradient flows through a prediction. So the decoder first runs freely, step by step and
//! without a tape, to find its inputs; the training pass then runs over whole sequences of them.
//! Both passes drop the same elements, so the predictions are those of the training pass.

use super::decoder::DecoderState;
use super::inputs::{Inputs, place};
use super::kind::{Dropout, TeacherForcing};
use super::likeliest::never;
use super::scoring::Decoder;
use crate::autograd::{Tape, Var};
use crate::data::words::UNK;
use crate::dtype::DType;
use crate::error::Result;
use crate::nn::Params;
use crate::ops;
use crate::ops::cast::convert;
use crate::tensor::Tensor;

/// The decoder's inputs, each the true token with probability `teacher.ratio`.
pub(super) fn inputs(
    decoder: &Decoder,
    params: &Params,
    encoded: &DecoderState,
    batch: &Inputs,
    dropout: Option<&Dropout>,
    teacher: &TeacherForcing,
) -> Result<Vec<u32>> {
    let mut tape = Tape::inference();
    let width = decoder.width;
    let mask = dropout.map(|d| mask(d, params, batch, width)).transpose()?;
    let params = params.bind(&mut tape);
    let mut tokens = batch.tokens.clone();
    let mut from = encoded.clone();
    let packing = &batch.packing;
    for t in 0..packing.steps() - 1 {
        let (at, active) = (packing.offset(t), packing.active(t));
        // The rows that still have steps are the first ones.
        from = from.first_rows(active)?;
        let ids = &tokens[at..at + active];
        let [ids] = place([(ids, decoder.vocab)], batch.gpu())?;
        let mut x = decoder.embed(&mut tape, &params, &ids, from.place())?;
        if let Some(mask) = &mask {
            let mask = mask.slice(at * width, [active, width])?;
            x = ops::mul(&mut tape, &x, &Var::constant(mask))?;
        }
        let out = decoder.step(&mut tape, &params, &from, &x)?;
        from = out.state;
        let predicted = ops::likeliest(out.logits.value(), never(false))?;
        let predicted = predicted.columns.to_cpu()?;
        let predicted = &predicted.data::<u32>()?[..packing.active(t + 1)];
        let next = packing.offset(t + 1);
        for (row, &token) in predicted.iter().enumerate() {
            let draw = f64::from(teacher.stream.word((next + row) as u64)) / 4_294_967_296.0;
            if draw >= teacher.ratio {
                // What is copied may be no word of the vocabulary.
                let is_word = (token as usize) < decoder.vocab;
                tokens[next + row] = if is_word { token } else { UNK };
            }
        }
    }
    Ok(tokens)
}

/// What the training pass multiplies the target embeddings `[N, E]` with.
fn mask(dropout: &Dropout, params: &Params, batch: &Inputs, width: usize) -> Result<Tensor> {
    let n = batch.packing.rows() * width;
    let ones = Tensor::from_slice(&vec![1.0f32; n], [n])?;
    let ones = match batch.gpu() {
        Some(gpu) => ones.to_gpu(gpu)?,
        None => ones,
    };
    let dtype = params
        .half()
        .map_or(params.values().dtype(), |_| DType::F16);
    let ones = Var::constant(convert(&ones, dtype)?);
    let mask = dropout.apply(&mut Tape::inference(), &ones, Dropout::TARGET)?;
    Ok(mask.into_value())
}
