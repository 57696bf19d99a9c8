//! Flags of `rnnx train-seq2seq`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use toml::{Table, Value};

use super::args::DeviceArgs;
use super::train_args::{RunArgs, TrainArgs};
use super::values::{real_of, whole_of};
use crate::programs::seq2seq::config::Seq2SeqConfig;
use crate::programs::seq2seq::model::ModelKind;
use crate::train::keys::SEQ2SEQ_KEYS;
use crate::train::settings::set_keys;

/// Flags of `rnnx train-seq2seq`. What is left out comes from the configuration file or the default,
/// in this order.
#[derive(Args, Clone, Debug, Default)]
pub struct TrainSeq2seqArgs {
    #[command(flatten)]
    pub data: PairArgs,
    #[command(flatten)]
    pub model: Seq2seqModelArgs,
    #[command(flatten)]
    pub optimiser: Seq2seqOptimiserArgs,
    /// The run's folder, of all three models the folder of their folders [default:
    /// runs/seq2seq/MODEL, runs/seq2seq]
    #[arg(long, value_name = "RUN", help_heading = "Run")]
    pub out: Option<PathBuf>,
    /// Hypotheses kept when the test pairs are decoded at the end; 1 is greedy [default: 1]
    #[arg(long, value_name = "N", value_parser = whole("beam"), allow_hyphen_values = true, help_heading = "Run")]
    pub beam: Option<i64>,
    /// Print the results as JSON
    #[arg(long, help_heading = "Run")]
    pub json: bool,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// The pairs of docstring and code.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Data")]
pub struct PairArgs {
    /// Training pairs: JSONL with the fields docstring and code, .gz too [default: pairs of the
    /// embedded corpus]
    #[arg(long, value_name = "FILE.jsonl")]
    pub train: Option<PathBuf>,
    /// Validation pairs
    #[arg(long, value_name = "FILE.jsonl")]
    pub valid: Option<PathBuf>,
    /// Test pairs
    #[arg(long, value_name = "FILE.jsonl")]
    pub test: Option<PathBuf>,
    /// Tokens of a docstring that are read [default: 30]
    #[arg(long, value_name = "N", value_parser = whole("max-source"), allow_hyphen_values = true)]
    pub max_source: Option<i64>,
    /// Tokens of the code that are learned [default: 50]
    #[arg(long, value_name = "N", value_parser = whole("max-target"), allow_hyphen_values = true)]
    pub max_target: Option<i64>,
    /// Occurrences from which a token is in the vocabulary [default: 2]
    #[arg(long, value_name = "N", value_parser = whole("min-frequency"), allow_hyphen_values = true)]
    pub min_frequency: Option<i64>,
    /// Keep the training pairs in the order of the file
    #[arg(long, overrides_with = "shuffle")]
    pub no_shuffle: bool,
    /// Shuffle the training pairs each epoch; this is the default
    #[arg(long, overrides_with = "no_shuffle")]
    pub shuffle: bool,
    /// Put pairs of like length together within pools of N batches; 1 is none [default: 1]
    #[arg(long, value_name = "N", value_parser = whole("bucket-batches"), allow_hyphen_values = true)]
    pub bucket_batches: Option<i64>,
}

/// The model and its size.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Model")]
pub struct Seq2seqModelArgs {
    /// tanh RNN, LSTM, LSTM with attention, or all three one after the other [default: all]
    #[arg(long, value_name = "MODEL", value_parser = PossibleValuesParser::new(["rnn", "lstm", "attention", ALL]))]
    pub model: Option<String>,
    /// Numbers that stand for a token [default: 256]
    #[arg(long, value_name = "N", value_parser = whole("embedding-dim"), allow_hyphen_values = true)]
    pub embedding_dim: Option<i64>,
    /// Units of a layer, each way [default: 256]
    #[arg(long, value_name = "N", value_parser = whole("hidden-size"), allow_hyphen_values = true)]
    pub hidden_size: Option<i64>,
    /// Layers of encoder and decoder [default: 1]
    #[arg(long, value_name = "N", value_parser = whole("num-layers"), allow_hyphen_values = true)]
    pub num_layers: Option<i64>,
    /// Share of the embeddings' values dropped in training, 0 to less than 1 [default: 0.3]
    #[arg(long, value_name = "X", value_parser = real("dropout"), allow_hyphen_values = true)]
    pub dropout: Option<f64>,
}

/// How the model is trained.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Optimiser")]
pub struct Seq2seqOptimiserArgs {
    /// Passes over the training pairs [default: 20]
    #[arg(long, value_name = "N", value_parser = whole("epochs"), allow_hyphen_values = true)]
    pub epochs: Option<i64>,
    /// Stop after this many steps; 0 saves the initial weights and trains nothing
    #[arg(long, value_name = "N", value_parser = whole("max-steps"), allow_hyphen_values = true)]
    pub max_steps: Option<i64>,
    /// Pairs a step [default: 128]
    #[arg(long, value_name = "N", value_parser = whole("batch-size"), allow_hyphen_values = true)]
    pub batch_size: Option<i64>,
    /// Adam's step size [default: 1e-3]
    #[arg(long, value_name = "X", value_parser = real("learning-rate"), allow_hyphen_values = true)]
    pub learning_rate: Option<f64>,
    /// Scale the gradients down to this norm, taken over all together; 0 turns clipping off
    /// [default: 5]
    #[arg(long, value_name = "X", value_parser = real("clip-norm"), allow_hyphen_values = true)]
    pub clip_norm: Option<f64>,
    /// Share of tokens before which the decoder reads the true one, not its own [default: 1]
    #[arg(long, value_name = "X", value_parser = real("teacher-forcing"), allow_hyphen_values = true)]
    pub teacher_forcing: Option<f64>,
}

/// The word for all three models.
const ALL: &str = "all";

/// What `--model` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Models {
    /// One of them.
    One(ModelKind),
    /// One after the other.
    All,
}

impl TrainSeq2seqArgs {
    /// What `--model` asks for, where it is given.
    pub fn models(&self) -> Option<Models> {
        let name = self.model.model.as_deref()?;
        Some(name.parse().map_or(Models::All, Models::One))
    }

    /// The same arguments for one of the models.
    pub fn for_model(&self, kind: ModelKind) -> Self {
        let mut args = self.clone();
        args.model.model = Some(kind.to_string());
        args
    }
}

impl TrainArgs for TrainSeq2seqArgs {
    type Config = Seq2SeqConfig;

    fn run(&self) -> &RunArgs {
        &self.run
    }

    fn table(&self) -> Table {
        let (data, model) = (&self.data, &self.model);
        let (opt, run, device) = (&self.optimiser, &self.run, &self.device);
        let whole = |x: Option<i64>| x.map(Value::Integer);
        let real = |x: Option<f64>| x.map(Value::Float);
        let word = |x: &Option<String>| x.clone().map(Value::String);
        let path = |x: &Option<PathBuf>| {
            let path = x.as_ref()?.to_string_lossy();
            Some(Value::String(path.into_owned()))
        };
        set_keys([
            ("train", path(&data.train)),
            ("valid", path(&data.valid)),
            ("test", path(&data.test)),
            ("max-source", whole(data.max_source)),
            ("max-target", whole(data.max_target)),
            ("min-frequency", whole(data.min_frequency)),
            (
                "shuffle",
                (data.shuffle || data.no_shuffle).then_some(Value::Boolean(data.shuffle)),
            ),
            ("bucket-batches", whole(data.bucket_batches)),
            (
                "model",
                word(&model.model).filter(|m| m.as_str() != Some(ALL)),
            ),
            ("embedding-dim", whole(model.embedding_dim)),
            ("hidden-size", whole(model.hidden_size)),
            ("num-layers", whole(model.num_layers)),
            ("dropout", real(model.dropout)),
            ("epochs", whole(opt.epochs)),
            ("max-steps", whole(opt.max_steps)),
            ("batch-size", whole(opt.batch_size)),
            ("learning-rate", real(opt.learning_rate)),
            ("clip-norm", real(opt.clip_norm)),
            ("teacher-forcing", real(opt.teacher_forcing)),
            ("beam", whole(self.beam)),
            ("seed", whole(run.seed)),
            ("log-every", whole(run.log_every)),
            ("checkpoint-every", whole(run.checkpoint_every)),
            (
                "device",
                device.device.map(|d| Value::String(d.to_string())),
            ),
            ("precision", word(&device.precision)),
            ("threads", whole(device.threads)),
        ])
    }
}

/// A parser of whole numbers that the key `name` allows.
fn whole(name: &str) -> impl Fn(&str) -> Result<i64, String> + Clone + Send + Sync + use<> {
    whole_of(SEQ2SEQ_KEYS, name)
}

/// A parser of numbers that the key `name` allows.
fn real(name: &str) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + use<> {
    real_of(SEQ2SEQ_KEYS, name)
}
