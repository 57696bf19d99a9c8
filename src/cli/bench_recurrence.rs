//! `rnnx bench recurrence`: whole sequences of an LSTM and of a tanh RNN in one kernel against their steps one by
//! one, over a table of sizes, from which `--recurrence auto` can choose.

use crate::autograd::Tape;
use crate::device::gpu::Pool;
use crate::device::measured::{BothWays, Measured, Size};
use crate::device::{Gpu, Recurrence};
use crate::dtype::DType;
use crate::ops::cast::convert;
use crate::ops::recurrent::{CellKind, Hidden, Input, recurrent};
use crate::rng::{Purpose, Stream};
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

/// Measures all sizes.
///
/// # Errors
/// If the device fails, or runs no whole sequences of any of the sizes.
pub fn measure(gpu: &Arc<Gpu>, emulated: bool, seconds: f64) -> Result<Measured> {
    let (units, rows, steps) = match emulated {
        true => EMULATED,
        false => (&UNITS[..], &ROWS[..], STEPS),
    };
    let sizes = CELLS.iter().flat_map(|&cell| {
        let units = units.iter();
        units.flat_map(move |&h| rows.iter().map(move |&b| (cell, h, b)))
    });
    let wish = gpu.recurrence();
    // One pool: what a size frees is there for the next one.
    let mut pool = Pool::default();
    let mut found = Measured::default();
    for (cell, units, rows) in sizes {
        for training in [false, true] {
            let layer = Layer::new(gpu, cell, [steps, rows, units], training)?;
            let Some(whole_us) = layer.time(Recurrence::Whole, seconds, &mut pool)? else {
                continue; // this size goes step by step
            };
            let steps_us = layer.time(Recurrence::Steps, seconds, &mut pool)?;
            let steps_us = steps_us.ok_or_else(|| Error::op("bench recurrence", "no steps"))?;
            let size = Size {
                cell: cell.name().into(),
                units,
                rows,
                training,
            };
            found.0.push(BothWays {
                size,
                whole_us,
                steps_us,
            });
        }
    }
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

/// A layer in f16 that reads a gate table.
struct Layer<'a> {
    gpu: &'a Arc<Gpu>,
    cell: CellKind,
    table: Tensor,
    w_hh: Tensor,
    ids: Tensor,
    seed: Tensor,
    training: bool,
    steps: usize,
}

impl<'a> Layer<'a> {
    fn new(
        gpu: &'a Arc<Gpu>,
        cell: CellKind,
        [steps, rows, units]: [usize; 3],
        training: bool,
    ) -> Result<Self> {
        let gates = cell.gates();
        let mut random = Stream::new(1, Purpose::Init, 0).reader();
        let scale = (3.0 / units as f64).sqrt();
        let mut place = |shape: &[usize]| {
            let numbers = (0..shape.iter().product())
                .map(|_| ((2.0 * random.uniform() - 1.0) * scale) as f32);
            let numbers: Vec<f32> = numbers.collect();
            convert(
                &Tensor::from_slice(&numbers, shape)?.to_gpu(gpu)?,
                DType::F16,
            )
        };
        let ids: Vec<u32> = (0..steps * rows).map(|i| (i * 7 % VOCAB) as u32).collect();
        Ok(Layer {
            gpu,
            cell,
            table: place(&[VOCAB, gates * units])?,
            w_hh: place(&[gates * units, units])?,
            seed: place(&[steps, rows, units])?,
            ids: Tensor::from_slice(&ids, [steps, rows])?.to_gpu(gpu)?,
            training,
            steps,
        })
    }

    fn run(&self) -> Result<()> {
        let mut tape = match self.training {
            true => Tape::new(),
            false => Tape::inference(),
        };
        let (table, w_hh) = (
            &tape.leaf(self.table.clone()),
            &tape.leaf(self.w_hh.clone()),
        );
        let input = Input::Table {
            table,
            ids: &self.ids,
        };
        let hidden = Hidden { w_hh, b_hh: None };
        let out = recurrent(&mut tape, self.cell, input, hidden, None)?;
        if self.training {
            tape.backward(&out.y, self.seed.clone())?;
        }
        Ok(())
    }

    /// Microseconds a time step; none where that way is not taken. Training is one graph, as a step of the
    /// character LM is; a forward pass alone is issued call by call, as `eval` does it.
    fn time(&self, how: Recurrence, seconds: f64, pool: &mut Pool) -> Result<Option<f64>> {
        let gpu = self.gpu;
        gpu.set_recurrence(how);
        gpu.with_pool(pool, || {
            let before = gpu.whole_passes();
            self.run()?;
            let whole = gpu.whole_passes() > before;
            if whole != (how == Recurrence::Whole) {
                return Ok(None);
            }
            let times = if self.training {
                let graph = gpu.driver().capture(&mut || self.run())?;
                let replay = || on_device(gpu, || gpu.driver().replay(&graph));
                Times::collect(seconds / 8.0, replay)?
            } else {
                Times::collect(seconds / 8.0, || on_device(gpu, || self.run()))?
            };
            if let Some(fault) = gpu.fault()? {
                return Err(Error::Device(fault.to_string()));
            }
            Ok(Some(times.median * 1e6 / self.steps as f64))
        })
    }
}
