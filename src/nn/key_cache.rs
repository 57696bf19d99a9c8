//! Keys and values of the steps that a decoder has read.

use crate::autograd::{Tape, Var};
use crate::error::{Error, Result};
use crate::ops;
use crate::tensor::{Tensor, for_float};
use std::sync::{Arc, Mutex, PoisonError};

/// Steps that there is memory for at first.
const FIRST: usize = 8;

/// Rows `[t B, W]` of t steps of B sequences, step after step. B is that of the first step, or of the last
/// [`Self::reorder`].
///
/// Clones share their memory. The first of them that goes on writes behind the steps that all of them have;
/// another one takes a copy. The memory doubles when it is full, so that a step costs its own rows alone.
#[derive(Clone, Debug, Default)]
pub struct KeyCache {
    memory: Option<Arc<Mutex<Memory>>>,
    /// Sequences; 0 before the first step.
    batch: usize,
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
    /// If the step is not of the size and data type of the others, or the device fails.
    pub fn push(&mut self, step: &Tensor) -> Result<Tensor> {
        let (batch, width, size) = (step.shape().rows(), step.shape().last(), step.numel());
        self.check(step)?;
        self.batch = batch;
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
            if let Some(before) = self.all()? {
                write(&mut rows, 0, &before)?;
            }
            write(&mut rows, self.steps * size, step)?;
            let steps = self.steps + 1;
            self.memory = Some(Arc::new(Mutex::new(Memory { rows, steps })));
        }
        self.steps += 1;
        let all = self.all()?;
        all.ok_or_else(|| Error::op("key_cache", "no step"))
    }

    /// Row i of each of the steps becomes what row `order[i]` is: there are as many rows as `order` names.
    ///
    /// # Errors
    /// If there is no such row, or the device fails.
    pub fn reorder(&mut self, order: &[u32]) -> Result<()> {
        let Some(all) = self.all()? else {
            return Ok(());
        };
        let batch = self.batch;
        if let Some(row) = order.iter().find(|&&row| row as usize >= batch) {
            return Err(Error::op("key_cache", format!("row {row} of {batch}")));
        }
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
        self.batch = order.len();
        Ok(())
    }

    /// Fails where a step has not as many sequences as those before it, or is not as wide or of their type.
    fn check(&self, step: &Tensor) -> Result<()> {
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let own = [self.batch, memory.rows.shape().last()];
        let given = [step.shape().rows(), step.shape().last()];
        let types = [memory.rows.dtype(), step.dtype()];
        if own == given && types[0] == types[1] {
            return Ok(());
        }
        let message = format!(
            "a step {given:?} of {} behind steps {own:?} of {}",
            types[1], types[0]
        );
        Err(Error::op("key_cache", message))
    }

    /// The rows of all steps.
    fn all(&self) -> Result<Option<Tensor>> {
        let Some(memory) = &self.memory else {
            return Ok(None);
        };
        let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let shape = [self.steps * self.batch, memory.rows.shape().last()];
        memory.rows.slice(0, shape).map(Some)
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
        assert_eq!(read(kept)[4..], [50.0, 50.5, 51.0, 51.5, 52.0, 52.5]);
        assert_eq!(next.data::<f32>().unwrap()[46..], [53.0, 53.5]);
    }

    #[test]
    fn rows_in_another_order() {
        let mut cache = KeyCache::default();
        cache.reorder(&[1, 0]).unwrap();
        assert_eq!(cache.steps(), 0);
        cache.push(&step(1.0)).unwrap();
        cache.push(&step(2.0)).unwrap();
        cache.reorder(&[1, 1, 0]).unwrap();
        let third = Tensor::from_slice(&[7.0f32, 8.0, 9.0], [3, 1]).unwrap();
        let all = cache.push(&third).unwrap();
        let want = [1.5, 1.5, 1.0, 2.5, 2.5, 2.0, 7.0, 8.0, 9.0];
        assert_eq!(all.data::<f32>().unwrap(), want);
        // Of three sequences now; nothing changes what is there.
        for (refused, why) in [
            (cache.push(&step(1.0)).map(drop), "[2, 1]"),
            (cache.reorder(&[3]), "row 3 of 3"),
        ] {
            let message = refused.unwrap_err().to_string();
            assert!(message.contains(why), "{message}");
        }
        assert_eq!(cache.push(&third).unwrap().dims(), [12, 1]);
    }
}
