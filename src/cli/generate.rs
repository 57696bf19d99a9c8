//! `rnnx generate` for a character LM: a prompt in, text out as it comes.

mod escapes;
mod request;
mod stop;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::GenerateArgs;
use crate::data::chars::{CharVocab, Token, UNK};
use crate::data::encoding::{Encoded, Oov, named};
use crate::data::vocab::Vocab;
use crate::files::run::RunFolder;
use crate::log;
use crate::programs::charlm::generate::sample;
use crate::programs::charlm::generate::weights::CharLmWeights;
use crate::programs::charlm::generate::{Engine, GPU_STREAMS};
use crate::sampling::{Sampler, sample_all};
use crate::train::device::{Chosen, DeviceChoice};
use crate::train::timing;
use crate::{Error, Result, terminal};
use escapes::symbols;
pub use request::{GenerateRequest, ask};
use stop::Stops;

/// Text waits at most about this long before it is shown.
const FLUSH_EVERY: Duration = Duration::from_millis(5);
/// ... and at most this many bytes of it.
const FLUSH_BYTES: usize = 8192;
/// The most characters kept in memory where text cannot be shown as it comes (several streams, or
/// JSON).
const MAX_KEPT: usize = 1 << 30;

/// Runs `rnnx generate`.
///
/// # Errors
/// As [`run`], and for a run or checkpoint that cannot be read.
pub fn command(args: &GenerateArgs) -> Result<()> {
    let (folder, checkpoint) = RunFolder::find(&args.run)?;
    let vocab = Vocab::read_chars(&folder)?;
    let weights = sample::of_checkpoint(&folder, &checkpoint)?;
    let prompt = request::prompt(args, &vocab)?;
    let chosen = match (args.streams as usize) < GPU_STREAMS {
        true => args.device.settle_on_cpu(&format!(
            "from {GPU_STREAMS} streams on a GPU is taken; not measured"
        ))?,
        false => args.device.settle(DeviceChoice::Auto)?,
    };
    if !args.quiet && (args.device.device.is_some() || chosen.gpu.is_some()) {
        log::line(&chosen.line());
    }
    let sampling = args.sampling.options();
    let request = GenerateRequest {
        prompt,
        escapes: args.escapes,
        stop: args.stop.clone(),
        length: args.length.unwrap_or(LENGTH) as usize,
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        seed: args.sampling.seed,
        streams: args.streams as usize,
        oov: args.oov,
        json: args.json,
        quiet: args.quiet,
    };
    run(&weights, &vocab, request, &chosen, &mut *terminal::stdout())
}

/// Characters generated unless `--length` says otherwise.
const LENGTH: u64 = 1000;

/// Generates text and writes it to `out`, which is standard output or stands for it.
///
/// A model of bytes writes bytes, whatever they are. A reader of `out` that goes away (`| head`) ends the
/// work without an error.
///
/// # Errors
/// [`Error::Usage`] for values that cannot be used, [`Error::Data`] for a prompt or a vocabulary
/// that does not fit the model, [`Error::Io`] if `out` cannot be written, or if the device fails.
pub fn run(
    weights: &CharLmWeights,
    vocab: &CharVocab,
    mut request: GenerateRequest,
    chosen: &Chosen,
    out: &mut dyn Write,
) -> Result<()> {
    request.sampling().validate()?;
    weights.check_vocab(vocab.len())?;
    if request.prompt.is_none() && io::stdin().is_terminal() {
        ask(
            &mut io::stdin().lock(),
            &mut io::stderr(),
            vocab,
            &mut request,
        )?;
    }
    if !request.streams_text() && request.length.saturating_mul(request.streams) > MAX_KEPT {
        return Err(Error::Usage(format!(
            "--length {} with --streams {}: with several streams or --json the text is kept until \
             it is complete, at most {MAX_KEPT} characters; lower --length, or generate one \
             stream without --json",
            request.length, request.streams
        )));
    }
    request.oov.check(vocab)?;
    let start = Start::new(&request, vocab)?;
    if !request.quiet {
        for line in &start.notes {
            log::line(line);
        }
    }
    let mut session = Session::new((weights, chosen), vocab, &request, &start)?;
    let written = if request.streams_text() {
        session.stream_text(&start.text, request.length, out)?
    } else {
        let texts = session.complete(request.length)?;
        let format = Format {
            json: request.json,
            bytes: vocab.is_of_bytes(),
            stops: !request.stop.is_empty(),
        };
        write_complete(format, &start.text, &texts, out)
    };
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Error::io("write", "standard output")(error)),
        Ok(()) => {
            if !request.quiet {
                session.report();
            }
            Ok(())
        }
    }
}

/// What the model reads before the first character is drawn.
struct Start {
    text: Vec<u8>, // the part of the prompt that is fed, as it is shown
    ids: Vec<u16>, // never empty
    stops: Stops,  // of each stream
    notes: Vec<String>,
}

impl Start {
    fn new(request: &GenerateRequest, vocab: &CharVocab) -> Result<Start> {
        let prompt = request.prompt.as_deref().unwrap_or_default();
        let symbols = symbols(prompt, vocab, request.escapes)
            .map_err(|problem| Error::Usage(format!("--prompt: {problem}")))?;
        let read = Encoded::new(symbols, vocab, request.oov).map_err(|problem| {
            let ways_out = Oov::ways_out(vocab);
            Error::Data(format!("--prompt: {problem}; {ways_out}"))
        })?;
        let mut notes = read.notes("the prompt");
        let mut ids = read.ids;
        if ids.is_empty() {
            let start = vocab.start();
            ids.push(start);
            if vocab.id('\n').is_none() || read.skipped > 0 {
                notes.push(match vocab.tokens().nth(usize::from(start)) {
                    Some(Token::Char(c)) => {
                        let c = named(c, vocab);
                        format!("nothing to start from: starting after {c}")
                    }
                    _ => format!("nothing to start from: starting after {UNK}"),
                });
            }
        }
        let stops = Stops::asked(request, vocab, &mut notes)?;
        Ok(Start {
            text: read.text,
            ids,
            stops,
            notes,
        })
    }
}

/// A complete text.
struct Text {
    bytes: Vec<u8>,
    /// Whether one of `--stop` ended it.
    stopped: bool,
}

/// The model, its samplers, and the characters fed next.
struct Session<'a> {
    vocab: &'a CharVocab,
    stops: Stops,
    engine: Engine,
    samplers: Vec<Sampler>,
    next: Vec<u16>, // [streams]: drawn, not yet fed
    generated: usize,
    began: Instant,
}

impl<'a> Session<'a> {
    fn new(
        (weights, chosen): (&CharLmWeights, &Chosen),
        vocab: &'a CharVocab,
        request: &GenerateRequest,
        start: &Start,
    ) -> Result<Session<'a>> {
        let mut engine = Engine::new(weights, request.streams, chosen)?;
        let (size, never) = (vocab.len(), vocab.unknown().map(usize::from));
        let samplers = (0..request.streams)
            .map(|s| {
                let sampler = Sampler::new(request.sampling(), size, request.seed, s as u32)?;
                Ok(sampler.never(never))
            })
            .collect::<Result<Vec<_>>>()?;
        let (last, before) = start.ids.split_last().unwrap_or((&0, &[]));
        let mut next = vec![*last; request.streams];
        if request.length > 0 {
            for &id in before {
                next.fill(id);
                engine.step(&next)?;
            }
        }
        next.fill(*last);
        Ok(Session {
            vocab,
            stops: start.stops.clone(),
            engine,
            samplers,
            next,
            generated: 0,
            began: Instant::now(),
        })
    }

    /// Feeds the last characters and draws the next one of every stream.
    fn advance(&mut self) -> Result<()> {
        let logits = self.engine.step(&self.next)?;
        sample_all(&mut self.samplers, logits, &mut self.next);
        Ok(())
    }

    /// One stream, shown as it comes, in constant memory; what may be the beginning of a text of
    /// `--stop` waits. The inner error is one of writing.
    fn stream_text(
        &mut self,
        prompt: &[u8],
        length: usize,
        out: &mut dyn Write,
    ) -> Result<io::Result<()>> {
        let mut show = |bytes: &[u8]| out.write_all(bytes).and_then(|()| out.flush());
        if let Err(error) = show(prompt) {
            return Ok(Err(error));
        }
        let mut pending = Vec::with_capacity(FLUSH_BYTES + 4);
        let mut flushed: Option<Instant> = None; // None: the first character is not held back
        for _ in 0..length {
            self.advance()?;
            self.generated += 1;
            let before = pending.len();
            self.vocab.decode_into(self.next[0], &mut pending);
            if let Some(stop) = self.stops.take(&pending[before..]) {
                pending.truncate(pending.len() - stop);
                break;
            }
            let due = flushed.is_none_or(|at| at.elapsed() >= FLUSH_EVERY);
            if due || pending.len() >= FLUSH_BYTES {
                let ready = pending.len() - self.stops.held();
                if let Err(error) = show(&pending[..ready]) {
                    return Ok(Err(error));
                }
                pending.drain(..ready);
                flushed = Some(Instant::now());
            }
        }
        Ok(show(&pending))
    }

    /// The whole text of every stream, until its end or, of a stream that was stopped, its stop.
    fn complete(&mut self, length: usize) -> Result<Vec<Text>> {
        let empty = || Text {
            bytes: Vec::new(),
            stopped: false,
        };
        let mut texts: Vec<Text> = self.next.iter().map(|_| empty()).collect();
        let mut stops = vec![self.stops.clone(); texts.len()];
        for _ in 0..length {
            if texts.iter().all(|text| text.stopped) {
                break;
            }
            self.advance()?;
            for ((text, stops), &id) in texts.iter_mut().zip(&mut stops).zip(&self.next) {
                if text.stopped {
                    continue;
                }
                self.generated += 1;
                let before = text.bytes.len();
                self.vocab.decode_into(id, &mut text.bytes);
                if let Some(stop) = stops.take(&text.bytes[before..]) {
                    text.bytes.truncate(text.bytes.len() - stop);
                    text.stopped = true;
                }
            }
        }
        Ok(texts)
    }

    /// The rate, on standard error.
    fn report(&self) {
        let took = self.began.elapsed();
        if self.generated > 0 {
            // Text does not end with a newline of its own: keep the rate off its last line.
            let gap = if io::stdout().is_terminal() { "\n" } else { "" };
            let rate = timing::rate(self.generated as f64, took);
            let rate = rate.map_or(String::new(), |rate| format!(": {rate:.0} characters/s"));
            log::line(&format!(
                "{gap}{} characters in {:.3} s{rate} ({}, {} stream(s))",
                self.generated,
                took.as_secs_f64(),
                self.engine.name(),
                self.next.len(),
            ));
        }
    }
}

/// How complete texts are written.
#[derive(Clone, Copy)]
struct Format {
    json: bool,
    /// The texts may be no UTF-8: JSON then has their bytes, too.
    bytes: bool,
    /// JSON says whether a text of `--stop` ended a stream.
    stops: bool,
}

/// Complete texts: one JSON object a line, or each text under its stream's number (from 1).
fn write_complete(
    format: Format,
    prompt: &[u8],
    texts: &[Text],
    out: &mut dyn Write,
) -> io::Result<()> {
    for (number, text) in (1..).zip(texts) {
        if format.json {
            let [start, rest] = [prompt, &text.bytes].map(String::from_utf8_lossy);
            let mut object = json!({"stream": number, "prompt": start, "text": rest});
            if format.bytes {
                object["bytes"] = json!(text.bytes);
            }
            if format.stops {
                object["stopped"] = json!(text.stopped);
            }
            writeln!(out, "{object}")?;
        } else {
            writeln!(out, "=== stream {number} ===")?;
            out.write_all(prompt)?;
            out.write_all(&text.bytes)?;
            writeln!(out)?;
        }
    }
    out.flush()
}
