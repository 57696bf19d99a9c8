//! **gpu** A block a query, and backward one a key besides; the heads are its warps'
//! (`kernels/dot_attention.cu`).

use super::{Attended, Operands};
use crate::autograd::{Backward, Grads, Slot, Tape};
use crate::device::Gpu;
use crate::device::driver::{Arg, DevicePtr, Launch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::gpu::or_null;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Warps of a block, at most.
const WARPS: usize = 8;

/// Floats that the warps of a block may share, at most: all GPUs have 48 KiB a block.
const SHARED: usize = 12_000;

pub(super) fn run(gpu: &Arc<Gpu>, tape: &mut Tape, operands: Operands) -> Result<Attended> {
    let [rows, width, longest] = operands.sizes();
    let dtype = operands.queries.tensor.dtype();
    let context = Tensor::on_gpu(gpu, dtype, [rows, width])?;
    let sums = Tensor::on_gpu(gpu, DType::F32, [rows, operands.heads])?;
    let alpha = match operands.weights {
        true => Some(Tensor::on_gpu(gpu, DType::F32, [rows, longest])?),
        false => None,
    };
    let written = [
        or_null(Some(&context))?,
        or_null(Some(&sums))?,
        or_null(alpha.as_ref())?,
    ];
    // The mean over the heads is one warp's, in their order.
    let warps = if operands.weights { 1 } else { WARPS };
    operands.launch(gpu, "fwd", (longest, 1, warps), &written)?;
    let context = tape.output(context, operands.slots());
    let alpha = alpha.map(|alpha| tape.output(alpha, operands.slots()));
    if context.slot().is_some() {
        tape.push(Node {
            context: context.slot(),
            alpha: alpha.as_ref().and_then(|alpha| alpha.slot()),
            operands,
            sums,
        });
    }
    Ok(Attended { context, alpha })
}

/// The address of a matrix's columns from the first on.
fn column(tensor: &Tensor, first: usize) -> Result<DevicePtr> {
    Ok(tensor.ptr()?.offset(first * tensor.dtype().size()))
}

impl Operands {
    /// Launches a kernel with a block for each query, or with `keys` in its name for each key. A warp
    /// needs `arrays` of `longest` floats.
    fn launch(
        &self,
        gpu: &Gpu,
        kernel: &str,
        (longest, arrays, warps): (usize, usize, usize),
        pointers: &[DevicePtr],
    ) -> Result<()> {
        let mut args = Vec::new();
        for columns in [&self.queries, &self.keys, &self.values] {
            args.push(Arg::from(column(&columns.tensor, columns.first)?));
        }
        args.extend(self.of_queries.args()?);
        args.extend(self.of_keys.args()?);
        args.extend(pointers.iter().map(|&p| Arg::from(p)));
        let batch = self.of_queries.spans().rows();
        let widths = [&self.queries, &self.keys].map(|c| c.tensor.shape().last());
        let sizes = [widths[0], widths[1], batch, self.heads, self.depth];
        args.extend(sizes.map(|n| Arg::from(n as u32)));
        args.push(u32::from(self.causal).into());
        args.push((1.0 / (self.depth as f32).sqrt()).into());
        let warps = warps
            .min(self.heads)
            .min(SHARED / (arrays * longest))
            .max(1);
        let sequences = match kernel {
            "bwd_keys" => &self.of_keys,
            _ => &self.of_queries,
        };
        let blocks = batch * sequences.spans().longest();
        let name = format!("dot_attention_{kernel}_{}", self.queries.tensor.dtype());
        let launch = Launch {
            shared_bytes: (4 * arrays * longest * warps) as u32,
            ..Launch::new(&name, blocks as u32, 32 * warps as u32)
        };
        gpu.launch(&launch, &args)
    }
}

// ---- backward ------------------------------------------------------------------------------

struct Node {
    operands: Operands,
    /// log of the sum of the exponentials of each query's scores `[N, heads]`, f32.
    sums: Tensor,
    context: Option<Slot>,
    alpha: Option<Slot>,
}

impl Backward for Node {
    fn name(&self) -> &'static str {
        "dot_attention"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let (dcontext, dalpha) = (grads.take(self.context), grads.take(self.alpha));
        if dcontext.is_none() && dalpha.is_none() {
            return Ok(());
        }
        let o = &self.operands;
        let gpu = o.queries.tensor.gpu();
        let gpu = gpu.ok_or_else(|| Error::op("dot_attention", "queries in host memory"))?;
        let like = |t: &Tensor| Tensor::on_gpu(gpu, t.dtype(), t.shape().clone());
        let dq = like(&o.queries.tensor)?;
        let dkv = match o.together {
            true => dq.clone(),
            false => like(&o.keys.tensor)?,
        };
        let [rows, ..] = o.sizes();
        // Sum of p dp of each query.
        let dots = Tensor::on_gpu(gpu, DType::F32, [rows, o.heads])?;
        let [dc, above] = [or_null(dcontext.as_ref())?, or_null(dalpha.as_ref())?];
        let [sums, dots] = [self.sums.ptr()?, dots.ptr()?];
        let [queries, keys] = [&o.of_queries, &o.of_keys].map(|of| of.spans().longest());
        let pointers = [dc, above, sums, dots, dq.ptr()?];
        o.launch(gpu, "bwd_queries", (keys, 2, WARPS), &pointers)?;
        let (dk, dv) = (column(&dkv, o.keys.first)?, column(&dkv, o.values.first)?);
        let pointers = [dc, above, sums, dots, dk, dv];
        o.launch(gpu, "bwd_keys", (queries, 2, WARPS), &pointers)?;
        match o.together {
            // All three are columns of it.
            true => {
                drop(dkv);
                grads.add(o.queries.slot, dq)
            }
            false => {
                grads.add(o.queries.slot, dq)?;
                grads.add(o.keys.slot, dkv)
            }
        }
    }
}
