//! `rnnx bench recurrence`: whole sequences of an LSTM, of a tanh RNN and of the decoder with attention in one
//! kernel against their steps one by one, over a table of sizes, from which `--recurrence auto` can choose.

use crate::autograd::Tape;
use crate::device::gpu::Pool;
use crate::device::measured::{BothWays, Measured, Size};
use crate::device::{Gpu, Recurrence};
use crate::ops::attention;
use crate::ops::recurrent::CellKind;
use crate::selftest::recurrence::operands::{ARRIVING, Form, Numbers, Operands};
use crate::train::timing::{Times, on_device};
use crate::{Error, Result};
use std::sync::Arc;

/// Cells, units and rows that are measured, and time steps.
const CELLS: [CellKind; 2] = [CellKind::Lstm, CellKind::Rnn];
const UNITS: [usize; 4] = [64, 128, 256, 512];
const ROWS: [usize; 5] = [1, 8, 32, 128, 512];
const STEPS: usize = 128;
/// The same on the emulated device.
const EMULATED: (&[usize], &[usize], usize) = (&[64, 192], &[3], 2);
/// The most units of the decoder with attention on a GPU and on the emulated device, and the source's positions
/// of each row. The table does not tell positions apart: it decides as for so many, also where there are others.
const DECODER_UNITS: [usize; 2] = [256, 64];
const POSITIONS: usize = 30;

/// Measures all sizes.
///
/// # Errors
/// If the device fails, or runs no whole sequences of any of the sizes.
pub fn measure(gpu: &Arc<Gpu>, emulated: bool, seconds: f64) -> Result<Measured> {
    let (units, rows, steps) = match emulated {
        true => EMULATED,
        false => (&UNITS[..], &ROWS[..], STEPS),
    };
    let wish = gpu.recurrence();
    let most = |of: &[usize]| of.iter().copied().max().unwrap_or(0);
    let numbers = Numbers::new(gpu, steps * most(rows) * most(units))?;
    let mut bench = Bench {
        gpu,
        seconds,
        steps,
        pool: Pool::default(),
        numbers: &numbers,
        found: Measured::default(),
    };
    for cell in CELLS {
        for &units in units {
            for &rows in rows {
                let (of, lengths) = ((cell, Form::Table), vec![steps; rows]);
                let layer = Operands::layer(gpu, &numbers, of, units, &lengths, false)?;
                bench.add(cell.name(), [units, rows], &layer)?;
            }
        }
    }
    let most = DECODER_UNITS[usize::from(emulated)];
    for &units in units.iter().filter(|&&units| units <= most) {
        for &rows in rows {
            let (lengths, sources) = (vec![steps; rows], vec![POSITIONS; rows]);
            let decoder = Operands::decoder(gpu, &numbers, units, &lengths, &sources)?;
            bench.add(attention::WORD, [units, rows], &decoder)?;
        }
    }
    let found = bench.found;
    gpu.set_recurrence(wish);
    gpu.forget_news();
    match found.0.is_empty() {
        true => Err(Error::op(
            "bench recurrence",
            "the device runs no whole sequences",
        )),
        false => Ok(found),
    }
}

/// The table for people.
pub fn lines(measured: &Measured) -> Vec<String> {
    let row = |m: &BothWays| {
        let Size {
            cell, units, rows, ..
        } = &m.size;
        let pass = if m.size.training {
            "both passes"
        } else {
            "forward"
        };
        format!(
            "{cell} of {units} units, {rows} rows, {pass}: {:.2} us a step in one kernel, {:.2} step by step",
            m.whole_us, m.steps_us
        )
    };
    measured.0.iter().map(row).collect()
}

/// What is measured so far.
struct Bench<'a> {
    gpu: &'a Arc<Gpu>,
    seconds: f64,
    steps: usize,
    /// One pool: what a size frees is there for the next one.
    pool: Pool,
    numbers: &'a Numbers,
    found: Measured,
}

impl Bench<'_> {
    /// Adds the times of a size, forward and of both passes.
    fn add(&mut self, cell: &'static str, size: [usize; 2], operands: &Operands) -> Result<()> {
        [false, true]
            .into_iter()
            .try_for_each(|training| self.add_both_ways(cell, size, training, operands))
    }

    /// Adds both times of a size, unless it goes step by step.
    fn add_both_ways(
        &mut self,
        cell: &'static str,
        [units, rows]: [usize; 2],
        training: bool,
        operands: &Operands,
    ) -> Result<()> {
        let numbers = self.numbers;
        let once = || {
            let mut tape = match training {
                true => Tape::new(),
                false => Tape::inference(),
            };
            let [_, outputs] = operands.run(&mut tape)?;
            if training {
                let (_, y) = &outputs[0];
                let shape = y.value().shape().clone();
                tape.backward(y, numbers.tensor(ARRIVING, shape)?)?;
            }
            Ok(())
        };
        // Training is one graph, as a step of the character LM is; a forward pass is issued call by call, as `eval`
        // does it, and so is the decoder, as seq2seq does it.
        let graph = training && cell != attention::WORD;
        let passes = if training { 2 } else { 1 };
        let Some(whole_us) = self.time((Recurrence::Whole, passes), graph, &once)? else {
            return Ok(());
        };
        let steps_us = self.time((Recurrence::Steps, 0), graph, &once)?;
        let size = Size {
            cell: cell.into(),
            units,
            rows,
            training,
        };
        self.found.0.push(BothWays {
            size,
            whole_us,
            steps_us: steps_us.ok_or_else(|| Error::op("bench recurrence", "no steps"))?,
        });
        Ok(())
    }

    /// Microseconds a time step; none where that way is not taken: where other than so many passes are whole.
    fn time(
        &mut self,
        (how, passes): (Recurrence, u64),
        graph: bool,
        once: &dyn Fn() -> Result<()>,
    ) -> Result<Option<f64>> {
        let (gpu, seconds, steps) = (self.gpu, self.seconds / 8.0, self.steps);
        gpu.set_recurrence(how);
        gpu.with_pool(&mut self.pool, || {
            let before = gpu.whole_passes();
            once()?;
            if gpu.whole_passes() - before != passes {
                return Ok(None);
            }
            let times = if graph {
                let graph = gpu.driver().capture(&mut || once())?;
                let replay = || on_device(gpu, || gpu.driver().replay(&graph));
                Times::collect(seconds, replay)?
            } else {
                Times::collect(seconds, || on_device(gpu, once))?
            };
            gpu.check_measured()?;
            Ok(Some(times.median * 1e6 / steps as f64))
        })
    }
}
