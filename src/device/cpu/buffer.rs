//! Host memory for tensors: aligned for vector loads, recycled from step to step.
//!
//! A training step asks for much the same sizes again and again. Giving large blocks back to the
//! system each time would cost a page fault for every 4 KiB of the next step (500,000 of them for
//! 2 GB), so a dropped block waits in a pool for the next request that it fits. Where sizes differ
//! from step to step, as with packed sequences, a block also serves requests that are smaller by up to
//! a third: so the pool does not grow with the number of different sizes.

use crate::device::size_class;
use crate::dtype::Element;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Alignment of every block, in bytes: one cache line, one AVX-512 register.
const ALIGN: usize = 64;
/// Blocks below this size, in bytes, are not worth pooling.
const POOLED: usize = 64 * 1024;

/// Dropped blocks by size. The addresses are owned by the pool.
static POOL: LazyLock<Mutex<BTreeMap<usize, Vec<usize>>>> = LazyLock::new(Mutex::default);

/// The smallest pooled block of at least `size` bytes and at most half as much again, and its size.
fn pooled(size: usize) -> Option<(usize, usize)> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let mut fitting = pool.range_mut(size..=size + size / 2);
    fitting.find_map(|(&size, blocks)| Some((blocks.pop()?, size)))
}

/// A block of host memory that holds `len` elements of one type.
pub struct Buffer<T: Element> {
    ptr: NonNull<T>,
    len: usize,
    /// Size of the block, in bytes.
    size: usize,
    _owned: PhantomData<T>,
}

// SAFETY: a Buffer owns its block alone and `Element` types are plain data.
unsafe impl<T: Element> Send for Buffer<T> {}
// SAFETY: as above; shared access only reads.
unsafe impl<T: Element> Sync for Buffer<T> {}

impl<T: Element> Buffer<T> {
    /// A block whose contents are some valid numbers, left over from an earlier use or zero.
    pub fn uninit(len: usize) -> Self {
        let layout = Self::layout(len);
        let waiting = (layout.size() >= POOLED)
            .then(|| pooled(layout.size()))
            .flatten();
        let (raw, size) = match waiting {
            Some((address, size)) => (address as *mut T, size),
            // SAFETY: the layout's size is at least ALIGN, so it is not zero.
            None => (unsafe { alloc_zeroed(layout) }.cast::<T>(), layout.size()),
        };
        let ptr = NonNull::new(raw).unwrap_or_else(|| handle_alloc_error(layout));
        Buffer {
            ptr,
            len,
            size,
            _owned: PhantomData,
        }
    }

    /// A block of zeros.
    pub fn zeros(len: usize) -> Self {
        let mut buffer = Self::uninit(len);
        buffer.fill(T::default());
        buffer
    }

    /// Size in bytes rounded up to its class.
    fn layout(len: usize) -> Layout {
        let bytes = len
            .checked_mul(size_of::<T>())
            .and_then(|b| size_class(b, ALIGN));
        bytes
            .and_then(|b| Layout::from_size_align(b, ALIGN).ok())
            .unwrap_or_else(|| panic!("a tensor of {len} elements exceeds the address space"))
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.size >= POOLED {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            let blocks = pool.entry(self.size).or_default();
            blocks.push(self.ptr.as_ptr() as usize);
        } else {
            // SAFETY: the block was allocated with this layout and is not used again.
            unsafe { dealloc(self.ptr.as_ptr().cast(), Self::layout(self.len)) };
        }
    }
}

impl<T: Element> std::ops::Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the block holds `len` initialised elements (zeroed at first, then only written
        // through slices of plain data).
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl<T: Element> std::ops::DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for Deref; `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl<T: Element> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer<{}>[{}]", T::DTYPE, self.len)
    }
}

/// A pointer into memory that several threads write at disjoint places.
#[derive(Clone, Copy)]
pub struct SharedMut<T>(*mut T);

// SAFETY: whoever dereferences the pointer vouches for disjoint writes.
unsafe impl<T: Send> Send for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    /// The start of `data`.
    pub fn new(data: &mut [T]) -> Self {
        SharedMut(data.as_mut_ptr())
    }

    /// The address of element `index`.
    ///
    /// # Safety
    /// `index` is within the slice this was made of.
    #[inline(always)]
    pub unsafe fn at(self, index: usize) -> *mut T {
        // SAFETY: the caller vouches for the index.
        unsafe { self.0.add(index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_come_back_and_zeros_are_zero() {
        let len = 1_234_567;
        let mut a = Buffer::<f32>::uninit(len);
        a.fill(3.0);
        let address = a.as_ptr() as usize;
        assert_eq!(address % ALIGN, 0);
        drop(a);
        let b = Buffer::<f32>::zeros(len);
        assert_eq!(b.as_ptr() as usize, address);
        assert!(b.iter().all(|&x| x == 0.0));
    }

    /// Requests of many sizes, one after another, are served by a few blocks.
    #[test]
    fn many_sizes_share_blocks() {
        let mut addresses: Vec<usize> = (0..500)
            .map(|i| Buffer::<f64>::uninit(7_000_000 + 9_973 * (i * 37 % 500)).as_ptr() as usize)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        // Sizes that differ by a factor of 1.7 are of at most 8 classes.
        assert!(addresses.len() <= 8, "{} blocks", addresses.len());
    }
}
