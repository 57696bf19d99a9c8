//! Steps whose pairs are divided among shards: each draws its own dropout and its own previous tokens.

use super::{SIZES, batch, for_each_recurrent_kind, random_pairs};
use rnnx::files::tensors::{HostTensor, TensorFile};
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::seq2seq::model::{Inputs, ModelKind, Seq2Seq, Seq2SeqSizes};
use rnnx::ranks::Ranks;
use rnnx::train::model::{Draws, Model};
use rnnx::train::shards::{Reduce, Shards};
use rnnx::train::step::Step;

/// f32 sums in another order.
const F32: f32 = 1e-5;
/// What other draws change at least.
const FAR: f32 = 1e-3;
const SEED: u64 = 9;
/// The number of the step's first batch.
const FIRST: u64 = 5;

/// Of several layers, each of which drops in a lane of its own.
fn step(kind: ModelKind) -> Step<Seq2Seq> {
    let sizes = Seq2SeqSizes { layers: 2, ..SIZES };
    let model = Seq2Seq::new::<f32>(kind, sizes, 3);
    let model = model.with_dropout(0.3).with_output_dropout(Some(0.2));
    // A large epsilon keeps an update proportional to the gradient.
    let config = AdamConfig {
        epsilon: 1.0,
        ..AdamConfig::torch(1.0)
    };
    let adam = Adam::new::<f32>(config, model.params().layout());
    Step::new(model.with_teacher_forcing(0.5), adam, Clip::Off, SEED)
}

/// The largest difference of two models' weights.
fn difference(a: &TensorFile, b: &TensorFile) -> f32 {
    let of = |(name, a): (&String, &HostTensor)| {
        let pairs = a.data.iter().zip(&b.tensors[name].data);
        pairs.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()))
    };
    a.tensors.iter().map(of).fold(0.0, f32::max)
}

/// Shard s of batch b draws what a batch of the number 2 b + s does, where there are two shards.
#[test]
fn each_shard_draws_what_a_batch_of_its_number_does() {
    let pairs = random_pairs(SIZES, 13, 6);
    let make = |model: &Seq2Seq, rows: &[u32]| -> rnnx::Result<Inputs> {
        let own = rows.iter().map(|&row| pairs[row as usize].clone());
        model.inputs(&batch(&own.collect::<Vec<_>>()))
    };
    let batches: [Vec<u32>; 2] = [(0..7).collect(), (7..13).collect()];
    for_each_recurrent_kind(|kind| {
        let shards = Shards::new(&Ranks::alone(), 2, Reduce::Exact).unwrap();
        let mut sharded = step(kind).with_shards(shards);
        let scores = sharded.train_rows(&[&batches[0], &batches[1]], FIRST, make);
        let scores = scores.unwrap();
        let sharded = sharded.model().export().unwrap();
        let by_hand = |numbers: [u64; 4]| {
            let mut step = step(kind);
            let parts = batches.iter().flat_map(|rows| {
                [0, 1].map(|s| rows.iter().copied().skip(s).step_by(2).collect::<Vec<_>>())
            });
            let (mut loss, mut tokens) = (0.0, 0.0);
            for (rows, number) in parts.zip(numbers) {
                let inputs = make(step.model(), &rows).unwrap();
                let issued = step.add(&inputs, &Draws::new(SEED, number)).unwrap();
                let count = inputs.target_tokens() as f64;
                loss += issued.total.item().unwrap() * count;
                tokens += count;
            }
            step.finish().unwrap();
            (loss / tokens, step.model().export().unwrap())
        };
        let (loss, weights) = by_hand([10, 11, 12, 13]);
        assert!((scores.loss - loss).abs() < f64::from(F32) * loss, "{kind}");
        assert!(difference(&sharded, &weights) < F32, "{kind}");
        // Neither two shards nor two batches draw the same.
        for others in [[10, 10, 12, 12], [10, 11, 10, 11]] {
            assert!(difference(&sharded, &by_hand(others).1) > FAR, "{kind}");
        }
    });
}
