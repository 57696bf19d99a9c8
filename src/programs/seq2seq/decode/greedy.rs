//! Greedy search: the likeliest token at each step.
//!
//! What a step chooses is what the next one reads, without the host: on a GPU the steps are issued one
//! behind the other, and the host only looks from time to time which rows have ended. What those
//! choose until then is left out; when they are many, they leave the batch. Under a grammar the host
//! chooses at each step.

use super::beam::likeliest;
use super::run::{Hypothesis, Partial, Run, Seen, log_total, row_of, worth_moving};
use crate::data::words::{EOS, SOS};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops;
use crate::ops::cast::convert;
use crate::ops::likeliest::Likeliest;
use crate::programs::seq2seq::model::{Decoded, in_f32, never};
use crate::tensor::Tensor;
use rayon::prelude::*;

/// Steps between two looks, on a GPU. Not measured: more of them are steps in vain behind the longest
/// output, fewer are waits.
const LOOK: usize = 8;

/// What a step chose, and what it gave besides.
type Chosen = (Likeliest, Decoded);

impl Run<'_> {
    pub(super) fn greedy(&mut self) -> Result<Vec<Hypothesis>> {
        let mut outputs = vec![Partial::start(&self.grammar); self.sources.len()];
        let alone = self.model.gpu().is_some() && self.options.syntax.is_none();
        let look = if alone { LOOK } else { 1 };
        // The output that each row of the batch goes on with.
        let mut rows: Vec<usize> = (0..outputs.len()).collect();
        let mut last = self.model.tokens(&vec![SOS; rows.len()])?;
        let mut steps: Vec<Chosen> = Vec::new();
        for step in 1..=self.options.max_length {
            let out = self.step(&last)?;
            let logits = out.logits.value();
            let chosen = match self.options.syntax {
                None => ops::likeliest(logits, never(self.options.no_unk))?,
                Some(_) => self.choose(&outputs, &rows, logits)?,
            };
            last = chosen.columns.clone();
            steps.push((chosen, out));
            if step % look == 0 || step == self.options.max_length {
                for chosen in steps.drain(..) {
                    self.extend(&mut outputs, &rows, &chosen)?;
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
        Ok(outputs.map(|o| o.finish(&self.options)).collect())
    }

    /// The likeliest token of each row that may follow its output, where the logits are.
    fn choose(&self, outputs: &[Partial], rows: &[usize], logits: &Tensor) -> Result<Likeliest> {
        let (logits, copies) = (in_f32(logits)?, self.model.copies());
        let (options, grammar) = (&self.options, &self.grammar);
        let chosen = rows.par_iter().enumerate().map(|(row, &source)| {
            let (logits, output) = (row_of(&logits, row)?, &outputs[source]);
            if output.last() == EOS {
                return Ok((EOS, 0.0));
            }
            let may = output.may(options, grammar, source);
            let best = likeliest(logits, 1, &may).first().copied();
            // No comparison finds what is not a number.
            let any = || {
                (0..logits.len())
                    .find(|&token| may(token))
                    .map(|t| (t as u32, f32::NAN))
            };
            let (token, x) = best.or_else(any).ok_or_else(|| {
                Error::op(
                    "decode",
                    "no token may follow, which a grammar never leaves",
                )
            })?;
            Ok((token, f64::from(x) - log_total(logits, copies)))
        });
        let (columns, gains): (Vec<u32>, Vec<f64>) =
            chosen.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        Ok(Likeliest {
            columns: self.model.tokens(&columns)?,
            gains: Tensor::from_slice(&gains, [gains.len()])?,
        })
    }

    /// Adds what a step chose to the outputs that go on.
    fn extend(
        &self,
        outputs: &mut [Partial],
        rows: &[usize],
        (chosen, out): &Chosen,
    ) -> Result<()> {
        let (columns, gains) = (chosen.columns.to_cpu()?, chosen.gains.to_cpu()?);
        let gains = convert(&gains, DType::F64)?;
        let (columns, gains) = (columns.data::<u32>()?, gains.data::<f64>()?);
        let seen = Seen::of(out)?;
        for (row, &source) in rows.iter().enumerate() {
            let output = &mut outputs[source];
            if output.last() != EOS {
                let read = self.read(&seen, row, source)?;
                output.push((columns[row], gains[row]), read, &self.grammar, source);
            }
        }
        Ok(())
    }
}
