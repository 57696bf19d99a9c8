//! What the files of a run's folder say, as the pages draw it.

use serde::{Deserialize, Deserializer};

/// What the page shows of one run.
#[derive(Clone, Debug, Default)]
pub struct RunData {
    /// The run's name, as legends show it.
    pub name: String,
    /// Configuration keys and their values, in the file's order.
    pub config: Vec<(String, String)>,
    /// Step records, by rising step.
    pub steps: Vec<StepPoint>,
    /// Epoch records, by rising epoch.
    pub epochs: Vec<EpochPoint>,
    /// File names and texts of the samples, oldest first.
    pub samples: Vec<(String, String)>,
    /// The test record of a seq2seq run, once there is one.
    pub test: Option<TestPoint>,
    /// Test pairs and what a seq2seq model made of them.
    pub pairs: Vec<PairSample>,
    /// Tokens in the source and in the target vocabulary of a seq2seq run.
    pub vocabulary: Option<(usize, usize)>,
}

impl RunData {
    /// The value of a key of the configuration.
    pub fn setting(&self, key: &str) -> Option<&str> {
        let pair = self.config.iter().find(|(k, _)| k == key);
        pair.map(|(_, value)| value.as_str())
    }

    /// Whether the run is of a seq2seq model; a run that does not say is of a character LM.
    pub fn is_seq2seq(&self) -> bool {
        self.setting("kind") == Some("seq2seq")
    }
}

/// One `step` record of `metrics.jsonl`; what the record lacks is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepPoint {
    /// Optimizer steps done, from 1.
    pub step: u64,
    /// The epoch it belongs to, from 1.
    pub epoch: u64,
    /// Cross-entropy and L2, nats a token.
    pub loss: f64,
    /// Cross-entropy alone, nats a token.
    pub ce: f64,
    /// Share of tokens whose likeliest prediction is right.
    pub accuracy: f64,
    /// Norm of all gradients together, before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// Factor that keeps fp16 gradients in range; 1 in fp32.
    pub loss_scale: f64,
    /// Tokens trained on in a second.
    pub tokens_per_s: f64,
}

/// One `epoch` record of `metrics.jsonl`; what the record lacks is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochPoint {
    /// The epoch, from 1.
    pub epoch: u64,
    /// Steps done at its end, where the record says so.
    pub step: Option<u64>,
    /// Mean training loss of the epoch, nats a token.
    pub train_loss: f64,
    /// Training accuracy of the epoch, 0 to 1.
    pub train_accuracy: f64,
    /// Loss over the whole validation split, nats a token.
    pub valid_loss: f64,
    /// Accuracy over the whole validation split, 0 to 1.
    pub valid_accuracy: f64,
    /// Seconds that the epoch took.
    pub seconds: f64,
}

/// The `test` record of `metrics.jsonl`; what the record lacks is NaN or none.
#[derive(Clone, Debug, PartialEq)]
pub struct TestPoint {
    /// Optimizer steps done when the model was tested.
    pub step: Option<u64>,
    /// Whether records of training follow it.
    pub overtaken: bool,
    /// The epoch that the tested weights are from.
    pub epoch: Option<u64>,
    /// Loss on the test split, nats a token.
    pub loss: f64,
    /// Loss on the training split, nats a token.
    pub train_loss: f64,
    /// Loss on the validation split, nats a token.
    pub valid_loss: f64,
    /// Corpus BLEU-4 without smoothing, 0 to 1.
    pub bleu: f64,
    /// Corpus BLEU-4 with exponential smoothing, 0 to 1.
    pub bleu_smoothed: f64,
    /// The counts that BLEU is made of.
    pub ngrams: Option<NgramCounts>,
    /// Share of outputs equal to their references.
    pub exact_match: f64,
    /// Share of reference tokens that the output has in their place.
    pub token_accuracy: f64,
    /// Character n-gram F-score.
    pub chrf: f64,
    /// Share of outputs that parse as Python.
    pub parse_rate: f64,
    /// Share of output tokens that are `<UNK>`.
    pub unk_rate: f64,
    /// Trained numbers of the model.
    pub parameters: Option<u64>,
    /// Test pairs.
    pub pairs: Option<u64>,
    /// Seconds that training took.
    pub train_seconds: f64,
    /// Seconds that decoding the test split took.
    pub decode_seconds: f64,
    /// BLEU by the docstrings' lengths, in the record's order.
    pub by_length: Vec<LengthPoint>,
}

/// What corpus BLEU counts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NgramCounts {
    /// n-grams of the outputs that their references have too, clipped; n from 1 to 4.
    pub matches: [u64; 4],
    /// n-grams of the outputs.
    pub totals: [u64; 4],
    /// Tokens of all outputs.
    pub hypothesis_length: u64,
    /// Tokens of all references.
    pub reference_length: u64,
}

/// BLEU of the test pairs whose docstrings have `from` to `to` tokens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LengthPoint {
    /// The least number of tokens.
    pub from: u64,
    /// The greatest; none where there is no upper end.
    pub to: Option<u64>,
    /// Pairs of such lengths.
    pub pairs: u64,
    /// Corpus BLEU-4 without smoothing, 0 to 1.
    pub bleu: Option<f64>,
    /// Corpus BLEU-4 with exponential smoothing, 0 to 1.
    pub bleu_smoothed: Option<f64>,
}

/// A test pair and what a model made of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct PairSample {
    /// The docstring as it was written.
    pub docstring: String,
    /// The tokens fed to the model.
    pub source: Vec<String>,
    /// The code's tokens.
    pub reference: Vec<String>,
    /// The tokens that the model put out, without the `<EOS>` that ended them.
    pub prediction: Vec<String>,
    /// `[prediction or prediction + 1, source]` attention weights; none for other models.
    #[serde(default, deserialize_with = "weights")]
    pub attention: Vec<Vec<f32>>,
}

/// JSON has no NaN: writers put null in its place, and for a model without attention.
fn weights<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<Vec<f32>>, D::Error> {
    let rows = Option::<Vec<Vec<Option<f32>>>>::deserialize(source)?.unwrap_or_default();
    let full = |row: Vec<Option<f32>>| row.into_iter().map(|w| w.unwrap_or(f32::NAN)).collect();
    Ok(rows.into_iter().map(full).collect())
}
