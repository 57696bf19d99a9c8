//! The table of configuration keys: names, meanings and allowed values.

use std::fmt;

use toml::Value;

use super::settings::DeviceChoice;

/// One configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in files; the flag is `--` and the name.
    pub name: &'static str,
    /// The heading that it stands under.
    pub group: &'static str,
    /// What it is, with its unit.
    pub about: &'static str,
    /// What it may hold.
    pub allowed: Allowed,
    /// Whether it changes the computation, so that a resumed run must have the same.
    pub fixed: bool,
}

/// What a key may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed {
    /// A whole number from the first to the second, both included.
    Whole(i64, i64),
    /// A number from the first to the second, both included.
    Real(f64, f64),
    /// A number from the first, included, to the second, left out.
    Below(f64, f64),
    /// A number from the first, left out, to the second, included.
    Above(f64, f64),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// The name of a device.
    Device,
    /// A path.
    Path,
    /// A list of paths.
    Paths,
}

impl Allowed {
    /// Whether `value` is of the right type and in range. NaN is in no range; a whole number will
    /// do for a real one.
    pub fn accepts(&self, value: &Value) -> bool {
        let real = match value {
            Value::Float(x) => *x,
            Value::Integer(n) => *n as f64,
            _ => f64::NAN,
        };
        match (self, value) {
            (Allowed::Whole(lo, hi), Value::Integer(n)) => (lo..=hi).contains(&n),
            (Allowed::Real(lo, hi), _) => real >= *lo && real <= *hi,
            (Allowed::Below(lo, hi), _) => real >= *lo && real < *hi,
            (Allowed::Above(lo, hi), _) => real > *lo && real <= *hi,
            (Allowed::Switch, Value::Boolean(_)) => true,
            (Allowed::OneOf(words), Value::String(s)) => words.contains(&s.as_str()),
            (Allowed::Device, Value::String(s)) => s.parse::<DeviceChoice>().is_ok(),
            (Allowed::Path, Value::String(s)) => !s.is_empty(),
            (Allowed::Paths, Value::Array(a)) => a.iter().all(|v| v.as_str().is_some()),
            _ => false,
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Whole(lo, hi) if lo == hi => write!(f, "a whole number, so far only {lo}"),
            Allowed::Whole(lo, hi) => write!(f, "a whole number from {lo} to {hi}"),
            Allowed::Real(lo, hi) => write!(f, "a number from {lo} to {hi}"),
            Allowed::Below(lo, hi) => write!(f, "a number from {lo} to less than {hi}"),
            Allowed::Above(lo, hi) => write!(f, "a number above {lo}, at most {hi}"),
            Allowed::Switch => f.write_str("true or false"),
            Allowed::OneOf(words) => f.write_str(&words.join(" or ")),
            Allowed::Device => f.write_str("auto, cpu, cuda, cuda:N or emulated"),
            Allowed::Path => f.write_str("a path"),
            Allowed::Paths => f.write_str("a list of paths, as [\"a.py\", \"folder\"]"),
        }
    }
}

const fn key(
    group: &'static str,
    name: &'static str,
    about: &'static str,
    allowed: Allowed,
    fixed: bool,
) -> Key {
    Key {
        name,
        group,
        about,
        allowed,
        fixed,
    }
}

/// Every key of [`CharLmConfig`](super::config::CharLmConfig), in the order in which files list
/// them.
///
/// The ranges are generous, and such that no product of sizes overflows 64 bits.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("Data", "corpus", "text files and folders of .py files; [] is the embedded corpus", Allowed::Paths, false),
    key("Data", "max-chars", "characters of the corpus that are used", Allowed::Whole(1, 100_000_000_000), true),
    key("Data", "valid-fraction", "share of the text, at its end, that validates", Allowed::Real(0.0, 0.9), true),
    key("Data", "shuffle", "whether the training windows are shuffled each epoch", Allowed::Switch, true),
    key("Model", "embedding-dim", "numbers that stand for a character", Allowed::Whole(1, 16_384), true),
    key("Model", "hidden-size", "units of each LSTM layer", Allowed::Whole(1, 16_384), true),
    key("Model", "num-layers", "LSTM layers", Allowed::Whole(1, 16), true),
    key("Model", "dropout", "share of values dropped in training", Allowed::Below(0.0, 1.0), true),
    key("Optimiser", "epochs", "passes over the training text", Allowed::Whole(1, 1_000_000), false),
    key("Optimiser", "max-steps", "optimizer steps after which training ends", Allowed::Whole(0, 1_000_000_000_000), false),
    key("Optimiser", "batch-size", "windows a step", Allowed::Whole(1, 65_536), true),
    key("Optimiser", "seq-length", "characters predicted in a window", Allowed::Whole(1, 65_536), true),
    key("Optimiser", "learning-rate", "Adam's step size", Allowed::Above(0.0, 10.0), true),
    key("Optimiser", "clip-norm", "largest gradient norm that is not scaled down; 0 is no clipping", Allowed::Real(0.0, 1e9), true),
    key("Optimiser", "clip-mode", "what that norm is taken over: each tensor by itself, or all together", Allowed::OneOf(&["per-tensor", "global"]), true),
    key("Optimiser", "l2", "factor of the output kernel's sum of squares in the loss", Allowed::Real(0.0, 1e3), true),
    key("Run", "seed", "seed of every random stream", Allowed::Whole(0, i64::MAX - 1), true),
    key("Run", "log-every", "steps between two step records in metrics.jsonl", Allowed::Whole(1, 1_000_000_000), false),
    key("Run", "checkpoint-every", "steps between two checkpoints, besides the one at each epoch's end", Allowed::Whole(1, 1_000_000_000), false),
    key("Device", "device", "where the model runs", Allowed::Device, false),
    key("Device", "precision", "number format: auto is fp16 on a GPU and fp32 on the CPU", Allowed::OneOf(&["auto", "fp32", "fp16"]), true),
    key("Device", "threads", "CPU threads", Allowed::Whole(1, 1_024), false),
];

/// Every key of [`Seq2SeqConfig`](super::seq2seq_config::Seq2SeqConfig), in the order in which
/// files list them.
#[rustfmt::skip]
pub const SEQ2SEQ_KEYS: &[Key] = &[
    key("Data", "train", "training pairs, a JSONL file (.gz too); not set: pairs of the embedded corpus", Allowed::Path, false),
    key("Data", "valid", "validation pairs, as train", Allowed::Path, false),
    key("Data", "test", "test pairs, as train", Allowed::Path, false),
    key("Data", "max-source", "tokens of a docstring that are read", Allowed::Whole(1, 65_536), true),
    key("Data", "max-target", "tokens of the code that are learned", Allowed::Whole(1, 65_536), true),
    key("Data", "min-frequency", "occurrences in the training pairs from which a token is in the vocabulary", Allowed::Whole(1, 1_000_000_000), true),
    key("Data", "shuffle", "whether the training pairs are shuffled each epoch", Allowed::Switch, true),
    key("Data", "bucket-batches", "batches in a pool within which pairs of like length are put together; 1 is none", Allowed::Whole(1, 1_000_000), true),
    key("Model", "model", "which model: tanh RNN, LSTM, or LSTM with attention", Allowed::OneOf(&["rnn", "lstm", "attention"]), true),
    key("Model", "embedding-dim", "numbers that stand for a token", Allowed::Whole(1, 16_384), true),
    key("Model", "hidden-size", "units of a layer, each way", Allowed::Whole(1, 16_384), true),
    key("Model", "num-layers", "layers of encoder and decoder", Allowed::Whole(1, 1), true),
    key("Model", "dropout", "share of the embeddings' values dropped in training", Allowed::Below(0.0, 1.0), true),
    key("Optimiser", "epochs", "passes over the training pairs", Allowed::Whole(1, 1_000_000), false),
    key("Optimiser", "max-steps", "optimizer steps after which training ends", Allowed::Whole(0, 1_000_000_000_000), false),
    key("Optimiser", "batch-size", "pairs a step", Allowed::Whole(1, 65_536), true),
    key("Optimiser", "learning-rate", "Adam's step size", Allowed::Above(0.0, 10.0), true),
    key("Optimiser", "clip-norm", "largest norm of all gradients together that is not scaled down; 0 is no clipping", Allowed::Real(0.0, 1e9), true),
    key("Optimiser", "teacher-forcing", "share of tokens before which the decoder reads the true one, not its own", Allowed::Real(0.0, 1.0), true),
    key("Run", "beam", "hypotheses kept when the test pairs are decoded at the end; 1 is greedy", Allowed::Whole(1, 1_000), false),
    key("Run", "seed", "seed of every random stream", Allowed::Whole(0, i64::MAX - 1), true),
    key("Run", "log-every", "steps between two step records in metrics.jsonl", Allowed::Whole(1, 1_000_000_000), false),
    key("Run", "checkpoint-every", "steps between two checkpoints, besides the one at each epoch's end", Allowed::Whole(1, 1_000_000_000), false),
    key("Device", "device", "where the model runs", Allowed::Device, false),
    key("Device", "precision", "number format: auto is fp16 on a GPU and fp32 on the CPU", Allowed::OneOf(&["auto", "fp32", "fp16"]), true),
    key("Device", "threads", "CPU threads", Allowed::Whole(1, 1_024), false),
];

/// The key of a table that is called `name`.
pub fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|k| k.name == name)
}
