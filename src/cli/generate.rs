//! `rnnx generate` for a character LM: a prompt in, text out as it comes.

mod request;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::{GenerateArgs, Oov};
use crate::data::vocab::Vocab;
use crate::files::run::{MODEL, RunFolder};
use crate::files::tensors::TensorFile;
use crate::log;
use crate::programs::charlm::generate::generator::Generator;
use crate::programs::charlm::generate::sample;
use crate::programs::charlm::generate::sampling::Sampler;
use crate::programs::charlm::generate::weights::CharLmWeights;
use crate::train::device::DeviceChoice;
use crate::train::timing;
use crate::{Error, Result, terminal};
use request::index_of;
pub use request::{GenerateRequest, ask};

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
    let mut device = args.device.clone();
    device.device = device.device.filter(|d| *d != DeviceChoice::Auto);
    if device.settle(DeviceChoice::Cpu)?.gpu.is_some() {
        return Err(Error::Usage(
            "generation runs on the CPU: leave --device out".into(),
        ));
    }
    let (folder, checkpoint) = RunFolder::find(&args.run)?;
    let vocab = Vocab::read_chars(&folder)?;
    let weights = sample::weights(&TensorFile::load(&checkpoint.join(MODEL))?)?;
    let tokens: Vec<char> = vocab.tokens().collect();
    let request = GenerateRequest {
        prompt: args.prompt.clone(),
        length: args.length.unwrap_or(LENGTH) as usize,
        temperature: args.temperature.unwrap_or(sample::TEMPERATURE),
        top_k: args.top_k.map(|k| k as usize),
        top_p: args.top_p,
        seed: args.seed,
        streams: args.streams as usize,
        oov_skip: args.oov == Oov::Skip,
        json: args.json,
        quiet: args.quiet,
    };
    run(&weights, &tokens, request, &mut *terminal::stdout())
}

/// Characters generated unless `--length` says otherwise.
const LENGTH: u64 = 1000;

/// Generates text and writes it to `out`, which is standard output or stands for it.
///
/// `tokens` is the vocabulary in index order. A reader of `out` that goes away (`| head`) ends the
/// work without an error.
///
/// # Errors
/// [`Error::Usage`] for values that cannot be used, [`Error::Data`] for a prompt or a vocabulary
/// that does not fit the model, [`Error::Io`] if `out` cannot be written.
pub fn run(
    weights: &CharLmWeights,
    tokens: &[char],
    mut request: GenerateRequest,
    out: &mut dyn Write,
) -> Result<()> {
    request.sampling().validate()?;
    if tokens.len() != weights.vocab() {
        return Err(Error::Data(format!(
            "vocab.json has {} tokens but tensor embedding.weight has {} rows: they belong to \
             different models",
            tokens.len(),
            weights.vocab()
        )));
    }
    if request.prompt.is_none() && io::stdin().is_terminal() {
        ask(
            &mut io::stdin().lock(),
            &mut io::stderr(),
            tokens,
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
    let start = Start::new(&request, tokens)?;
    if !request.quiet {
        for line in &start.notes {
            log::line(line);
        }
    }
    let mut session = Session::new(weights, tokens, &request, &start)?;
    let written = if request.streams_text() {
        session.stream_text(&start.text, request.length, out)
    } else {
        let texts = session.complete(request.length);
        write_complete(&request, &start.text, &texts, out)
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
    text: String, // the part of the prompt that is fed, as it is shown
    ids: Vec<u8>, // never empty
    notes: Vec<String>,
}

impl Start {
    fn new(request: &GenerateRequest, tokens: &[char]) -> Result<Start> {
        let prompt = request.prompt.as_deref().unwrap_or("");
        let (mut text, mut ids, mut notes) = (String::new(), Vec::new(), Vec::new());
        let mut skipped = 0;
        for (at, c) in prompt.chars().enumerate() {
            match index_of(tokens, c) {
                Some(id) => {
                    ids.push(id);
                    text.push(c);
                }
                None if request.oov_skip => skipped += 1,
                None => return Err(Error::Data(unknown(c, at + 1))),
            }
        }
        if skipped > 0 {
            notes.push(format!(
                "skipped {skipped} character(s) of the prompt that the model does not know"
            ));
        }
        if ids.is_empty() {
            let newline = index_of(tokens, '\n');
            ids.push(newline.unwrap_or(0));
            if newline.is_none() || skipped > 0 {
                notes.push(format!(
                    "nothing to start from: starting after {:?}",
                    tokens[usize::from(ids[0])]
                ));
            }
        }
        Ok(Start { text, ids, notes })
    }
}

fn unknown(c: char, position: usize) -> String {
    format!(
        "--prompt: character '{}' (U+{:04X}) at position {position} is not in the model's \
         vocabulary; leave it out, or pass --oov skip to skip such characters",
        c.escape_default(),
        u32::from(c)
    )
}

/// The model, its samplers, and the characters fed next.
struct Session<'a> {
    tokens: &'a [char],
    generator: Generator,
    samplers: Vec<Sampler>,
    next: Vec<u8>, // [streams]: drawn, not yet fed
    generated: usize,
    began: Instant,
}

impl<'a> Session<'a> {
    fn new(
        weights: &CharLmWeights,
        tokens: &'a [char],
        request: &GenerateRequest,
        start: &Start,
    ) -> Result<Session<'a>> {
        let mut generator = Generator::new(weights, request.streams)?;
        let samplers = (0..request.streams)
            .map(|s| Sampler::new(request.sampling(), tokens.len(), request.seed, s as u32))
            .collect::<Result<Vec<_>>>()?;
        let (last, before) = start.ids.split_last().unwrap_or((&0, &[]));
        let mut next = vec![*last; request.streams];
        if request.length > 0 {
            for &id in before {
                next.fill(id);
                generator.step(&next);
            }
        }
        next.fill(*last);
        Ok(Session {
            tokens,
            generator,
            samplers,
            next,
            generated: 0,
            began: Instant::now(),
        })
    }

    /// Feeds the last characters and draws the next one of every stream.
    fn advance(&mut self) {
        let logits = self.generator.step(&self.next);
        let logits = logits.chunks_exact(self.tokens.len());
        for ((next, sampler), logits) in self.next.iter_mut().zip(&mut self.samplers).zip(logits) {
            // Below the vocabulary's size, which fits in a byte.
            *next = sampler.sample(logits) as u8;
        }
        self.generated += self.next.len();
    }

    /// One stream, shown as it comes, in constant memory.
    fn stream_text(&mut self, prompt: &str, length: usize, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(prompt.as_bytes())?;
        out.flush()?;
        let mut pending = String::with_capacity(FLUSH_BYTES + 4);
        let mut flushed: Option<Instant> = None; // None: the first character is not held back
        for _ in 0..length {
            self.advance();
            pending.push(self.tokens[usize::from(self.next[0])]);
            let due = flushed.is_none_or(|at| at.elapsed() >= FLUSH_EVERY);
            if due || pending.len() >= FLUSH_BYTES {
                out.write_all(pending.as_bytes())?;
                out.flush()?;
                pending.clear();
                flushed = Some(Instant::now());
            }
        }
        out.write_all(pending.as_bytes())?;
        out.flush()
    }

    /// The whole text of every stream.
    fn complete(&mut self, length: usize) -> Vec<String> {
        let mut texts = vec![String::new(); self.next.len()];
        for _ in 0..length {
            self.advance();
            for (text, &id) in texts.iter_mut().zip(&self.next) {
                text.push(self.tokens[usize::from(id)]);
            }
        }
        texts
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
                "{gap}{} characters in {:.3} s{rate} ({} kernel, {} stream(s))",
                self.generated,
                took.as_secs_f64(),
                self.generator.level().name(),
                self.next.len(),
            ));
        }
    }
}

/// Complete texts: one JSON object a line, or each text under its stream's number (from 1).
fn write_complete(
    request: &GenerateRequest,
    prompt: &str,
    texts: &[String],
    out: &mut dyn Write,
) -> io::Result<()> {
    for (number, text) in (1..).zip(texts) {
        if request.json {
            let object = json!({"stream": number, "prompt": prompt, "text": text});
            writeln!(out, "{object}")?;
        } else {
            writeln!(out, "=== stream {number} ===\n{prompt}{text}")?;
        }
    }
    out.flush()
}
