//! Greedy search: the likeliest token at each step.
//!
//! What a step chooses is what the next one reads, without the host: on a GPU the steps are issued one
//! behind the other, and the host only looks from time to time whether all rows have ended. What rows
//! that have ended choose is left out.

use super::run::{Hypothesis, Partial, Run, Seen};
use crate::data::words::{EOS, SOS};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops;
use crate::ops::cast::convert;
use crate::ops::likeliest::Likeliest;
use crate::programs::seq2seq::model::{Decoded, never};

/// Steps between two looks, on a GPU. Not measured: more of them are steps in vain behind the longest
/// output, fewer are waits.
const LOOK: usize = 8;

/// What a step chose, and what it gave besides.
type Chosen = (Likeliest, Decoded);

impl Run<'_> {
    pub(super) fn greedy(&mut self, rows: usize) -> Result<Vec<Hypothesis>> {
        let mut outputs = vec![Partial::start(); rows];
        let look = if self.model.gpu().is_some() { LOOK } else { 1 };
        let mut last = self.model.tokens(&vec![SOS; rows])?;
        let mut steps: Vec<Chosen> = Vec::new();
        for step in 1..=self.options.max_length {
            let out = self.step(&last)?;
            let chosen = ops::likeliest(out.logits.value(), never(self.options.no_unk))?;
            last = chosen.columns.clone();
            steps.push((chosen, out));
            if step % look == 0 || step == self.options.max_length {
                for chosen in steps.drain(..) {
                    self.extend(&mut outputs, &chosen)?;
                }
                if outputs.iter().all(|output| output.last() == EOS) {
                    break;
                }
            }
        }
        Ok(outputs.into_iter().map(Partial::finish).collect())
    }

    /// Adds what a step chose to the outputs that go on.
    fn extend(&self, outputs: &mut [Partial], (chosen, out): &Chosen) -> Result<()> {
        let (columns, gains) = (chosen.columns.to_cpu()?, chosen.gains.to_cpu()?);
        let gains = convert(&gains, DType::F64)?;
        let (columns, gains) = (columns.data::<u32>()?, gains.data::<f64>()?);
        let seen = Seen::of(out)?;
        for (row, output) in outputs.iter_mut().enumerate() {
            if output.last() != EOS {
                let read = self.read(&seen, row)?;
                *output = output.extended(columns[row], gains[row], read);
            }
        }
        Ok(())
    }
}
