//! A bit of a run's files that changes on the disk is noticed, or it changes nothing that is read.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use rnnx::data::vocab::Vocab;
use rnnx::files::{RunFolder, TensorFile, TrainState, metrics};
use rnnx::programs;
use rnnx::train::config_file;

use super::seq2seq;
use super::support::{Place, age};

/// Flips every bit of a file of a run, each by itself, and reads it. Returns how many flips were
/// accepted; with them all that is read is as it was.
fn flip_every_bit<T: Debug>(
    run: &Path,
    file: &str,
    read: impl Fn(&Path) -> rnnx::Result<T>,
) -> usize {
    let path = run.join(file);
    let good = fs::read(&path).unwrap();
    let before = format!("{:?}", read(run).unwrap());
    let mut accepted = 0;
    let bytes = match file.ends_with("safetensors") {
        true => 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize,
        false => good.len(),
    };
    for bit in 0..8 * bytes {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        match read(run) {
            Ok(now) => {
                assert_eq!(format!("{now:?}"), before, "{file}: bit {bit}");
                accepted += 1;
            }
            Err(e) => assert_eq!(e.exit_code(), 3, "{file}: bit {bit}: {e}"),
        }
    }
    fs::write(&path, good).unwrap();
    accepted
}

/// Every file of a run that is read back, of the tensors the part before the data.
fn check(run: &Path, kind: &str) {
    let program = programs::ALL.iter().find(|p| p.kind() == kind).unwrap();
    let state = |run: &Path| TrainState::load(&run.join("last/state.json"));
    let config = |run: &Path| config_file::saved(program.settings(), run);
    let events = |run: &Path| metrics::read(&run.join("metrics.jsonl"));
    let vocab = |run: &Path| {
        let (folder, _) = RunFolder::find(run)?;
        Vocab::read(&folder)
    };
    // The names of the two checksums, without which there is none.
    for file in ["last/model.safetensors", "last/optimizer.safetensors"] {
        let tensors = |run: &Path| TensorFile::load(&run.join(file)).map(|file| file.tensors);
        assert!(flip_every_bit(run, file, tensors) <= 8 * 19, "{file}");
    }
    // The line's end that a file need not have, as white space of another kind.
    assert!(flip_every_bit(run, "last/state.json", state) <= 8);
    assert_eq!(flip_every_bit(run, "vocab.json", vocab), 0);
    // Beside it the words before the checksum, which are no settings.
    let words = fs::read_to_string(run.join("config.toml")).unwrap();
    let words = words.lines().last().unwrap().len();
    assert!(flip_every_bit(run, "config.toml", config) < 8 * words);
    // The name `crc32` of a line, so that it has no checksum.
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let accepted = flip_every_bit(run, "metrics.jsonl", events);
    assert!(accepted <= 8 * 5 * lines.lines().count(), "{accepted}");
}

#[test]
fn of_a_character_model() {
    let place = Place::with_run("a", "--epochs 1 --log-every 3 --quiet");
    check(&place.path("a"), "charlm");
}

#[test]
fn of_a_seq2seq_model() {
    let place = seq2seq::place();
    let flags = "--model rnn --epochs 1 --log-every 3 --quiet";
    seq2seq::train(&place, "a", flags).ok();
    check(&place.path("a"), "seq2seq");
}

#[test]
fn what_an_older_version_wrote_has_no_checksums_and_is_read() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    place.train("whole", "--epochs 2 --quiet").ok();
    let json = place.run("eval a --json --quiet").ok().stdout;
    age(&place.path("a"));
    assert_eq!(place.run("eval a --json --quiet").ok().stdout, json);
    place.run("generate a --prompt def --length 9 -q").ok();
    place.run("report a").ok();
    place.train("b", "--init-from a --max-steps 1 -q").ok();
    // The run that goes on has them.
    place
        .run("train-charlm --out a --resume --epochs 2 -q")
        .ok();
    super::support::assert_same_run(&place.path("a"), &place.path("whole"));
    let config = |run: &str| fs::read_to_string(place.path(run).join("config.toml")).unwrap();
    assert!(config("a").contains("\n# SHA-256"));
    let settings = |run| {
        let own = |line: &&str| !line.starts_with("run-folder") && !line.starts_with("# SHA-256");
        let text: String = config(run);
        text.lines()
            .filter(own)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(settings("a"), settings("whole"));
}
