//! Flags and arguments of every command.
//!
//! Each number is checked against the range that [`crate::train::keys`] gives for it, so that a
//! flag and a key of a configuration file are refused in the same words.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use clap_complete::Shell;
use toml::{Table, Value};

pub use super::bench_args::BenchArgs;
use super::data_pairs::PairStatsArgs;
use super::train_args::{RunArgs, TrainArgs};
use super::values::{between, real, real_in, whole, words};
use crate::Error;
use crate::programs::charlm::config::{CharLmConfig, Preset};
use crate::programs::charlm::generate::generator::MAX_STREAMS;
use crate::train::device::{self, Chosen};
use crate::train::keys::Allowed;
use crate::train::settings::{DeviceChoice, Precision, set_keys};

/// Flags of `rnnx train-charlm`. What is left out comes from the configuration file, the preset or
/// the default, in this order.
#[derive(Args, Clone, Debug, Default)]
pub struct TrainCharlmArgs {
    #[command(flatten)]
    pub data: CharDataArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub optimiser: OptimiserArgs,
    /// The run's folder
    #[arg(
        long,
        value_name = "RUN",
        default_value = "runs/charlm",
        help_heading = "Run"
    )]
    pub out: PathBuf,
    /// Start from a named set of values; the file and flags win over it [default: published]
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Preset::NAMES), help_heading = "Run")]
    pub preset: Option<String>,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// The text of a character LM.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Data")]
pub struct CharDataArgs {
    /// Text file, or folder of .py files; may be given several times [default: the embedded corpus]
    #[arg(long, value_name = "PATH")]
    pub corpus: Vec<PathBuf>,
    /// Characters of the corpus that are used [default: 6000000]
    #[arg(long, value_name = "N", value_parser = whole("max-chars"), allow_hyphen_values = true)]
    pub max_chars: Option<i64>,
    /// Share of the text, at its end, that validates [default: 0.05]
    #[arg(long, value_name = "X", value_parser = real("valid-fraction"), allow_hyphen_values = true)]
    pub valid_fraction: Option<f64>,
}

/// The size of the model.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Numbers that stand for a character [default: 64]
    #[arg(long, value_name = "N", value_parser = whole("embedding-dim"), allow_hyphen_values = true)]
    pub embedding_dim: Option<i64>,
    /// Units of each LSTM layer [default: 256]
    #[arg(long, value_name = "N", value_parser = whole("hidden-size"), allow_hyphen_values = true)]
    pub hidden_size: Option<i64>,
    /// LSTM layers [default: 2]
    #[arg(long, value_name = "N", value_parser = whole("num-layers"), allow_hyphen_values = true)]
    pub num_layers: Option<i64>,
    /// Share of values dropped in training, 0 to less than 1 [default: 0.1]
    #[arg(long, value_name = "X", value_parser = real("dropout"), allow_hyphen_values = true)]
    pub dropout: Option<f64>,
}

/// How the model is trained.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Optimiser")]
pub struct OptimiserArgs {
    /// Passes over the training text [default: 300]
    #[arg(long, value_name = "N", value_parser = whole("epochs"), allow_hyphen_values = true)]
    pub epochs: Option<i64>,
    /// Stop after this many steps; 0 saves the initial weights and trains nothing
    #[arg(long, value_name = "N", value_parser = whole("max-steps"), allow_hyphen_values = true)]
    pub max_steps: Option<i64>,
    /// Windows a step [default: 512]
    #[arg(long, value_name = "N", value_parser = whole("batch-size"), allow_hyphen_values = true)]
    pub batch_size: Option<i64>,
    /// Characters predicted in a window [default: 256]
    #[arg(long, value_name = "N", value_parser = whole("seq-length"), allow_hyphen_values = true)]
    pub seq_length: Option<i64>,
    /// Adam's step size [default: 1.8e-4]
    #[arg(long, value_name = "X", value_parser = real("learning-rate"), allow_hyphen_values = true)]
    pub learning_rate: Option<f64>,
    /// Keep the training windows in the order of the text
    #[arg(long, overrides_with = "shuffle")]
    pub no_shuffle: bool,
    /// Shuffle the training windows each epoch; this is the default
    #[arg(long, overrides_with = "no_shuffle")]
    pub shuffle: bool,
    /// Scale gradients down to this norm; 0 turns clipping off [default: 1]
    #[arg(long, value_name = "X", value_parser = real("clip-norm"), allow_hyphen_values = true)]
    pub clip_norm: Option<f64>,
    /// Take that norm over each tensor by itself, or over all together [default: per-tensor]
    #[arg(long, value_name = "MODE", value_parser = words("clip-mode"))]
    pub clip_mode: Option<String>,
    /// Factor of the output kernel's sum of squares in the loss [default: 1e-4]
    #[arg(long, value_name = "X", value_parser = real("l2"), allow_hyphen_values = true)]
    pub l2: Option<f64>,
}

/// What the work is done on.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Device")]
pub struct DeviceArgs {
    /// auto, cpu, cuda, cuda:N or emulated [default: auto]
    #[arg(long, value_name = "DEVICE", value_parser = str::parse::<DeviceChoice>)]
    pub device: Option<DeviceChoice>,
    /// Number format: auto is fp16 on a GPU and fp32 on the CPU [default: auto]
    #[arg(long, value_name = "FORMAT", value_parser = words("precision"))]
    pub precision: Option<String>,
    /// CPU threads [default: one for each logical CPU]
    #[arg(long, value_name = "N", value_parser = whole("threads"), allow_hyphen_values = true)]
    pub threads: Option<i64>,
}

/// Arguments of `rnnx generate`.
#[derive(Args, Clone, Debug)]
pub struct GenerateArgs {
    /// The run's folder (its best checkpoint), or one checkpoint's folder
    pub run: PathBuf,
    /// Text to continue; without it, a terminal is asked for length, temperature and start string
    #[arg(long, short, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Characters to generate [default: 1000]
    #[arg(long, short = 'n', value_name = "N", value_parser = between(1, 1_000_000_000_000), allow_hyphen_values = true)]
    pub length: Option<u64>,
    /// Divides the logits: below 1 is safer, above 1 wilder, 0 always takes the likeliest [default: 0.7]
    #[arg(long, short, value_name = "X", value_parser = real_in(Allowed::Real(0.0, 100.0)), allow_hyphen_values = true)]
    pub temperature: Option<f64>,
    /// Draw from the K likeliest characters only
    #[arg(long, value_name = "K", value_parser = between(1, 1_000_000), allow_hyphen_values = true)]
    pub top_k: Option<u64>,
    /// Draw from the likeliest characters that hold this share of the probability, at most 1
    #[arg(long, value_name = "P", value_parser = real_in(Allowed::Above(0.0, 1.0)), allow_hyphen_values = true)]
    pub top_p: Option<f64>,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = between(0, i64::MAX - 1), allow_hyphen_values = true)]
    pub seed: u64,
    /// Texts generated side by side
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = between(1, MAX_STREAMS as i64), allow_hyphen_values = true)]
    pub streams: u64,
    /// What to do with characters of the prompt that the model does not know
    #[arg(long, value_enum, value_name = "RULE", default_value_t = Oov::Error)]
    pub oov: Oov,
    /// Print one JSON object a stream
    #[arg(long)]
    pub json: bool,
    /// Print only the generated text
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What happens to a character of the prompt that is outside the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Oov {
    /// Stop and say which and where
    Error,
    /// Leave it out
    Skip,
}

/// Arguments of `rnnx report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Folders of runs; several are drawn over one another
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Where to write the page [default: report.html in the first RUN]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `rnnx data stats`.
#[derive(Args, Clone, Debug)]
pub struct DataStatsArgs {
    #[command(flatten)]
    pub data: CharDataArgs,
    /// Characters predicted in a window, for the number of windows [default: 256]
    #[arg(long, value_name = "N", value_parser = whole("seq-length"), allow_hyphen_values = true)]
    pub seq_length: Option<i64>,
    /// Windows a step, for the number of steps [default: 512]
    #[arg(long, value_name = "N", value_parser = whole("batch-size"), allow_hyphen_values = true)]
    pub batch_size: Option<i64>,
    /// Seed that orders the embedded corpus's files [default: 1]
    #[arg(long, value_name = "N", value_parser = whole("seed"), allow_hyphen_values = true)]
    pub seed: Option<i64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub pairs: PairStatsArgs,
}

/// Arguments of `rnnx selftest`.
#[derive(Args, Clone, Debug)]
pub struct SelftestArgs {
    /// auto, cpu, cuda, cuda:N or emulated; the CPU in f32 is compared with itself in f64 [default: auto]
    #[arg(long, value_name = "DEVICE", value_parser = str::parse::<DeviceChoice>)]
    pub device: Option<DeviceChoice>,
    /// Run only the ops that have this in their name
    #[arg(long, value_name = "OP")]
    pub filter: Option<String>,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// Print JSON with every case
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `rnnx doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `rnnx inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// A safetensors file, a checkpoint's folder or a run's folder
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `rnnx completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell that will read them
    #[arg(value_enum)]
    pub shell: Shell,
}

impl TrainArgs for TrainCharlmArgs {
    type Config = CharLmConfig;

    fn run(&self) -> &RunArgs {
        &self.run
    }

    fn preset(&self) -> crate::Result<Option<Table>> {
        let Some(name) = &self.preset else {
            return Ok(None);
        };
        let preset = name.parse::<Preset>();
        let preset = preset.map_err(|e| Error::Usage(format!("--preset {name}: {e}")))?;
        Ok(Some(preset.table()))
    }

    fn table(&self) -> Table {
        let (data, model) = (&self.data, &self.model);
        let (opt, run, device) = (&self.optimiser, &self.run, &self.device);
        let whole = |x: Option<i64>| x.map(Value::Integer);
        let real = |x: Option<f64>| x.map(Value::Float);
        let word = |x: &Option<String>| x.clone().map(Value::String);
        set_keys([
            ("corpus", data.corpus_value()),
            ("max-chars", whole(data.max_chars)),
            ("valid-fraction", real(data.valid_fraction)),
            ("shuffle", opt.shuffle_value()),
            ("embedding-dim", whole(model.embedding_dim)),
            ("hidden-size", whole(model.hidden_size)),
            ("num-layers", whole(model.num_layers)),
            ("dropout", real(model.dropout)),
            ("epochs", whole(opt.epochs)),
            ("max-steps", whole(opt.max_steps)),
            ("batch-size", whole(opt.batch_size)),
            ("seq-length", whole(opt.seq_length)),
            ("learning-rate", real(opt.learning_rate)),
            ("clip-norm", real(opt.clip_norm)),
            ("clip-mode", word(&opt.clip_mode)),
            ("l2", real(opt.l2)),
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

impl DataStatsArgs {
    /// The keys that were given as flags, with their values.
    pub fn table(&self) -> Table {
        let whole = |x: Option<i64>| x.map(Value::Integer);
        let pairs = [
            ("corpus", self.data.corpus_value()),
            ("max-chars", whole(self.data.max_chars)),
            ("valid-fraction", self.data.valid_fraction.map(Value::Float)),
            ("seq-length", whole(self.seq_length)),
            ("batch-size", whole(self.batch_size)),
            ("seed", whole(self.seed)),
        ];
        let given = pairs.into_iter().filter_map(|(k, v)| Some((k, v?)));
        given.map(|(k, v)| (k.to_owned(), v)).collect()
    }
}

impl CharDataArgs {
    fn corpus_value(&self) -> Option<Value> {
        let path = |p: &PathBuf| Value::String(p.to_string_lossy().into_owned());
        let list = self.corpus.iter().map(path).collect::<Vec<_>>();
        (!list.is_empty()).then_some(Value::Array(list))
    }
}

impl DeviceArgs {
    /// Device and precision, once the number of threads is set. `usual` is the device where none
    /// is given.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] for a number of threads that the system cannot start.
    pub fn settle(&self, usual: DeviceChoice) -> crate::Result<Chosen> {
        let precision = match self.precision.as_deref() {
            Some("fp16") => Precision::Fp16,
            Some("fp32") => Precision::Fp32,
            _ => Precision::Auto,
        };
        super::use_threads(self.threads.map(|n| n as usize))?;
        device::choose(self.device.unwrap_or(usual), precision)
    }
}

impl OptimiserArgs {
    fn shuffle_value(&self) -> Option<Value> {
        (self.shuffle || self.no_shuffle).then_some(Value::Boolean(self.shuffle))
    }
}
