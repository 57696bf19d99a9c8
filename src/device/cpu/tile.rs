//! The one inner loop of all recurrent matrix products: a tile of M rows and N registers.

use super::simd::Simd;
use crate::dtype::Float;

/// A matrix operand whose elements are broadcast: element (m, k) is at `ptr + m * row + k * step`.
#[derive(Clone, Copy)]
pub struct Rows<E> {
    /// Element (0, 0).
    pub ptr: *const E,
    /// Distance between rows.
    pub row: usize,
    /// Distance between successive k.
    pub step: usize,
}

/// acc[m][n] + sum over k of a(m, k) * b[k][n], with b contiguous: `[k][N * LANES]`.
///
/// With AVX-512, M = 6 and N = 4, that is 24 multiply-adds for 10 loads in 31 registers.
///
/// # Safety
/// `a` is valid for M rows and `k` steps, `b` for `k * N * LANES` elements; S is available.
#[inline(always)]
pub unsafe fn multiply<S: Simd, const M: usize, const N: usize>(
    mut acc: [[S::V; N]; M],
    k: usize,
    a: Rows<S::E>,
    b: *const S::E,
) -> [[S::V; N]; M] {
    // Closures are avoided here and in all kernels: they are compiled without the instruction set
    // and a vector that crosses them goes through memory.
    // SAFETY: all offsets are below the extents that the caller vouches for.
    unsafe {
        let mut a_k = a.ptr;
        let mut b_k = b;
        for _ in 0..k {
            let mut x = [S::splat(S::E::ZERO); M];
            for (m, x) in x.iter_mut().enumerate() {
                *x = S::splat(*a_k.add(m * a.row));
            }
            for n in 0..N {
                let b = S::load(b_k.add(n * S::LANES));
                for (acc, &x) in acc.iter_mut().zip(&x) {
                    acc[n] = S::fma(x, b, acc[n]);
                }
            }
            a_k = a_k.add(a.step);
            b_k = b_k.add(N * S::LANES);
        }
    }
    acc
}

/// N registers from contiguous memory.
///
/// # Safety
/// `p` is valid for `N * LANES` elements; S is available.
#[inline(always)]
pub unsafe fn load_row<S: Simd, const N: usize>(p: *const S::E) -> [S::V; N] {
    // SAFETY: as the caller vouches.
    unsafe {
        let mut row = [S::load(p); N];
        for (n, v) in row.iter_mut().enumerate().skip(1) {
            *v = S::load(p.add(n * S::LANES));
        }
        row
    }
}

/// Writes N registers to contiguous memory.
///
/// # Safety
/// As [`load_row`].
#[inline(always)]
pub unsafe fn store_row<S: Simd, const N: usize>(p: *mut S::E, row: &[S::V; N]) {
    for (n, &v) in row.iter().enumerate() {
        // SAFETY: as the caller vouches.
        unsafe { S::store(p.add(n * S::LANES), v) };
    }
}

/// A register of the next elements, of which there are n: zero behind the last one.
///
/// # Safety
/// `p` is valid for n elements; S is available.
#[inline(always)]
pub unsafe fn load_up_to<S: Simd>(p: *const S::E, n: usize) -> S::V {
    // SAFETY: no more than n elements are read.
    unsafe {
        match n >= S::LANES {
            true => S::load(p),
            false => S::load_part(p, n),
        }
    }
}

/// Writes a register to the next elements, of which there are n.
///
/// # Safety
/// As [`load_up_to`].
#[inline(always)]
pub unsafe fn store_up_to<S: Simd>(p: *mut S::E, v: S::V, n: usize) {
    // SAFETY: no more than n elements are written.
    unsafe {
        match n >= S::LANES {
            true => S::store(p, v),
            false => S::store_part(p, v, n),
        }
    }
}

/// The columns `first..` of a row that has `columns` of them, zero behind its end.
///
/// # Safety
/// `row` is valid for `columns` elements; S is available.
#[inline(always)]
pub unsafe fn load_columns<S: Simd, const N: usize>(
    row: *const S::E,
    first: usize,
    columns: usize,
) -> [S::V; N] {
    // SAFETY: only columns below `columns` are read.
    unsafe {
        let mut values = [S::splat(S::E::ZERO); N];
        for (k, v) in values.iter_mut().enumerate() {
            let at = first + k * S::LANES;
            if at < columns {
                *v = load_up_to::<S>(row.add(at), columns - at);
            }
        }
        values
    }
}

/// Writes registers to columns `first..` of a row that has `columns` of them.
///
/// # Safety
/// `row` is valid for `columns` elements; S is available.
#[inline(always)]
pub unsafe fn store_columns<S: Simd, const N: usize>(
    row: *mut S::E,
    first: usize,
    columns: usize,
    values: &[S::V; N],
) {
    for (k, &v) in values.iter().enumerate() {
        let at = first + k * S::LANES;
        // SAFETY: only columns below `columns` are written.
        unsafe {
            if at < columns {
                store_up_to::<S>(row.add(at), v, columns - at);
            }
        }
    }
}

/// The sum of a register's lanes, in pairs.
///
/// # Safety
/// S is available.
#[inline(always)]
pub unsafe fn sum_lanes<S: Simd>(v: S::V) -> S::E {
    let mut lanes = [S::E::ZERO; MAX_LANES];
    // SAFETY: no register has more lanes.
    unsafe { S::store(lanes.as_mut_ptr(), v) };
    let mut n = S::LANES / 2;
    while n > 0 {
        for i in 0..n {
            lanes[i] += lanes[i + n];
        }
        n /= 2;
    }
    lanes[0]
}

/// The sum of x - shift over a row: whole registers first.
///
/// # Safety
/// S is available.
#[inline(always)]
pub unsafe fn sum_row<S: Simd>(row: &[S::E], shift: S::E) -> S::E {
    let whole = row.len() / S::LANES * S::LANES;
    // SAFETY: only whole registers of the row are read.
    let mut total = unsafe {
        let mut lanes = S::splat(S::E::ZERO);
        for part in row[..whole].chunks_exact(S::LANES) {
            lanes = S::add(lanes, S::sub(S::load(part.as_ptr()), S::splat(shift)));
        }
        sum_lanes::<S>(lanes)
    };
    for &x in &row[whole..] {
        total += x - shift;
    }
    total
}

/// Lanes of the widest register.
pub const MAX_LANES: usize = 16;

/// Registers a panel is wide. The LSTM's four gates of one block of units are one panel.
pub const WIDTH: usize = 4;

/// Calls `$body` for tiles of at most `S::ROWS` rows that cover `$rows` rows: `$row` is the first
/// row of the tile, `$M` its constant height.
macro_rules! for_row_tiles {
    ($S:ty, $rows:expr, |$row:ident, $M:ident| $body:expr) => {{
        let total: usize = $rows;
        let mut $row = 0;
        while $row < total {
            let height = (total - $row).min(<$S as $crate::device::cpu::simd::Simd>::ROWS);
            match height {
                6 => {
                    const $M: usize = 6;
                    $body
                }
                5 => {
                    const $M: usize = 5;
                    $body
                }
                4 => {
                    const $M: usize = 4;
                    $body
                }
                3 => {
                    const $M: usize = 3;
                    $body
                }
                2 => {
                    const $M: usize = 2;
                    $body
                }
                _ => {
                    const $M: usize = 1;
                    $body
                }
            }
            $row += height;
        }
    }};
}
pub(crate) use for_row_tiles;
