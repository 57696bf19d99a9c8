//! The emulated device's memory: buffers with sentinels on both sides.

use crate::device::driver::DevicePtr;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// Alignment of a buffer, as cudaMalloc's.
const ALIGN: usize = 256;
/// Bytes of sentinel on each side of a buffer, besides the padding to [`ALIGN`].
const GUARD: usize = 256;
/// Fresh memory: NaN as f32 and as f16.
const FRESH: u8 = 0xFF;
/// The sentinel: `0x7FFF` over and over, NaN as f32 and as f16 too.
const SENTINEL: [u8; 2] = [0xFF, 0x7F];

/// The buffers of a device.
#[derive(Debug, Default)]
pub struct Buffers {
    /// By address of the first byte after the sentinel.
    buffers: BTreeMap<u64, Buffer>,
}

/// A block of memory: slack, sentinel, the caller's bytes, sentinel.
///
/// Kernels write into it through addresses, so the bytes are only reached through the raw pointer
/// that `storage` was turned into.
#[derive(Debug)]
struct Buffer {
    storage: *mut [u8],
    /// Offset of the caller's bytes.
    first: usize,
    len: usize,
}

// SAFETY: a buffer owns its storage; access is through `Buffers`, by & and &mut.
unsafe impl Send for Buffer {}
unsafe impl Sync for Buffer {}

impl Buffer {
    fn new(len: usize) -> Option<Self> {
        let total = len.checked_add(2 * GUARD + 2 * ALIGN)?;
        let mut storage = Vec::new();
        storage.try_reserve_exact(total).ok()?;
        storage.resize(total, FRESH);
        let start = storage.as_ptr() as usize + GUARD;
        let first = start.next_multiple_of(ALIGN) - storage.as_ptr() as usize;
        let storage = Box::into_raw(storage.into_boxed_slice());
        let mut buffer = Buffer {
            storage,
            first,
            len,
        };
        let (_, after) = buffer.guards();
        for range in [0..first, after] {
            let zone = &mut buffer.all_mut()[range.clone()];
            for (i, byte) in zone.iter_mut().enumerate() {
                *byte = SENTINEL[(range.start + i) % 2];
            }
        }
        Some(buffer)
    }

    fn all(&self) -> &[u8] {
        // SAFETY: the storage lives as long as the buffer.
        unsafe { &*self.storage }
    }

    fn all_mut(&mut self) -> &mut [u8] {
        // SAFETY: the storage lives as long as the buffer, and `self` is borrowed mutably.
        unsafe { &mut *self.storage }
    }

    fn guards(&self) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        (0..self.first, self.first + self.len..self.storage.len())
    }

    fn address(&self) -> u64 {
        self.storage.cast::<u8>() as u64 + self.first as u64
    }

    /// Offset from the buffer's start of the first sentinel byte that is not what it was.
    fn damage(&self) -> Option<isize> {
        let (before, after) = self.guards();
        let all = self.all();
        before
            .chain(after)
            .find(|&i| all[i] != SENTINEL[i % 2])
            .map(|i| i as isize - self.first as isize)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: `storage` came from a box and is dropped once.
        drop(unsafe { Box::from_raw(self.storage) });
    }
}

impl Buffers {
    pub fn alloc(&mut self, bytes: usize) -> Result<DevicePtr> {
        let buffer = Buffer::new(bytes).ok_or_else(|| {
            Error::Device(format!(
                "the emulated device has no {bytes} bytes of memory left; a smaller batch-size \
                 or seq-length needs less"
            ))
        })?;
        let address = buffer.address();
        self.buffers.insert(address, buffer);
        Ok(DevicePtr::new(address))
    }

    pub fn free(&mut self, ptr: DevicePtr) -> Result<()> {
        self.check_sentinels("free")?;
        match self.buffers.remove(&ptr.address()) {
            Some(_) => Ok(()),
            None => Err(Error::op("free", format!("{ptr:?} is no live buffer"))),
        }
    }

    fn find(&self, ptr: DevicePtr) -> Option<&Buffer> {
        let (&start, buffer) = self.buffers.range(..=ptr.address()).next_back()?;
        (ptr.address() - start <= buffer.len as u64).then_some(buffer)
    }

    /// First address of the buffer that `ptr` lies in, and the one after its last.
    pub fn bounds(&self, ptr: DevicePtr) -> Option<(u64, u64)> {
        let buffer = self.find(ptr)?;
        Some((buffer.address(), buffer.address() + buffer.len as u64))
    }

    /// Where `bytes` bytes from `ptr` lie in their buffer's storage.
    fn range(
        &self,
        op: &'static str,
        ptr: DevicePtr,
        bytes: usize,
    ) -> Result<(u64, std::ops::Range<usize>)> {
        let Some(buffer) = self.find(ptr) else {
            let message = format!("{ptr:?} is in no buffer of the device");
            return Err(Error::op(op, message));
        };
        let offset = (ptr.address() - buffer.address()) as usize;
        if bytes > buffer.len - offset {
            let len = buffer.len;
            let message = format!("{bytes} bytes at byte {offset} of a buffer of {len} bytes");
            return Err(Error::op(op, message));
        }
        let first = buffer.first + offset;
        Ok((buffer.address(), first..first + bytes))
    }

    pub fn bytes(&self, op: &'static str, ptr: DevicePtr, bytes: usize) -> Result<&[u8]> {
        let (address, range) = self.range(op, ptr, bytes)?;
        Ok(&self.buffers[&address].all()[range])
    }

    pub fn bytes_mut(
        &mut self,
        op: &'static str,
        ptr: DevicePtr,
        bytes: usize,
    ) -> Result<&mut [u8]> {
        let (address, range) = self.range(op, ptr, bytes)?;
        match self.buffers.get_mut(&address) {
            Some(buffer) => Ok(&mut buffer.all_mut()[range]),
            None => Err(Error::op(op, format!("{ptr:?} is in no buffer"))),
        }
    }

    pub fn copy(&mut self, to: DevicePtr, from: DevicePtr, bytes: usize) -> Result<()> {
        let apart = to.address().abs_diff(from.address());
        if apart < bytes as u64 {
            let message = format!("the two places of {bytes} bytes are {apart} bytes apart");
            return Err(Error::op("copy", message));
        }
        let source = self.bytes("copy", from, bytes)?.to_vec();
        self.bytes_mut("copy", to, bytes)?.copy_from_slice(&source);
        Ok(())
    }

    /// Fails if a sentinel was overwritten; `by` is what ran last.
    pub fn check_sentinels(&self, by: &str) -> Result<()> {
        for buffer in self.buffers.values() {
            if let Some(at) = buffer.damage() {
                let message = format!(
                    "{by} wrote outside of a buffer of {} bytes, at byte {at}",
                    buffer.len
                );
                return Err(Error::op("sentinel", message));
            }
        }
        Ok(())
    }
}
