//! Matrix times vector with weights in f16, for one vector or a few at a time.
//!
//! A matrix is cut into *panels* of 64 output rows. A panel is stored column by column: all 64
//! weights that meet x\[k\] lie together in one aligned [`Row`]. So the inner loop loads weights in
//! the order of memory, widens them to f32, and adds x\[k\] times them to 64 sums, with no
//! horizontal addition.
//!
//! Each output is the sum over k in ascending order, whatever the number of vectors and whatever
//! the direction in which panels are visited. The AVX2 and the AVX-512 kernel fuse the product and
//! the sum and give the same bits; the portable kernel rounds them apart.

use half::f16;

use super::gates;
#[cfg(target_arch = "x86_64")]
use crate::device::Level;

/// Output rows of a panel.
pub const LANES: usize = 64;

/// 64 values on a cache line's boundary.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Row<T>(pub [T; LANES]);

impl Row<f32> {
    /// 64 zeros.
    pub const ZERO: Row<f32> = Row([0.0; LANES]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// A set of instructions that this processor has: a value of this type is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Isa);

impl Kernel {
    /// The kernels that this processor can run, fastest first; none wider than
    /// [`Level::current`].
    pub fn available() -> Vec<Kernel> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        let level = Level::current();
        #[cfg(target_arch = "x86_64")]
        {
            if level >= Level::Avx512 && is_x86_feature_detected!("avx512f") {
                found.push(Kernel(Isa::Avx512));
            }
            if level >= Level::Avx2
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                found.push(Kernel(Isa::Avx2));
            }
        }
        found.push(Kernel(Isa::Portable));
        found
    }

    /// The fastest kernel that this processor can run.
    pub fn detect() -> Kernel {
        Kernel::available()[0]
    }

    /// `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        }
    }

    /// [`gates::lstm_cell`] with this kernel's instructions.
    pub fn lstm_cell(
        self,
        base: &[Row<f32>],
        input: Option<&[Row<f32>]>,
        recurrent: &[Row<f32>],
        c: &mut [f32],
        h: &mut [f32],
    ) {
        match self.0 {
            // SAFETY: a Kernel of this kind exists only where the processor has the features.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { x86::lstm_cell_avx512(base, input, recurrent, c, h) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { x86::lstm_cell_avx2(base, input, recurrent, c, h) },
            Isa::Portable => gates::lstm_cell::<false>(base, input, recurrent, c, h),
        }
    }
}

/// Packed weights, in the form that the kernel of that name reads.
enum Store {
    #[cfg(target_arch = "x86_64")]
    Avx512(Vec<Row<f16>>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Vec<Row<f16>>),
    /// The same values (rounded to f16), widened once: a processor without an instruction for it
    /// would spend most of its time on widening.
    Portable(Vec<Row<f32>>),
}

/// A matrix `[panels * 64, depth]` packed for streaming.
pub struct Matrix {
    store: Store,
    panels: usize,
    depth: usize,
}

impl Matrix {
    /// Packs a matrix; `weight(panel, lane, k)` is the value in row `64 * panel + lane` and column
    /// `k`, which is rounded to f16.
    pub fn pack(
        kernel: Kernel,
        panels: usize,
        depth: usize,
        weight: impl Fn(usize, usize, usize) -> f32,
    ) -> Matrix {
        let places = (0..panels).flat_map(|p| (0..depth).map(move |k| (p, k)));
        let rows = places.map(|(p, k)| {
            Row(std::array::from_fn(|lane| {
                f16::from_f32(weight(p, lane, k))
            }))
        });
        let store = match kernel.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Store::Avx512(rows.collect()),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Store::Avx2(rows.collect()),
            Isa::Portable => Store::Portable(rows.map(|r| Row(r.0.map(f16::to_f32))).collect()),
        };
        Matrix {
            store,
            panels,
            depth,
        }
    }

    /// Number of panels of 64 output rows.
    pub fn panels(&self) -> usize {
        self.panels
    }

    /// y = W x for every stream, reading the weights from memory once for all of them.
    ///
    /// - `x`: `[streams, stride]`, the first `depth` of each are read
    /// - `y`: `[streams, panels]` rows, overwritten
    /// - `reversed` visits the panels from the last to the first, with the same result: a caller
    ///   whose weights are larger than the cache alternates, and finds the end of one pass still
    ///   there at the start of the next.
    pub fn multiply(&self, x: &[f32], stride: usize, y: &mut [Row<f32>], reversed: bool) {
        let pass = Pass {
            x,
            stride,
            panels: self.panels,
            depth: self.depth,
            reversed,
        };
        match &self.store {
            // SAFETY: this store is made by a Kernel of this kind, and that exists only where the
            // processor has the features.
            #[cfg(target_arch = "x86_64")]
            Store::Avx512(rows) => unsafe { x86::multiply_avx512(rows, pass, y) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Store::Avx2(rows) => unsafe { x86::multiply_avx2(rows, pass, y) },
            Store::Portable(rows) => multiply_portable(rows, pass, y),
        }
    }
}

/// What one multiplication reads, apart from the weights.
#[derive(Clone, Copy)]
struct Pass<'a> {
    x: &'a [f32], // [streams, stride]
    stride: usize,
    panels: usize,
    depth: usize,
    reversed: bool,
}

impl<'a> Pass<'a> {
    /// The panels in the order of this pass.
    fn order(self) -> impl Iterator<Item = usize> {
        (0..self.panels).map(move |p| {
            if self.reversed {
                self.panels - 1 - p
            } else {
                p
            }
        })
    }

    /// The input of stream `s`, `[depth]`.
    fn input(&self, s: usize) -> &'a [f32] {
        &self.x[s * self.stride..][..self.depth]
    }

    /// Panel `p` of the packed weights, `[depth]` rows.
    fn panel<'w, T>(&self, rows: &'w [Row<T>], p: usize) -> &'w [Row<T>] {
        &rows[p * self.depth..][..self.depth]
    }
}

fn multiply_portable(rows: &[Row<f32>], pass: Pass, y: &mut [Row<f32>]) {
    for p in pass.order() {
        let panel = pass.panel(rows, p);
        for (s, y) in y.iter_mut().skip(p).step_by(pass.panels).enumerate() {
            let x = pass.input(s);
            // Half a panel at a time: its sums fit in sixteen 128-bit registers.
            for (half, y) in y.0.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let mut sum = [0.0; 32];
                for (row, &x) in panel.iter().zip(x) {
                    for (sum, w) in sum.iter_mut().zip(&row.0[32 * half..]) {
                        *sum += w * x;
                    }
                }
                *y = sum;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::f16;

    use super::{Pass, Row, gates};

    #[target_feature(enable = "avx512f")]
    pub fn lstm_cell_avx512(
        base: &[Row<f32>],
        input: Option<&[Row<f32>]>,
        recurrent: &[Row<f32>],
        c: &mut [f32],
        h: &mut [f32],
    ) {
        gates::lstm_cell::<true>(base, input, recurrent, c, h);
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn lstm_cell_avx2(
        base: &[Row<f32>],
        input: Option<&[Row<f32>]>,
        recurrent: &[Row<f32>],
        c: &mut [f32],
        h: &mut [f32],
    ) {
        gates::lstm_cell::<true>(base, input, recurrent, c, h);
    }

    /// Four streams at a time share a weight that is in a register, the rest find it in the L1.
    #[target_feature(enable = "avx512f")]
    pub fn multiply_avx512(rows: &[Row<f16>], pass: Pass, y: &mut [Row<f32>]) {
        let streams = y.len() / pass.panels;
        for p in pass.order() {
            let panel = pass.panel(rows, p);
            let mut s = 0;
            while s + 4 <= streams {
                let sums =
                    tile_avx512(panel, std::array::from_fn::<_, 4, _>(|i| pass.input(s + i)));
                for (i, sum) in sums.into_iter().enumerate() {
                    y[(s + i) * pass.panels + p] = sum;
                }
                s += 4;
            }
            for s in s..streams {
                let [sum] = tile_avx512(panel, [pass.input(s)]);
                y[s * pass.panels + p] = sum;
            }
        }
    }

    /// One panel times `S` vectors: 4 `S` registers of 16 sums.
    #[target_feature(enable = "avx512f")]
    fn tile_avx512<const S: usize>(panel: &[Row<f16>], x: [&[f32]; S]) -> [Row<f32>; S] {
        let mut sums = [[_mm512_setzero_ps(); S]; 4];
        let x = x.map(|x| &x[..panel.len()]);
        for (k, row) in panel.iter().enumerate() {
            for (q, sums) in sums.iter_mut().enumerate() {
                // SAFETY: a row holds 64 f16 from a 64-byte boundary on; q < 4 takes the q-th 16
                // of them, 32 bytes at a multiple of 32.
                let half = unsafe { _mm256_load_si256(row.0.as_ptr().cast::<__m256i>().add(q)) };
                let wide = _mm512_cvtph_ps(half);
                for (sum, x) in sums.iter_mut().zip(x) {
                    // SAFETY: k < panel.len(), the length that x was cut to.
                    let x = _mm512_set1_ps(unsafe { *x.get_unchecked(k) });
                    *sum = _mm512_fmadd_ps(wide, x, *sum);
                }
            }
        }
        let mut out = [Row::ZERO; S];
        for (q, sums) in sums.into_iter().enumerate() {
            for (out, sum) in out.iter_mut().zip(sums) {
                // SAFETY: a row holds 64 f32 from a 64-byte boundary on; q < 4 takes 16 of them.
                unsafe { _mm512_store_ps(out.0.as_mut_ptr().add(16 * q), sum) };
            }
        }
        out
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn multiply_avx2(rows: &[Row<f16>], pass: Pass, y: &mut [Row<f32>]) {
        for p in pass.order() {
            let panel = pass.panel(rows, p);
            for (s, y) in y.iter_mut().skip(p).step_by(pass.panels).enumerate() {
                *y = tile_avx2(panel, pass.input(s));
            }
        }
    }

    /// One panel times one vector: 8 of the 16 registers hold 8 sums each.
    #[target_feature(enable = "avx2,fma,f16c")]
    fn tile_avx2(panel: &[Row<f16>], x: &[f32]) -> Row<f32> {
        let mut sums = [_mm256_setzero_ps(); 8];
        for (row, &x) in panel.iter().zip(x) {
            let x = _mm256_set1_ps(x);
            for (q, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a row holds 64 f16 from a 64-byte boundary on; q < 8 takes the q-th 8
                // of them, 16 bytes at a multiple of 16.
                let half = unsafe { _mm_load_si128(row.0.as_ptr().cast::<__m128i>().add(q)) };
                *sum = _mm256_fmadd_ps(_mm256_cvtph_ps(half), x, *sum);
            }
        }
        let mut out = Row::ZERO;
        for (q, sum) in sums.into_iter().enumerate() {
            // SAFETY: a row holds 64 f32 from a 64-byte boundary on; q < 8 takes 8 of them.
            unsafe { _mm256_store_ps(out.0.as_mut_ptr().add(8 * q), sum) };
        }
        out
    }
}
