//! A trained character LM inside a program of your own.
//!
//! ```text
//! cargo run --release -- train-charlm --preset quick
//! cargo run --release --example 04_generate_in_a_program runs/charlm "def main("
//! ```
//!
//! It continues a text in two moods side by side and says how sure the model was of each character.

use rnnx::data::vocab::Vocab;
use rnnx::files::run::RunFolder;
use rnnx::programs::charlm::generate::generator::Generator;
use rnnx::programs::charlm::generate::sample;
use rnnx::sampling::{Sampler, SamplingOptions};
use rnnx::{Error, Result};
use std::path::Path;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let run = args.next().unwrap_or_else(|| "runs/charlm".into());
    let prompt = args.next().unwrap_or_else(|| "def ".into());

    // A run's folder stands for its best checkpoint; a checkpoint's folder for itself.
    let (folder, checkpoint) = RunFolder::find(Path::new(&run))?;
    let vocab = Vocab::read_chars(&folder)?;
    let weights = sample::of_checkpoint(&folder, &checkpoint)?;

    // Two streams that share the weights; each has a state of its own.
    let temperatures = [0.4, 0.9];
    let mut generator = Generator::new(&weights, temperatures.len())?;
    let mut samplers = Vec::new();
    for (stream, temperature) in temperatures.into_iter().enumerate() {
        let options = SamplingOptions {
            temperature,
            top_k: None,
            top_p: Some(0.95),
        };
        let sampler = Sampler::new(options, vocab.len(), 1, stream as u32)?;
        samplers.push(sampler.never(vocab.unknown().map(usize::from)));
    }

    // The prompt goes in character by character; the last logits are those of what comes next.
    let ids = vocab.encode(&prompt)?;
    let mut logits = Vec::new();
    for id in ids {
        logits = generator.step(&[id; 2]).to_vec(); // [streams, V]
    }
    if logits.is_empty() {
        return Err(Error::Usage(
            "give a prompt of at least one character".into(),
        ));
    }
    let mut texts = [prompt.clone().into_bytes(), prompt.into_bytes()];
    let mut surprise = [0.0; 2];
    for _ in 0..200 {
        let mut chosen = [0u16; 2];
        for (stream, row) in logits.chunks(vocab.len()).enumerate() {
            let id = samplers[stream].sample(row);
            let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            surprise[stream] += total.ln() - f64::from(row[id]);
            chosen[stream] = id as u16;
            vocab.decode_into(id as u16, &mut texts[stream]);
        }
        logits = generator.step(&chosen).to_vec();
    }
    for ((text, temperature), nats) in texts.iter().zip(temperatures).zip(surprise) {
        println!(
            "---- temperature {temperature}: {:.2} nats a character",
            nats / 200.0
        );
        println!("{}", String::from_utf8_lossy(text));
    }
    Ok(())
}
