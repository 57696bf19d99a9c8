//! Runs the binary in a folder of its own, on small data with small models.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rnnx::files::tensors::TensorFile;
use serde_json::{Value, json};
use tempfile::TempDir;

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

/// A folder with text and pairs, in which the program runs.
pub struct Place {
    folder: TempDir,
}

/// How a run of the program ended.
pub struct Done {
    code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Self {
        let place = Place {
            folder: tempfile::tempdir().unwrap(),
        };
        let function = |i: usize| format!("def f_{i}(x):\n    return {} * x\n", i * i % 11);
        place.write("text.py", (0..24).map(function).collect::<String>());
        for (file, first) in [("train", 0), ("valid", 16), ("test", 20)] {
            place.write(&format!("{file}.jsonl"), pairs(first..first + 16));
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }

    /// Runs the program with arguments that hold no blanks.
    pub fn run(&self, line: &str) -> Done {
        let output = Command::new(env!("CARGO_BIN_EXE_rnnx"))
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env("NO_COLOR", "1")
            // The same tests on a machine with a GPU.
            .env("CUDA_VISIBLE_DEVICES", "")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let done = Done {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
        done
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

impl Done {
    /// The run ended well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// The run ended with this code, and its error holds all of these.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        let at = self.stderr.find("error:");
        let message = &self.stderr[at.expect("an error is labelled")..];
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
    }
}
