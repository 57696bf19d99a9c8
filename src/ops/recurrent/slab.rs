//! Where a slab of batch rows lies.

use super::pack::Blocks;
use crate::data::packing::Packing;
use crate::device::cpu::tile::WIDTH;

/// Batch rows that a task takes through all steps. They end one after the other, the last ones
/// first, so that the active ones are always the first ones.
#[derive(Clone, Copy)]
pub struct Slab<'a> {
    /// The batch's packing.
    pub packing: &'a Packing,
    /// Steps of the slab's longest row, which is its first one.
    pub steps: usize,
    /// First batch row.
    pub first: usize,
    /// Batch rows.
    pub rows: usize,
    /// Rows times steps of the slabs before this one.
    pub before: usize,
    /// The layer's gate order.
    pub blocks: Blocks,
}

impl<'a> Slab<'a> {
    /// Slabs of an eighth of the batch, but at least 16 rows and at most 64; the longest ones first.
    pub fn all(packing: &'a Packing, blocks: Blocks) -> Vec<Self> {
        let batch = packing.batch();
        let rows = batch.div_ceil(8).clamp(16, 64);
        let mut before = 0;
        let slab = |first: usize| {
            let slab = Slab {
                packing,
                steps: packing.length(first),
                first,
                rows: rows.min(batch - first),
                before,
                blocks,
            };
            before += slab.steps * slab.rows;
            slab
        };
        (0..batch).step_by(rows).map(slab).collect()
    }

    /// Rows of the tensors that are saved for all slabs.
    pub fn saved_rows(slabs: &[Slab]) -> usize {
        slabs.last().map_or(0, |s| s.before + s.steps * s.rows)
    }

    /// The slab's rows that have an element t.
    #[inline(always)]
    pub fn active(self, t: usize) -> usize {
        self.packing
            .active(t)
            .saturating_sub(self.first)
            .min(self.rows)
    }

    /// The packed row of element t of the slab's first row.
    #[inline(always)]
    pub fn packed(self, t: usize) -> usize {
        self.packing.offset(t) + self.first
    }

    /// Where panel u of (t, row) is saved: `[slab][steps][panels][rows][4L]`.
    #[inline(always)]
    pub fn panel_at(self, t: usize, u: usize, row: usize) -> usize {
        self.before * self.blocks.row()
            + ((t * self.blocks.panels() + u) * self.rows + row) * self.blocks.panel()
    }

    /// Where the cell state of (t, u, row) is saved: `[slab][steps][panels][rows][L]`.
    #[inline(always)]
    pub fn cell_at(self, t: usize, u: usize, row: usize) -> usize {
        self.panel_at(t, u, row) / WIDTH
    }

    /// Copies the slab's rows of a cell state `[B, H]` into `[panels][rows][L]`.
    pub fn read_cells<T: Copy>(self, from: &[T], to: &mut [T]) {
        self.for_cells(|at, cell, n| to[cell..cell + n].copy_from_slice(&from[at..at + n]));
    }

    /// Calls `f(offset in [B, H], offset in [panels][rows][L], length)` for each block of the slab's
    /// rows, of a cell that has one block of units in a panel.
    pub fn for_cells(self, mut f: impl FnMut(usize, usize, usize)) {
        let (hidden, lanes) = (self.blocks.hidden, self.blocks.lanes);
        for u in 0..self.blocks.panels() {
            for row in 0..self.rows {
                let at = (self.first + row) * hidden + u * lanes;
                f(
                    at,
                    (u * self.rows + row) * lanes,
                    lanes.min(hidden - u * lanes),
                );
            }
        }
    }
}
