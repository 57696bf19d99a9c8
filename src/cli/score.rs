//! `rnnx score RUN`: the probability of a text, or of a target given its source.

mod pairs;
mod text;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use super::args::{DeviceArgs, Oov};
use super::flags::between;
use super::process::emit_part;
use crate::Result;
use crate::data::chars::MAX_TOKENS;
use crate::data::vocab::Vocab;
use crate::files::run::RunFolder;
use crate::programs::position::Position;
use crate::terminal::visible;
use crate::train::device::Chosen;

/// Likely tokens of each position unless `--top` says otherwise.
const TOP: usize = 5;

/// Arguments of `rnnx score`.
#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("device", |device| device.help(DEVICE_HELP)),
    mut_arg("precision", |precision| precision.help(PRECISION_HELP)),
    after_help = NOTES
)]
pub struct ScoreArgs {
    /// The run's folder (its best checkpoint), or one checkpoint's folder
    pub run: PathBuf,
    /// The text that a character LM scores; - or nothing: all of standard input
    #[arg(conflicts_with = "file")]
    pub text: Option<String>,
    /// A file that holds the text; for a seq2seq run one of pairs: JSON lines, .csv or .tsv (.gz and .zst
    /// are unpacked)
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The source of a pair, for a seq2seq run
    #[arg(long, value_name = "TEXT", requires = "target", conflicts_with_all = ["text", "file"], allow_hyphen_values = true)]
    pub source: Option<String>,
    /// The target that is scored, given --source
    #[arg(long, value_name = "TEXT", requires = "source", conflicts_with_all = ["text", "file"], allow_hyphen_values = true)]
    pub target: Option<String>,
    /// The function's parameters and return type, for a run trained with --source both
    #[arg(long, value_name = "TEXT", requires = "source", conflicts_with_all = ["text", "file"], allow_hyphen_values = true)]
    pub signature: Option<String>,
    /// The field of a file of pairs that holds the source, or the column's number [default: the run's own]
    #[arg(long, value_name = "FIELD", requires = "file", conflicts_with_all = ["text", "source"])]
    pub source_field: Option<String>,
    /// The field of a file of pairs that holds the target, or the column's number [default: the run's own]
    #[arg(long, value_name = "FIELD", requires = "file", conflicts_with_all = ["text", "source"])]
    pub target_field: Option<String>,
    /// Stop at a pair whose source is empty instead of skipping it
    #[arg(long, requires = "file", conflicts_with_all = ["text", "source"])]
    pub strict: bool,
    /// Print JSON with every position: probability, entropy and likeliest tokens
    #[arg(long)]
    pub json: bool,
    /// Likeliest tokens of each position [default: 5]
    #[arg(long, value_name = "N", requires = "json", value_parser = between(1, MAX_TOKENS as i64), allow_hyphen_values = true)]
    pub top: Option<u64>,
    /// What to do with characters that a character LM does not know [default: error]
    #[arg(long, value_enum, value_name = "RULE")]
    pub oov: Option<Oov>,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
}

const DEVICE_HELP: &str = "auto, cpu, cuda, cuda:N or emulated; auto is the CPU, as tokens come one \
                           after the other [default: auto]";

const PRECISION_HELP: &str = "Number format: auto is fp32, also on a GPU [default: auto]";

const NOTES: &str = "\
Of a character LM the state is carried along the whole text. It begins at zero, and the first character \
is scored as if it followed a newline (without one in the vocabulary, its first character), as in rnnx \
study. A text counts as the model was trained: as bytes, or as characters in NFC, where \\r\\n is one \
newline; the newline at the end of a file or a pipe is scored, too.

With a seq2seq run every token of the target is scored given the source and the tokens before it, and \
then the end; where the model copies, by the sum of what it writes and copies. What the model cannot write \
is scored as <UNK>. A target is not cut to the run's --max-target, as training and rnnx eval cut it.

JSON: nats is the sum of -ln p, bits_per_char (bits_per_token) and perplexity are of its mean; entropy is \
in nats, over all tokens of the vocabulary. A perplexity above the largest number is null. A file of pairs \
gives each of them in pairs, and the sums of all behind.";

/// Scores a text, or targets, and prints the result.
///
/// # Errors
/// [`crate::Error::Usage`] for what is not for a run of this kind, or nothing to score;
/// [`crate::Error::Data`] for a text or pairs that are empty or that the model cannot read;
/// [`crate::Error::Checkpoint`] for a run that cannot be read; [`crate::Error::Device`].
pub fn run(args: &ScoreArgs) -> Result<()> {
    let (folder, checkpoint) = RunFolder::find(&args.run)?;
    match Vocab::read(&folder)? {
        Vocab::Words { .. } => pairs::run(args, &checkpoint),
        chars => text::run(
            args,
            (&folder, &checkpoint),
            &chars.into_chars(&folder.vocab_path())?,
        ),
    }
}

/// The device, in f32 unless another precision is asked for; `why` says why auto is the CPU.
fn choose(args: &ScoreArgs, why: &str) -> Result<Chosen> {
    let mut chosen = args.device.settle_on_cpu(why)?;
    chosen.mixed &= args.device.precision.as_deref() == Some("fp16");
    Ok(chosen)
}

/// Bits a token, and perplexity, of a mean loss in nats.
fn figures(loss: f64) -> (f64, f64) {
    (loss / std::f64::consts::LN_2, loss.exp())
}

// ---- as JSON -------------------------------------------------------------------------------

/// Bytes of JSON that wait until they are written.
const BUFFER: usize = 1 << 16;

/// An object that is written while it is made: it may be many times as long as what it is made of.
struct Json {
    pending: String,
}

impl Json {
    /// The object begins with the checkpoint's name.
    fn new(checkpoint: &Path) -> Self {
        let name = json!(checkpoint.display().to_string());
        Json {
            pending: format!("{{\"checkpoint\":{name}"),
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>) {
        for (name, value) in fields {
            self.pending += &format!(",{}:{value}", json!(name));
        }
    }

    fn begin_list(&mut self, name: &str) {
        self.pending += &format!(",{}:[", json!(name));
    }

    /// Adds an element of the list. False if nobody reads any more.
    fn element(&mut self, is_first: bool, value: &Value) -> Result<bool> {
        if !is_first {
            self.pending.push(',');
        }
        self.pending += &value.to_string();
        match self.pending.len() < BUFFER {
            true => Ok(true),
            false => self.write(),
        }
    }

    fn end_list(&mut self) {
        self.pending.push(']');
    }

    fn end(mut self) -> Result<()> {
        self.pending += "}\n";
        self.write().map(|_| ())
    }

    fn write(&mut self) -> Result<bool> {
        let read = emit_part(&visible(&self.pending));
        self.pending.clear();
        read
    }
}

/// What JSON says of a position, with its `top` likeliest tokens.
fn row<'a>(position: &Position, top: usize, token: impl Fn(u32) -> &'a str) -> Value {
    let likeliest = position.top(top).into_iter();
    json!({
        "token": token(position.id),
        "p": position.p(),
        "entropy": position.entropy(),
        "top": likeliest.map(|(id, p)| (token(id), p)).collect::<Vec<_>>(),
    })
}
