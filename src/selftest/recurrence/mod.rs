//! Whole sequences in one kernel against their steps one by one, over a grid of sizes: what `rnnx selftest
//! --recurrence` runs on a GPU. The op table holds the same kernels against the CPU, at a few rows and steps.
//!
//! Both ways get the same operands. Outputs, final states and the gradients of all inputs are compared, where
//! random gradients arrive at every output; and whole sequences must give the same bits twice.

mod apart;
pub mod operands;

use super::CaseResult;
use super::bounds::{Bound, WHOLE_GRADIENT, WHOLE_STATE};
use super::cases::WHOLE;
use super::probe::backward_from;
use crate::autograd::Tape;
use crate::device::{Gpu, Recurrence};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::cast::convert;
use crate::ops::recurrent::CellKind;
use crate::rng::{Purpose, Stream};
use crate::tensor::Tensor;
use apart::apart;
use operands::{ARRIVING, Form, Numbers, Operands};
use std::sync::Arc;

/// The sizes of the grid.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Units H.
    units: &'static [usize],
    /// The most units of the decoder with attention.
    of_decoder: usize,
    /// Rows B.
    rows: &'static [usize],
    /// Time steps T, of the longest row.
    steps: &'static [usize],
}

impl Grid {
    /// What a GPU is held to: one group of eight rows and less, several, and the published batch.
    pub const FULL: Grid = Grid {
        units: &[64, 128, 256, 512],
        of_decoder: 256,
        rows: &[1, 7, 8, 64, 128, 500, 512],
        steps: &[1, 2, 3, 256],
    };
    /// The same for the emulated device.
    pub const SMALL: Grid = Grid {
        units: &[64, 192],
        of_decoder: 64,
        rows: &[1, 9],
        steps: &[1, 3],
    };

    /// Elements of the largest tensor that is drawn: the gradient of y of layers side by side, or the decoder's values.
    fn largest(&self) -> usize {
        let most = |of: &[usize]| of.iter().copied().max().unwrap_or(0);
        most(self.rows) * most(self.steps).max(POSITIONS) * 2 * most(self.units)
    }
}

/// The most source positions of a row.
const POSITIONS: usize = 30;

/// What of the grid an op's name says.
#[derive(Clone, Copy, Debug)]
enum What {
    Layer(CellKind, Form),
    Decoder,
}

const ALL: [What; 7] = [
    What::Layer(CellKind::Lstm, Form::Table),
    What::Layer(CellKind::Lstm, Form::Dense),
    What::Layer(CellKind::Lstm, Form::SideBySide),
    What::Layer(CellKind::Rnn, Form::Table),
    What::Layer(CellKind::Rnn, Form::Dense),
    What::Layer(CellKind::Rnn, Form::SideBySide),
    What::Decoder,
];

impl What {
    fn op(self) -> &'static str {
        match self {
            What::Layer(CellKind::Rnn, _) => WHOLE[1],
            What::Layer(..) => WHOLE[0],
            What::Decoder => WHOLE[2],
        }
    }

    fn form(self) -> &'static str {
        match self {
            What::Layer(_, Form::Table) => "table",
            What::Layer(_, Form::Dense) => "dense",
            What::Layer(_, Form::SideBySide) => "two side by side",
            What::Decoder => "decoder",
        }
    }
}

/// A size.
struct Size {
    what: What,
    units: usize,
    /// Of the rows.
    lengths: Vec<usize>,
    /// Source positions of each row.
    sources: Vec<usize>,
}

impl Size {
    /// Rows of any length up to `steps`, of which one is as long and, of several, one is a single step; or all of
    /// `steps`.
    fn new(what: What, [units, rows, steps]: [usize; 3], ragged: bool) -> Self {
        let seed = (units * rows * steps) as u64;
        let mut reader = Stream::new(seed, Purpose::Sample, 0).reader();
        let mut upto = |most: usize| 1 + reader.below(most as u32) as usize;
        let mut lengths: Vec<usize> = (0..rows).map(|_| upto(steps)).collect();
        if ragged {
            lengths[rows - 1] = 1;
            lengths[0] = steps;
            lengths.sort_unstable_by(|a, b| b.cmp(a));
        } else {
            lengths.fill(steps);
        }
        Size {
            what,
            units,
            lengths,
            sources: (0..rows).map(|_| upto(POSITIONS)).collect(),
        }
    }

    fn name(&self) -> String {
        let (form, rows, steps) = (self.what.form(), self.lengths.len(), self.lengths[0]);
        let is_uniform = self.lengths.iter().all(|&n| n == steps);
        let of = if is_uniform { "" } else { "up to " };
        let count = |n: usize, of: &str| format!("{n} {of}{}", if n == 1 { "" } else { "s" });
        let (rows, steps) = (count(rows, "row"), count(steps, "step"));
        format!("{form}, {} units, {rows} of {of}{steps}", self.units)
    }

    fn operands(&self, gpu: &Arc<Gpu>, numbers: &Numbers) -> Result<Operands> {
        let lengths = &self.lengths;
        match self.what {
            What::Layer(cell, form) => {
                Operands::layer(gpu, numbers, (cell, form), self.units, lengths, true)
            }
            What::Decoder => Operands::decoder(gpu, numbers, self.units, lengths, &self.sources),
        }
    }
}

/// All sizes of the ops whose name contains `filter`.
fn sizes(grid: &Grid, filter: Option<&str>) -> Vec<Size> {
    let mut sizes = Vec::new();
    for what in ALL {
        if filter.is_some_and(|filter| !what.op().contains(filter)) {
            continue;
        }
        let most = match what {
            What::Decoder => grid.of_decoder,
            What::Layer(..) => usize::MAX,
        };
        for &units in grid.units.iter().filter(|&&units| units <= most) {
            for &rows in grid.rows {
                for &steps in grid.steps {
                    sizes.push(Size::new(what, [units, rows, steps], true));
                }
            }
            // Rows of one length, as the character LM has them, are another path.
            if let (Some(&rows), Some(&steps)) = (grid.rows.last(), grid.steps.last()) {
                sizes.push(Size::new(what, [units, rows, steps], false));
            }
        }
    }
    sizes
}

/// The ops of the grid.
pub const OPS: [&str; 3] = WHOLE;

/// Compares both ways over the sizes of the ops whose name contains `filter`. A size that fails is a result like
/// any other; one of which the device takes a pass by steps says why, in its message. Where a kernel gives up, which
/// takes seconds, the other sizes of as many units fail untried.
///
/// # Errors
/// If there is no memory for the operands.
pub fn run(gpu: &Arc<Gpu>, grid: &Grid, filter: Option<&str>) -> Result<Vec<CaseResult>> {
    let numbers = Numbers::new(gpu, grid.largest())?;
    let (wish, had_given_up) = (gpu.recurrence(), gpu.try_whole_again());
    let mut given_up = Vec::new();
    let mut results = Vec::new();
    for size in sizes(grid, filter) {
        let kernel = (size.what.op(), size.units);
        let found = match given_up.contains(&kernel) {
            true => Err(Error::op(
                "recurrence",
                "not compared: see the first size of as many units",
            )),
            false => compare(gpu, &numbers, &size),
        };
        if gpu.try_whole_again() {
            given_up.push(kernel);
        }
        results.push(result(&size, found));
    }
    gpu.set_recurrence(wish);
    gpu.forget_news();
    if had_given_up || !given_up.is_empty() {
        gpu.refuse_whole("a kernel has given up");
    }
    Ok(results)
}

fn result(size: &Size, found: Result<Found>) -> CaseResult {
    let found = found.unwrap_or_else(|error| Found {
        error: f64::INFINITY,
        why: "no result",
        wrong: Some(error.to_string()),
        ..Found::default()
    });
    CaseResult {
        op: size.what.op(),
        dtype: DType::F16,
        case: size.name(),
        error: found.error,
        bound: found.bound,
        why: found.why,
        digest: found.digest,
        passed: found.wrong.is_none(),
        by_steps: found.by_steps.is_some(),
        message: found.wrong.or(found.by_steps).unwrap_or_default(),
    }
}

/// What is found at a size.
#[derive(Debug, Default)]
struct Found {
    error: f64,
    bound: f64,
    why: &'static str,
    digest: u64,
    wrong: Option<String>,
    /// Why a pass went by steps.
    by_steps: Option<String>,
}

/// Outputs and gradients by name, each with its bound.
type Results = Vec<(String, Tensor, Bound)>;

fn compare(gpu: &Arc<Gpu>, numbers: &Numbers, size: &Size) -> Result<Found> {
    gpu.set_recurrence(Recurrence::Whole);
    gpu.forget_news();
    let operands = size.operands(gpu, numbers)?;
    let whole = || {
        let results = results(&operands, numbers)?;
        gpu.check_measured()?;
        Ok::<_, Error>(results)
    };
    let before = gpu.whole_passes();
    let first = whole()?;
    let passes = gpu.whole_passes() - before;
    let mut found = Found {
        by_steps: (passes < 2).then(|| reason(gpu, size)),
        why: "by steps: not compared",
        ..Found::default()
    };
    if passes == 0 {
        return Ok(found);
    }
    let second = whole()?;
    gpu.set_recurrence(Recurrence::Steps);
    let want = results(&operands, numbers)?;
    let mut worst = -1.0;
    let mut digests = Vec::new();
    let mut other_bits = None;
    for (((name, got, bound), (_, again, _)), (_, want, _)) in first.iter().zip(&second).zip(&want)
    {
        let apart = apart(got, again, want)?;
        digests.extend(apart.digest.to_le_bytes());
        if apart.other_bits {
            other_bits.get_or_insert(format!("{name} has other bits in a second run"));
        }
        let bound = (bound.of(DType::F16), bound.why);
        let share = apart.error / bound.0;
        if share > worst {
            worst = share;
            (found.error, found.bound, found.why) = (apart.error, bound.0, bound.1);
            found.wrong = (share > 1.0).then(|| {
                format!(
                    "{name}, element {} of {}: {:e}, step by step {:e}",
                    apart.at,
                    got.numel(),
                    apart.got,
                    apart.want
                )
            });
        }
    }
    found.wrong = found.wrong.or(other_bits);
    found.digest = super::fnv(digests);
    Ok(found)
}

/// What the device's log says of a pass that went by steps.
fn reason(gpu: &Gpu, size: &Size) -> String {
    let said = gpu
        .news()
        .into_iter()
        .find(|line| line.contains("step by step"));
    match said {
        Some(line) => line.trim_start_matches("recurrence: ").to_owned(),
        None if size.lengths[0] == 1 => "a single step".into(),
        None => "the device does not say why".into(),
    }
}

/// Outputs, and the gradients of all inputs where random ones arrive at every output.
fn results(operands: &Operands, numbers: &Numbers) -> Result<Results> {
    let mut tape = Tape::new();
    let [inputs, outputs] = operands.run(&mut tape)?;
    let mut results = Results::new();
    let mut seeds = Vec::new();
    for (k, (name, var)) in outputs.into_iter().enumerate() {
        let value = var.value();
        let seed = numbers.tensor(ARRIVING + k, value.shape().clone())?;
        let slot = var.slot().ok_or_else(|| no_gradient(name))?;
        seeds.push((slot, convert(&seed, value.dtype())?));
        results.push((name.to_owned(), var.into_value(), WHOLE_STATE));
    }
    let mut grads = backward_from(tape, seeds)?;
    for (name, var) in inputs {
        let gradient = grads.take(var.slot()).ok_or_else(|| no_gradient(name))?;
        results.push((format!("d{name}"), gradient, WHOLE_GRADIENT));
    }
    Ok(results)
}

fn no_gradient(name: &str) -> Error {
    Error::op("recurrence", format!("no gradient arrived at {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that docs/gpu.md and the README tell.
    #[test]
    fn the_sizes_of_the_full_grid() {
        let all = sizes(&Grid::FULL, None);
        assert_eq!(all.len(), 783);
        let of_rnn = |size: &Size| size.what.op() == WHOLE[1];
        let with_kernels = all
            .iter()
            .filter(|size| size.lengths[0] > 1 && !(of_rnn(size) && size.units > 256));
        assert_eq!(with_kernels.count(), 528);
        let mut names: Vec<String> = all
            .iter()
            .map(|size| format!("{} {}", size.what.op(), size.name()))
            .collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn ragged_rows_are_of_any_length_and_the_same_each_time() {
        let size = |ragged| Size::new(What::Decoder, [64, 128, 256], ragged);
        let (rows, again) = (size(true), size(true));
        assert!((&rows.lengths, &rows.sources) == (&again.lengths, &again.sources));
        assert!(rows.lengths.is_sorted_by(|a, b| a >= b));
        assert_eq!((rows.lengths[0], rows.lengths[127]), (256, 1));
        let mut different = rows.lengths.clone();
        different.dedup();
        assert!(different.len() > 64, "{different:?}");
        assert!(rows.sources.iter().all(|n| (1..=POSITIONS).contains(n)));
        assert_eq!(size(false).lengths, [256; 128]);
    }
}
