//! cuBLAS's GEMM on the emulated device: the same indexing, the same demands.

use super::memory::Buffers;
use crate::device::driver::{Gemm, Matrix};
use crate::dtype::DType;
use crate::error::{Error, Result};
use half::f16;

/// Runs the products of a batch. Sums are in f32, in the order of k.
pub fn gemm(memory: &mut Buffers, g: &Gemm) -> Result<()> {
    if g.a.dtype != g.b.dtype || (g.c.dtype != DType::F32 && g.c.dtype != g.a.dtype) {
        let types = [g.a.dtype, g.b.dtype, g.c.dtype];
        return Err(fail(format!("data types {types:?}")));
    }
    let product = |i| {
        Ok([
            Operand::new("A", g.a, g.trans_a, g.m, g.k)?.of_batch(i),
            Operand::new("B", g.b, g.trans_b, g.k, g.n)?.of_batch(i),
            Operand::new("C", g.c, false, g.m, g.n)?.of_batch(i),
        ])
    };
    let products = (0..g.batch).map(product).collect::<Result<Vec<_>>>()?;
    for (i, [.., c]) in products.iter().enumerate() {
        for (j, [a, b, _]) in products.iter().enumerate() {
            c.check_apart(a)?;
            c.check_apart(b)?;
            if j > 0 && i == 0 {
                c.check_distinct(j)?;
            }
        }
    }
    products
        .iter()
        .try_for_each(|operands| one(memory, g, operands))
}

fn one(memory: &mut Buffers, g: &Gemm, [a, b, c]: &[Operand; 3]) -> Result<()> {
    let alpha = alpha(memory, g)?;
    // op(A) by rows and op(B) by columns: a sum runs along both.
    let rows = a.read(memory, true)?;
    let columns = b.read(memory, false)?;
    // With beta = 0 whatever C holds, NaN too, is not read.
    let old = (g.beta != 0.0).then(|| c.read(memory, false)).transpose()?;
    let mut out = vec![0.0f32; g.m * g.n];
    for (j, out) in out.chunks_mut(g.m.max(1)).enumerate() {
        let column = &columns[j * g.k..][..g.k];
        for (r, out) in out.iter_mut().enumerate() {
            let row = &rows[r * g.k..][..g.k];
            *out = row
                .iter()
                .zip(column)
                .fold(0.0f32, |sum, (x, y)| sum + x * y);
            *out *= alpha;
            if let Some(old) = &old {
                *out += g.beta * old[j * g.m + r];
            }
        }
    }
    c.write(memory, &out)
}

/// The factor of the product, as it is when the product runs.
fn alpha(memory: &Buffers, g: &Gemm) -> Result<f32> {
    let Some(ptr) = g.alpha else {
        return Ok(1.0);
    };
    g.check_beta()?;
    let bytes = memory
        .bytes("gemm", ptr, 4)
        .map_err(|e| fail(format!("alpha: {e}")))?;
    Ok(bytemuck::pod_read_unaligned(bytes))
}

fn fail(message: String) -> Error {
    Error::op("gemm", message)
}

/// A checked operand: op(X) is `rows x columns`.
struct Operand {
    name: &'static str,
    matrix: Matrix,
    trans: bool,
    rows: usize,
    columns: usize,
    size: usize,
}

impl Operand {
    fn new(
        name: &'static str,
        matrix: Matrix,
        trans: bool,
        rows: usize,
        columns: usize,
    ) -> Result<Self> {
        let size = match matrix.dtype {
            DType::F32 => 4,
            DType::F16 => 2,
            other => return Err(fail(format!("{name} is {other}, not f32 or f16"))),
        };
        let height = if trans { columns } else { rows };
        if matrix.ld < height.max(1) {
            let ld = matrix.ld;
            return Err(fail(format!(
                "{name} has {height} stored rows and a leading dimension of {ld}"
            )));
        }
        if !matrix.ptr.address().is_multiple_of(size as u64) {
            return Err(fail(format!("{name} is not aligned to {size} bytes")));
        }
        Ok(Operand {
            name,
            matrix,
            trans,
            rows,
            columns,
            size,
        })
    }

    /// That of product i of a batch.
    fn of_batch(mut self, i: usize) -> Self {
        let bytes = i * self.matrix.stride * self.size;
        self.matrix.ptr = self.matrix.ptr.offset(bytes);
        self
    }

    /// Rows and columns as stored.
    fn stored(&self) -> (usize, usize) {
        match self.trans {
            true => (self.columns, self.rows),
            false => (self.rows, self.columns),
        }
    }

    /// That no element is one of the matrix `strides` strides on, which may lie between its columns.
    fn check_distinct(&self, strides: usize) -> Result<()> {
        let (height, width) = self.stored();
        if height * width == 0 {
            return Ok(());
        }
        let shift = strides * self.matrix.stride;
        let (columns, rows) = (shift / self.matrix.ld, shift % self.matrix.ld);
        let shared = (columns < width && rows < height)
            || (columns + 1 < width && self.matrix.ld - rows < height);
        match shared {
            true => Err(fail(format!("{} overlaps itself in a batch", self.name))),
            false => Ok(()),
        }
    }

    /// Elements from the first to the last.
    fn elements(&self) -> usize {
        let (height, width) = self.stored();
        if height == 0 || width == 0 {
            return 0;
        }
        (width - 1) * self.matrix.ld + height
    }

    fn check_apart(&self, other: &Operand) -> Result<()> {
        let range = |o: &Operand| {
            let first = o.matrix.ptr.address();
            first..first + (o.elements() * o.size) as u64
        };
        let (x, y) = (range(self), range(other));
        if x.start < y.end && y.start < x.end {
            let message = format!("{} overlaps {}", self.name, other.name);
            return Err(fail(message));
        }
        Ok(())
    }

    /// Position of op(X)[row, column] among the elements.
    fn at(&self, row: usize, column: usize) -> usize {
        if self.trans {
            row * self.matrix.ld + column
        } else {
            column * self.matrix.ld + row
        }
    }

    /// op(X) as f32, row by row or column by column.
    fn read(&self, memory: &Buffers, by_rows: bool) -> Result<Vec<f32>> {
        let stored = memory
            .bytes("gemm", self.matrix.ptr, self.elements() * self.size)
            .map_err(|e| fail(format!("{}: {e}", self.name)))?;
        let element = |row, column| {
            let at = self.at(row, column);
            match self.matrix.dtype {
                DType::F16 => f16::from_le_bytes([stored[2 * at], stored[2 * at + 1]]).to_f32(),
                _ => bytemuck::pod_read_unaligned::<f32>(&stored[4 * at..4 * at + 4]),
            }
        };
        let (outer, inner) = if by_rows {
            (self.rows, self.columns)
        } else {
            (self.columns, self.rows)
        };
        let mut out = Vec::with_capacity(outer * inner);
        for o in 0..outer {
            for i in 0..inner {
                out.push(if by_rows {
                    element(o, i)
                } else {
                    element(i, o)
                });
            }
        }
        Ok(out)
    }

    /// Writes op(X), column by column; elements between the columns are left alone.
    fn write(&self, memory: &mut Buffers, values: &[f32]) -> Result<()> {
        let stored = memory
            .bytes_mut("gemm", self.matrix.ptr, self.elements() * self.size)
            .map_err(|e| fail(format!("{}: {e}", self.name)))?;
        for (i, &x) in values.iter().enumerate() {
            let at = self.at(i % self.rows, i / self.rows) * self.size;
            let to = &mut stored[at..at + self.size];
            match self.matrix.dtype {
                DType::F16 => to.copy_from_slice(&f16::from_f32(x).to_le_bytes()),
                _ => to.copy_from_slice(&x.to_le_bytes()),
            }
        }
        Ok(())
    }
}
