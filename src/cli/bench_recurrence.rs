//! `rnnx bench recurrence`: whole sequences of an LSTM, of a tanh RNN and of the decoder with attention in one
//! kernel against their steps one by one, over a table of sizes, from which `--recurrence auto` can choose.

use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::data::spans::Spans;
use crate::device::gpu::Pool;
use crate::device::measured::{BothWays, Measured, Size};
use crate::device::{Gpu, Recurrence};
use crate::dtype::DType;
use crate::ops::attention::{self, Memory, Query, Weights, attention_lstm};
use crate::ops::cast::convert;
use crate::ops::recurrent::{CellKind, Hidden, Input, recurrent};
use crate::rng::{Purpose, Reader, Stream};
use crate::tensor::Tensor;
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
/// Rows of the gate table that stands for the input.
const VOCAB: usize = 95;
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
    let mut bench = Bench {
        gpu,
        seconds,
        steps,
        pool: Pool::default(),
        found: Measured::default(),
    };
    for cell in CELLS {
        for &units in units {
            for &rows in rows {
                let layer = Layer::new(gpu, cell, [steps, rows, units])?;
                bench.add(cell.name(), [units, rows], |tape| layer.run(tape))?;
            }
        }
    }
    let most = DECODER_UNITS[usize::from(emulated)];
    for &units in units.iter().filter(|&&units| units <= most) {
        for &rows in rows {
            let decoder = Decoder::new(gpu, [steps, rows, units])?;
            bench.add(attention::WORD, [units, rows], |tape| decoder.run(tape))?;
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
    found: Measured,
}

impl Bench<'_> {
    /// Adds the times of a size, forward and of both passes. `run` gives y and its gradient.
    fn add(
        &mut self,
        cell: &'static str,
        size: [usize; 2],
        run: impl Fn(&mut Tape) -> Result<(Var, Tensor)>,
    ) -> Result<()> {
        for training in [false, true] {
            self.add_both_ways(cell, size, training, &run)?;
        }
        Ok(())
    }

    /// Adds both times of a size, unless it goes step by step.
    fn add_both_ways(
        &mut self,
        cell: &'static str,
        [units, rows]: [usize; 2],
        training: bool,
        run: &impl Fn(&mut Tape) -> Result<(Var, Tensor)>,
    ) -> Result<()> {
        let once = || {
            let mut tape = match training {
                true => Tape::new(),
                false => Tape::inference(),
            };
            let (y, seed) = run(&mut tape)?;
            if training {
                tape.backward(&y, seed)?;
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

/// Random numbers in f16.
struct Random<'a> {
    gpu: &'a Arc<Gpu>,
    reader: Reader,
}

impl<'a> Random<'a> {
    fn new(gpu: &'a Arc<Gpu>) -> Self {
        let reader = Stream::new(1, Purpose::Init, 0).reader();
        Random { gpu, reader }
    }

    /// A tensor whose rows of `of` weights sum to the order of one.
    fn place(&mut self, of: usize, shape: &[usize]) -> Result<Tensor> {
        let scale = (3.0 / of as f64).sqrt();
        let numbers = (0..shape.iter().product())
            .map(|_| ((2.0 * self.reader.uniform() - 1.0) * scale) as f32);
        let numbers: Vec<f32> = numbers.collect();
        let numbers = Tensor::from_slice(&numbers, shape)?.to_gpu(self.gpu)?;
        convert(&numbers, DType::F16)
    }
}

/// A layer in f16 that reads a gate table.
struct Layer {
    cell: CellKind,
    table: Tensor,
    w_hh: Tensor,
    ids: Tensor,
    seed: Tensor,
}

impl Layer {
    fn new(gpu: &Arc<Gpu>, cell: CellKind, [steps, rows, units]: [usize; 3]) -> Result<Self> {
        let gates = cell.gates();
        let mut random = Random::new(gpu);
        let mut place = |shape: &[usize]| random.place(units, shape);
        let ids: Vec<u32> = (0..steps * rows).map(|i| (i * 7 % VOCAB) as u32).collect();
        Ok(Layer {
            cell,
            table: place(&[VOCAB, gates * units])?,
            w_hh: place(&[gates * units, units])?,
            seed: place(&[steps, rows, units])?,
            ids: Tensor::from_slice(&ids, [steps, rows])?.to_gpu(gpu)?,
        })
    }

    fn run(&self, tape: &mut Tape) -> Result<(Var, Tensor)> {
        let (table, w_hh) = (
            &tape.leaf(self.table.clone()),
            &tape.leaf(self.w_hh.clone()),
        );
        let input = Input::Table {
            table,
            ids: &self.ids,
        };
        let hidden = Hidden { w_hh, b_hh: None };
        let out = recurrent(tape, self.cell, input, hidden, None)?;
        Ok((out.y, self.seed.clone()))
    }
}

/// The decoder with attention in f16, sizes as in seq2seq: values of both directions of an encoder.
struct Decoder {
    packing: Packing,
    spans: Spans,
    /// Of the spans.
    offsets: Tensor,
    /// x, W_ih, b, W_hh, h, W_q, b_q, v, keys and values; c.
    leaves: Vec<Tensor>,
    seed: Tensor,
}

impl Decoder {
    fn new(gpu: &Arc<Gpu>, [steps, rows, units]: [usize; 3]) -> Result<Self> {
        let spans = Spans::new(&vec![POSITIONS; rows])?;
        let (n, m, depth) = (steps * rows, spans.total(), 2 * units);
        let mut random = Random::new(gpu);
        let mut place = |shape: &[usize]| random.place(units, shape);
        let shapes = [
            [n, units],
            [4 * units, units + depth],
            [1, 4 * units],
            [4 * units, units],
            [rows, units],
            [units, units],
            [1, units],
            [1, units],
            [m, units],
            [m, depth],
        ];
        let mut leaves = Vec::new();
        for shape in shapes {
            leaves.push(place(&shape)?);
        }
        for vector in [2, 6] {
            leaves[vector] = leaves[vector].reshape([leaves[vector].numel()])?;
        }
        leaves.push(convert(&leaves[4], DType::F32)?);
        Ok(Decoder {
            packing: Packing::uniform(steps, rows)?,
            offsets: Tensor::from_slice(spans.offsets(), [rows + 1])?.to_gpu(gpu)?,
            spans,
            leaves,
            seed: place(&[n, units])?,
        })
    }

    fn run(&self, tape: &mut Tape) -> Result<(Var, Tensor)> {
        let leaves: Vec<Var> = self.leaves.iter().map(|t| tape.leaf(t.clone())).collect();
        let [x, w_ih, bias, w_hh, h, w_q, b_q, v, keys, values, c] = &leaves[..] else {
            return Err(Error::op("bench recurrence", "eleven operands"));
        };
        let memory = Memory {
            keys,
            values,
            spans: &self.spans,
            offsets: Some(&self.offsets),
        };
        let weights = Weights { w_ih, bias, w_hh };
        let query = Query { w_q, b_q, v };
        let out = attention_lstm(tape, x, weights, (h, c), query, memory, &self.packing)?;
        Ok((out.y, self.seed.clone()))
    }
}
