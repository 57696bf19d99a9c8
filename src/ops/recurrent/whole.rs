//! A recurrent layer on a GPU in one kernel a pass, `kernels/lstm_whole.cuh`: rows are dealt in groups of
//! eight to clusters of blocks (up to 128 units to blocks), which take them through all their steps.

use super::beside::{Layers, Side};
use super::cell::Cell;
use super::made::{Deltas, Made};
use crate::autograd::Var;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::device::{Gpu, Recurrence};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::gpu::or_null;
use crate::tensor::Tensor;
use std::fmt;
use std::sync::Arc;

/// Rows of a group.
const ROWS: usize = 8;
/// Units of which a block holds the weights where a cluster of blocks shares them.
const OWN: usize = 64;
/// The most units of a block alone.
const ALONE: usize = 128;
/// The most units whose weights a cluster holds.
const MOST: usize = 512;

/// Blocks of a cluster, and threads of a block: `blocks_of` and `threads_of` of the kernels.
fn blocks_and_threads(hidden: usize) -> (usize, usize) {
    let own = if hidden <= ALONE { hidden } else { OWN };
    (hidden / own, 4 * own)
}

/// A pass through a sequence.
#[derive(Clone, Copy, Debug)]
enum Pass {
    Forward,
    Backward,
}

impl Pass {
    fn kernel<C: Cell>(self, hidden: usize) -> String {
        let pass = match self {
            Pass::Forward => "fwd",
            Pass::Backward => "bwd",
        };
        format!("{}_whole_{pass}_{hidden}", C::NAME)
    }

    /// Bytes of dynamic shared memory of a block, in the order of each pass's `Shared`: the weights that
    /// are not in registers, 16 bytes of each lane a slice; for each group two states (dz), the cell
    /// states (dc), two barriers, and in the backward pass a length.
    fn shared(self, hidden: usize, groups: usize) -> usize {
        let (_, threads) = blocks_and_threads(hidden);
        let (slices, state, length) = match self {
            Pass::Forward => (2 * (hidden / 16).saturating_sub(16), hidden, 0),
            // As `held_back`.
            Pass::Backward if hidden >= 256 => (hidden / 8 - 28, 4 * hidden, 4),
            Pass::Backward if hidden == 128 => (hidden / 8 - 8, 4 * hidden, 4),
            Pass::Backward => (0, 4 * hidden, 4),
        };
        let group = 2 * state * ROWS * 2 + 2 * threads * 4 + 2 * 8 + length;
        (slices * threads * 16 + groups * group).next_multiple_of(16)
    }
}

/// How the rows of a pass are dealt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deal {
    pass: Pass,
    hidden: usize,
    /// Clusters of all layers.
    clusters: usize,
    /// Groups of a cluster, at most.
    groups: usize,
    /// How often the clusters that run at once have to.
    rounds: usize,
}

impl Deal {
    /// None where the device runs no such clusters.
    fn new<C: Cell>(gpu: &Gpu, layers: &Layers, pass: Pass) -> Result<Option<Self>> {
        let (hidden, ways) = (layers.hidden(), layers.all.len());
        let all = (layers.packing.batch() / ways).div_ceil(ROWS);
        let kernel = pass.kernel::<C>(hidden);
        let fit = |groups| gpu.clusters(&launch(&kernel, pass, hidden, 1, groups));
        let at_once = fit(1)? as usize;
        if at_once == 0 {
            return Ok(None);
        }
        let mut groups = all.div_ceil((at_once / ways).clamp(1, all));
        while fit(groups)? == 0 {
            groups -= 1;
        }
        let clusters = all.div_ceil(groups) * ways;
        Ok(Some(Deal {
            pass,
            hidden,
            clusters,
            groups,
            rounds: clusters.div_ceil(at_once),
        }))
    }

    /// Runs the pass; `sizes` are what its kernel takes behind steps, rows, ways and groups.
    fn run<C: Cell>(
        &self,
        gpu: &Gpu,
        layers: &Layers,
        pointers: &[DevicePtr],
        sizes: &[u32],
    ) -> Result<()> {
        let (packing, ways) = (&layers.packing, layers.all.len());
        let mut args: Vec<Arg> = pointers.iter().map(|&p| p.into()).collect();
        args.push(gpu.fault_words()?.into());
        let of_all = [packing.steps(), packing.batch(), ways, self.groups];
        args.extend(of_all.map(|n| Arg::from(n as u32)));
        args.extend(sizes.iter().map(|&n| Arg::from(n)));
        let kernel = self.pass.kernel::<C>(self.hidden);
        let launch = launch(&kernel, self.pass, self.hidden, self.clusters, self.groups);
        gpu.count_whole();
        gpu.launch(&launch, &args)
    }
}

fn launch(kernel: &str, pass: Pass, hidden: usize, clusters: usize, groups: usize) -> Launch<'_> {
    let (blocks, threads) = blocks_and_threads(hidden);
    Launch {
        cluster: blocks as u32,
        // More than 32 bits is more than any device has.
        shared_bytes: u32::try_from(pass.shared(hidden, groups)).unwrap_or(u32::MAX),
        ..Launch::new(kernel, (clusters * blocks) as u32, threads as u32)
    }
}

/// Both passes of a layer.
#[derive(Debug)]
pub(super) struct Whole {
    forward: Deal,
    /// Where it is wanted.
    backward: Option<Deal>,
    /// Rows of one layer before each step `[T + 1]`, u32; none of sequences of one length.
    offsets: Option<Tensor>,
}

/// Why steps are taken one by one.
#[derive(Clone, Copy, Debug)]
enum Because {
    Cell,
    Dtype,
    Units,
    Rows,
    Device,
    Rounds(usize),
    Measured,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Cell => write!(f, "only an LSTM can do otherwise"),
            Because::Dtype => write!(f, "whole sequences are taken in fp16"),
            Because::Units => write!(f, "whole sequences need a multiple of {OWN} up to {MOST}"),
            Because::Rows => write!(f, "more than 2^32 numbers"),
            Because::Device => write!(f, "the device runs no clusters of as many blocks"),
            Because::Measured => write!(f, "measured to be faster here"),
            Because::Rounds(n) => write!(f, "whole sequences would take {n} rounds of all rows"),
        }
    }
}

impl Whole {
    /// Settles how the steps are taken, and tells the device's log; none where they are taken one by one.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn choose<C: Cell>(
        gpu: &Arc<Gpu>,
        layers: &Layers,
        recording: bool,
    ) -> Result<Option<Self>> {
        let wish = gpu.recurrence();
        // One step, of generation, is neither.
        if wish == Recurrence::Steps || layers.packing.steps() < 2 {
            return Ok(None);
        }
        let (word, hidden) = (C::NAME, layers.hidden());
        let passes = Self::passes::<C>(gpu, layers, recording, wish)?;
        gpu.tell(match &passes {
            Ok(_) => format!("recurrence: {word} of {hidden} units, whole sequences ({wish})"),
            Err(why) => {
                format!("recurrence: {word} of {hidden} units, step by step ({wish}: {why})")
            }
        });
        let Ok((forward, backward)) = passes else {
            return Ok(None);
        };
        Ok(Some(Whole {
            forward,
            backward,
            offsets: offsets(gpu, layers)?,
        }))
    }

    fn passes<C: Cell>(
        gpu: &Gpu,
        layers: &Layers,
        recording: bool,
        wish: Recurrence,
    ) -> Result<Result<(Deal, Option<Deal>), Because>> {
        let hidden = layers.hidden();
        let numbers = layers.packing.rows() * C::GATES.count() * hidden;
        let missing = [
            (!C::WHOLE, Because::Cell),
            (layers.w_hh.dtype() != DType::F16, Because::Dtype),
            (!hidden.is_multiple_of(OWN) || hidden > MOST, Because::Units),
            (u32::try_from(numbers).is_err(), Because::Rows),
        ];
        if let Some((_, why)) = missing.into_iter().find(|(missing, _)| *missing) {
            return Ok(Err(why));
        }
        let mut deals = vec![Deal::new::<C>(gpu, layers, Pass::Forward)?];
        if recording {
            deals.push(Deal::new::<C>(gpu, layers, Pass::Backward)?);
        }
        let deals: Option<Vec<Deal>> = deals.into_iter().collect();
        let Some(deals) = deals else {
            return Ok(Err(Because::Device));
        };
        let rounds = deals.iter().map(|deal| deal.rounds).max().unwrap_or(0);
        if wish == Recurrence::Auto {
            match gpu.whole_is_faster(hidden, layers.packing.batch(), recording) {
                Some(false) => return Ok(Err(Because::Measured)),
                None if rounds > 1 => return Ok(Err(Because::Rounds(rounds))),
                _ => {}
            }
        }
        Ok(Ok((deals[0], deals.get(1).copied())))
    }

    /// The forward pass.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn forward<C: Cell>(
        &self,
        gpu: &Gpu,
        layers: &Layers,
        side: &Side,
        made: &Made,
        [h_n, c_n]: [DevicePtr; 2],
    ) -> Result<()> {
        let pointers = [
            layers.w_hh.ptr()?,
            side.sums.ptr()?,
            or_null(side.ids.as_ref())?,
            or_null(side.bias.as_ref())?,
            h_0(layers)?,
            c_0(layers)?,
            or_null(self.offsets.as_ref())?,
            made.y.ptr()?,
            or_null(made.saved.as_ref())?,
            match made.saved {
                Some(_) => or_null(made.cells.as_ref())?,
                None => DevicePtr::NULL,
            },
            h_n,
            c_n,
        ];
        self.forward.run::<C>(gpu, layers, &pointers, &[])
    }

    /// The backward pass of a layer that was recorded.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn backward<C: Cell>(
        &self,
        gpu: &Gpu,
        layers: &Layers,
        made: &Made,
        dy: Option<&Tensor>,
        d: &Deltas,
    ) -> Result<()> {
        let Some(deal) = &self.backward else {
            return Ok(()); // nothing was recorded
        };
        let pointers = [
            layers.w_hh.ptr()?,
            or_null(dy)?,
            or_null(made.saved.as_ref())?,
            or_null(made.cells.as_ref())?,
            made.y.ptr()?,
            h_0(layers)?,
            c_0(layers)?,
            or_null(self.offsets.as_ref())?,
            d.dz_hidden.ptr()?,
            or_null(d.before.as_ref())?,
            d.dh.ptr()?,
            or_null(d.dc.as_ref())?,
        ];
        let state = u32::from(layers.state().is_some());
        deal.run::<C>(gpu, layers, &pointers, &[state])
    }
}

fn h_0(layers: &Layers) -> Result<DevicePtr> {
    or_null(layers.state().map(|state| state.h.value()))
}

fn c_0(layers: &Layers) -> Result<DevicePtr> {
    or_null(layers.all[0].c0().map(Var::value))
}

fn offsets(gpu: &Arc<Gpu>, layers: &Layers) -> Result<Option<Tensor>> {
    let layer = &layers.all[0];
    if layer.packing.is_uniform() {
        return Ok(None);
    }
    if let Some(offsets) = &layer.offsets {
        return Ok(Some(offsets.clone()));
    }
    let offsets = layer.packing.offsets();
    Tensor::from_slice(&offsets, [offsets.len()])?
        .to_gpu(gpu)
        .map(Some)
}
