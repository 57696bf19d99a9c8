//! Teacher forcing below 1 (scheduled sampling, Bengio et al. 2015): some of the decoder's inputs
//! are its own predictions.
//!
//! No gradient flows through a prediction. So the decoder first runs freely, step by step and
//! without a tape, to find its inputs; the training pass then runs over whole sequences of them.
//! Both passes drop the same elements, so the predictions are those of the training pass.

use super::{Dropout, Encoded, Inputs, Memory, Seq2Seq, State, TeacherForcing, detached};
use crate::autograd::{Tape, Var};
use crate::data::spans::Spans;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops;
use crate::ops::cast::convert;
use crate::programs::seq2seq::decode::best_tokens;
use crate::tensor::Tensor;

impl Seq2Seq {
    /// The decoder's inputs, each the true token with probability `teacher.ratio`.
    pub(super) fn scheduled(
        &self,
        encoded: &Encoded,
        batch: &Inputs,
        dropout: Option<&Dropout>,
        teacher: &TeacherForcing,
    ) -> Result<Vec<u32>> {
        let mut tape = Tape::inference();
        let params = self.params.bind(&mut tape)?;
        let mask = dropout.map(|d| self.mask(d, batch)).transpose()?;
        let mut tokens = batch.tokens.clone();
        let mut from = detached(encoded);
        let packing = &batch.packing;
        for t in 0..packing.steps() - 1 {
            let (at, active) = (packing.offset(t), packing.active(t));
            from = first_rows(&from, active)?;
            let ids = super::inputs::place(
                &tokens[at..at + active],
                self.sizes.target_vocab,
                batch.gpu(),
            )?;
            let mut x = self.decoder.embed(&mut tape, &params, &ids)?;
            if let Some(mask) = &mask {
                let width = self.sizes.embedding;
                let mask = mask.slice(at * width, [active, width])?;
                x = ops::mul(&mut tape, &x, &Var::constant(mask))?;
            }
            let out = self.step_from(&mut tape, &params, &from, &x, active)?;
            from.state = out.state;
            let predicted = best_tokens(out.logits.value(), false)?;
            let next = packing.offset(t + 1);
            for (row, &token) in predicted[..packing.active(t + 1)].iter().enumerate() {
                let draw = f64::from(teacher.stream.word((next + row) as u64)) / 4_294_967_296.0;
                if draw >= teacher.ratio {
                    tokens[next + row] = token;
                }
            }
        }
        Ok(tokens)
    }

    /// What the training pass multiplies the target embeddings `[N, E]` with.
    fn mask(&self, dropout: &Dropout, batch: &Inputs) -> Result<Tensor> {
        let n = batch.packing.rows() * self.sizes.embedding;
        let ones = Tensor::from_slice(&vec![1.0f32; n], [n])?;
        let ones = match batch.gpu() {
            Some(gpu) => ones.to_gpu(gpu)?,
            None => ones,
        };
        let dtype = self
            .params
            .half()
            .map_or(self.params.values().dtype(), |_| DType::F16);
        let ones = Var::constant(convert(&ones, dtype)?);
        let stream = dropout.stream.lane(Dropout::TARGET);
        Ok(ops::dropout(&mut Tape::inference(), &ones, dropout.p, stream)?.into_value())
    }
}

/// The rows that still have steps. They are the first ones, so nothing is copied.
fn first_rows(from: &Encoded, rows: usize) -> Result<Encoded> {
    let first = |v: &Var, rows: usize| -> Result<Var> {
        let width = v.value().shape().last();
        Ok(Var::constant(v.value().slice(0, [rows, width])?))
    };
    let State { h, c } = &from.state;
    Ok(Encoded {
        state: State {
            h: first(h, rows)?,
            c: c.as_ref().map(|c| first(c, rows)).transpose()?,
        },
        memory: match &from.memory {
            Memory::None => Memory::None,
            Memory::Context(context) => Memory::Context(first(context, rows)?),
            Memory::Positions {
                keys,
                values,
                spans,
            } => {
                let lengths: Vec<usize> = (0..rows).map(|b| spans.len(b)).collect();
                let spans = Spans::new(&lengths)?;
                Memory::Positions {
                    keys: first(keys, spans.total())?,
                    values: first(values, spans.total())?,
                    spans,
                }
            }
        },
    })
}
