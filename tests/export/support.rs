//! Runs the binary in a folder of its own, on small data with small models.

use std::fs;

use rnnx::files::tensors::TensorFile;
use serde_json::{Value, json};

pub use super::place::Place;

/// How a small model is trained on either kind of data, unless a test says otherwise.
const SMALL: [&str; 3] = ["--embedding-dim 8", "--hidden-size 16", "--batch-size 4"];

/// These flags, and those of [`SMALL`] that they leave out.
fn small(flags: &str) -> String {
    let given = |flag: &&&str| {
        let name = flag.split(' ').next().unwrap();
        !flags.split(' ').any(|word| word == name)
    };
    let rest: Vec<&str> = SMALL.iter().filter(given).copied().collect();
    format!("{} {flags} --quiet", rest.join(" "))
}

impl Place {
    /// A place with text and pairs.
    pub fn new() -> Self {
        let place = Place::empty();
        let function = |i: usize| format!("def f_{i}(x):\n    return {} * x\n", i * i % 11);
        place.write("text.py", (0..24).map(function).collect::<String>());
        for (file, first) in [("train", 0), ("valid", 16), ("test", 20)] {
            place.write(&format!("{file}.jsonl"), pairs(first..first + 16));
        }
        place
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }

    /// Trains a small character LM into `out`.
    pub fn charlm(&self, out: &str, flags: &str) {
        let data = "--corpus text.py --valid-fraction 0.1 --seq-length 16";
        let flags = small(flags);
        self.run(&format!("train-charlm --out {out} {data} {flags}"))
            .ok();
    }

    /// Trains a small seq2seq model into `out`.
    pub fn seq2seq(&self, out: &str, flags: &str) {
        let data = "--train train.jsonl --valid valid.jsonl --test test.jsonl";
        let flags = small(flags);
        self.run(&format!("train-seq2seq --out {out} {data} {flags}"))
            .ok();
    }

    /// The weights of a run's last checkpoint.
    pub fn weights(&self, run: &str) -> TensorFile {
        TensorFile::load(&self.path(run).join("last/model.safetensors")).unwrap()
    }
}

/// Pairs of several lengths, as lines of JSON.
fn pairs(numbers: std::ops::Range<usize>) -> String {
    let line = |i: usize| {
        let verb = ["load", "scan", "find", "join"][i % 4];
        let docstring = format!("{verb} the file{}", " again".repeat(i % 3));
        let code = format!("def {verb} ( x ) : return x{}", " + x".repeat(i % 5));
        format!("{}\n", json!({"docstring": docstring, "code": code}))
    };
    numbers.map(line).collect()
}
