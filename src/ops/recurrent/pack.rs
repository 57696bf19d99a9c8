//! Weights in the order in which the recurrent layers' inner loops read them.
//!
//! L is the number of lanes of a vector register. A panel is [`WIDTH`] registers: it holds the gates'
//! arguments of one block of L units, or of four blocks where a unit has one gate alone. The last
//! panel is padded with zero weights, so that its surplus units stay at zero and nothing has to be
//! masked but the writes to the outputs.

use crate::device::cpu::buffer::Buffer;
use crate::device::cpu::simd::Dispatch;
use crate::device::cpu::tile::WIDTH;
use rayon::prelude::*;
use std::ops::Range;

/// How a cell fills a panel: G gates, each with rows in W_ih and in W_hh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gates {
    /// Blocks of L units in a panel.
    pub units: usize,
    /// The gates' arguments from the input.
    pub input: Side,
    /// The gates' arguments from the hidden state.
    pub hidden: Side,
}

/// The registers that one of the two products adds to, in the order of its weights' gates. They are
/// neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side(pub &'static [usize]);

impl Gates {
    /// One block of units whose four gates add both products, or four blocks of one gate.
    pub const fn whole(units: usize, registers: &'static [usize]) -> Self {
        Gates {
            units,
            input: Side(registers),
            hidden: Side(registers),
        }
    }

    /// G.
    pub const fn count(self) -> usize {
        self.input.0.len()
    }

    /// Registers of a panel that one product adds to.
    pub const fn registers(self) -> usize {
        self.count() * self.units
    }
}

impl Side {
    /// The first register.
    pub const fn first(self) -> usize {
        let (mut k, mut first) = (0, WIDTH);
        while k < self.0.len() {
            if self.0[k] < first {
                first = self.0[k];
            }
            k += 1;
        }
        first
    }
}

/// Sizes of the blocked gate order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// What a panel holds.
    pub gates: Gates,
    /// Units of the layer.
    pub hidden: usize,
    /// Lanes of a vector register.
    pub lanes: usize,
    /// Rows of a matrix tile.
    pub tile_rows: usize,
}

impl Blocks {
    /// The blocks that the kernels of this machine work with.
    pub fn new<T: Dispatch>(gates: Gates, hidden: usize) -> Self {
        let (lanes, tile_rows) = T::tile();
        Blocks {
            gates,
            hidden,
            lanes,
            tile_rows,
        }
    }

    /// Panels of the layer.
    pub fn panels(self) -> usize {
        self.hidden.div_ceil(self.gates.units * self.lanes)
    }

    /// Elements of a panel's row.
    pub fn panel(self) -> usize {
        WIDTH * self.lanes
    }

    /// Elements of a row of all panels.
    pub fn row(self) -> usize {
        self.panels() * self.panel()
    }

    /// Panels that cover `columns` ordinary columns.
    pub fn panels_of(self, columns: usize) -> usize {
        columns.div_ceil(self.panel())
    }

    /// G * H, the rows of the weights.
    fn rows(self) -> usize {
        self.gates.count() * self.hidden
    }

    /// The elements of a panel that one product adds to.
    fn width(self) -> usize {
        self.gates.registers() * self.lanes
    }

    /// The panel of one of the G * H rows, and the row's place in it.
    pub fn position(self, side: Side, row: usize) -> (usize, usize) {
        let (gate, unit) = (row / self.hidden, row % self.hidden);
        let (block, lane) = (unit / self.lanes, unit % self.lanes);
        let register = side.0[gate] * self.gates.units + block % self.gates.units;
        (block / self.gates.units, register * self.lanes + lane)
    }

    /// Calls `f(place in the panel, row of the G * H rows)` for the real rows of a panel.
    fn for_rows(self, side: Side, panel: usize, mut f: impl FnMut(usize, usize)) {
        for (gate, register) in side.0.iter().enumerate() {
            for block in 0..self.gates.units {
                let unit = (panel * self.gates.units + block) * self.lanes;
                let at = (register * self.gates.units + block) * self.lanes;
                for lane in 0..self.lanes.min(self.hidden.saturating_sub(unit)) {
                    f(at + lane, gate * self.hidden + unit + lane);
                }
            }
        }
    }
}

/// The forward operand `[panels][I + H][W]` from `w_ih` `[G H, I]` (or nothing, I = 0) and `w_hh`
/// `[G H, H]`; W are the registers that a product adds to.
pub fn forward<T: Dispatch>(blocks: Blocks, w_ih: Option<&[T]>, w_hh: &[T]) -> Buffer<T> {
    let (hidden, width) = (blocks.hidden, blocks.width());
    let inputs = w_ih.map_or(0, |w| w.len() / blocks.rows());
    let panel_len = (inputs + hidden) * width;
    let mut packed = Buffer::zeros(blocks.panels() * panel_len);
    let panels = packed.par_chunks_mut(panel_len).enumerate();
    panels.for_each(|(u, panel)| {
        let sides = [
            (blocks.gates.input, w_ih.unwrap_or(&[]), 0, inputs),
            (blocks.gates.hidden, w_hh, inputs, hidden),
        ];
        for (side, w, first, columns) in sides.into_iter().filter(|s| s.3 > 0) {
            blocks.for_rows(side, u, |at, row| {
                let at = at - side.first() * blocks.lanes;
                for (k, &x) in w[row * columns..][..columns].iter().enumerate() {
                    panel[(first + k) * width + at] = x;
                }
            });
        }
    });
    packed
}

/// The operand of q = s W^T, W `[R, C]`: `[ceil(R / 4L)][C][4L]`.
pub fn transposed<T: Dispatch>(blocks: Blocks, w: &[T], columns: usize) -> Buffer<T> {
    let (rows, width) = (w.len() / columns, blocks.panel());
    let mut packed = Buffer::zeros(blocks.panels_of(rows) * columns * width);
    for (row, from) in w.chunks(columns).enumerate() {
        let panel = &mut packed[row / width * columns * width..];
        for (k, &x) in from.iter().enumerate() {
            panel[k * width + row % width] = x;
        }
    }
    packed
}

/// The backward operand of dz W for some columns of W `[G H, C]`: `[ceil(columns / 4L)][K][4L]`. K
/// are the registers of one product in each panel of dz and, padded to whole panels, the rows of
/// `below` `[R, columns]`.
pub fn backward<T: Dispatch>(
    blocks: Blocks,
    side: Side,
    w: &[T],
    of: Range<usize>,
    below: &[T],
) -> Buffer<T> {
    let (stride, columns) = (w.len() / blocks.rows(), of.len());
    let (width, k) = (blocks.panel(), blocks.width());
    let rows_below = below.len() / columns.max(1);
    let gates = blocks.panels() * k;
    let panel_len = (gates + blocks.panels_of(rows_below) * width) * width;
    let mut packed = Buffer::zeros(blocks.panels_of(columns) * panel_len);
    let panels = packed.par_chunks_mut(panel_len).enumerate();
    panels.for_each(|(p, panel)| {
        let first = p * width;
        let n = width.min(columns - first);
        for u in 0..blocks.panels() {
            blocks.for_rows(side, u, |at, row| {
                let at = at - side.first() * blocks.lanes;
                let from = &w[row * stride + of.start + first..][..n];
                panel[(u * k + at) * width..][..n].copy_from_slice(from);
            });
        }
        for row in 0..rows_below {
            let from = &below[row * columns + first..][..n];
            panel[(gates + row) * width..][..n].copy_from_slice(from);
        }
    });
    packed
}

/// What the gates start from: rows of G * H values (a bias, or a gate table) in blocked order, each
/// with the hidden side's bias added if there is one.
pub fn rows<T: Dispatch>(blocks: Blocks, values: &[T], b_hh: Option<&[T]>) -> Buffer<T> {
    let mut packed = Buffer::zeros(values.len() / blocks.rows() * blocks.row());
    let rows = values.par_chunks(blocks.rows());
    let packed_rows = packed.par_chunks_mut(blocks.row());
    packed_rows.zip(rows).for_each(|(to, from)| {
        for (u, to) in to.chunks_mut(blocks.panel()).enumerate() {
            blocks.for_rows(blocks.gates.input, u, |at, row| to[at] = from[row]);
            if let Some(b) = b_hh {
                blocks.for_rows(blocks.gates.hidden, u, |at, row| to[at] += b[row]);
            }
        }
    });
    packed
}

/// The inverse of [`rows`] for one row `[G H]`: writes, or adds, the sum of the rows `of` of several
/// parts, each row over the parts in their order.
pub fn unpack_row<T: Dispatch>(
    blocks: Blocks,
    side: Side,
    parts: &[&[T]],
    of: Range<usize>,
    to: &mut [T],
    accumulate: bool,
) {
    for u in 0..blocks.panels() {
        blocks.for_rows(side, u, |at, row| {
            let at = u * blocks.panel() + at;
            let sums = of.clone().map(|r| sum_of(parts, r * blocks.row() + at));
            let sum = sums.fold(T::ZERO, |total, sum| total + sum);
            to[row] = if accumulate { to[row] + sum } else { sum };
        });
    }
}

/// The gradient of a parameter `[R, columns]` from the slabs' parts `[panels][K][4L]`, of whose K it
/// has the `columns`. `position` is the panel of one of its rows and the row's place in it.
pub fn unpack_weight<T: Dispatch>(
    blocks: Blocks,
    parts: &[&[T]],
    (k, columns): (usize, Range<usize>),
    position: impl Fn(usize) -> (usize, usize) + Sync,
    to: &mut [T],
    accumulate: bool,
) {
    let width = blocks.panel();
    let rows = to.par_chunks_mut(columns.len()).enumerate();
    rows.for_each(|(row, to)| {
        let (panel, lane) = position(row);
        for (c, to) in columns.clone().zip(to) {
            let sum = sum_of(parts, (panel * k + c) * width + lane);
            *to = if accumulate { *to + sum } else { sum };
        }
    });
}

/// Element `at` of the sum of several parts in their order.
pub fn sum_of<T: Dispatch>(parts: &[&[T]], at: usize) -> T {
    parts.iter().fold(T::ZERO, |sum, part| sum + part[at])
}
