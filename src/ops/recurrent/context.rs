//! What may be computed between two steps from the hidden state: attention's context.

use super::slab::Slab;
use crate::device::cpu::simd::Simd;

/// More columns of a step's input, computed from the hidden state before it: attention's context.
/// `()` adds none.
pub trait Context<T> {
    /// D, their number. The packed weights have theirs between those of x and those of h.
    fn columns(&self) -> usize;

    /// Computes them for the active rows of a slab at step t. `h` is the slab's first row of
    /// h_{t-1}; none stands for zeros.
    ///
    /// # Safety
    /// `h` is valid for the active rows; S is available.
    unsafe fn step<S: Simd<E = T>>(&mut self, slab: Slab, t: usize, h: Option<*const T>);

    /// Those of a packed row whose step has been computed.
    ///
    /// # Safety
    /// There is such a packed row.
    unsafe fn row(&self, packed: usize) -> *const T;
}

impl<T> Context<T> for () {
    #[inline(always)]
    fn columns(&self) -> usize {
        0
    }

    #[inline(always)]
    unsafe fn step<S: Simd<E = T>>(&mut self, _: Slab, _: usize, _: Option<*const T>) {}

    #[inline(always)]
    unsafe fn row(&self, _: usize) -> *const T {
        std::ptr::null()
    }
}

/// The gradient of a [`Context`]. `()` is that of none.
pub trait ContextGradient<T> {
    /// D, the number of the context's columns.
    fn columns(&self) -> usize;

    /// Panels that a row of dz has behind those of the gates: gradients of other linear functions
    /// of h_{t-1}, whose weights are below W_hh.
    fn panels(&self) -> usize;

    /// The context's columns of a packed row.
    fn row(&self, packed: usize) -> &[T];

    /// From a step's dz `[panels][rows][4L]`, whose gates are there, to its other panels.
    ///
    /// # Safety
    /// `dz` is valid for all panels; S is available.
    unsafe fn step<S: Simd<E = T>>(&mut self, slab: Slab, t: usize, dz: *mut T);

    /// What is left to do after the last step.
    ///
    /// # Safety
    /// S is available.
    unsafe fn finish<S: Simd<E = T>>(&mut self, slab: Slab);
}

impl<T> ContextGradient<T> for () {
    #[inline(always)]
    fn columns(&self) -> usize {
        0
    }

    #[inline(always)]
    fn panels(&self) -> usize {
        0
    }

    #[inline(always)]
    fn row(&self, _: usize) -> &[T] {
        &[]
    }

    #[inline(always)]
    unsafe fn step<S: Simd<E = T>>(&mut self, _: Slab, _: usize, _: *mut T) {}

    #[inline(always)]
    unsafe fn finish<S: Simd<E = T>>(&mut self, _: Slab) {}
}
