//! Batches of a text that stays in device memory.

use super::data::CharBatch;
use crate::device::Gpu;
use crate::device::driver::{Arg, Launch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::gpu::pointers;
use crate::tensor::Tensor;
use crate::train::graph::Feed;
use std::sync::Arc;

/// The text, the order of its windows, and the batch that a kernel gathers from them.
#[derive(Debug)]
pub struct TextFeed {
    /// Ids of the training text, two in a word.
    text: Tensor,
    /// Windows in the epoch's order.
    order: Tensor,
    batch: CharBatch,
}

impl TextFeed {
    /// Copies the training text `text`, of `windows` windows, to a GPU.
    ///
    /// # Errors
    /// If the device fails or has not enough memory.
    pub fn new(
        gpu: &Arc<Gpu>,
        text: &[u16],
        windows: usize,
        [seq_length, batch_size]: [usize; 2],
    ) -> Result<Self> {
        let words = |n: usize| Tensor::on_gpu(gpu, DType::U32, [n]);
        let mut padded = text.to_vec();
        padded.resize(text.len().next_multiple_of(2), 0);
        let on_gpu = words(padded.len() / 2)?;
        let driver = gpu.driver();
        driver.upload(on_gpu.ptr()?, bytemuck::cast_slice(&padded))?;
        Ok(TextFeed {
            text: on_gpu,
            order: words(windows)?,
            batch: CharBatch {
                ids: Tensor::on_gpu(gpu, DType::U32, [seq_length, batch_size])?,
                targets: Tensor::on_gpu(gpu, DType::U32, [seq_length, batch_size])?,
            },
        })
    }

    /// Sets the order of the epoch's windows.
    ///
    /// # Errors
    /// If the order has more windows than the text, or the device fails.
    pub fn set_order(&self, gpu: &Gpu, order: &[u32]) -> Result<()> {
        if order.len() > self.order.numel() {
            let message = format!("{} windows of {}", order.len(), self.order.numel());
            return Err(Error::op("epoch", message));
        }
        let driver = gpu.driver();
        driver.upload(self.order.ptr()?, bytemuck::cast_slice(order))
    }
}

impl Feed for TextFeed {
    type Batch = CharBatch;

    fn issue(&self, gpu: &Gpu, counter: &Tensor) -> Result<()> {
        let CharBatch { ids, targets } = &self.batch;
        let mut args = pointers(&[&self.text, &self.order, counter, ids, targets])?;
        args.extend(ids.dims().iter().map(|&n| Arg::from(n as u32)));
        let blocks = ids.numel().div_ceil(256) as u32;
        gpu.launch(&Launch::new("batch_char", blocks, 256), &args)
    }

    fn batch(&self) -> &CharBatch {
        &self.batch
    }
}
