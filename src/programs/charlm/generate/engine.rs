//! Where text is generated.

use super::generator::Generator;
use super::on_gpu::GpuGenerator;
use super::weights::CharLmWeights;
use crate::error::Result;
use crate::train::device::Chosen;

/// Streams from which `auto` takes a GPU. A guess, not measured: a step on a GPU takes some tens of
/// microseconds, whatever the number of streams, and one stream's on a core of a CPU about 16.
pub const GPU_STREAMS: usize = 64;

/// What steps the streams.
pub enum Engine {
    /// The CPU.
    Cpu(Box<Generator>),
    /// A GPU.
    Gpu(Box<GpuGenerator>),
}

impl Engine {
    /// Packs the weights where the streams are to run; every state starts at zero.
    ///
    /// # Errors
    /// As [`Generator::new`]; or if the device fails.
    pub fn new(weights: &CharLmWeights, streams: usize, chosen: &Chosen) -> Result<Self> {
        Ok(match &chosen.gpu {
            Some(gpu) => {
                let generator = GpuGenerator::new(weights, streams, gpu, chosen.mixed)?;
                Engine::Gpu(Box::new(generator))
            }
            None => Engine::Cpu(Box::new(Generator::new(weights, streams)?)),
        })
    }

    /// Feeds one character to each stream and returns the logits of the next, `[streams, V]`.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If `ids` does not hold one index below V for each stream.
    pub fn step(&mut self, ids: &[u16]) -> Result<&[f32]> {
        match self {
            Engine::Cpu(generator) => Ok(generator.step(ids)),
            Engine::Gpu(generator) => generator.step(ids),
        }
    }

    /// What runs it, for people.
    pub fn name(&self) -> String {
        match self {
            Engine::Cpu(generator) => format!("{} kernel", generator.level().name()),
            Engine::Gpu(generator) => generator.device(),
        }
    }
}
