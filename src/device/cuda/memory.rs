//! Device memory, and the table of what is allocated.

use super::api::call;
use super::context::{Context, gib};
use super::error::OUT_OF_MEMORY;
use crate::device::driver::DevicePtr;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The buffers of a device. What is left of them is freed at the end.
#[derive(Debug)]
pub struct Buffers {
    context: Arc<Context>,
    /// Bytes by address.
    buffers: Mutex<BTreeMap<u64, usize>>,
}

impl Buffers {
    /// No memory yet.
    pub fn new(context: Arc<Context>) -> Self {
        Buffers {
            context,
            buffers: Mutex::default(),
        }
    }

    fn buffers(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        // The map changes in single steps: a panic elsewhere leaves it whole.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New memory. The driver aligns it to 256 bytes at least.
    ///
    /// # Errors
    /// [`Error::Device`] if there is not enough: how much was asked and is free, and which flags
    /// need less.
    pub fn alloc(&self, bytes: usize) -> Result<DevicePtr> {
        self.context.enter()?;
        let mut address = 0;
        let size = bytes.max(1); // the driver refuses 0
        let api = &self.context.api;
        // SAFETY: writes one address.
        let status = unsafe { (api.driver.cuMemAlloc_v2)(&mut address, size) };
        if status == OUT_OF_MEMORY {
            return Err(self.out_of_memory(bytes));
        }
        api.check("cuMemAlloc", status)?;
        self.buffers().insert(address, bytes);
        Ok(DevicePtr::new(address))
    }

    fn out_of_memory(&self, bytes: usize) -> Error {
        let gpu = &self.context.gpu;
        let used: usize = self.buffers().values().sum();
        let room = match self.context.memory() {
            Ok((free, total)) => format!("{} of {} are free", gib(free), gib(total)),
            Err(e) => format!("how much is free is not known ({e})"),
        };
        Error::Device(format!(
            "cuda:{} ({}) is out of memory: {} more were asked for, {room}, and this process \
             holds {} already; a smaller batch-size or seq-length needs less, and so does \
             ending other programs on the GPU",
            gpu.number,
            gpu.name,
            gib(bytes),
            gib(used)
        ))
    }

    /// Gives memory back. No work that uses it may be left.
    ///
    /// # Errors
    /// [`Error::Op`] if it was not allocated here.
    pub fn free(&self, ptr: DevicePtr) -> Result<()> {
        if self.buffers().remove(&ptr.address()).is_none() {
            return Err(Error::op("free", format!("{ptr:?} is no live buffer")));
        }
        self.context.enter()?;
        // SAFETY: allocated by `alloc`, and no longer in the table: freed once.
        unsafe { call!(self.context.api, cuMemFree_v2(ptr.address())) }
    }

    /// Whether a range of bytes lies in one buffer.
    ///
    /// # Errors
    /// [`Error::Op`] with the buffer's size if it does not.
    pub fn check(&self, op: &'static str, ptr: DevicePtr, bytes: usize) -> Result<()> {
        let buffers = self.buffers();
        let below = buffers.range(..=ptr.address()).next_back();
        let Some((&start, &len)) = below.filter(|b| ptr.address() - b.0 <= *b.1 as u64) else {
            let message = format!("{ptr:?} is in no buffer of the device");
            return Err(Error::op(op, message));
        };
        let offset = (ptr.address() - start) as usize;
        if bytes > len - offset {
            let message = format!("{bytes} bytes at byte {offset} of a buffer of {len} bytes");
            return Err(Error::op(op, message));
        }
        Ok(())
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.context.enter().is_err() {
            return; // the driver is gone, and the memory with it
        }
        for &address in self.buffers().keys() {
            // SAFETY: allocated by `alloc` and in the table: not freed yet.
            unsafe { (self.context.api.driver.cuMemFree_v2)(address) };
        }
    }
}
