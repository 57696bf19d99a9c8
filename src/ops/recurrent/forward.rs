//! The forward pass of one slab of batch rows, all time steps.
//!
//! A tile is M batch rows by one panel. Its four registers a row start from the bias (or from the
//! gate table's row of the character that is read), gather x W_ih^T + h W_hh^T, and become the
//! cell's states without leaving the registers.
//!
//! A [`Context`] adds columns to the input of a step.

use super::cell::{Cell, States};
use super::context::Context;
use super::pack::Side;
use super::slab::Slab;
use crate::device::cpu::buffer::SharedMut;
use crate::device::cpu::simd::{Simd, Task};
use crate::device::cpu::tile::{
    Rows, WIDTH, for_row_tiles, load_columns, load_row, multiply, store_columns, store_row,
};
use crate::dtype::Float;
use std::marker::PhantomData;

/// What the gates start from before the recurrent part is added.
#[derive(Clone, Copy)]
pub enum Start<'a, T> {
    /// Bias, then x `[N, I]` times the weights.
    Dense {
        /// Packed bias `[panels * 4L]`.
        bias: &'a [T],
        /// Packed input `[N, I]`.
        x: &'a [T],
        /// I.
        inputs: usize,
    },
    /// A row of the gate table for each id.
    Table {
        /// Packed table `[V, panels * 4L]`.
        table: &'a [T],
        /// Packed ids `[N]`, each below V.
        ids: &'a [u32],
    },
}

impl<T> Start<'_, T> {
    /// I; zero for a table.
    pub fn inputs(&self) -> usize {
        match self {
            Start::Dense { inputs, .. } => *inputs,
            Start::Table { .. } => 0,
        }
    }
}

/// One slab's forward pass.
pub struct Forward<'a, T, C, X> {
    /// The cell.
    pub cell: PhantomData<C>,
    /// The slab.
    pub slab: Slab<'a>,
    /// What the gates start from.
    pub start: Start<'a, T>,
    /// What is computed between the steps.
    pub context: X,
    /// Packed weights `[panels][I + D + H][W]`.
    pub weights: &'a [T],
    /// Initial hidden state `[B, H]`; zero if absent.
    pub h0: Option<&'a [T]>,
    /// Initial cell state `[B, H]`; zero if absent.
    pub c0: Option<&'a [T]>,
    /// Packed output `[N, H]`; this slab's rows are written.
    pub y: SharedMut<T>,
    /// Cell state after each row's last element `[B, H]`, of a cell that has one.
    pub c_n: Option<SharedMut<T>>,
    /// What all slabs save for the backward pass: panels, and the cell states of a cell that has
    /// them. Without it only the last cell states are kept.
    pub saved: Option<(SharedMut<T>, SharedMut<T>)>,
}

impl<T: Float, C: Cell, X: Context<T>> Task<T> for Forward<'_, T, C, X> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(mut self) {
        let panels = self.slab.blocks.panels();
        let cells = if C::HAS_C { panels } else { 0 };
        let mut cell = vec![T::ZERO; cells * self.slab.rows * S::LANES];
        if let Some(c0) = self.c0 {
            self.slab.read_cells(c0, &mut cell);
        }
        // SAFETY: offsets follow the layouts above; slabs are disjoint in all outputs.
        unsafe {
            for t in 0..self.slab.steps {
                let active = self.slab.active(t);
                let h = self.h_before(t, 0);
                self.context.step::<S>(self.slab, t, h);
                for u in 0..panels {
                    for_row_tiles!(S, active, |row, M| {
                        self.tile::<S, M>(t, u, row, cell.as_mut_ptr())
                    });
                }
            }
        }
        if let Some(c_n) = self.c_n {
            self.slab.for_cells(|to, from, n| {
                // SAFETY: the range lies in this slab's rows of c_n.
                let to = unsafe { std::slice::from_raw_parts_mut(c_n.at(to), n) };
                to.copy_from_slice(&cell[from..from + n]);
            });
        }
    }
}

impl<T: Float, C: Cell, X: Context<T>> Forward<'_, T, C, X> {
    /// A row of this slab in h_{t-1}; none at the start from a zero state.
    #[inline(always)]
    unsafe fn h_before(&self, t: usize, row: usize) -> Option<*const T> {
        let hidden = self.slab.blocks.hidden;
        match (t, self.h0) {
            (0, None) => None,
            // SAFETY: the row lies in this slab.
            (0, Some(h0)) => Some(unsafe { h0.as_ptr().add((self.slab.first + row) * hidden) }),
            _ => {
                let before = self.slab.packed(t - 1) + row;
                // SAFETY: the step before t has at least the rows of t.
                Some(unsafe { self.y.at(before * hidden).cast_const() })
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd<E = T>, const M: usize>(
        &self,
        t: usize,
        u: usize,
        row: usize,
        cell: *mut T,
    ) {
        let Slab { rows, blocks, .. } = self.slab;
        let (hidden, width) = (blocks.hidden, C::GATES.registers() * S::LANES);
        let (inputs, columns) = (self.start.inputs(), self.context.columns());
        let at = self.slab.packed(t) + row;
        // SAFETY: all rows lie in this slab, all panels in the packed weights.
        unsafe {
            let mut panel = self.weights.as_ptr();
            panel = panel.add(u * (inputs + columns + hidden) * width);
            let mut acc = self.gates_start::<S, M>(at, u);
            if let Start::Dense { x, .. } = self.start {
                let x = whole_rows(x.as_ptr().add(at * inputs), inputs);
                acc = product::<S, C, M>(acc, C::GATES.input, inputs, x, panel);
                panel = panel.add(inputs * width);
            }
            if columns > 0 {
                let context = whole_rows(self.context.row(at), columns);
                acc = product::<S, C, M>(acc, C::GATES.input, columns, context, panel);
                panel = panel.add(columns * width);
            }
            if let Some(h) = self.h_before(t, row) {
                let h = whole_rows(h, hidden);
                acc = product::<S, C, M>(acc, C::GATES.hidden, hidden, h, panel);
            }
            for (m, z) in acc.iter().enumerate() {
                let mut before = States::splat(S::splat(T::ZERO));
                let c_at = cell.add((u * rows + row + m) * S::LANES);
                if C::HAS_C {
                    before.c = S::load(c_at);
                }
                if C::READS_H
                    && let Some(h) = self.h_before(t, row + m)
                {
                    before.h = load_units::<S, C>(h, u, hidden);
                }
                let (saved, after) = C::forward::<S>(*z, before);
                if C::HAS_C {
                    S::store(c_at, after.c);
                }
                let y = self.y.at((at + m) * hidden);
                for k in 0..C::GATES.units {
                    let unit = (u * C::GATES.units + k) * S::LANES;
                    store_columns::<S, 1>(y, unit, hidden, &[after.h[k]]);
                }
                if let Some((panels, cells)) = self.saved {
                    let to = panels.at(self.slab.panel_at(t, u, row + m));
                    store_row::<S, WIDTH>(to, &saved);
                    if C::HAS_C {
                        S::store(cells.at(self.slab.cell_at(t, u, row + m)), after.c);
                    }
                }
            }
        }
    }

    /// The registers of M rows before anything is multiplied.
    #[inline(always)]
    unsafe fn gates_start<S: Simd<E = T>, const M: usize>(
        &self,
        at: usize,
        u: usize,
    ) -> [[S::V; WIDTH]; M] {
        let gates = self.slab.blocks.row();
        // SAFETY: u is a panel of the row; ids were checked to be below the table's rows.
        unsafe {
            let mut acc = [[S::splat(T::ZERO); WIDTH]; M];
            for (m, acc) in acc.iter_mut().enumerate() {
                let row = match self.start {
                    Start::Dense { bias, .. } => bias.as_ptr(),
                    Start::Table { table, ids } => table
                        .as_ptr()
                        .add(*ids.get_unchecked(at + m) as usize * gates),
                };
                *acc = load_row::<S, WIDTH>(row.add(u * WIDTH * S::LANES));
            }
            acc
        }
    }
}

/// Adds a product to the registers of one side: to all four of a row, or to three.
#[inline(always)]
unsafe fn product<S: Simd, C: Cell, const M: usize>(
    mut acc: [[S::V; WIDTH]; M],
    side: Side,
    k: usize,
    a: Rows<S::E>,
    b: *const S::E,
) -> [[S::V; WIDTH]; M] {
    // SAFETY: as the caller vouches.
    unsafe {
        if C::GATES.registers() == WIDTH {
            return multiply::<S, M, WIDTH>(acc, k, a, b);
        }
        let first = side.first();
        let mut part = [[S::splat(S::E::ZERO); THREE]; M];
        for (part, acc) in part.iter_mut().zip(&acc) {
            part.copy_from_slice(&acc[first..first + THREE]);
        }
        part = multiply::<S, M, THREE>(part, k, a, b);
        for (part, acc) in part.iter().zip(&mut acc) {
            acc[first..first + THREE].copy_from_slice(part);
        }
        acc
    }
}

/// Rows of `columns` elements.
#[inline(always)]
fn whole_rows<E>(ptr: *const E, columns: usize) -> Rows<E> {
    Rows {
        ptr,
        row: columns,
        step: 1,
    }
}

/// Registers that each product of a GRU adds to.
const THREE: usize = 3;

/// The units of panel u in a row of H, zero behind the last one.
///
/// # Safety
/// `row` is valid for `hidden` elements; S is available.
#[inline(always)]
pub unsafe fn load_units<S: Simd, C: Cell>(
    row: *const S::E,
    u: usize,
    hidden: usize,
) -> [S::V; WIDTH] {
    // SAFETY: as the caller vouches.
    unsafe {
        let mut units = [S::splat(S::E::ZERO); WIDTH];
        for k in 0..C::GATES.units {
            let unit = (u * C::GATES.units + k) * S::LANES;
            units[k] = load_columns::<S, 1>(row, unit, hidden)[0];
        }
        units
    }
}
