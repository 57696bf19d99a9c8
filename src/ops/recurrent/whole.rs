//! A recurrent layer on a GPU in one kernel a pass, `kernels/whole.cuh`: rows are dealt in groups of eight to
//! blocks, or to clusters of them, which take them through all their steps.

use super::because::Because;
use super::beside::{Layers, Side};
use super::cell::{Cell, Pass, WholeKernels};
use super::made::{Deltas, Made};
use super::packed::step_offsets;
use crate::autograd::Var;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::device::measured::Size;
use crate::device::{Gpu, Recurrence};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::gpu::or_null;
use crate::tensor::Tensor;
use std::sync::Arc;

/// How the rows of a pass are dealt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deal {
    kernels: WholeKernels,
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
    fn new<C: Cell>(
        gpu: &Gpu,
        layers: &Layers,
        kernels: WholeKernels,
        pass: Pass,
    ) -> Result<Option<Self>> {
        let (hidden, ways) = (layers.hidden(), layers.all.len());
        let all = (layers.packing.batch() / ways).div_ceil(WholeKernels::ROWS);
        let mut deal = Deal {
            kernels,
            pass,
            hidden,
            clusters: 1,
            groups: 1,
            rounds: 1,
        };
        let kernel = deal.kernel::<C>();
        let fit = |groups| gpu.clusters(&Deal { groups, ..deal }.launch(&kernel));
        let at_once = fit(1)? as usize;
        if at_once == 0 {
            return Ok(None);
        }
        let mut groups = all.div_ceil((at_once / ways).clamp(1, all));
        while fit(groups)? == 0 {
            groups -= 1;
        }
        deal.groups = groups;
        deal.clusters = all.div_ceil(groups) * ways;
        deal.rounds = deal.clusters.div_ceil(at_once);
        Ok(Some(deal))
    }

    fn kernel<C: Cell>(&self) -> String {
        let pass = match self.pass {
            Pass::Forward => "fwd",
            Pass::Backward => "bwd",
        };
        format!("{}_whole_{pass}_{}", C::NAME, self.hidden)
    }

    fn launch<'a>(&self, kernel: &'a str) -> Launch<'a> {
        let (blocks, threads) = self.kernels.blocks_and_threads(self.hidden);
        let shared = (self.kernels.shared)(self.pass, self.hidden, self.groups);
        Launch {
            cluster: blocks as u32,
            // More than 32 bits is more than any device has.
            shared_bytes: u32::try_from(shared).unwrap_or(u32::MAX),
            ..Launch::new(kernel, (self.clusters * blocks) as u32, threads as u32)
        }
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
        // Where blocks wait for one another.
        if self.kernels.most > self.kernels.alone {
            args.push(gpu.fault_words()?.into());
        }
        let of_all = [packing.steps(), packing.batch(), ways, self.groups];
        args.extend(of_all.map(|n| Arg::from(n as u32)));
        args.extend(sizes.iter().map(|&n| Arg::from(n)));
        gpu.count_whole();
        gpu.launch(&self.launch(&self.kernel::<C>()), &args)
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
        let passes = Self::passes::<C>(gpu, layers, recording)?;
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
            offsets: {
                let layer = &layers.all[0];
                step_offsets(gpu, &layer.packing, layer.offsets.as_ref())?
            },
        }))
    }

    fn passes<C: Cell>(
        gpu: &Gpu,
        layers: &Layers,
        recording: bool,
    ) -> Result<Result<(Deal, Option<Deal>), Because>> {
        let hidden = layers.hidden();
        let numbers = layers.packing.rows() * C::GATES.count() * hidden;
        let Some(kernels) = C::WHOLE else {
            return Ok(Err(Because::Cell));
        };
        let units = hidden.is_multiple_of(WholeKernels::OWN) && hidden <= kernels.most;
        let missing = [
            (layers.w_hh.dtype() != DType::F16, Because::Dtype),
            (!units, Because::Units(kernels.most)),
            (u32::try_from(numbers).is_err(), Because::Rows),
        ];
        if let Some((_, why)) = missing.into_iter().find(|(missing, _)| *missing) {
            return Ok(Err(why));
        }
        let mut deals = vec![Deal::new::<C>(gpu, layers, kernels, Pass::Forward)?];
        if recording {
            deals.push(Deal::new::<C>(gpu, layers, kernels, Pass::Backward)?);
        }
        let deals: Option<Vec<Deal>> = deals.into_iter().collect();
        let Some(deals) = deals else {
            return Ok(Err(Because::Device));
        };
        let rounds = deals.iter().map(|deal| deal.rounds).max().unwrap_or(0);
        let size = Size {
            cell: C::NAME.into(),
            units: hidden,
            rows: layers.packing.batch(),
            training: recording,
        };
        if let Some(why) = Because::of_auto(gpu, &size, rounds, 1) {
            return Ok(Err(why));
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
        let kept = made.saved.as_ref().and(made.cells.as_ref());
        let pointers = [
            Some(layers.w_hh.ptr()?),
            Some(side.sums.ptr()?),
            Some(or_null(side.ids.as_ref())?),
            Some(or_null(side.bias.as_ref())?),
            Some(h_0(layers)?),
            of_c::<C>(c_0(layers)?),
            Some(or_null(self.offsets.as_ref())?),
            Some(made.y.ptr()?),
            of_c::<C>(or_null(made.saved.as_ref())?),
            of_c::<C>(or_null(kept)?),
            Some(h_n),
            of_c::<C>(c_n),
        ];
        let pointers: Vec<DevicePtr> = pointers.into_iter().flatten().collect();
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
            Some(layers.w_hh.ptr()?),
            Some(or_null(dy)?),
            of_c::<C>(or_null(made.saved.as_ref())?),
            of_c::<C>(or_null(made.cells.as_ref())?),
            Some(made.y.ptr()?),
            Some(h_0(layers)?),
            of_c::<C>(c_0(layers)?),
            Some(or_null(self.offsets.as_ref())?),
            Some(d.dz_hidden.ptr()?),
            Some(or_null(d.before.as_ref())?),
            Some(d.dh.ptr()?),
            of_c::<C>(or_null(d.dc.as_ref())?),
        ];
        let pointers: Vec<DevicePtr> = pointers.into_iter().flatten().collect();
        let state = u32::from(layers.state().is_some());
        deal.run::<C>(gpu, layers, &pointers, &[state])
    }
}

/// An argument that the kernels of cells without a cell state do not take: that state, and what is saved, which
/// for them is y alone.
fn of_c<C: Cell>(ptr: DevicePtr) -> Option<DevicePtr> {
    C::HAS_C.then_some(ptr)
}

fn h_0(layers: &Layers) -> Result<DevicePtr> {
    or_null(layers.state().map(|state| state.h.value()))
}

fn c_0(layers: &Layers) -> Result<DevicePtr> {
    or_null(layers.all[0].c0().map(Var::value))
}
