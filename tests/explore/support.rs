//! Models with weights of some size, and the pages of them.

use rnnx::data::chars::CharVocab;
use rnnx::data::corpus::embedded_files;
use rnnx::nn::CellKind;
use rnnx::programs::charlm::explore::{Explored, render};
use rnnx::programs::charlm::generate::generator::Generator;
use rnnx::programs::charlm::generate::weights::CharLmWeights;

/// Real Python: the beginning of a file of the embedded corpus, printable ASCII alone.
pub fn python(length: usize) -> String {
    let files = embedded_files().unwrap();
    let (_, content) = files
        .iter()
        .find(|(name, _)| name.ends_with("textwrap.py"))
        .unwrap();
    let kept = content
        .iter()
        .filter(|b| matches!(b, b'\n' | b' '..=b'~'))
        .skip(3000)
        .take(length);
    kept.map(|&b| char::from(b)).collect()
}

/// The characters of a text, sorted.
pub fn vocab_of(text: &str) -> CharVocab {
    let mut chars: Vec<char> = text.chars().collect();
    chars.sort_unstable();
    chars.dedup();
    CharVocab::from_tokens(chars).unwrap()
}

/// Weights large enough that gates open and close and predictions are sharp.
pub fn model(
    cell: CellKind,
    vocab: usize,
    dim: usize,
    hidden: usize,
    layers: usize,
) -> CharLmWeights {
    let shape = |name: &str| -> Vec<usize> {
        let rows = cell.gates() * hidden;
        match name {
            "embedding.weight" => vec![vocab, dim],
            "out.weight" => vec![vocab, hidden],
            "out.bias" => vec![vocab],
            _ if name.contains("bias") => vec![rows],
            _ if name.ends_with("weight_ih_l0") => vec![rows, dim],
            _ => vec![rows, hidden],
        }
    };
    let has = |name: &str| (0..layers).any(|l| name == format!("{cell}.weight_hh_l{l}"));
    CharLmWeights::from_tensors(false, has, |name| {
        let shape = shape(name);
        let mut state: u64 = name
            .bytes()
            .fold(7, |hash: u64, b| hash.wrapping_mul(31) + u64::from(b));
        let values = (0..shape.iter().product())
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 1.2
            })
            .collect();
        Ok((shape, values))
    })
    .unwrap()
}

pub fn page(weights: &CharLmWeights, vocab: &CharVocab, text: &str) -> String {
    render(&Explored {
        name: "a run".into(),
        weights,
        vocab,
        text: text.into(),
        step: Some(12),
        valid_loss: Some(1.5),
        found: None,
    })
    .unwrap()
}

/// The log-probabilities of what follows each id, as generation computes them; before the first that
/// of what follows the character that a text begins after.
pub fn log_probs(weights: &CharLmWeights, vocab: &CharVocab, ids: &[u16]) -> Vec<Vec<f64>> {
    let mut generator = Generator::new(weights, 1).unwrap();
    let mut all = vec![softmax(generator.step(&[vocab.start()]))];
    generator.reset();
    all.extend(ids.iter().map(|&id| softmax(generator.step(&[id]))));
    all
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    logits.iter().map(|&x| f64::from(x) - sum.ln()).collect()
}
