//! Each model learns 32 pairs by heart.

use super::{Pairs, batch, for_each_kind, random_pairs, sizes_of};
use rnnx::optim::{Adam, AdamConfig, Clip};
use rnnx::programs::seq2seq::decode::{DecodeOptions, decode};
use rnnx::programs::seq2seq::model::{Seq2Seq, Seq2SeqSizes};
use rnnx::train::model::Model;
use rnnx::train::step::{Step, score};

const SIZES: Seq2SeqSizes = Seq2SeqSizes {
    source_vocab: 40,
    target_vocab: 50,
    embedding: 24,
    hidden: 48,
    layers: 1,
    heads: 4,
    copy: false,
    tied: false,
};

/// Steps after which the slowest of the models had long learnt all pairs.
const STEPS: u64 = 400;

#[test]
fn each_model_learns_32_pairs_by_heart() {
    let pairs: Pairs = random_pairs(SIZES, 32, 8);
    let batch = batch(&pairs);
    let sources: Vec<&[u32]> = pairs.iter().map(|p| &p.0[..]).collect();
    for_each_kind(|kind| {
        let model = Seq2Seq::new::<f32>(kind, sizes_of(kind, SIZES), 1);
        let adam = Adam::new::<f32>(AdamConfig::torch(5e-3), model.params().layout());
        let clip = Clip::Global {
            max: 5.0,
            epsilon: 1e-6,
        };
        let batch = model.inputs(&batch).unwrap();
        let mut step = Step::new(model, adam, clip, 1);
        for n in 0..STEPS {
            step.train(&batch, n).unwrap();
        }
        let scores = score(step.model(), &batch).unwrap();
        assert_eq!(
            scores.correct as f64, scores.tokens,
            "{kind}: loss {}",
            scores.loss
        );
        let options = DecodeOptions::greedy(8);
        let outputs = decode(step.model(), &sources, options).unwrap();
        let exact = outputs
            .iter()
            .zip(&pairs)
            .filter(|(o, p)| o.tokens == p.1)
            .count();
        assert_eq!(exact, pairs.len(), "{kind}");
    });
}
