//! `rnnx score RUN [TEXT|-]`: how likely a character LM holds a text.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::args::{DeviceArgs, Oov};
use super::flags::between;
use super::process::{emit, emit_part, read_stdin};
use crate::data::chars::{CharVocab, MAX_TOKENS, Token, UNK};
use crate::data::encoding::Encoded;
use crate::data::input::read_all;
use crate::data::vocab::Vocab;
use crate::files::run::RunFolder;
use crate::programs::charlm::score::{Score, Scorer};
use crate::programs::orders::check_finite;
use crate::programs::position::Position;
use crate::terminal::visible;
use crate::train::device::Chosen;
use crate::train::progress::Progress;
use crate::{Error, Result};

/// Likely characters of each position unless `--top` says otherwise.
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
    /// The text; with - or without one it is all of standard input
    #[arg(conflicts_with = "file")]
    pub text: Option<String>,
    /// The text, in a file, unpacked where it ends in .gz or .zst
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print JSON with every position: probability, entropy and likeliest characters
    #[arg(long)]
    pub json: bool,
    /// Likeliest characters of each position [default: 5]
    #[arg(long, value_name = "N", requires = "json", value_parser = between(1, MAX_TOKENS as i64), allow_hyphen_values = true)]
    pub top: Option<u64>,
    /// What to do with characters that the model does not know
    #[arg(long, value_enum, value_name = "RULE", default_value_t = Oov::Error)]
    pub oov: Oov,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
}

const DEVICE_HELP: &str = "auto, cpu, cuda, cuda:N or emulated; auto is the CPU, as characters come \
                           one after the other [default: auto]";

const PRECISION_HELP: &str = "Number format: auto is fp32, also on a GPU [default: auto]";

const NOTES: &str = "\
The state is carried along the whole text. It begins at zero, and the first character is scored as \
if it followed a newline (without one in the vocabulary, its first character), as in rnnx study. A \
text counts as the model was trained: as bytes, or as characters in NFC, where \\r\\n is one newline; \
the newline at the end of a file or a pipe is scored, too.

JSON: nats is the sum of -ln p over the text, bits_per_char and perplexity are of its mean; entropy \
is in nats, over all characters of the vocabulary. A perplexity above the largest number is null.";

/// One text is one sequence, so that a GPU has little to do at a time.
const ON_THE_CPU: &str = "characters of one text come one after the other; on a GPU not measured";

/// Scores a text and prints the result.
///
/// # Errors
/// [`Error::Usage`] for a run of another kind or no text; [`Error::Data`] for a text that is empty or
/// that the model cannot read; [`Error::Checkpoint`] for a run that cannot be read; [`Error::Device`].
pub fn run(args: &ScoreArgs) -> Result<()> {
    let (folder, checkpoint) = RunFolder::find(&args.run)?;
    let vocab = vocab(args, &folder)?;
    let (name, bytes) = text(args)?;
    let read = Encoded::of_bytes(&bytes, &name, &vocab, args.oov)?;
    let chosen = choose(args)?;
    let progress = Progress::new(args.quiet);
    if args.device.device.is_some() {
        progress.line(&chosen.line());
    }
    for note in read.notes("the text") {
        progress.line(&note);
    }
    let mut scorer = Scorer::open(&checkpoint, &vocab, &chosen)?;
    if args.json {
        let top = args.top.map_or(TOP, |n| n as usize).min(vocab.len());
        let tokens: Vec<String> = vocab.tokens().map(token).collect();
        return Json::new(&checkpoint, &tokens, top, &read).print(&mut scorer, &read.ids);
    }
    let score = Score::of(&mut scorer, &read.ids, |_, _| Ok(true))?;
    check_finite(&checkpoint, score.loss())?;
    let (bits, perplexity) = figures(&score);
    emit(&format!(
        "characters       {}\n\
         log_probability  {:.4} nats\n\
         bits_per_char    {bits:.4}\n\
         perplexity       {perplexity:.4}\n",
        score.characters, -score.nats
    ))
}

/// Bits a character, and perplexity.
fn figures(score: &Score) -> (f64, f64) {
    let loss = score.loss();
    (loss / std::f64::consts::LN_2, loss.exp())
}

fn vocab(args: &ScoreArgs, folder: &RunFolder) -> Result<CharVocab> {
    match Vocab::read(folder)? {
        Vocab::Words { .. } => Err(Error::Usage(format!(
            "{}: a seq2seq run, and rnnx score is for a character LM; `rnnx eval` scores the targets \
             of pairs (--pairs FILE.jsonl)",
            args.run.display()
        ))),
        chars => chars.into_chars(&folder.vocab_path()),
    }
}

/// The text as it was given, and what errors call it.
fn text(args: &ScoreArgs) -> Result<(String, Vec<u8>)> {
    if let Some(path) = &args.file {
        return Ok((format!("--file {}", path.display()), read_all(path)?));
    }
    match &args.text {
        Some(text) if text != "-" => Ok(("the text".into(), text.clone().into_bytes())),
        None if io::stdin().is_terminal() => Err(Error::Usage(
            "no text: give it as TEXT, with --file FILE, or on standard input (a pipe, or - to type \
             it)"
            .into(),
        )),
        _ => Ok((
            "standard input".into(),
            read_stdin("the text", args.quiet)?,
        )),
    }
}

/// The device, in f32 unless another precision is asked for.
fn choose(args: &ScoreArgs) -> Result<Chosen> {
    let mut chosen = args.device.settle_on_cpu(ON_THE_CPU)?;
    chosen.mixed &= args.device.precision.as_deref() == Some("fp16");
    Ok(chosen)
}

// ---- as JSON -------------------------------------------------------------------------------

/// Bytes of JSON that wait until they are written.
const BUFFER: usize = 1 << 16;

/// The object of a text, written while it is read: it may be many times as long.
struct Json<'a> {
    checkpoint: &'a Path,
    tokens: &'a [String],
    top: usize,
    pending: String,
}

impl<'a> Json<'a> {
    fn new(checkpoint: &'a Path, tokens: &'a [String], top: usize, read: &Encoded) -> Self {
        let name = json!(checkpoint.display().to_string());
        Json {
            checkpoint,
            tokens,
            top,
            pending: format!(
                "{{\"checkpoint\":{name},\"skipped\":{},\"unknown\":{},\"positions\":[",
                read.skipped, read.unknown
            ),
        }
    }

    fn print(mut self, scorer: &mut Scorer, ids: &[u16]) -> Result<()> {
        let mut read = true;
        let score = Score::of(scorer, ids, |score, position| {
            check_finite(self.checkpoint, score.loss())?;
            if score.characters > 1 {
                self.pending.push(',');
            }
            self.pending += &self.row(position).to_string();
            read = self.pending.len() < BUFFER || self.write()?;
            Ok(read)
        })?;
        let (bits, perplexity) = figures(&score);
        let [nats, bits, perplexity] = [score.nats, bits, perplexity].map(Value::from);
        self.pending += &format!(
            "],\"characters\":{},\"nats\":{nats},\"bits_per_char\":{bits},\
             \"perplexity\":{perplexity}}}\n",
            score.characters
        );
        match read {
            true => self.write().map(|_| ()),
            false => Ok(()),
        }
    }

    fn row(&self, position: &Position) -> Value {
        let token = |id: u32| &*self.tokens[id as usize];
        let top = position.top(self.top).into_iter();
        json!({
            "token": token(position.id),
            "p": position.p(),
            "entropy": position.entropy(),
            "top": top.map(|(id, p)| (token(id), p)).collect::<Vec<_>>(),
        })
    }

    /// False if nobody reads any more.
    fn write(&mut self) -> Result<bool> {
        let read = emit_part(&visible(&self.pending));
        self.pending.clear();
        read
    }
}

/// A token as `vocab.json` has it.
fn token(token: Token) -> String {
    match token {
        Token::Unknown => UNK.to_owned(),
        Token::Char(c) => c.to_string(),
    }
}
