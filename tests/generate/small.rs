//! A small model with its vocabulary, and what the command is asked of it.

use rnnx::cli::args::Oov;
use rnnx::cli::generate::{GenerateRequest, run};
use rnnx::data::chars::CharVocab;
use rnnx::nn::CellKind;
use rnnx::programs::charlm::generate::weights::CharLmWeights;
use rnnx::train::device::{Chosen, DeviceChoice, Precision, choose};

use super::support::{Sizes, weights};

pub const ALPHABET: &str = "\n abcdefgh";

pub fn vocab() -> CharVocab {
    CharVocab::from_tokens(ALPHABET.chars()).expect("a vocabulary")
}

pub fn model() -> CharLmWeights {
    weights(
        CellKind::Lstm,
        Sizes {
            v: 10,
            e: 5,
            h: 33,
            layers: 2,
        },
        11,
    )
}

/// Every test gives a prompt: with none, `run` would ask the terminal of whoever runs the tests.
pub fn request(prompt: &str, length: usize) -> GenerateRequest {
    GenerateRequest {
        prompt: Some(prompt.into()),
        escapes: false,
        stop: Vec::new(),
        length,
        temperature: 1.0,
        top_k: None,
        top_p: None,
        seed: 5,
        streams: 1,
        oov: Oov::Error,
        json: false,
        quiet: true,
    }
}

pub fn cpu() -> Chosen {
    let precision = Precision::Auto;
    choose(DeviceChoice::Cpu, precision, |_| Ok(())).expect("a CPU")
}

pub fn text(request: GenerateRequest) -> String {
    let mut out = Vec::new();
    run(&model(), &vocab(), request, &cpu(), &mut out).expect("runs");
    String::from_utf8(out).expect("UTF-8")
}
