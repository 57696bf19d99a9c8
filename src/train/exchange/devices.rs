//! Sums over the shards of all ranks, from device to device.

use crate::device::Gpu;
use crate::device::collectives::{Collectives, Group};
use crate::device::driver::Launch;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::gpu::pointers;
use crate::ranks::Ranks;
use crate::ranks::tree::{self, Known};
use crate::tensor::Tensor;
use std::ops::Range;
use std::sync::Arc;

/// Most f32 of an exchange that are in a device's memory at a time, besides the gradient.
const AT_ONCE: usize = 16 << 20;

/// The devices of all ranks, as one of them sees them.
#[derive(Debug)]
pub struct Devices {
    // First, so that it goes before the device.
    group: Group,
    gpu: Arc<Gpu>,
    ranks: Arc<Ranks>,
}

/// A node of the tree of shards whose sum a rank has made.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::train) struct Given {
    pub(in crate::train) rank: usize,
    /// Its number among the nodes of that rank.
    pub(in crate::train) slot: usize,
    pub(in crate::train) node: Range<usize>,
    /// Whether its shards have rows.
    pub(in crate::train) has_rows: bool,
}

impl Devices {
    /// The devices of `ranks`, of which this one's is `gpu`, in their group.
    pub(super) fn new(group: Group, gpu: &Arc<Gpu>, ranks: &Arc<Ranks>) -> Self {
        Devices {
            group,
            gpu: gpu.clone(),
            ranks: ranks.clone(),
        }
    }

    /// The sum over all `shards`: every rank gets the nodes that the others have added up, and adds them in
    /// the order of the tree. None where no shard has rows.
    ///
    /// `own` are the sums of this rank's nodes `[length]`, `given` the nodes of all ranks in order.
    pub(in crate::train) fn sum(
        &self,
        (shards, given): (usize, &[Given]),
        own: &[Option<Tensor>],
        length: usize,
    ) -> Result<Option<Tensor>> {
        let with_rows = || given.iter().filter(|given| given.has_rows);
        if with_rows().next().is_none() {
            return Ok(None);
        }
        let mut slots: Vec<usize> = with_rows().map(|given| given.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let size = self.ranks.size();
        let piece = length.min(AT_ONCE / (size * slots.len())).max(1);
        let on_gpu = |n: usize| Tensor::on_gpu(&self.gpu, DType::F32, [n]);
        let (sum, gathered) = (on_gpu(length)?, on_gpu(slots.len() * size * piece)?);
        for start in (0..length).step_by(piece) {
            let n = piece.min(length - start);
            // Of slot i and rank r.
            let place = |i: usize, r: usize| (i * size + r) * n;
            for (i, &slot) in slots.iter().enumerate() {
                // A rank without such a node gives what nobody reads.
                let from = own.get(slot).and_then(Option::as_ref).unwrap_or(&sum);
                let to = gathered.part(place(i, 0), [size * n]);
                self.gather(&from.part(start, [n]), &to)?;
            }
            let mut next = given.iter().peekable();
            let known = &mut |node: &Range<usize>| {
                let given = next.next_if(|given| given.node == *node);
                Ok(given.map_or(Known::Parts, |given| {
                    let slot = slots.iter().position(|&slot| slot == given.slot);
                    let part = |i| gathered.part(place(i, given.rank), [n]);
                    Known::Sum(slot.filter(|_| given.has_rows).map(part))
                }))
            };
            if let Some(all) = tree::sum(0..shards, known, &added)? {
                let to = sum.part(start, [n]).ptr()?;
                let bytes = n * DType::F32.size();
                self.gpu.driver().copy(to, all.ptr()?, bytes)?;
            }
        }
        Ok(Some(sum))
    }

    /// The sum of what the ranks have, `[length]` each, in an order that the library chooses.
    pub(in crate::train) fn reduced(&self, own: Option<Tensor>, length: usize) -> Result<Tensor> {
        let own = match own {
            Some(own) => own,
            None => {
                let zeros = Tensor::on_gpu(&self.gpu, DType::F32, [length])?;
                let bytes = length * DType::F32.size();
                self.gpu.driver().fill(zeros.ptr()?, 0, bytes)?;
                zeros
            }
        };
        let collectives = self.collectives()?;
        let (at, bytes) = (own.ptr()?, 2 * length * DType::F32.size());
        self.ranks.beside(bytes as u64, |patience| {
            collectives.all_reduce(&self.group, at, length, patience)
        })?;
        Ok(own)
    }

    fn gather(&self, from: &Tensor, to: &Tensor) -> Result<()> {
        let collectives = self.collectives()?;
        let bytes = to.numel() * DType::F32.size();
        self.ranks.beside(bytes as u64, |patience| {
            let (from, to, n) = (from.ptr()?, to.ptr()?, from.numel());
            collectives.all_gather(&self.group, from, to, n, patience)
        })
    }

    fn collectives(&self) -> Result<&dyn Collectives> {
        let collectives = self.gpu.driver().collectives();
        collectives.ok_or_else(|| Error::op("exchange", "no device to exchange from"))
    }
}

/// The sum of two gradients, in the memory of the first.
pub(in crate::train) fn added(mut sum: Tensor, more: Tensor) -> Result<Tensor> {
    let Some(gpu) = sum.gpu() else {
        let more = more.data::<f32>()?;
        let sums = sum.data_mut::<f32>()?;
        sums.iter_mut().zip(more).for_each(|(sum, x)| *sum += x);
        return Ok(sum);
    };
    let n = sum.numel() as u64;
    let mut args = pointers(&[&sum, &more, &sum])?;
    args.push(n.into());
    gpu.launch(&Launch::per_element("add_f32", n), &args)?;
    Ok(sum)
}
