//! `rnnx data stats` for pairs of docstrings and code.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::data_prepare::Task;
use super::flags::between;
use super::process::emit;
use crate::data::near::{MEASURE, near};
use crate::data::pair_files::PairFormat;
use crate::data::pairs::{Pair, Splits, source_tokens, target_tokens};
use crate::data::words::{UNK, WordVocab};
use crate::log::{self, thousands};
use crate::{Error, Result};

/// The part of `rnnx data stats` that is about pairs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Pairs")]
pub struct PairStatsArgs {
    /// Describe pairs or text [default: text, or pairs with --train]
    #[arg(long, value_enum, value_name = "TASK")]
    pub task: Option<Task>,
    /// Training pairs, as .jsonl, .csv or .tsv, .gz and .zst too [default: from the embedded corpus]
    #[arg(long, value_name = "FILE", requires_all = ["valid", "test"])]
    pub train: Option<PathBuf>,
    /// Validation pairs
    #[arg(long, value_name = "FILE", requires_all = ["train", "test"])]
    pub valid: Option<PathBuf>,
    /// Test pairs
    #[arg(long, value_name = "FILE", requires_all = ["train", "valid"])]
    pub test: Option<PathBuf>,
    /// The field of these files that holds the source, or the column's number [default: docstring]
    #[arg(long, value_name = "FIELD", requires = "train")]
    pub source_field: Option<String>,
    /// The field of these files that holds the target, or the column's number [default: code]
    #[arg(long, value_name = "FIELD", requires = "train")]
    pub target_field: Option<String>,
    /// Training tokens that occur less often are unknown [default: 2]
    #[arg(long, value_name = "N", value_parser = between(1, 1_000_000), allow_hyphen_values = true)]
    pub min_frequency: Option<u64>,
}

impl PairStatsArgs {
    /// Whether pairs are meant; `text_flags` says whether a flag that describes text was given.
    ///
    /// # Errors
    /// [`Error::Usage`] where the flags contradict one another.
    pub fn are_meant(&self, text_flags: bool) -> Result<bool> {
        let pair_flags = self.train.is_some() || self.min_frequency.is_some();
        let pairs = self.task.map_or(pair_flags, |task| task == Task::Pairs);
        match (pairs, text_flags, pair_flags) {
            (true, true, _) => Err(Error::Usage(
                "--corpus, --glob, --charset, --min-char-count, --max-chars, --valid-fraction, \
                 --valid-split, --seq-length, --batch-size and --seed describe text, not pairs: leave them out, or --train and --task pairs"
                    .into(),
            )),
            (false, _, true) => Err(Error::Usage(
                "--train, --valid, --test and --min-frequency describe pairs, not text: leave \
                 them out, or --task text"
                    .into(),
            )),
            _ => Ok(pairs),
        }
    }
}

/// Prints what pairs hold: a table, or one JSON object with `json`.
///
/// # Errors
/// As [`Splits::read`] and [`WordVocab::from_tokens`].
pub fn run(args: &PairStatsArgs, json: bool) -> Result<()> {
    let usual = PairFormat::default();
    let format = PairFormat {
        source_field: args.source_field.clone().unwrap_or(usual.source_field),
        target_field: args.target_field.clone().unwrap_or(usual.target_field),
        strict: false,
    };
    let splits = match (&args.train, &args.valid, &args.test) {
        (Some(train), Some(valid), Some(test)) => Splits::read([train, valid, test], &format)?,
        _ => Splits::embedded()?,
    };
    if let Some(note) = &splits.skipped {
        log::line(&format!("note: {note}"));
    }
    let min_frequency = args.min_frequency.unwrap_or(2) as usize;
    let stats = PairStats::new(&splits, min_frequency)?;
    emit(&if json { stats.json() } else { stats.table() })
}

/// Lengths in tokens: the median of an even number is the mean of the middle two, the 95th
/// percentile is the smallest length that 95 % do not exceed.
struct Lengths {
    mean: f64,
    median: f64,
    p95: usize,
    max: usize,
}

impl Lengths {
    fn new(mut lengths: Vec<usize>) -> Self {
        lengths.sort_unstable();
        let n = lengths.len();
        let at = |i: usize| lengths.get(i).copied().unwrap_or_default();
        Lengths {
            mean: lengths.iter().sum::<usize>() as f64 / n.max(1) as f64,
            median: (at(n.saturating_sub(1) / 2) + at(n / 2)) as f64 / 2.0,
            p95: at((95 * n).div_ceil(100).saturating_sub(1)),
            max: at(n.saturating_sub(1)),
        }
    }

    fn json(&self) -> Value {
        json!({ "mean": self.mean, "median": self.median, "p95": self.p95, "max": self.max })
    }
}

/// One side of one split.
struct Side {
    name: &'static str,
    lengths: Lengths,
    tokens: usize,
    unknown: usize,
}

impl Side {
    fn new<'a, T>(
        name: &'static str,
        pairs: &'a [Pair],
        vocab: &WordVocab,
        tokens: impl Fn(&'a Pair) -> T,
    ) -> Self
    where
        T: Iterator<Item = &'a str>,
    {
        let ids: Vec<Vec<u32>> = pairs.iter().map(|p| vocab.encode(tokens(p))).collect();
        let all = || ids.iter().flatten();
        Side {
            name,
            tokens: all().count(),
            unknown: all().filter(|&&id| id == UNK).count(),
            lengths: Lengths::new(ids.iter().map(Vec::len).collect()),
        }
    }

    fn unknown_rate(&self) -> f64 {
        self.unknown as f64 / self.tokens.max(1) as f64
    }
}

struct PairStats<'a> {
    splits: &'a Splits,
    min_frequency: usize,
    /// Sizes of the vocabularies, special tokens counted.
    vocab: [usize; 2],
    /// Docstring and code of training, validation and test.
    parts: [(&'static str, &'a [Pair], [Side; 2]); 3],
}

impl<'a> PairStats<'a> {
    fn new(splits: &'a Splits, min_frequency: usize) -> Result<Self> {
        let docstring = |pair: &'a Pair| source_tokens(&pair.docstring);
        let code = |pair: &'a Pair| target_tokens(&pair.code);
        let source =
            WordVocab::from_tokens(splits.train.iter().flat_map(docstring), min_frequency)?;
        let target = WordVocab::from_tokens(splits.train.iter().flat_map(code), min_frequency)?;
        let part = |name, pairs: &'a [Pair]| {
            let sides = [
                Side::new("docstring", pairs, &source, docstring),
                Side::new("code", pairs, &target, code),
            ];
            (name, pairs, sides)
        };
        Ok(PairStats {
            splits,
            min_frequency,
            vocab: [source.len(), target.len()],
            parts: [
                part("train", &splits.train),
                part("valid", &splits.valid),
                part("test", &splits.test),
            ],
        })
    }

    fn table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name:<16} {value}");
        };
        row("source", self.splits.source.clone());
        row("sha256", self.splits.sha256.clone());
        let [source, target] = self.vocab.map(|n| thousands(n as u64));
        row(
            "vocabularies",
            format!(
                "{source} docstring, {target} code tokens that occur {} times in train",
                self.min_frequency
            ),
        );
        let header = ["pairs", "mean", "median", "95%", "max", "tokens", "unknown"];
        let cells = header.map(|name| format!("{name:>8}"));
        row("tokens", cells.join(" "));
        for (part, pairs, sides) in &self.parts {
            for side in sides {
                let lengths = &side.lengths;
                let cells = [
                    thousands(pairs.len() as u64),
                    format!("{:.1}", lengths.mean),
                    format!("{:.1}", lengths.median),
                    lengths.p95.to_string(),
                    lengths.max.to_string(),
                    thousands(side.tokens as u64),
                    format!("{:.1}%", 100.0 * side.unknown_rate()),
                ];
                let cells = cells.map(|cell| format!("{cell:>8}"));
                row(&format!("{part} {}", side.name), cells.join(" "));
            }
        }
        let overlap = self.splits.overlap();
        row("overlap", format!("{overlap} test pairs are in train, too"));
        for (part, pairs, _) in &self.parts[1..] {
            let near = near(&self.splits.train, pairs);
            row(
                &format!("{part} in train"),
                format!(
                    "{} with nearly the same code ({MEASURE}), {} with the same docstring",
                    near.near_code, near.same_docstring
                ),
            );
        }
        out
    }

    fn json(&self) -> String {
        let mut object = json!({
            "source": self.splits.source,
            "sha256": self.splits.sha256,
            "min_frequency": self.min_frequency,
            "vocabulary": { "source": self.vocab[0], "target": self.vocab[1] },
            "overlap": self.splits.overlap(),
        });
        for (part, pairs, sides) in &self.parts {
            let side = |side: &Side| {
                let mut object = side.lengths.json();
                object["tokens"] = side.tokens.into();
                object["unknown_rate"] = side.unknown_rate().into();
                object
            };
            object[part] = json!({
                "pairs": pairs.len(),
                "source": side(&sides[0]),
                "target": side(&sides[1]),
            });
            if *part != "train" {
                object[part]["near"] = json!(near(&self.splits.train, pairs));
            }
        }
        format!("{object:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_known_lists() {
        let of = |lengths: Vec<usize>| {
            let l = Lengths::new(lengths);
            (l.mean, l.median, l.p95, l.max)
        };
        assert_eq!(of((1..=20).rev().collect()), (10.5, 10.5, 19, 20));
        assert_eq!(of((1..=21).collect()), (11.0, 11.0, 20, 21));
        assert_eq!(of(vec![7]), (7.0, 7.0, 7, 7));
        assert_eq!(of(vec![]), (0.0, 0.0, 0, 0));
    }
}
