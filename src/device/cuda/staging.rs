//! Page-locked host memory that uploads go through.
//!
//! A copy from pageable memory may be asynchronous where the GPU reads that memory by itself (HMM,
//! ATS): the caller's bytes would then be read after they have been freed. From page-locked memory
//! the rules are the same on every system: the copy is asynchronous, and the memory must stay as it
//! is until the stream has been waited for.

use super::api::call;
use super::context::{Context, Handle};
use super::stream::Stream;
use crate::error::Result;
use std::ffi::c_void;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of the buffer: many steps of batches, and weights in a few rounds.
const BYTES: usize = 8 << 20;

/// The buffer. It fills up from its start, and is empty again whenever the stream has been waited
/// for.
#[derive(Debug)]
pub struct Staging {
    context: Arc<Context>,
    start: Handle<u8>,
    /// Bytes that copies under way may still read.
    used: Mutex<usize>,
}

impl Staging {
    /// An empty buffer.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the host has no memory that it can lock.
    pub fn new(context: Arc<Context>) -> Result<Self> {
        let mut start: *mut c_void = ptr::null_mut();
        context.enter()?;
        // SAFETY: writes one pointer; freed in `drop`.
        unsafe { call!(context.api, cuMemAllocHost_v2(&mut start, BYTES))? };
        Ok(Staging {
            context,
            start: Handle(start.cast()),
            used: Mutex::default(),
        })
    }

    /// Queues a copy of `from` to the device's `address`, in pieces where it is longer than the
    /// buffer. The bytes have been copied aside when it returns.
    ///
    /// # Safety
    /// `from.len()` bytes at `address` are the device's and live.
    ///
    /// # Errors
    /// The first fault of a kernel, where a full buffer had to be waited for; or the driver's.
    pub unsafe fn upload(&self, stream: &Stream, address: u64, from: &[u8]) -> Result<()> {
        let mut used = self.used();
        for (n, piece) in from.chunks(BYTES).enumerate() {
            if *used + piece.len() > BYTES {
                stream.synchronize()?;
                *used = 0;
            }
            let to = address + (n * BYTES) as u64;
            self.context.enter()?;
            // SAFETY: the piece fits behind `used`, where no copy under way reads; the device's range
            // is the caller's promise.
            unsafe {
                let aside = self.start.0.add(*used);
                ptr::copy_nonoverlapping(piece.as_ptr(), aside, piece.len());
                let aside = aside.cast_const().cast();
                call!(
                    self.context.api,
                    cuMemcpyHtoDAsync_v2(to, aside, piece.len(), stream.raw())
                )?;
            }
            *used += piece.len();
        }
        Ok(())
    }

    /// Waits for all work of the stream that uploads go to.
    ///
    /// # Errors
    /// As [`Stream::synchronize`].
    pub fn wait(&self, stream: &Stream) -> Result<()> {
        let mut used = self.used();
        stream.synchronize()?;
        *used = 0;
        Ok(())
    }

    fn used(&self) -> MutexGuard<'_, usize> {
        // The number changes in single steps: a panic elsewhere leaves it right.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: allocated in `new`; the stream has been waited for (see `Cuda`'s `drop`).
            unsafe { (self.context.api.driver.cuMemFreeHost)(self.start.0.cast()) };
        }
    }
}
