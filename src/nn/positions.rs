//! Sinusoidal positions (Vaswani et al. 2017, sections 3.4 and 3.5): of position t and column c of D
//!
//! ```text
//! p_tc = sin(t / 10000^(c / D)) for even c, cos(t / 10000^((c - 1) / D)) for odd c
//! y    = sqrt(D) x + p
//! ```

use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::ops;
use crate::ops::cast::convert;
use crate::tensor::Tensor;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows of a table at least: a decoder that begins with one row soon asks for more.
const ROWS: usize = 64;

/// Adds positions to embeddings. What has been computed of p is kept.
#[derive(Clone, Debug)]
pub struct Positions {
    width: usize,
    table: Arc<Mutex<Option<Tensor>>>,
}

/// The positions of rows.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// That of each row `[N]` u32, all of them below the second.
    Each(&'a Tensor, usize),
    /// All rows stand at one.
    At(usize),
}

impl Positions {
    /// Of rows of D columns.
    pub fn new(width: usize) -> Self {
        Positions {
            width,
            table: Arc::default(),
        }
    }

    /// sqrt(D) x + p for rows x `[N, D]`.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn add(&self, tape: &mut Tape, x: &Var, place: Place) -> Result<Var> {
        let scaled = ops::scale(tape, x, (self.width as f64).sqrt())?;
        match place {
            Place::At(t) => {
                let row = self
                    .table(t + 1, x.value())?
                    .slice(t * self.width, [self.width])?;
                ops::add_bias(tape, scaled, &Var::constant(row))
            }
            Place::Each(steps, longest) => {
                let table = Var::constant(self.table(longest, x.value())?);
                let p = ops::gather(&mut Tape::inference(), &table, steps)?;
                ops::add(tape, &scaled, &p)
            }
        }
    }

    /// p of at least so many positions, of the data type of a tensor and where that is.
    fn table(&self, rows: usize, like: &Tensor) -> Result<Tensor> {
        let mut kept = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |t: &&Tensor| {
            let same_place = match (t.gpu(), like.gpu()) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (a, b) => a.is_none() && b.is_none(),
            };
            t.shape().rows() >= rows && t.dtype() == like.dtype() && same_place
        };
        if let Some(table) = kept.as_ref().filter(fits) {
            return Ok(table.clone());
        }
        let rows = rows.next_power_of_two().max(ROWS);
        let p = |i: usize| sinusoid(i / self.width, i % self.width, self.width);
        let p: Vec<f64> = (0..rows * self.width).map(p).collect();
        let table = convert(&Tensor::from_slice(&p, [rows, self.width])?, like.dtype())?;
        let table = match like.gpu() {
            Some(gpu) => table.to_gpu(gpu)?,
            None => table,
        };
        Ok(kept.insert(table).clone())
    }
}

/// p of position t and column c of `width`.
fn sinusoid(t: usize, c: usize, width: usize) -> f64 {
    let rate = 10_000f64.powf((c - c % 2) as f64 / width as f64);
    let angle = t as f64 / rate;
    match c % 2 {
        0 => angle.sin(),
        _ => angle.cos(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_each_row_and_of_all() {
        let positions = Positions::new(4);
        let mut tape = Tape::inference();
        let x = |rows: usize| {
            Var::constant(Tensor::from_slice(&vec![0.5; rows * 4], [rows, 4]).unwrap())
        };
        let steps = Tensor::from_slice(&[0u32, 0, 3], [3]).unwrap();
        let each = positions
            .add(&mut tape, &x(3), Place::Each(&steps, 4))
            .unwrap();
        let each = each.value().data::<f64>().unwrap();
        assert_eq!(each[..4], [1.0, 2.0, 1.0, 2.0]);
        let (slow, fast) = (3.0 / 100.0, 3.0f64);
        let want = [fast.sin(), fast.cos(), f64::sin(slow), f64::cos(slow)];
        for (got, want) in each[8..].iter().zip(want) {
            assert!((got - 1.0 - want).abs() < 1e-15, "{got}");
        }
        let all = positions.add(&mut tape, &x(2), Place::At(3)).unwrap();
        let all = all.value().data::<f64>().unwrap();
        assert_eq!([&all[..4], &all[4..]], [&each[8..]; 2]);
        // Beyond what was kept.
        let far = positions.add(&mut tape, &x(1), Place::At(5000)).unwrap();
        let far = far.value().data::<f64>().unwrap();
        assert!((far[0] - 1.0 - 5000f64.sin()).abs() < 1e-15);
    }
}
