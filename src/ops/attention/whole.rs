//! The attention decoder on a GPU in one kernel a pass, `kernels/attention_whole.cuh`, and what is left to do for
//! all its steps at once, `kernels/attention_steps.cu`.

use super::gpu::{Made, w_ih};
use super::gpu_backward::Deltas;
use super::{Operands, WORD};
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::device::measured::Size;
use crate::device::{Gpu, Recurrence};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::gpu::{self, GpuMat, or_null};
use crate::ops::recurrent::because::Because;
use crate::ops::recurrent::cell::{Pass, WholeKernels};
use crate::ops::recurrent::packed::step_offsets;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Units of a block, and its threads: `OWN` and `THREADS` of the header.
const OWN: usize = 32;
const THREADS: usize = 4 * OWN;
/// The most units.
const MOST: usize = 256;
/// Rounds of all rows that `auto` takes. A step of a round is predicted to take a seventh to an eighth of what a
/// step's own calls do (docs/gpu.md): 2 of 14 us forward and of 17 back, four rounds 8 us; neither is measured.
const ROUNDS: usize = 4;
/// Positions are counted in so many, lest each batch has a kernel with another size of shared memory to ask for.
const UNIT: usize = 16;
/// Positions of a block of `attention_steps.cu`.
const TILE: usize = 8;

/// A pass, whose rows are dealt in groups of eight: a cluster takes one.
#[derive(Clone, Copy, Debug)]
struct Deal {
    pass: Pass,
    hidden: usize,
    groups: usize,
    /// Positions of a group, at most.
    most: usize,
}

impl Deal {
    fn kernel(&self) -> String {
        let pass = match self.pass {
            Pass::Forward => "fwd",
            Pass::Backward => "bwd",
        };
        format!("{WORD}_whole_{pass}_{}", self.hidden)
    }

    /// Bytes of dynamic shared memory, in the order of each pass's struct: weights, projected values, states, three
    /// barriers; of each position its energies' parts, weight (and de), keys, and its row.
    fn shared(&self) -> usize {
        let (hidden, blocks) = (self.hidden, self.hidden / OWN);
        let (weights, states, own) = match self.pass {
            Pass::Forward => (hidden / 16 * THREADS * 8, 2 * hidden, 1),
            Pass::Backward => {
                // `held_back` of the kernel.
                let slices = 5 * hidden / 32;
                let held = match hidden {
                    256 => 24,
                    192 => 26,
                    _ => slices,
                };
                ((slices - held) * THREADS * 16, 2 * 5 * hidden, 2)
            }
        };
        let position = OWN * 8 + 4 * (blocks + own + OWN / 2 + 1 + 1);
        let bytes = weights + states * WholeKernels::ROWS * 2 + 3 * 8 + self.most * position;
        bytes.next_multiple_of(16)
    }

    fn launch<'a>(&self, kernel: &'a str) -> Launch<'a> {
        let blocks = self.hidden / OWN;
        Launch {
            cluster: blocks as u32,
            // More than 32 bits is more than any device has.
            shared_bytes: u32::try_from(self.shared()).unwrap_or(u32::MAX),
            ..Launch::new(kernel, (self.groups * blocks) as u32, THREADS as u32)
        }
    }

    /// How often the clusters that run at once have to; none where the device runs none.
    fn rounds(&self, gpu: &Gpu) -> Result<Option<usize>> {
        let at_once = gpu.clusters(&self.launch(&self.kernel()))? as usize;
        Ok((at_once > 0).then(|| self.groups.div_ceil(at_once)))
    }

    /// Runs the pass; `pitch` is that of the queries it writes, or of dz and dq.
    fn run(&self, gpu: &Gpu, o: &Operands, pointers: &[DevicePtr], pitch: usize) -> Result<()> {
        let mut args: Vec<Arg> = pointers.iter().map(|&p| p.into()).collect();
        args.push(gpu.fault_words()?.into());
        let (steps, rows) = (o.packing.steps(), o.packing.batch());
        let sizes = [steps, rows, self.most, o.spans.longest(), pitch];
        args.extend(sizes.map(|n| Arg::from(n as u32)));
        gpu.count_whole();
        gpu.launch(&self.launch(&self.kernel()), &args)
    }
}

/// The forward pass, and what the backward pass takes from it.
#[derive(Debug)]
pub(super) struct Whole {
    forward: Deal,
    /// Where it is wanted; of a step by step one there is none.
    backward: Option<Deal>,
    source: Projected,
}

/// What both passes read.
#[derive(Debug)]
struct Projected {
    /// First row of each step `[T + 1]`, u32; none of targets of one length.
    steps: Option<Tensor>,
    /// The values through W_c, the context's columns of W_ih `[M, 4H]`.
    values: Tensor,
}

/// The backward pass, where it is one kernel.
#[derive(Debug)]
pub(super) struct WholeBack {
    deal: Deal,
    source: Projected,
}

impl Whole {
    /// Settles how the steps are taken, and tells the device's log; none where they are taken one by one.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn choose(gpu: &Arc<Gpu>, o: &Operands, recording: bool) -> Result<Option<Self>> {
        let (wish, hidden) = (gpu.recurrence(), o.hidden());
        // One step, of decoding, is neither.
        if wish == Recurrence::Steps || o.packing.steps() < 2 {
            return Ok(None);
        }
        let of = format!("recurrence: {WORD} of {hidden} units");
        let common = Common::of(o, recording);
        let deal = |pass| match &common {
            Ok(common) => common.deal(gpu, pass),
            Err(why) => Ok(Err(*why)),
        };
        let forward = match deal(Pass::Forward)? {
            Ok(forward) => forward,
            Err(why) => {
                gpu.tell(format!("{of}, step by step ({wish}: {why})"));
                return Ok(None);
            }
        };
        let backward = match recording {
            true => Some(deal(Pass::Backward)?),
            false => None,
        };
        gpu.tell(match &backward {
            Some(Err(why)) => {
                format!("{of}, whole sequences forward, step by step back ({wish}: {why})")
            }
            _ => format!("{of}, whole sequences ({wish})"),
        });
        let source = Projected {
            steps: step_offsets(gpu, &o.packing, o.step_offsets.as_ref())?,
            values: Tensor::on_gpu(gpu, DType::F16, [o.spans.total(), 4 * hidden])?,
        };
        Ok(Some(Whole {
            forward,
            backward: backward.and_then(std::result::Result::ok),
            source,
        }))
    }

    /// Whether the backward pass is one kernel, too.
    pub(super) fn goes_back(&self) -> bool {
        self.backward.is_some()
    }

    /// What the backward pass needs, where it is one kernel, too.
    pub(super) fn into_back(self) -> Option<WholeBack> {
        let source = self.source;
        self.backward.map(|deal| WholeBack { deal, source })
    }

    /// The forward pass; `side` are the inputs but for the contexts through W_ih `[N, 4H]`.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn forward(
        &self,
        gpu: &Gpu,
        o: &Operands,
        made: &Made,
        [side, h_n, c_n]: [&Tensor; 3],
    ) -> Result<()> {
        let (values, [_, w_c]) = (GpuMat::of(o.values.value(), false)?, w_ih(o, true)?);
        let projected = (self.source.values.ptr()?, 4 * o.hidden());
        gpu::gemm_columns(gpu, values, w_c, projected, DType::F16, false)?;
        let saved = |t: &Tensor| match made.gates {
            Some(_) => t.ptr(),
            None => Ok(DevicePtr::NULL),
        };
        let weights = [o.w_hh.value(), side, o.bias.value(), o.w_q.value()];
        let [w_hh, side, bias, w_q] = weights.map(Tensor::ptr);
        let mut pointers = vec![w_hh?, side?, bias?, w_q?];
        pointers.extend(self.source.pointers(o, made)?);
        pointers.extend([
            o.h0.value().ptr()?,
            o.c0.value().ptr()?,
            or_null(self.source.steps.as_ref())?,
            made.y.ptr()?,
            or_null(made.gates.as_ref())?,
            saved(&made.cells)?,
            h_n.ptr()?,
            c_n.ptr()?,
            made.alpha.ptr()?,
            saved(&made.sums)?,
        ]);
        let pitch = made.sums.shape().last();
        self.forward.run(gpu, o, &pointers, pitch)?;
        let pointers = [
            made.alpha.ptr()?,
            o.values.value().ptr()?,
            made.offsets.ptr()?,
            or_null(self.source.steps.as_ref())?,
            made.context.ptr()?,
        ];
        let blocks = o.packing.steps() * o.packing.batch();
        over_steps(gpu, o, "contexts", blocks, &pointers, &[o.columns()])
    }
}

impl Projected {
    /// b_q, v, the keys, the projected values and where they begin.
    fn pointers(&self, o: &Operands, made: &Made) -> Result<[DevicePtr; 5]> {
        Ok([
            o.b_q.value().ptr()?,
            o.v.value().ptr()?,
            o.keys.value().ptr()?,
            self.values.ptr()?,
            made.offsets.ptr()?,
        ])
    }
}

// ---- backward ----------------------------------------------------------------------------------

impl WholeBack {
    /// Sums over the steps, f32: of the keys `[M, A]`, of the values `[M, D]`, and shares of v's `[.., A]`, to be
    /// added up over their rows.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn sums(gpu: &Arc<Gpu>, o: &Operands) -> Result<[Tensor; 3]> {
        let new = |rows, columns| Tensor::on_gpu(gpu, DType::F32, [rows, columns]);
        let positions = o.spans.total();
        Ok([
            new(positions, o.width())?,
            new(positions, o.columns())?,
            new(o.packing.batch() * tiles(o), o.width())?,
        ])
    }

    /// The backward pass.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn backward(
        &self,
        gpu: &Arc<Gpu>,
        o: &Operands,
        made: &Made,
        [dy, dcontext, dalpha]: [Option<&Tensor>; 3],
        d: &Deltas,
    ) -> Result<()> {
        let (rows, longest) = (o.packing.rows(), o.spans.longest());
        let steps = or_null(self.source.steps.as_ref())?;
        let (values, spans) = (o.values.value().ptr()?, made.offsets.ptr()?);
        let a_row_and_step = o.packing.steps() * o.packing.batch();
        // What arrives at alpha from elsewhere than the gates.
        let above = match dcontext {
            None => dalpha.cloned(),
            Some(dcontext) => {
                let above = Tensor::on_gpu(gpu, DType::F32, [rows, longest])?;
                let of = [or_null(dalpha)?, dcontext.ptr()?, values];
                let pointers = [&of[..], &[spans, steps, above.ptr()?]].concat();
                over_steps(gpu, o, "above", a_row_and_step, &pointers, &[o.columns()])?;
                Some(above)
            }
        };
        let de = Tensor::on_gpu(gpu, DType::F32, [rows, longest])?;
        let dq = d.sums.ptr()?;
        let mut pointers = vec![o.w_hh.value().ptr()?, o.w_q.value().ptr()?];
        pointers.extend(self.source.pointers(o, made)?);
        pointers.extend([
            or_null(dy)?,
            or_null(above.as_ref())?,
            or_null(made.gates.as_ref())?,
            made.cells.ptr()?,
            made.y.ptr()?,
            made.alpha.ptr()?,
            made.sums.ptr()?,
            o.h0.value().ptr()?,
            o.c0.value().ptr()?,
            steps,
            dq.offset(o.width() * DType::F16.size()),
            dq,
            d.before.ptr()?,
            de.ptr()?,
            d.dh.ptr()?,
            d.dc.ptr()?,
        ]);
        self.deal.run(gpu, o, &pointers, o.pitch())?;

        // The contexts' gradients through the gates, and from them and de those of values, keys and v.
        let through = Tensor::on_gpu(gpu, DType::F32, [rows, o.columns()])?;
        let dz = GpuMat::of(&d.sums, false)?.columns(o.width(), 4 * o.hidden());
        let [_, w_c] = w_ih(o, false)?;
        let to = (through.ptr()?, o.columns());
        gpu::gemm_columns(gpu, dz, w_c, to, DType::F32, false)?;
        let a_tile = o.packing.batch() * tiles(o);
        let of = [made.alpha.ptr()?, or_null(dcontext)?, through.ptr()?];
        let pointers = [&of[..], &[spans, steps, d.dvalues.ptr()?]].concat();
        over_steps(gpu, o, "values_bwd", a_tile, &pointers, &[o.columns()])?;
        let [bias, keys, v] = [&o.b_q, &o.keys, &o.v].map(|var| var.value().ptr());
        let of = [de.ptr()?, made.sums.ptr()?, bias?, keys?, v?];
        let pointers = [&of[..], &[spans, steps, d.dkeys.ptr()?, d.dv.ptr()?]].concat();
        over_steps(gpu, o, "keys_bwd", a_tile, &pointers, &[o.width()])
    }
}

/// Tiles of the positions of a row of the batch.
fn tiles(o: &Operands) -> usize {
    o.spans.longest().div_ceil(TILE)
}

/// A kernel of `attention_steps.cu`; `sizes` are what it takes behind steps, rows and the most positions of a row.
fn over_steps(
    gpu: &Gpu,
    o: &Operands,
    name: &str,
    blocks: usize,
    pointers: &[DevicePtr],
    sizes: &[usize],
) -> Result<()> {
    let mut args: Vec<Arg> = pointers.iter().map(|&p| p.into()).collect();
    let of_all = [o.packing.steps(), o.packing.batch(), o.spans.longest()];
    let sizes = of_all.iter().chain(sizes);
    args.extend(sizes.map(|&n| Arg::from(n as u32)));
    let kernel = format!("attention_{name}_f16");
    gpu.launch(&Launch::new(&kernel, blocks as u32, 256), &args)
}

/// What the deals of both passes have in common.
struct Common {
    groups: usize,
    /// Positions of a group, at most.
    most: usize,
    size: Size,
}

impl Common {
    /// Or why there are no kernels for the decoder.
    fn of(o: &Operands, recording: bool) -> std::result::Result<Self, Because> {
        let (hidden, batch) = (o.hidden(), o.packing.batch());
        let units = hidden.is_multiple_of(WholeKernels::OWN) && hidden <= MOST;
        let numbers = o.packing.rows().max(o.spans.total()) * 5 * hidden;
        // The grids of `attention_steps.cu`; that of the steps has fewer.
        let blocks = batch * o.packing.steps().max(tiles(o));
        let missing = [
            (o.x.value().dtype() != DType::F16, Because::Dtype),
            (!units, Because::Units(MOST)),
            (o.width() != hidden, Because::Width),
            (u32::try_from(numbers).is_err(), Because::Rows),
            (i32::try_from(blocks).is_err(), Because::Blocks),
        ];
        if let Some((_, why)) = missing.into_iter().find(|(missing, _)| *missing) {
            return Err(why);
        }
        let firsts = (0..batch).step_by(WholeKernels::ROWS);
        let positions = firsts.map(|first| {
            let last = (first + WholeKernels::ROWS).min(batch) - 1;
            o.spans.end(last) - o.spans.start(first)
        });
        Ok(Common {
            groups: batch.div_ceil(WholeKernels::ROWS),
            most: positions.max().unwrap_or(0).next_multiple_of(UNIT),
            size: Size {
                cell: WORD.into(),
                units: hidden,
                rows: batch,
                training: recording,
            },
        })
    }

    /// How a pass is dealt, or why it is taken step by step.
    fn deal(&self, gpu: &Gpu, pass: Pass) -> Result<std::result::Result<Deal, Because>> {
        let deal = Deal {
            pass,
            hidden: self.size.units,
            groups: self.groups,
            most: self.most,
        };
        let Some(rounds) = deal.rounds(gpu)? else {
            return Ok(Err(Because::Device));
        };
        let why = Because::of_auto(gpu, &self.size, rounds, ROUNDS);
        Ok(why.map_or(Ok(deal), Err))
    }
}
