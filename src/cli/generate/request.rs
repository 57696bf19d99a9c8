//! What `rnnx generate` is asked for, on the command line or in answers to its questions.

use std::io::{BufRead, Write};

use super::escapes::symbols;
use crate::cli::args::GenerateArgs;
use crate::cli::process::read_stdin;
use crate::data::chars::CharVocab;
use crate::data::encoding::{Encoded, Oov};
use crate::sampling::SamplingOptions;
use crate::{Error, Result};

/// The most characters that one command generates.
const MAX_LENGTH: usize = 1_000_000_000_000;

/// What `rnnx generate` was asked for.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    /// Text that the model reads first: UTF-8, or of a model of bytes any. None asks for it where standard
    /// input is a terminal.
    pub prompt: Option<Vec<u8>>,
    /// `\n`, `\t`, `\\`, `\xNN` and `\u{...}` in the prompt and in `stop` are escapes.
    pub escapes: bool,
    /// Texts of which the first to be generated ends a stream, and is left out.
    pub stop: Vec<String>,
    /// Characters to generate in each stream.
    pub length: usize,
    /// Divides the logits; 0 chooses the most likely character.
    pub temperature: f64,
    /// Keeps only this many of the most likely characters.
    pub top_k: Option<usize>,
    /// Keeps only the most likely characters that reach this share.
    pub top_p: Option<f64>,
    /// Seed of the draws; stream number n of a run draws the same for every number of streams.
    pub seed: u64,
    /// Texts to generate side by side.
    pub streams: usize,
    /// What becomes of the prompt's characters that the model does not know.
    pub oov: Oov,
    /// One JSON object a stream rather than text.
    pub json: bool,
    /// No notes and no rate on standard error.
    pub quiet: bool,
}

impl GenerateRequest {
    /// How characters are drawn.
    pub(super) fn sampling(&self) -> SamplingOptions {
        SamplingOptions {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
        }
    }

    /// Text can be shown as it comes.
    pub(super) fn streams_text(&self) -> bool {
        self.streams == 1 && !self.json
    }
}

/// The prompt of the command line: `-` is standard input. What a file or a pipe holds is read as
/// [`Encoded::of_bytes`] does: of a model of bytes as it is, else `\r\n` is one newline.
///
/// # Errors
/// [`Error::Data`] for standard input that is not UTF-8, unless the model is one of bytes, [`Error::Io`]
/// if it cannot be read.
pub(super) fn prompt(args: &GenerateArgs, vocab: &CharVocab) -> Result<Option<Vec<u8>>> {
    if args.prompt.as_deref() != Some("-") {
        return Ok(args.prompt.clone().map(String::into_bytes));
    }
    let bytes = read_stdin("the prompt", args.quiet)?;
    if vocab.is_of_bytes() {
        return Ok(Some(bytes));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let byte = e.utf8_error().valid_up_to() + 1;
        Error::Data(format!(
            "--prompt -: byte {byte} of standard input is not UTF-8; convert the text, as with iconv \
             -t UTF-8, or write such bytes as \\xNN with --escapes"
        ))
    })?;
    Ok(Some(text.replace("\r\n", "\n").into_bytes()))
}

/// Asks for length, temperature and start string, showing what is in `request` as the defaults, and
/// puts the answers there. An empty answer, or the end of `input`, takes the default; an answer that
/// cannot be used is asked for again.
///
/// # Errors
/// [`Error::Io`] if `input` cannot be read or `output` cannot be written.
pub fn ask(
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    vocab: &CharVocab,
    request: &mut GenerateRequest,
) -> Result<()> {
    let question = format!("Length in characters [{}]: ", request.length);
    if let Some(length) = ask_one(input, output, &question, |answer| {
        (answer.trim().parse::<usize>().ok())
            .filter(|n| (1..=MAX_LENGTH).contains(n))
            .ok_or_else(|| format!("{:?} is not a whole number from 1 on", answer.trim()))
    })? {
        request.length = length;
    }
    let question = format!(
        "Temperature, 0 for always the most likely character [{}]: ",
        request.temperature
    );
    if let Some(temperature) = ask_one(input, output, &question, |answer| {
        (answer.trim().parse::<f64>().ok())
            .filter(|t| (0.0..=100.0).contains(t))
            .ok_or_else(|| format!("{:?} is not a number from 0 to 100", answer.trim()))
    })? {
        request.temperature = temperature;
    }
    let (oov, escapes) = (request.oov, request.escapes);
    let question = "Start string [a new line]: ";
    request.prompt = ask_one(input, output, question, |answer| {
        let symbols = symbols(answer.as_bytes(), vocab, escapes)?;
        Encoded::new(symbols, vocab, oov).map(|_| answer.as_bytes().to_vec())
    })?;
    Ok(())
}

/// One question until the answer can be used; None for an empty answer or the end of `input`.
fn ask_one<T>(
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    question: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>> {
    loop {
        output
            .write_all(question.as_bytes())
            .and_then(|()| output.flush())
            .map_err(Error::io("write", "standard error"))?;
        let mut line = Vec::new();
        input
            .read_until(b'\n', &mut line)
            .map_err(Error::io("read", "standard input"))?;
        // Bytes that are not UTF-8 become U+FFFD, which no answer may hold.
        let line = String::from_utf8_lossy(&line);
        let answer = line.strip_suffix('\n').unwrap_or(&line);
        let answer = answer.strip_suffix('\r').unwrap_or(answer);
        if answer.is_empty() {
            return Ok(None);
        }
        match parse(answer) {
            Ok(value) => return Ok(Some(value)),
            Err(problem) => writeln!(output, "{problem}; try again.")
                .map_err(Error::io("write", "standard error"))?,
        }
    }
}
