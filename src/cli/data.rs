//! `rnnx data`: what a corpus holds.

use std::fmt::Write as _;

use serde_json::json;

use super::args::DataStatsArgs;
use super::data_pairs;
use super::process::emit;
use crate::Result;
use crate::data::corpus::{Corpus, CorpusSpec, EMBEDDED_SOURCE, embedded_license};
use crate::data::vocab::CharVocab;
use crate::log::thousands;
use crate::programs::charlm::config::CharLmConfig;
use crate::programs::charlm::data::Division;
use crate::train::settings::Config;

/// How many of the most and of the least frequent characters are shown.
const SHOWN: usize = 10;
/// Characters of the vocabulary in a row of the table.
const PER_ROW: usize = 32;

/// Runs `rnnx data stats`.
///
/// # Errors
/// As [`stats`] and [`data_pairs::run`].
pub fn command(args: &DataStatsArgs) -> Result<()> {
    let given = &args.text.0;
    if args.pairs.are_meant(!given.is_empty())? {
        return data_pairs::run(&args.pairs, args.json);
    }
    let config = CharLmConfig::from_table(given.clone())?;
    let spec = CorpusSpec {
        paths: config.corpus,
        max_chars: config.max_chars,
        seed: config.seed,
    };
    let (length, batch) = (config.seq_length, config.batch_size);
    stats(&spec, length, batch, config.valid_fraction, args.json)
}

/// Prints what a corpus holds and what the character LM would make of it: a table, or one JSON
/// object with `json`.
///
/// # Errors
/// As [`Corpus::load`] and [`Division::new`]. A corpus too short to train on is no error.
pub fn stats(
    spec: &CorpusSpec,
    seq_length: usize,
    batch_size: usize,
    valid_fraction: f64,
    json: bool,
) -> Result<()> {
    let split_of = |chars| Division::new(chars, valid_fraction, seq_length, batch_size);
    split_of(0)?; // a wrong flag is told before the text is read
    let corpus = Corpus::load(spec)?;
    let split = split_of(corpus.text.len())?;
    let stats = TextStats::new(&corpus)?;
    let text = if json {
        stats.json(&corpus, &split)?
    } else {
        stats.table(&corpus, &split, seq_length, batch_size)
    };
    emit(&text)
}

/// Counts over the characters and lines of a text.
struct TextStats {
    vocab: CharVocab,
    /// Characters and how often each is there, the most frequent first; ties by character.
    counts: Vec<(char, usize)>,
    /// Entropy of single characters in nats.
    entropy: f64,
    /// Length of the longest line, newline not counted, and its number from 1.
    longest_line: (usize, usize),
}

impl TextStats {
    fn new(corpus: &Corpus) -> Result<Self> {
        let vocab = CharVocab::from_text(&corpus.text)?;
        let mut histogram = vec![0usize; vocab.len()];
        for id in vocab.encode_all(&corpus.text)? {
            histogram[usize::from(id)] += 1;
        }
        let mut counts: Vec<(char, usize)> = vocab.tokens().zip(histogram).collect();
        counts.sort_by_key(|&(c, n)| (std::cmp::Reverse(n), c));
        let total = corpus.text.len() as f64;
        let entropy = counts.iter().map(|&(_, n)| {
            let p = n as f64 / total;
            -p * p.ln()
        });
        let mut longest_line = (0, 1);
        for (n, line) in corpus.text.split(|&b| b == b'\n').enumerate() {
            if line.len() > longest_line.0 {
                longest_line = (line.len(), n + 1);
            }
        }
        Ok(TextStats {
            entropy: entropy.sum(),
            vocab,
            counts,
            longest_line,
        })
    }

    fn bits(&self) -> f64 {
        self.entropy / std::f64::consts::LN_2
    }

    fn table(&self, corpus: &Corpus, split: &Division, seq_length: usize, batch: usize) -> String {
        let report = &corpus.report;
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name:<16} {value}");
        };
        row("source", report.source.clone());
        if report.source == EMBEDDED_SOURCE {
            row(
                "licence",
                "PSF-2.0; its text is in the --json output".into(),
            );
        }
        row("files", thousands(report.files as u64));
        row("bytes", thousands(report.bytes));
        row(
            "characters",
            match report.truncated {
                true => format!("{} (cut by --max-chars)", thousands(report.chars as u64)),
                false => thousands(report.chars as u64),
            },
        );
        row("lines", thousands(report.lines as u64));
        let (length, line) = self.longest_line;
        row(
            "longest line",
            format!("{} characters (line {line})", thousands(length as u64)),
        );
        let none = || "none".to_owned();
        let note = report.dropped_note();
        row(
            "dropped",
            note.map_or_else(none, |n| n.replacen("dropped ", "", 1)),
        );
        row("sha256", report.sha256.clone());
        row("vocabulary", format!("{} characters", self.vocab.len()));
        let shown: Vec<String> = self.vocab.tokens().map(show).collect();
        for chunk in shown.chunks(PER_ROW) {
            row("", chunk.join(" "));
        }
        row("most frequent", self.shares(self.counts.iter().take(SHOWN)));
        row(
            "least frequent",
            self.occurrences(self.counts.iter().rev().take(SHOWN)),
        );
        row(
            "entropy",
            format!(
                "{:.4} nats a character ({:.4} bits), single characters",
                self.entropy,
                self.bits()
            ),
        );
        for (part, chars, windows) in [
            ("training", split.train_chars, split.train_windows),
            ("validation", split.valid_chars, split.valid_windows),
        ] {
            row(
                part,
                format!(
                    "{} characters, {} windows of {seq_length} + 1",
                    thousands(chars as u64),
                    thousands(windows as u64)
                ),
            );
        }
        row(
            "steps an epoch",
            format!(
                "{} of {batch} windows",
                thousands(split.steps_per_epoch as u64)
            ),
        );
        out
    }

    fn shares<'a>(&self, counts: impl Iterator<Item = &'a (char, usize)>) -> String {
        let total = self.counts.iter().map(|&(_, n)| n).sum::<usize>() as f64;
        join(counts, |n| format!("{:.1}%", 100.0 * n as f64 / total))
    }

    fn occurrences<'a>(&self, counts: impl Iterator<Item = &'a (char, usize)>) -> String {
        join(counts, |n| n.to_string())
    }

    fn json(&self, corpus: &Corpus, split: &Division) -> Result<String> {
        let mut object = json!(corpus.report);
        let counts: serde_json::Map<String, serde_json::Value> = self
            .counts
            .iter()
            .map(|&(c, n)| (c.to_string(), n.into()))
            .collect();
        object["longest_line"] = json!({
            "characters": self.longest_line.0,
            "line": self.longest_line.1,
        });
        object["vocabulary"] = json!(self.vocab.tokens().collect::<Vec<_>>());
        object["counts"] = counts.into();
        object["entropy_nats"] = self.entropy.into();
        object["entropy_bits"] = self.bits().into();
        object["train_chars"] = split.train_chars.into();
        object["valid_chars"] = split.valid_chars.into();
        object["train_windows"] = split.train_windows.into();
        object["valid_windows"] = split.valid_windows.into();
        object["steps_per_epoch"] = split.steps_per_epoch.into();
        if corpus.report.source == EMBEDDED_SOURCE {
            object["license"] = embedded_license()?.into();
        }
        Ok(format!("{object:#}\n"))
    }
}

fn join<'a>(
    counts: impl Iterator<Item = &'a (char, usize)>,
    number: impl Fn(usize) -> String,
) -> String {
    let cells: Vec<String> = counts
        .map(|&(c, n)| format!("{} {}", show(c), number(n)))
        .collect();
    cells.join("  ")
}

/// A character as the table shows it.
fn show(c: char) -> String {
    match c {
        ' ' => "space".into(),
        '\'' | '"' | '\\' => c.to_string(),
        _ => c.escape_default().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::corpus::CorpusReport;

    /// Ten characters: four a, three newlines, two b, one quote.
    fn example() -> Corpus {
        let text = b"aa\nab\na'b\n".to_vec();
        Corpus {
            report: CorpusReport {
                source: "example.txt".into(),
                files: 1,
                bytes: 1_234_567,
                chars: text.len(),
                dropped: 3,
                invalid_utf8: 0,
                truncated: true,
                lines: 3,
                sha256: "00ff".into(),
            },
            text,
        }
    }

    #[test]
    fn table_of_a_small_text() -> Result<()> {
        let corpus = example();
        let split = Division::new(10, 0.4, 2, 1)?;
        let table = TextStats::new(&corpus)?.table(&corpus, &split, 2, 1);
        // p = 0.4, 0.3, 0.2, 0.1: H = 1.2799 nats = 1.8464 bits.
        let expected = "\
source           example.txt
files            1
bytes            1,234,567
characters       10 (cut by --max-chars)
lines            3
longest line     3 characters (line 3)
dropped          3 characters outside printable ASCII
sha256           00ff
vocabulary       4 characters
                 \\n ' a b
most frequent    a 40.0%  \\n 30.0%  b 20.0%  ' 10.0%
least frequent   ' 1  b 2  \\n 3  a 4
entropy          1.2799 nats a character (1.8464 bits), single characters
training         6 characters, 2 windows of 2 + 1
validation       4 characters, 1 windows of 2 + 1
steps an epoch   2 of 1 windows
";
        assert_eq!(table, expected);
        Ok(())
    }

    #[test]
    fn json_of_a_small_text_and_the_licence_of_the_embedded_one() -> Result<()> {
        let mut corpus = example();
        let split = Division::new(10, 0.4, 2, 1)?;
        let stats = TextStats::new(&corpus)?;
        let parse = |text: String| -> serde_json::Value {
            serde_json::from_str(&text).expect("JSON that was just written")
        };
        let object = parse(stats.json(&corpus, &split)?);
        assert_eq!(object["source"], "example.txt");
        assert_eq!(object["chars"], 10);
        assert_eq!(object["truncated"], true);
        assert_eq!(object["vocabulary"], json!(["\n", "'", "a", "b"]));
        assert_eq!(object["counts"], json!({"a": 4, "\n": 3, "b": 2, "'": 1}));
        assert_eq!(object["longest_line"], json!({"characters": 3, "line": 3}));
        assert_eq!(object["train_windows"], 2);
        assert_eq!(object["valid_windows"], 1);
        assert_eq!(object["steps_per_epoch"], 2);
        let nats = object["entropy_nats"].as_f64().unwrap_or_default();
        assert!((nats - 1.279_854_225_833_667_6).abs() < 1e-12, "{nats}");
        assert_eq!(object.get("license"), None);
        corpus.report.source = EMBEDDED_SOURCE.into();
        let object = parse(stats.json(&corpus, &split)?);
        let license = object["license"].as_str().unwrap_or_default();
        assert!(license.contains("PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2"));
        Ok(())
    }
}
