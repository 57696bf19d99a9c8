//! **cpu** Groups of rows in parallel, each row in registers of the machine's width.

use super::Operands;
use crate::autograd::{Backward, Grads, Slot, Tape, Var};
use crate::device::cpu::simd::{Dispatch, Simd, Task};
use crate::device::cpu::tile::{sum_lanes, sum_row};
use crate::dtype::Float;
use crate::error::Result;
use crate::tensor::{Stored, Tensor};
use rayon::prelude::*;

/// Rows that one task takes; fixed, so that the sums over tasks have a fixed order.
const ROWS: usize = 64;

/// m and r of a row.
type Moments<T> = (T, T);

pub(super) fn run<T: Stored + Dispatch>(
    tape: &mut Tape,
    operands: Operands,
    epsilon: f64,
) -> Result<Var> {
    let (x, width) = (operands.x.value(), operands.gamma.value().numel());
    let mut y = Tensor::uninit::<T>(x.shape().clone());
    let mut moments = vec![(T::ZERO, T::ZERO); x.shape().rows()];
    let (gamma, beta) = (
        operands.gamma.value().data()?,
        operands.beta.value().data()?,
    );
    let groups = y.data_mut::<T>()?.par_chunks_mut(ROWS * width);
    let groups = groups.zip(x.data::<T>()?.par_chunks(ROWS * width));
    groups
        .zip(moments.par_chunks_mut(ROWS))
        .for_each(|((y, x), moments)| {
            T::dispatch(Normalise {
                x,
                y,
                moments,
                gamma,
                beta,
                epsilon: T::from_f64(epsilon),
            });
        });
    let y = tape.output(y, operands.slots());
    if y.slot().is_some() {
        tape.push(Node {
            slots: operands.slots(),
            x: x.clone(),
            gamma: operands.gamma.value().clone(),
            moments,
            y: y.slot(),
        });
    }
    Ok(y)
}

/// Some rows.
struct Normalise<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    moments: &'a mut [Moments<T>],
    gamma: &'a [T],
    beta: &'a [T],
    epsilon: T,
}

impl<T: Dispatch> Task<T> for Normalise<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) {
        let width = self.gamma.len();
        let count = T::from_f64(width as f64);
        let rows = self.x.chunks(width).zip(self.y.chunks_mut(width));
        for ((x, y), moments) in rows.zip(self.moments) {
            // SAFETY: dispatch chose the set; the rows are as long as gamma and beta.
            unsafe {
                let mean = sum_row::<S>(x, T::ZERO) / count;
                let r = T::ONE / (squares::<S>(x, mean) / count + self.epsilon).sqrt();
                *moments = (mean, r);
                scale::<S>(x, y, *moments, [self.gamma, self.beta]);
            }
        }
    }
}

/// Elements in whole registers.
fn whole<S: Simd>(n: usize) -> usize {
    n / S::LANES * S::LANES
}

/// The sum of (x - mean)^2.
#[inline(always)]
unsafe fn squares<S: Simd>(x: &[S::E], mean: S::E) -> S::E {
    // SAFETY: only whole registers of the row are read.
    unsafe {
        let mut lanes = S::splat(S::E::ZERO);
        for i in (0..whole::<S>(x.len())).step_by(S::LANES) {
            let d = S::sub(S::load(x.as_ptr().add(i)), S::splat(mean));
            lanes = S::fma(d, d, lanes);
        }
        let mut total = sum_lanes::<S>(lanes);
        for &x in &x[whole::<S>(x.len())..] {
            total += (x - mean) * (x - mean);
        }
        total
    }
}

/// y = gamma (x - m) r + beta
#[inline(always)]
unsafe fn scale<S: Simd>(
    x: &[S::E],
    y: &mut [S::E],
    (mean, r): Moments<S::E>,
    [gamma, beta]: [&[S::E]; 2],
) {
    // SAFETY: only whole registers of rows of one length are read and written.
    unsafe {
        for i in (0..whole::<S>(x.len())).step_by(S::LANES) {
            let d = S::sub(S::load(x.as_ptr().add(i)), S::splat(mean));
            let u = S::mul(d, S::splat(r));
            let (gamma, beta) = (gamma.as_ptr().add(i), beta.as_ptr().add(i));
            S::store(
                y.as_mut_ptr().add(i),
                S::fma(u, S::load(gamma), S::load(beta)),
            );
        }
        for i in whole::<S>(x.len())..x.len() {
            y[i] = (x[i] - mean) * r * gamma[i] + beta[i];
        }
    }
}

// ---- backward ------------------------------------------------------------------------------

struct Node<T> {
    /// Of x, gamma and beta.
    slots: [Option<Slot>; 3],
    x: Tensor,
    gamma: Tensor,
    moments: Vec<Moments<T>>,
    y: Option<Slot>,
}

impl<T: Stored + Dispatch> Backward for Node<T> {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn backward(self: Box<Self>, grads: &mut Grads) -> Result<()> {
        let Some(dy) = grads.take(self.y) else {
            return Ok(());
        };
        let (x, dy, gamma) = (
            self.x.data::<T>()?,
            dy.data::<T>()?,
            self.gamma.data::<T>()?,
        );
        let width = gamma.len();
        let mut sums: Vec<Vec<T>> = Vec::new();
        let mut run = |to: &mut [T], accumulate: bool| {
            let groups = to.par_chunks_mut(ROWS * width);
            let groups = groups
                .zip(x.par_chunks(ROWS * width))
                .zip(dy.par_chunks(ROWS * width));
            let groups = groups.zip(self.moments.par_chunks(ROWS));
            let of = groups.map(|(((dx, x), dy), moments)| {
                let mut sums = vec![T::ZERO; 2 * width];
                T::dispatch(Gradient {
                    dx,
                    accumulate,
                    x,
                    dy,
                    moments,
                    gamma,
                    sums: &mut sums,
                });
                sums
            });
            sums = of.collect();
            Ok(())
        };
        let [x_slot, gamma_slot, beta_slot] = self.slots;
        match x_slot {
            Some(_) => grads.write::<T>(x_slot, self.x.shape(), &mut run)?,
            // The sums alone are wanted.
            None => run(Tensor::uninit::<T>([x.len()]).data_mut()?, false)?,
        }
        for (slot, first) in [(gamma_slot, 0), (beta_slot, width)] {
            grads.write::<T>(slot, self.gamma.shape(), |to, accumulate| {
                if !accumulate {
                    to.fill(T::ZERO);
                }
                for sum in &sums {
                    let sum = &sum[first..][..width];
                    to.iter_mut().zip(sum).for_each(|(to, &x)| *to += x);
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// The gradients of some rows.
struct Gradient<'a, T> {
    dx: &'a mut [T],
    accumulate: bool,
    x: &'a [T],
    dy: &'a [T],
    moments: &'a [Moments<T>],
    gamma: &'a [T],
    /// `[2, N]` what the rows add to dgamma, and to dbeta.
    sums: &'a mut [T],
}

impl<T: Dispatch> Task<T> for Gradient<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<E = T>>(self) {
        let width = self.gamma.len();
        let count = T::from_f64(width as f64);
        let (dgamma, dbeta) = self.sums.split_at_mut(width);
        let rows = self.x.chunks(width).zip(self.dy.chunks(width));
        let rows = rows.zip(self.dx.chunks_mut(width));
        for (((x, dy), dx), &(mean, r)) in rows.zip(self.moments) {
            // SAFETY: dispatch chose the set; all rows are as long as gamma.
            unsafe {
                let row = Row {
                    x,
                    dy,
                    mean,
                    r,
                    gamma: self.gamma,
                };
                let [g, gu] = row.sums::<S>(dgamma, dbeta);
                row.gradient::<S>(dx, [g / count, gu / count], self.accumulate);
            }
        }
    }
}

/// A row of the backward pass.
struct Row<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    mean: T,
    r: T,
    gamma: &'a [T],
}

impl<T: Dispatch> Row<'_, T> {
    /// The sums of g and of g u; adds to dgamma and dbeta.
    #[inline(always)]
    unsafe fn sums<S: Simd<E = T>>(&self, dgamma: &mut [T], dbeta: &mut [T]) -> [T; 2] {
        let Row { x, dy, mean, r, .. } = *self;
        // SAFETY: only whole registers of rows of one length are read and written.
        unsafe {
            let mut g_lanes = S::splat(T::ZERO);
            let mut gu_lanes = g_lanes;
            for i in (0..whole::<S>(x.len())).step_by(S::LANES) {
                let d = S::sub(S::load(x.as_ptr().add(i)), S::splat(mean));
                let (u, dy) = (S::mul(d, S::splat(r)), S::load(dy.as_ptr().add(i)));
                let g = S::mul(dy, S::load(self.gamma.as_ptr().add(i)));
                g_lanes = S::add(g_lanes, g);
                gu_lanes = S::fma(g, u, gu_lanes);
                let (dgamma, dbeta) = (dgamma.as_mut_ptr().add(i), dbeta.as_mut_ptr().add(i));
                S::store(dgamma, S::fma(dy, u, S::load(dgamma)));
                S::store(dbeta, S::add(dy, S::load(dbeta)));
            }
            let mut total = [sum_lanes::<S>(g_lanes), sum_lanes::<S>(gu_lanes)];
            for i in whole::<S>(x.len())..x.len() {
                let (u, g) = ((x[i] - mean) * r, dy[i] * self.gamma[i]);
                total[0] += g;
                total[1] += g * u;
                dgamma[i] += dy[i] * u;
                dbeta[i] += dy[i];
            }
            total
        }
    }

    /// dx from the means of g and g u.
    #[inline(always)]
    unsafe fn gradient<S: Simd<E = T>>(&self, dx: &mut [T], [g, gu]: [T; 2], accumulate: bool) {
        let Row { x, dy, mean, r, .. } = *self;
        // SAFETY: only whole registers of rows of one length are read and written.
        unsafe {
            for i in (0..whole::<S>(x.len())).step_by(S::LANES) {
                let d = S::sub(S::load(x.as_ptr().add(i)), S::splat(mean));
                let (u, dy) = (S::mul(d, S::splat(r)), S::load(dy.as_ptr().add(i)));
                let own = S::mul(dy, S::load(self.gamma.as_ptr().add(i)));
                let own = S::sub(S::sub(own, S::splat(g)), S::mul(u, S::splat(gu)));
                let to = dx.as_mut_ptr().add(i);
                let before = match accumulate {
                    true => S::load(to),
                    false => S::splat(T::ZERO),
                };
                S::store(to, S::fma(own, S::splat(r), before));
            }
            for i in whole::<S>(x.len())..x.len() {
                let (u, own) = ((x[i] - mean) * r, dy[i] * self.gamma[i]);
                let own = (own - g - u * gu) * r;
                dx[i] = if accumulate { dx[i] + own } else { own };
            }
        }
    }
}
