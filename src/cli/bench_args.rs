//! Flags of `rnnx bench`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use toml::{Table, Value};

use super::args::DeviceArgs;
use super::flags::{real_in, size};
use crate::programs;
use crate::programs::seq2seq::model::ModelKind;
use crate::train::keys::Allowed;

/// Arguments of `rnnx bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// What to time
    #[arg(value_parser = PossibleValuesParser::new(kinds()), default_values = ["all"])]
    pub kinds: Vec<String>,
    /// Windows or pairs a step [default: 512, of seq2seq 128]
    #[arg(long, value_name = "N", value_parser = size("batch-size"), allow_hyphen_values = true)]
    pub batch_size: Option<usize>,
    /// Characters predicted in a window [default: 256]
    #[arg(long, value_name = "N", value_parser = size("seq-length"), allow_hyphen_values = true)]
    pub seq_length: Option<usize>,
    /// Numbers that stand for a character or token [default: 64, of seq2seq 256]
    #[arg(long, value_name = "N", value_parser = size("embedding-dim"), allow_hyphen_values = true)]
    pub embedding_dim: Option<usize>,
    /// Units of each layer [default: 256]
    #[arg(long, value_name = "N", value_parser = size("hidden-size"), allow_hyphen_values = true)]
    pub hidden_size: Option<usize>,
    /// LSTM layers of the character LM [default: 2]
    #[arg(long, value_name = "N", value_parser = size("num-layers"), allow_hyphen_values = true)]
    pub num_layers: Option<usize>,
    /// Seconds that each measurement lasts
    #[arg(long, value_name = "X", default_value_t = 5.0, value_parser = real_in(Allowed::Real(0.01, 3600.0)), allow_hyphen_values = true)]
    pub seconds: f64,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub seq2seq: BenchPairsArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What `rnnx bench seq2seq` trains, and on what.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Seq2seq")]
pub struct BenchPairsArgs {
    /// Only this model [default: all three, one after the other]
    #[arg(long, value_name = "MODEL", value_parser = PossibleValuesParser::new(ModelKind::NAMES))]
    pub model: Option<String>,
    /// Pairs that the batches are made of: JSONL, .gz too [default: pairs of the embedded corpus]
    #[arg(long, value_name = "FILE.jsonl")]
    pub train: Option<PathBuf>,
    /// Validation pairs: read and checked, as before training
    #[arg(long, value_name = "FILE.jsonl")]
    pub valid: Option<PathBuf>,
    /// Test pairs, as validation pairs
    #[arg(long, value_name = "FILE.jsonl")]
    pub test: Option<PathBuf>,
}

impl BenchArgs {
    /// The settings that were given as flags.
    pub fn table(&self) -> Table {
        let size = |n: Option<usize>| Some(Value::Integer(n?.try_into().ok()?));
        let pairs = &self.seq2seq;
        let path = |p: &Option<PathBuf>| {
            let path = p.as_ref()?.to_string_lossy();
            Some(Value::String(path.into_owned()))
        };
        let given = [
            ("batch-size", size(self.batch_size)),
            ("seq-length", size(self.seq_length)),
            ("embedding-dim", size(self.embedding_dim)),
            ("hidden-size", size(self.hidden_size)),
            ("num-layers", size(self.num_layers)),
            ("model", pairs.model.clone().map(Value::String)),
            ("train", path(&pairs.train)),
            ("valid", path(&pairs.valid)),
            ("test", path(&pairs.test)),
        ];
        let given = given.into_iter();
        given
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

/// Everything that can be timed.
fn kinds() -> Vec<&'static str> {
    let own = programs::ALL
        .iter()
        .flat_map(|p| p.benches())
        .map(|bench| bench.name);
    ["gemm"].into_iter().chain(own).chain(["all"]).collect()
}
