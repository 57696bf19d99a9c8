//! Flags and arguments of the commands that train nothing.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use clap_complete::Shell;
use toml::Table;

pub use super::bench_args::BenchArgs;
use super::data_pairs::PairStatsArgs;
use super::flags::{self, between, real_in, size, words};
pub use crate::data::encoding::Oov;
use crate::programs::charlm::config::CharLmConfig;
use crate::programs::charlm::generate::GPU_STREAMS;
use crate::programs::charlm::generate::generator::MAX_STREAMS;
use crate::sampling::{self, SamplingOptions};
use crate::selftest::startup;
use crate::train::device::{self, Chosen, DeviceChoice, Precision};
use crate::train::keys::{Allowed, Key};
use crate::train::settings::Config;

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
    #[arg(long, value_name = "N", value_parser = size("threads"), allow_hyphen_values = true)]
    pub threads: Option<usize>,
}

/// How tokens are drawn.
#[derive(Args, Clone, Debug)]
pub struct SamplingArgs {
    /// Divides the logits: below 1 is safer, above 1 wilder, 0 always takes the likeliest [default: 0.7]
    #[arg(long, short, value_name = "X", value_parser = real_in(Allowed::Real(0.0, 100.0)), allow_hyphen_values = true)]
    pub temperature: Option<f64>,
    /// Draw from the K likeliest only
    #[arg(long, value_name = "K", value_parser = between(1, 1_000_000), allow_hyphen_values = true)]
    pub top_k: Option<u64>,
    /// Draw from the likeliest alone that together have this share of the probability, at most 1
    #[arg(long, value_name = "P", value_parser = real_in(Allowed::Above(0.0, 1.0)), allow_hyphen_values = true)]
    pub top_p: Option<f64>,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = between(0, i64::MAX - 1), allow_hyphen_values = true)]
    pub seed: u64,
}

/// Arguments of `rnnx generate`.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("device", |device| device.help(generate_device())))]
pub struct GenerateArgs {
    /// The run's folder (its best checkpoint), or one checkpoint's folder
    pub run: PathBuf,
    /// Text to continue, - for standard input; without it, a terminal is asked for length, temperature
    /// and start string
    #[arg(long, short, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Take \n, \t, \\, \xNN and \u{N} in the prompt and in --stop as escapes
    #[arg(long, short)]
    pub escapes: bool,
    /// End before the first TEXT that is generated; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Vec<String>,
    /// Characters to generate [default: 1000]
    #[arg(long, short = 'n', value_name = "N", value_parser = between(1, 1_000_000_000_000), allow_hyphen_values = true)]
    pub length: Option<u64>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
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

/// The help of `rnnx generate --device`.
fn generate_device() -> String {
    format!(
        "auto, cpu, cuda, cuda:N or emulated; auto is the CPU, which one stream keeps within a core's \
         cache, but a GPU where there is one from {GPU_STREAMS} streams on [default: auto]"
    )
}

impl ValueEnum for Oov {
    fn value_variants<'a>() -> &'a [Self] {
        &[Oov::Error, Oov::Skip, Oov::Unk]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Oov::Error => ("error", "Stop and say which and where"),
            Oov::Skip => ("skip", "Leave it out"),
            Oov::Unk => ("unk", "Read it as <UNK>, where the vocabulary has that"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// Arguments of `rnnx report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Folders of runs; several are drawn over one another
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Write the records of steps and epochs as CSV instead of the page, to standard output unless --out
    /// names a file
    #[arg(long)]
    pub csv: bool,
    /// Where to write the page [default: report.html in the first RUN]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

/// Arguments of `rnnx data stats`.
#[derive(Args, Clone, Debug)]
pub struct DataStatsArgs {
    #[command(flatten)]
    pub text: TextFlags,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub pairs: PairStatsArgs,
}

/// Flags of those settings of the character LM that say what text there is and how it is divided:
/// what was given.
#[derive(Clone, Debug)]
pub struct TextFlags(pub Table);

/// Arguments of `rnnx selftest`.
#[derive(Args, Clone, Debug)]
pub struct SelftestArgs {
    /// auto, cpu, cuda, cuda:N or emulated; the CPU in f32 is compared with itself in f64 [default: auto]
    #[arg(long, value_name = "DEVICE", value_parser = str::parse::<DeviceChoice>)]
    pub device: Option<DeviceChoice>,
    /// Run only the ops that have this in their name
    #[arg(long, value_name = "OP")]
    pub filter: Option<String>,
    /// Compare, on a GPU, whole sequences in one kernel with their steps one by one, at up to 512 rows,
    /// 256 steps and 512 units, in place of the table
    #[arg(long)]
    pub recurrence: bool,
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

impl TextFlags {
    fn has(key: &Key) -> bool {
        let names = "corpus glob charset min-char-count max-chars valid-fraction valid-split seq-length \
                     batch-size seed";
        names.split(' ').any(|name| name == key.name)
    }
}

impl Args for TextFlags {
    fn augment_args(command: Command) -> Command {
        command.args(flags::of(CharLmConfig::settings(), Self::has))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for TextFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let settings = CharLmConfig::settings();
        Ok(TextFlags(flags::given(settings, Self::has, matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

impl SamplingArgs {
    /// How a token is chosen.
    pub fn options(&self) -> SamplingOptions {
        SamplingOptions {
            temperature: self.temperature.unwrap_or(sampling::TEMPERATURE),
            top_k: self.top_k.map(|k| k as usize),
            top_p: self.top_p,
        }
    }
}

impl DeviceArgs {
    /// As [`DeviceArgs::settle`], where `auto`, and what is given no device, is the CPU; `why` says why.
    ///
    /// # Errors
    /// As [`DeviceArgs::settle`].
    pub fn settle_on_cpu(&self, why: &str) -> crate::Result<Chosen> {
        if self.device.is_some_and(|d| d != DeviceChoice::Auto) {
            return self.settle(DeviceChoice::Cpu);
        }
        let cpu = DeviceArgs {
            device: Some(DeviceChoice::Cpu),
            ..self.clone()
        };
        let mut chosen = cpu.settle(DeviceChoice::Cpu)?;
        chosen.why = format!(" (auto: {why})");
        Ok(chosen)
    }

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
        super::process::use_threads(self.threads)?;
        device::choose(self.device.unwrap_or(usual), precision, startup::check)
    }
}
