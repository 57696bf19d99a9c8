//! What a corpus holds, as a table or as JSON.

use std::fmt::Write as _;

use serde_json::json;

use crate::Result;
use crate::data::chars::{CharVocab, Token, UNK, count_chars};
use crate::data::charset::Charset;
use crate::data::corpus::{Corpus, EMBEDDED_SOURCE, embedded_license};
use crate::log::thousands;
use crate::programs::charlm::data::CharSource;
use crate::programs::charlm::division::ValidSplit;

/// How many of the most and of the least frequent characters are shown.
const SHOWN: usize = 10;
/// Characters of the vocabulary in a row of the table.
const PER_ROW: usize = 32;
/// Characters of the vocabulary in the table; JSON has all.
const LISTED: usize = 256;
/// Files that validate in the table; JSON has all.
const FILES: usize = 5;

/// Counts over the characters and lines of a text.
pub(super) struct TextStats {
    vocab: CharVocab,
    /// Characters and how often each is there, the most frequent first; ties by character.
    counts: Vec<(char, u64)>,
    /// Characters of the text that have no id of their own.
    unknown: u64,
    /// Whether characters stand for bytes.
    bytes: bool,
    /// Entropy of single characters in nats.
    entropy: f64,
    /// Length of the longest line, newline not counted, and its number from 1.
    longest_line: (usize, usize),
}

impl TextStats {
    pub(super) fn new(corpus: &Corpus, min_count: usize) -> Result<Self> {
        let vocab = CharVocab::of(corpus, min_count)?;
        let mut counts = count_chars(corpus);
        counts.sort_by_key(|&(c, n)| (std::cmp::Reverse(n), c));
        let total = corpus.report.chars as f64;
        let entropy = counts.iter().map(|&(_, n)| {
            let p = n as f64 / total;
            -p * p.ln()
        });
        let (mut longest_line, mut length, mut line) = ((0, 1), 0, 1);
        corpus.for_each(|c| {
            (length, line) = match c {
                '\n' => (0, line + 1),
                _ => (length + 1, line),
            };
            if length > longest_line.0 {
                longest_line = (length, line);
            }
        });
        Ok(TextStats {
            entropy: entropy.sum(),
            unknown: counts
                .iter()
                .filter(|c| vocab.id(c.0).is_none())
                .map(|c| c.1)
                .sum(),
            bytes: corpus.report.charset == Charset::Bytes,
            vocab,
            counts,
            longest_line,
        })
    }

    fn bits(&self) -> f64 {
        self.entropy / std::f64::consts::LN_2
    }

    pub(super) fn table(&self, source: &CharSource) -> String {
        let (report, spec, split) = (&source.corpus.report, &source.spec, source.division());
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
        row("charset", report.charset.to_string());
        row(
            "characters",
            match report.truncated {
                true => format!("{} (cut by --max-chars)", thousands(report.chars as u64)),
                false => thousands(report.chars as u64),
            },
        );
        if !report.unused.is_empty() {
            row(
                "",
                format!("nothing of {} is in them", report.unused.join(", ")),
            );
        }
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
        if let Err(refused) = report.check_dropped() {
            row("", format!("training refuses this: {refused}"));
        }
        row("sha256", report.sha256.clone());
        let (size, unknown) = (self.vocab.len() as u64, thousands(self.unknown));
        row(
            "vocabulary",
            match self.vocab.unknown() {
                None => format!("{} characters", thousands(size)),
                Some(_) => format!(
                    "{} characters and {UNK}, which {unknown} characters of the text are",
                    thousands(size - 1)
                ),
            },
        );
        let tokens = self.vocab.tokens().filter_map(|token| match token {
            Token::Unknown => None,
            Token::Char(c) => Some(self.show(c)),
        });
        let shown: Vec<String> = tokens.collect();
        for chunk in shown[..shown.len().min(LISTED)].chunks(PER_ROW) {
            row("", chunk.join(" "));
        }
        if shown.len() > LISTED {
            row(
                "",
                format!("and {} more", thousands((shown.len() - LISTED) as u64)),
            );
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
        row("validates", spec.describe(&source.corpus, &source.held_out));
        let files = held_files(source);
        if !files.is_empty() {
            let more = if files.len() > FILES { ", ..." } else { "" };
            row("", files[..files.len().min(FILES)].join(", ") + more);
        }
        for (part, chars, windows) in [
            ("training", split.train_chars, split.train_windows),
            ("validation", split.valid_chars, split.valid_windows),
        ] {
            row(
                part,
                format!(
                    "{} characters, {} windows of {} + 1",
                    thousands(chars as u64),
                    thousands(windows as u64),
                    spec.seq_length
                ),
            );
        }
        row(
            "steps an epoch",
            format!(
                "{} of {} windows",
                thousands(split.steps_per_epoch as u64),
                spec.batch_size
            ),
        );
        out
    }

    fn shares<'a>(&self, counts: impl Iterator<Item = &'a (char, u64)>) -> String {
        let total = self.counts.iter().map(|&(_, n)| n).sum::<u64>() as f64;
        self.join(counts, |n| format!("{:.1}%", 100.0 * n as f64 / total))
    }

    fn occurrences<'a>(&self, counts: impl Iterator<Item = &'a (char, u64)>) -> String {
        self.join(counts, |n| n.to_string())
    }

    fn join<'a>(
        &self,
        counts: impl Iterator<Item = &'a (char, u64)>,
        number: impl Fn(u64) -> String,
    ) -> String {
        let cells: Vec<String> = counts
            .map(|&(c, n)| format!("{} {}", self.show(c), number(n)))
            .collect();
        cells.join("  ")
    }

    /// A character, or a byte, as the table shows it.
    fn show(&self, c: char) -> String {
        match c {
            ' ' => "space".into(),
            '\'' | '"' | '\\' => c.to_string(),
            _ if self.bytes && !c.is_ascii() => format!("\\x{:02x}", u32::from(c)),
            _ => c.escape_debug().to_string(),
        }
    }

    pub(super) fn json(&self, source: &CharSource) -> Result<String> {
        let (corpus, split) = (&source.corpus, source.division());
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
        let name = |token| match token {
            Token::Unknown => UNK.to_owned(),
            Token::Char(c) => c.to_string(),
        };
        object["vocabulary"] = self.vocab.tokens().map(name).collect();
        object["unknown"] = self.unknown.into();
        object["counts"] = counts.into();
        object["entropy_nats"] = self.entropy.into();
        object["entropy_bits"] = self.bits().into();
        object["valid_split"] = json!(source.spec.valid_split);
        object["valid_files"] = json!(held_files(source));
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

/// The files that validate, where whole files do.
fn held_files(source: &CharSource) -> Vec<&str> {
    let is_held = |start| source.held_out.iter().any(|held| held.start == start);
    let held = source.corpus.files.iter().filter(|f| is_held(f.start));
    match source.spec.valid_split {
        ValidSplit::Files => held.map(|file| &*file.name).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::corpus::{CorpusReport, TextFile};
    use crate::programs::charlm::division::DivisionSpec;

    /// Ten characters: four a, three newlines, two b, one quote; in windows of 2 + 1, of which one
    /// validates.
    fn example() -> Result<CharSource> {
        let text = b"aa\nab\na'b\n".to_vec();
        let corpus = Corpus {
            report: CorpusReport {
                source: "example.txt".into(),
                charset: Charset::Ascii,
                files: 1,
                bytes: 1_234_567,
                chars: text.len(),
                dropped: 3,
                invalid_utf8: 0,
                most_dropped: vec![('\u{3b1}', 2), ('\r', 1)],
                truncated: true,
                unused: vec![],
                lines: 3,
                sha256: "00ff".into(),
            },
            files: vec![TextFile {
                name: "example.txt".into(),
                source: 0,
                start: 0,
            }],
            text,
        };
        let spec = DivisionSpec {
            valid_split: ValidSplit::Tail,
            valid_fraction: 0.4,
            seed: 0,
            seq_length: 2,
            batch_size: 1,
        };
        CharSource::new(corpus, spec)
    }

    #[test]
    fn table_of_a_small_text() -> Result<()> {
        let source = example()?;
        let table = TextStats::new(&source.corpus, 1)?.table(&source);
        // p = 0.4, 0.3, 0.2, 0.1: H = 1.2799 nats = 1.8464 bits.
        let expected = "\
source           example.txt
files            1
bytes            1,234,567
charset          ascii
characters       10 (cut by --max-chars)
lines            3
longest line     3 characters (line 3)
dropped          3 characters outside printable ASCII: 'α' 2 times, '\\r' once
                 training refuses this: corpus example.txt: charset ascii drops 3 of its 13 \
characters (23.1 %; at most 1 % may be): 'α' 2 times, '\\r' once; charset unicode keeps every \
character
sha256           00ff
vocabulary       4 characters
                 \\n ' a b
most frequent    a 40.0%  \\n 30.0%  b 20.0%  ' 10.0%
least frequent   ' 1  b 2  \\n 3  a 4
entropy          1.2799 nats a character (1.8464 bits), single characters
validates        the end of the text, 40.0 % of the characters
training         6 characters, 2 windows of 2 + 1
validation       4 characters, 1 windows of 2 + 1
steps an epoch   2 of 1 windows
";
        assert_eq!(table, expected);
        Ok(())
    }

    #[test]
    fn json_of_a_small_text_and_the_licence_of_the_embedded_one() -> Result<()> {
        let mut source = example()?;
        let stats = TextStats::new(&source.corpus, 1)?;
        let parse = |text: String| -> serde_json::Value {
            serde_json::from_str(&text).expect("JSON that was just written")
        };
        let object = parse(stats.json(&source)?);
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
        source.corpus.report.source = EMBEDDED_SOURCE.into();
        let object = parse(stats.json(&source)?);
        let license = object["license"].as_str().unwrap_or_default();
        assert!(license.contains("PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2"));
        Ok(())
    }
}
