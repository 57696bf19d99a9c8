//! Training steps as one captured graph, on the emulated device: the same bits as without it, with copying
//! and without. Nothing of such a step waits for the host.

use super::extended::{batch_of, pairs};
use super::{batch, random_pairs};
use rnnx::Result;
use rnnx::device::Gpu;
use rnnx::device::emulated::Emulated;
use rnnx::files::state::LossScaler;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::seq2seq::data::SeqBatch;
use rnnx::programs::seq2seq::model::{Inputs, ModelKind, Seq2Seq, Seq2SeqSizes};
use rnnx::tensor::Tensor;
use rnnx::train::graph::{Feed, GpuLoop};
use rnnx::train::model::Model;
use rnnx::train::scores::Scores;
use rnnx::train::step::Step;
use std::sync::Arc;

const SIZES: Seq2SeqSizes = Seq2SeqSizes {
    source_vocab: 12,
    target_vocab: 9,
    embedding: 6,
    hidden: 7,
    layers: 1,
    heads: 2,
    copy: false,
    tied: false,
};

/// A batch that stays in device memory.
struct Kept(Inputs);

impl Feed for Kept {
    type Batch = Inputs;

    fn issue(&self, _: &Gpu, _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn batch(&self) -> &Inputs {
        &self.0
    }
}

fn step(sizes: Seq2SeqSizes, gpu: &Arc<Gpu>, scaler: Option<LossScaler>) -> Step<Seq2Seq> {
    let model = Seq2Seq::new::<f32>(ModelKind::Attention, sizes, 3).with_dropout(0.3);
    let adam = Adam::new::<f32>(AdamConfig::torch(1e-2), model.params().layout());
    let clip = Clip::Global {
        max: 0.5,
        epsilon: 1e-6,
    };
    Step::new(model, adam, clip, 5).to_gpu(gpu, scaler).unwrap()
}

fn of(sizes: Seq2SeqSizes) -> SeqBatch {
    match sizes.copy {
        true => batch_of(&pairs(sizes, 3)),
        false => batch(&random_pairs(sizes, 3, 6)),
    }
}

/// Steps, of which a loop captures the third.
const STEPS: usize = 5;

/// Those steps, by a loop or one by one.
fn some(
    sizes: Seq2SeqSizes,
    scaler: Option<LossScaler>,
    captures: bool,
) -> (Vec<Scores>, Vec<(String, Vec<f32>)>) {
    let gpu = Gpu::new(Emulated::new(0));
    let mut step = step(sizes, &gpu, scaler);
    let inputs = step.model().inputs(&of(sizes)).unwrap();
    let scores = match captures {
        true => {
            let mut by_loop = GpuLoop::new(&gpu, Kept(inputs)).unwrap();
            by_loop.begin(0, 0).unwrap();
            let scores = by_loop.run(&mut step, 0, STEPS).unwrap();
            assert_eq!(by_loop.captured(), Some(Ok(())));
            scores
        }
        false => (0..STEPS as u64)
            .map(|n| step.train(&inputs, n).unwrap())
            .collect(),
    };
    let weights = step.model().export().unwrap().tensors.into_iter();
    let mut weights: Vec<_> = weights.map(|(name, tensor)| (name, tensor.data)).collect();
    weights.sort_by(|a, b| a.0.cmp(&b.0));
    (scores, weights)
}

#[test]
fn a_captured_step_gives_the_same_bits_as_single_steps() {
    let half = Some(LossScaler::FIRST);
    for (copy, tied, scaler) in [
        (false, false, None),
        (true, false, None),
        (true, true, half),
    ] {
        let sizes = Seq2SeqSizes {
            copy,
            tied,
            ..SIZES
        };
        let (want, weights) = some(sizes, scaler, false);
        let (got, found) = some(sizes, scaler, true);
        assert_eq!(got.len(), STEPS);
        for (n, (got, want)) in got.iter().zip(&want).enumerate() {
            let bits = |s: &Scores| [s.ce, s.grad_norm].map(f64::to_bits);
            assert_eq!(bits(got), bits(want), "step {n}: {got:?} {want:?}");
            assert_eq!((got.correct, got.tokens), (want.correct, want.tokens));
            assert_eq!(got.scaler, want.scaler, "step {n}");
        }
        assert!(want[0].ce != want[1].ce, "{want:?}");
        assert!(found == weights, "copy {copy}, tied {tied}");
    }
}
