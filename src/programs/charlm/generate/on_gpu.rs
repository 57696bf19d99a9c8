//! Many streams at once on a GPU: the layers of the model, a step of all streams at a time. The host
//! gives the characters and gets the logits, from which it draws.

use super::generator::check;
use super::weights::CharLmWeights;
use crate::device::Gpu;
use crate::error::Result;
use crate::files::tensors::{HostTensor, TensorFile};
use crate::programs::charlm::model::CharLm;
use crate::programs::charlm::stateful::Stateful;
use crate::tensor::Tensor;
use crate::train::model::Model;
use std::sync::Arc;

/// Runs a character LM one character at a time on a GPU, for many streams at once.
///
/// A stream's logits depend on the other streams as little as a product's rows do on one another:
/// cuBLAS may sum in another order where there are more.
pub struct GpuGenerator {
    gpu: Arc<Gpu>,
    model: Stateful,
    streams: usize,
    logits: Tensor,
}

impl GpuGenerator {
    /// Moves the weights to a GPU, with `mixed` in f16; every state starts at zero.
    ///
    /// # Errors
    /// As [`Generator::new`](super::generator::Generator::new), where without `mixed` any finite weight
    /// fits; or if the device fails.
    pub fn new(
        weights: &CharLmWeights,
        streams: usize,
        gpu: &Arc<Gpu>,
        mixed: bool,
    ) -> Result<Self> {
        check(weights, streams, mixed)?;
        let sizes = weights.sizes();
        let mut model = CharLm::new::<f32>(sizes, 0);
        model.import(&tensors(weights))?;
        model.params_mut().to_gpu(gpu, mixed)?;
        Ok(GpuGenerator {
            gpu: gpu.clone(),
            model: Stateful::new(model)?,
            streams,
            logits: Tensor::zeros::<f32>([streams, sizes.vocab]),
        })
    }

    /// The device.
    pub fn device(&self) -> String {
        self.gpu.driver().description()
    }

    /// Feeds one character to each stream and returns the logits of the next, `[streams, V]`.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If `ids` does not hold one index below V for each stream.
    pub fn step(&mut self, ids: &[u16]) -> Result<&[f32]> {
        assert_eq!(ids.len(), self.streams, "one character for each stream");
        let vocab = self.model.vocab();
        let known = ids.iter().all(|&id| usize::from(id) < vocab);
        assert!(known, "characters below V");
        self.logits = self.model.step(ids, [1, self.streams])?;
        self.logits.data::<f32>()
    }
}

/// The weights under torch's names.
fn tensors(weights: &CharLmWeights) -> TensorFile {
    let (cell, hidden) = (weights.cell(), weights.hidden());
    let rows = cell.gates() * hidden;
    let mut file = TensorFile::new();
    let mut put = |name: String, shape: Vec<usize>, data: Vec<f32>| {
        file.tensors.insert(name, HostTensor { shape, data });
    };
    let embedding = vec![weights.vocab(), weights.embedding_dim()];
    put(
        "embedding.weight".into(),
        embedding,
        weights.embedding().to_vec(),
    );
    for (k, layer) in weights.layers().iter().enumerate() {
        let inputs = layer.w_ih().len() / rows;
        // The first bias has what the two are added to; a GRU's b_hn is not.
        let mut second = vec![0.0; rows - layer.b_hn().len()];
        second.extend(layer.b_hn());
        let name = |of: &str| format!("{cell}.{of}_l{k}");
        put(name("weight_ih"), vec![rows, inputs], layer.w_ih().to_vec());
        put(name("weight_hh"), vec![rows, hidden], layer.w_hh().to_vec());
        put(name("bias_ih"), vec![rows], layer.bias().to_vec());
        put(name("bias_hh"), vec![rows], second);
    }
    if !weights.sizes().tied {
        let out = vec![weights.vocab(), hidden];
        put("out.weight".into(), out, weights.out_w().to_vec());
    }
    put(
        "out.bias".into(),
        vec![weights.vocab()],
        weights.out_b().to_vec(),
    );
    file
}
