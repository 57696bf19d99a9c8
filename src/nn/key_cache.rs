//! Keys and values of the steps that a decoder has read.

use crate::autograd::{Tape, Var};
use crate::error::{Error, Result};
use crate::ops;
use crate::tensor::{Tensor, for_float};
use std::sync::{Arc, Mutex, PoisonError};

/// Steps that there is memory for at first.
const FIRST: usize = 8;

/// Rows `[t B, W]` of t steps of B sequences, step after step.
///
/// Clones share their memory. The first of them that goes on writes behind the steps that all of them have;
/// another one takes a copy. The memory doubles when it is full, so that a step costs its own rows alone.
#[derive(Clone, Debug, Default)]
pub struct KeyCache {
    memory: Option<Arc<Mutex<Memory>>>,
    steps: usize,
}

#[derive(Debug)]
struct Memory {
    /// `[capacity B, W]`
    rows: Tensor,
    /// Steps that have been written.
    steps: usize,
}

impl KeyCache {
    /// Steps so far.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Adds a step `[B, W]`, and gives all of them `[t B, W]`.
    ///
    /// # Errors
    /// If the step is not of the size of the others, or the device fails.
    pub fn push(&mut self, step: &Tensor) -> Result<Tensor> {
        let (batch, width, size) = (step.shape().rows(), step.shape().last(), step.numel());
        let taken = match &self.memory {
            Some(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                let is_full = (self.steps + 1) * size > memory.rows.numel();
                let is_own = memory.steps == self.steps && memory.rows.is_unique();
                let fits = is_own && !is_full;
                if fits {
                    write(&mut memory.rows, self.steps * size, step)?;
                    memory.steps += 1;
                }
                fits
            }
            None => false,
        };
        if !taken {
            let capacity = (2 * self.steps).max(FIRST);
            let mut rows = like(step, [capacity * batch, width])?;
            if let Some(before) = self.all(batch, width)? {
                write(&mut rows, 0, &before)?;
            }
            write(&mut rows, self.steps * size, step)?;
            let steps = self.steps + 1;
            self.memory = Some(Arc::new(Mutex::new(Memory { rows, steps })));
        }
        self.steps += 1;
        let all = self.all(batch, width)?;
        all.ok_or_else(|| Error::op("key_cache", "no step"))
    }

    /// Row i of each of the steps becomes row `order[i]` of `batch` rows.
    ///
    /// # Errors
    /// If the device fails.
    pub fn reorder(&mut self, order: &[u32], batch: usize) -> Result<()> {
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        let width = {
            let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.rows.shape().last()
        };
        let Some(all) = self.all(batch, width)? else {
            return Ok(());
        };
        let of_step = |t| order.iter().map(move |row| (t * batch) as u32 + row);
        let places: Vec<u32> = (0..self.steps).flat_map(of_step).collect();
        let places = Tensor::from_slice(&places, [places.len()])?;
        let places = match all.gpu() {
            Some(gpu) => places.to_gpu(gpu)?,
            None => places,
        };
        let rows = ops::gather(&mut Tape::inference(), &Var::constant(all), &places)?;
        self.memory = Some(Arc::new(Mutex::new(Memory {
            rows: rows.into_value(),
            steps: self.steps,
        })));
        Ok(())
    }

    /// The rows of all steps, of so many rows of this width each.
    fn all(&self, batch: usize, width: usize) -> Result<Option<Tensor>> {
        let Some(memory) = &self.memory else {
            return Ok(None);
        };
        let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.rows.slice(0, [self.steps * batch, width]).map(Some)
    }
}

/// Memory of the data type of a tensor, and where that is.
fn like(t: &Tensor, shape: [usize; 2]) -> Result<Tensor> {
    match t.gpu() {
        Some(gpu) => Tensor::on_gpu(gpu, t.dtype(), shape),
        None => for_float!("key_cache", t.dtype(), T => Ok(Tensor::uninit::<T>(shape))),
    }
}

/// Writes elements from one on.
fn write(to: &mut Tensor, at: usize, from: &Tensor) -> Result<()> {
    if let Some(gpu) = from.gpu() {
        let bytes = from.dtype().size();
        let to = to.slice(at, from.shape().clone())?.ptr()?;
        return gpu.driver().copy(to, from.ptr()?, from.numel() * bytes);
    }
    for_float!("key_cache", from.dtype(), T => {
        let to = &mut to.data_mut::<T>()?[at..][..from.numel()];
        to.copy_from_slice(from.data::<T>()?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(x: f32) -> Tensor {
        Tensor::from_slice(&[x, x + 0.5], [2, 1]).unwrap()
    }

    /// Many steps, of which two clones go on in their own ways.
    #[test]
    fn clones_go_on_by_themselves() {
        let mut cache = KeyCache::default();
        for t in 0..20 {
            let all = cache.push(&step(t as f32)).unwrap();
            assert_eq!(all.dims(), [2 * (t + 1), 1]);
        }
        let mut other = cache.clone();
        let read = |all: Tensor| all.data::<f32>().unwrap()[36..].to_vec();
        assert_eq!(
            read(cache.push(&step(50.0)).unwrap()),
            [18.0, 18.5, 19.0, 19.5, 50.0, 50.5]
        );
        assert_eq!(
            read(other.push(&step(70.0)).unwrap()),
            [18.0, 18.5, 19.0, 19.5, 70.0, 70.5]
        );
        assert_eq!(
            read(cache.push(&step(51.0)).unwrap())[4..],
            [50.0, 50.5, 51.0, 51.5]
        );
        // What somebody still reads does not change.
        let kept = cache.push(&step(52.0)).unwrap();
        let next = cache.push(&step(53.0)).unwrap();
        assert_eq!(kept.dims(), [46, 1]);
        assert_eq!(next.data::<f32>().unwrap()[46..], [53.0, 53.5]);
    }

    #[test]
    fn rows_in_another_order() {
        let mut cache = KeyCache::default();
        cache.reorder(&[1, 0], 2).unwrap();
        assert_eq!(cache.steps(), 0);
        cache.push(&step(1.0)).unwrap();
        cache.push(&step(2.0)).unwrap();
        cache.reorder(&[1, 1, 0], 2).unwrap();
        let third = Tensor::from_slice(&[7.0f32, 8.0, 9.0], [3, 1]).unwrap();
        let all = cache.push(&third).unwrap();
        let want = [1.5, 1.5, 1.0, 2.5, 2.5, 2.0, 7.0, 8.0, 9.0];
        assert_eq!(all.data::<f32>().unwrap(), want);
    }
}
