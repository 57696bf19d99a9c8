//! Flags of `rnnx bench`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::args::DeviceArgs;
use super::flags::{real_in, size};
use crate::programs::seq2seq::model::ModelKind;
use crate::train::keys::Allowed;

/// Arguments of `rnnx bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// What to time
    #[arg(value_enum, default_values_t = [BenchKind::All])]
    pub kinds: Vec<BenchKind>,
    /// Windows or pairs a step [default: 512, of seq2seq 128]
    #[arg(long, value_name = "N", value_parser = size("batch-size"), allow_hyphen_values = true)]
    pub batch_size: Option<usize>,
    /// Characters predicted in a window
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = size("seq-length"), allow_hyphen_values = true)]
    pub seq_length: usize,
    /// Numbers that stand for a character or token [default: 64, of seq2seq 256]
    #[arg(long, value_name = "N", value_parser = size("embedding-dim"), allow_hyphen_values = true)]
    pub embedding_dim: Option<usize>,
    /// Units of each layer
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = size("hidden-size"), allow_hyphen_values = true)]
    pub hidden_size: usize,
    /// LSTM layers of the character LM
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = size("num-layers"), allow_hyphen_values = true)]
    pub num_layers: usize,
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
    #[arg(long, value_name = "MODEL", value_parser = PossibleValuesParser::new(ModelKind::ALL.map(|kind| kind.to_string())).try_map(|name| name.parse::<ModelKind>()))]
    pub model: Option<ModelKind>,
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

/// What `rnnx bench` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchKind {
    /// Matrix products
    Gemm,
    /// Training steps of the character LM
    Charlm,
    /// Training steps of the seq2seq models
    Seq2seq,
    /// Text generation
    Generate,
    /// All of these
    All,
}
