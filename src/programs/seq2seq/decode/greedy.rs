//! Outputs that grow alone: the likeliest token at each step (greedy search), or one drawn.
//!
//! What a step of greedy search chooses is what the next one reads, without the host: on a GPU the steps
//! are issued one behind the other, and the host only looks from time to time which rows have ended. What
//! those choose until then is left out; when they are many, they leave the batch. Under a grammar the host
//! looks at each step at what was chosen, and where tokens are drawn it draws them.

use super::likeliest::Descending;
use super::run::{
    Hypothesis, Partial, Run, Sampling, Search, Seen, log_total, row_of, worth_moving,
};
use crate::data::words::{EOS, SOS};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops;
use crate::ops::cast::convert;
use crate::ops::likeliest::Likeliest;
use crate::programs::seq2seq::model::{Decoded, in_f32, never};
use crate::sampling::Chooser;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::iter::repeat_n;

/// Steps between two looks, on a GPU. Not measured: more of them are steps in vain behind the longest
/// output, fewer are waits.
const LOOK: usize = 8;

/// What a step chose, and what it gave besides.
type Chosen = (Likeliest, Decoded);

impl Run<'_> {
    /// So many outputs of each source, one source's behind the other's.
    pub(super) fn grow(&mut self, of_source: usize) -> Result<Vec<Hypothesis>> {
        let sources = self.request.sources.len();
        let mut outputs = vec![Partial::start(&self.request); sources * of_source];
        if of_source > 1 {
            let rows = (0..sources).flat_map(|source| repeat_n(source as u32, of_source));
            self.from.select(&rows.collect::<Vec<_>>())?;
        }
        let sampling = match self.request.options.search {
            Search::Sampling(sampling) => Some(sampling),
            Search::Greedy | Search::Beam(_) => None,
        };
        let held = self.request.grammar.is_some();
        let alone = self.model.gpu().is_some() && sampling.is_none() && !held;
        let look = if alone { LOOK } else { 1 };
        // The output that each row of the batch goes on with.
        let mut rows: Vec<usize> = (0..outputs.len()).collect();
        let mut last = self.model.tokens(&vec![SOS; rows.len()])?;
        let mut steps: Vec<Chosen> = Vec::new();
        for step in 1..=self.request.options.max_length {
            let out = self.step(&last)?;
            let logits = out.logits.value();
            let chosen = match sampling {
                Some(sampling) => self.draw(sampling, &outputs, of_source, &rows, logits)?,
                None if held => self.likeliest_allowed(&outputs, &rows, logits)?,
                None => ops::likeliest(logits, never(self.request.options.no_unk))?,
            };
            last = chosen.columns.clone();
            steps.push((chosen, out));
            if step % look == 0 || step == self.request.options.max_length {
                for chosen in steps.drain(..) {
                    self.extend(&mut outputs, of_source, &rows, &chosen)?;
                }
                let ended = |row: usize| outputs[rows[row]].last() == EOS;
                let going: Vec<u32> = (0..rows.len() as u32)
                    .filter(|&row| !ended(row as usize))
                    .collect();
                if going.is_empty() {
                    break;
                }
                if worth_moving(going.len(), rows.len()) {
                    self.from.select(&going)?;
                    rows = going.iter().map(|&row| rows[row as usize]).collect();
                    let tokens: Vec<u32> = rows.iter().map(|&o| outputs[o].last()).collect();
                    last = self.model.tokens(&tokens)?;
                }
            }
        }
        let outputs = outputs.into_iter();
        Ok(outputs.map(|o| o.finish(&self.request.options)).collect())
    }

    /// The likeliest token of each row that may follow its output. Mostly that is the likeliest of all, which
    /// is found where the logits are; only where it is not are they looked through.
    fn likeliest_allowed(
        &self,
        outputs: &[Partial],
        rows: &[usize],
        logits: &Tensor,
    ) -> Result<Likeliest> {
        let request = &self.request;
        let found = ops::likeliest(logits, never(request.options.no_unk))?;
        let mut chosen = on_host(&found)?;
        let refused = rows.par_iter().zip(&chosen).map(|(&number, &(token, _))| {
            let output = &outputs[number];
            let may = || output.may(request, number)(token);
            output.last() != EOS && !may()
        });
        let refused: Vec<bool> = refused.collect();
        if !refused.contains(&true) {
            return Ok(found);
        }
        let logits = in_f32(logits)?;
        let others = chosen.par_iter_mut().zip(refused).enumerate();
        others
            .filter(|(_, (_, refused))| *refused)
            .try_for_each(|(row, ((token, gain), _))| {
                let (number, logits) = (rows[row], row_of(&logits, row)?);
                let may = outputs[number].may(request, number);
                let other = Descending::of(logits, 1, &may).next();
                let other = one_of(logits, other.map(|(token, _)| token), &may)?;
                *gain += f64::from(logits[other as usize]) - f64::from(logits[*token as usize]);
                *token = other;
                Ok(())
            })?;
        self.chosen(chosen)
    }

    /// The token of each row that follows its output, drawn from those that may.
    fn draw(
        &self,
        sampling: Sampling,
        outputs: &[Partial],
        of_source: usize,
        rows: &[usize],
        logits: &Tensor,
    ) -> Result<Likeliest> {
        let (logits, copies) = (in_f32(logits)?, self.model.copies());
        let request = &self.request;
        let chooser = Chooser::new(sampling.options)?;
        let rows = rows.par_iter().enumerate();
        let chosen = rows.map_with(chooser, |chooser, (row, &number)| {
            let (logits, output) = (row_of(&logits, row)?, &outputs[number]);
            if output.last() == EOS {
                return Ok((EOS, 0.0));
            }
            let source = number / of_source;
            let may = output.may(request, source);
            let draws = sampling.draws(source, number % of_source);
            let draw = || draws.uniform(output.len() as u64);
            let can_be = |token| logits[token] != f32::NEG_INFINITY && may(token as u32);
            let drawn = chooser.choose(logits, can_be, draw);
            let token = one_of(logits, drawn.map(|token| token as u32), &may)?;
            let gain = f64::from(logits[token as usize]) - log_total(logits, copies);
            Ok((token, gain))
        });
        self.chosen(chosen.collect::<Result<_>>()?)
    }

    /// Tokens and gains, the tokens where the model is.
    fn chosen(&self, chosen: Vec<(u32, f64)>) -> Result<Likeliest> {
        let (columns, gains): (Vec<u32>, Vec<f64>) = chosen.into_iter().unzip();
        Ok(Likeliest {
            columns: self.model.tokens(&columns)?,
            gains: Tensor::from_slice(&gains, [gains.len()])?,
        })
    }

    /// Adds what a step chose to the outputs that go on.
    fn extend(
        &self,
        outputs: &mut [Partial],
        of_source: usize,
        rows: &[usize],
        (chosen, out): &Chosen,
    ) -> Result<()> {
        let chosen = on_host(chosen)?;
        let seen = Seen::of(out)?;
        for (row, &number) in rows.iter().enumerate() {
            let (output, source) = (&mut outputs[number], number / of_source);
            if output.last() != EOS {
                let read = self.request.read(&seen, row, source)?;
                output.push(chosen[row], read, &self.request, source);
            }
        }
        Ok(())
    }
}

/// Tokens and gains, in host memory.
fn on_host(chosen: &Likeliest) -> Result<Vec<(u32, f64)>> {
    let (columns, gains) = (chosen.columns.to_cpu()?, chosen.gains.to_cpu()?);
    let gains = convert(&gains, DType::F64)?;
    let (columns, gains) = (columns.data::<u32>()?, gains.data::<f64>()?);
    Ok(columns.iter().copied().zip(gains.iter().copied()).collect())
}

/// The token that was found, or where none was since no comparison finds what is not a number, the first
/// that may follow.
fn one_of(logits: &[f32], found: Option<u32>, may: impl Fn(u32) -> bool) -> Result<u32> {
    let any = || (0..logits.len() as u32).find(|&token| may(token));
    found.or_else(any).ok_or_else(|| {
        Error::op(
            "decode",
            "no token may follow, which a grammar never leaves",
        )
    })
}
