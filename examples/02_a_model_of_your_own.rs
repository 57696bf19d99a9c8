//! A model of your own, trained on the CPU or on a GPU.
//!
//! ```text
//! cargo run --release --example 02_a_model_of_your_own
//! cargo run --release --example 02_a_model_of_your_own cuda
//! ```
//!
//! A GRU reads bits and says after each one whether the number of ones so far is odd. A model is its
//! parameters and a function from a batch to a loss; `train::Step` does the rest: backward, clipping,
//! Adam, and on a GPU mixed precision with a loss scale.

use rnnx::Result;
use rnnx::autograd::Tape;
use rnnx::files::state::LossScaler;
use rnnx::nn::{Bound, CellKind, Embedding, Layout, Linear, Params, Recurrent, Style};
use rnnx::ops;
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::rng::{Purpose, Stream};
use rnnx::selftest::startup;
use rnnx::tensor::Tensor;
use rnnx::train::device::{DeviceChoice, Precision, choose};
use rnnx::train::model::{Draws, Loss, Model};
use rnnx::train::step::{Step, score};

const STEPS: usize = 20; // T, bits of a row
const ROWS: usize = 64; // B, rows of a batch
const HIDDEN: usize = 16;

/// Embedding, GRU, and a linear layer to the two answers.
struct Parity {
    params: Params,
    embedding: Embedding,
    gru: Recurrent,
    out: Linear,
}

impl Parity {
    fn new(seed: u64) -> Self {
        // The layout names the parameters; it is complete before they have values.
        let (mut layout, style) = (Layout::default(), Style::Torch);
        let embedding = Embedding::new(&mut layout, "embedding", 2, 4, style);
        let name = ("gru", "l0");
        let gru = Recurrent::new(&mut layout, CellKind::Gru, name, 4, HIDDEN, style);
        let out = Linear::new(&mut layout, "out", HIDDEN, 2, style);
        Parity {
            params: Params::new::<f32>(layout, seed),
            embedding,
            gru,
            out,
        }
    }
}

impl Model for Parity {
    /// Bits and answers, each `[T, B]`.
    type Batch = (Tensor, Tensor);

    fn params(&self) -> &Params {
        &self.params
    }

    fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    fn loss(
        &self,
        tape: &mut Tape,
        params: &Bound,
        (bits, answers): &Self::Batch,
        _: Option<&Draws>, // nothing is drawn: this model has no dropout
    ) -> Result<Loss> {
        let embedding = &self.embedding;
        let read = self.gru.forward_ids(tape, params, embedding, bits, None)?;
        let logits = self.out.forward(tape, params, &read.y)?; // [T * B, 2]
        let scored = ops::softmax_xent(tape, logits, answers)?;
        Ok(Loss::of(scored, answers.numel(), false))
    }
}

/// Random bits, and after each of them whether the ones so far are odd.
fn batch(number: u64) -> Result<(Tensor, Tensor)> {
    let mut random = Stream::new(7, Purpose::Sample, number as u32).reader();
    let bits: Vec<u32> = (0..STEPS * ROWS).map(|_| random.below(2)).collect();
    let mut odd = bits.clone();
    for at in ROWS..odd.len() {
        odd[at] ^= odd[at - ROWS];
    }
    let shape = [STEPS, ROWS];
    Ok((
        Tensor::from_slice(&bits, shape)?,
        Tensor::from_slice(&odd, shape)?,
    ))
}

fn main() -> Result<()> {
    let wanted = std::env::args().nth(1).unwrap_or_else(|| "auto".into());
    let wanted: DeviceChoice = wanted.parse().map_err(rnnx::Error::Usage)?;
    let chosen = choose(wanted, Precision::Auto, startup::check)?;
    println!("{}", chosen.line());

    let model = Parity::new(1);
    let adam = Adam::new::<f32>(AdamConfig::torch(1e-2), model.params().layout());
    let clip = Clip::Global {
        max: 1.0,
        epsilon: 1e-6,
    };
    let mut step = Step::new(model, adam, clip, 1);
    if let Some(gpu) = &chosen.gpu {
        step = step.to_gpu(gpu, chosen.mixed.then_some(LossScaler::FIRST))?;
    }
    let place = |step: &Step<Parity>, number| -> Result<(Tensor, Tensor)> {
        let (bits, answers) = batch(number)?;
        Ok((step.place(&bits)?, step.place(&answers)?))
    };
    for n in 1..=600 {
        let batch = place(&step, n)?;
        let scores = step.train(&batch, n)?;
        if n % 100 == 0 {
            let right = scores.correct as f64 / scores.tokens;
            println!(
                "step {n}: loss {:.4}, {:.1} % right",
                scores.loss,
                100.0 * right
            );
        }
    }
    let unseen = score(step.model(), &place(&step, 0)?)?;
    println!("unseen bits: {} of {} right", unseen.correct, unseen.tokens);
    assert!(unseen.correct as f64 > 0.99 * unseen.tokens);
    Ok(())
}
