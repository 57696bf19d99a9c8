//! Teacher forcing below 1 (scheduled sampling, Bengio et al. 2015): some of the decoder's inputs
//! are its own predictions.
//!
//! No gradient flows through a prediction. So the decoder first runs freely, step by step and
//! without a tape, to find its inputs; the training pass then runs over whole sequences of them.
//! Both passes drop the same elements of what the layers read, so the predictions are those of the
//! training pass but for dropout before the output layer.

use super::decoder::{Decoder, DecoderState};
use super::inputs::{Inputs, place};
use super::kind::{Dropout, TeacherForcing};
use super::layers::Dropped;
use super::likeliest::never;
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
    let (width, hidden) = (decoder.width, decoder.hidden);
    let of = |d: &Dropout| mask(d, params, batch, width, Dropout::TARGET);
    let embedded = dropout.map(of).transpose()?;
    let upper = dropout.iter().flat_map(|d| {
        let layers = 0..encoded.upper();
        layers.map(|k| mask(d, params, batch, hidden, Dropout::decoder(k)))
    });
    let upper = upper.collect::<Result<Vec<Tensor>>>()?;
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
        if let Some(mask) = &embedded {
            let mask = mask.slice(at * width, [active, width])?;
            x = ops::mul(&mut tape, &x, &Var::constant(mask))?;
        }
        let upper = upper.iter();
        let upper = upper.map(|mask| mask.slice(at * hidden, [active, hidden]));
        let upper = upper.collect::<Result<Vec<Tensor>>>()?;
        let dropped = match dropout {
            Some(_) => Dropped::Masked(&upper),
            None => Dropped::Nothing,
        };
        let out = decoder.step(&mut tape, &params, &from, &x, dropped)?;
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

/// What the training pass multiplies the rows `[N, width]` of a lane with.
fn mask(
    dropout: &Dropout,
    params: &Params,
    batch: &Inputs,
    width: usize,
    lane: u32,
) -> Result<Tensor> {
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
    let mask = dropout.apply(&mut Tape::inference(), &ones, lane)?;
    Ok(mask.into_value())
}
