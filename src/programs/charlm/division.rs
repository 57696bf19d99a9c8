//! Which part of a text trains and which validates.
//!
//! The parts are made of stretches of the text, joined in its order. So no window straddles the
//! border between what trains and what validates.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::corpus::{Corpus, TextFile};
use crate::rng::{Purpose, Stream};
use crate::{Error, Result};

/// What validates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValidSplit {
    /// The end of each corpus that was given.
    Tail,
    /// Whole files: those with the lowest hash of their path, so that a file stays on its side while
    /// others are added, but for those at the border.
    Files,
    /// Windows drawn by the seed.
    Windows,
    /// The end of the whole text, as before there was a choice. Of one corpus that is its tail.
    End,
}

impl ValidSplit {
    /// The words, as settings have them.
    pub const NAMES: [&'static str; 4] = ["tail", "files", "windows", "end"];
}

/// How a text is divided and cut into batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DivisionSpec {
    /// Which part validates.
    pub valid_split: ValidSplit,
    /// Its share of the text.
    pub valid_fraction: f64,
    /// Draws windows.
    pub seed: u64,
    /// Characters predicted in a window, which has one more.
    pub seq_length: usize,
    /// Windows of a training step, in all its batches.
    pub batch_size: usize,
}

/// How many characters, windows and batches a text gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Characters that train.
    pub train_chars: usize,
    /// The other characters.
    pub valid_chars: usize,
    /// Windows of the training part.
    pub train_windows: usize,
    /// Windows of the validation part.
    pub valid_windows: usize,
    /// Full training batches an epoch; an incomplete last one is dropped.
    pub steps_per_epoch: usize,
}

impl DivisionSpec {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Usage`] for a length or a batch of 0 and for a fraction outside [0, 1).
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [
            ("seq-length", self.seq_length),
            ("batch-size", self.batch_size),
        ] {
            if value == 0 {
                return Err(Error::Usage(format!("{name} must be at least 1")));
            }
        }
        if !(0.0..1.0).contains(&self.valid_fraction) {
            return Err(Error::Usage(format!(
                "valid-fraction {} must be at least 0 and below 1",
                self.valid_fraction
            )));
        }
        Ok(())
    }

    /// The stretches of the text that validate, in characters, in order.
    ///
    /// # Errors
    /// As [`Self::validate`]; [`Error::Data`] where whole files are to validate and there is but one.
    pub fn held_out(&self, corpus: &Corpus) -> Result<Vec<Range<usize>>> {
        self.validate()?;
        let (whole, files) = (0..corpus.report.chars, &corpus.files);
        let mut stretches = match self.valid_split {
            _ if self.valid_fraction == 0.0 => Vec::new(),
            ValidSplit::End => vec![self.tail(whole)],
            ValidSplit::Tail => {
                let same = |a: &TextFile, b: &TextFile| a.source == b.source;
                let starts = files.chunk_by(same).map(|files| files[0].start);
                let corpora = ranges(&starts.collect::<Vec<_>>(), whole.end);
                corpora
                    .into_iter()
                    .map(|corpus| self.tail(corpus))
                    .collect()
            }
            ValidSplit::Windows => self.windows(whole.end),
            ValidSplit::Files => self.files(corpus)?,
        };
        stretches.retain(|stretch| !stretch.is_empty());
        Ok(stretches)
    }

    /// The end of a stretch. What trains is floor(length * (1 - valid_fraction)) in f64, which is
    /// Python's `int(length * (1 - valid_fraction))`.
    fn tail(&self, stretch: Range<usize>) -> Range<usize> {
        stretch.start + self.trains(stretch.len())..stretch.end
    }

    fn trains(&self, n: usize) -> usize {
        (n as f64 * (1.0 - self.valid_fraction)).floor() as usize
    }

    /// Of the windows of the whole text as many as the share asks for.
    fn windows(&self, chars: usize) -> Vec<Range<usize>> {
        let window = self.seq_length.saturating_add(1);
        let mut windows: Vec<usize> = (0..chars / window).collect();
        Stream::new(self.seed, Purpose::Division, 0)
            .reader()
            .shuffle(&mut windows);
        let mut drawn = windows.split_off(self.trains(windows.len()));
        drawn.sort_unstable();
        let stretch = |w: usize| w * window..(w + 1) * window;
        drawn.into_iter().map(stretch).collect()
    }

    /// The files of the lowest hashes, until they are nearest to the share of the text; at least one,
    /// and never all. A file that is longer than the share is passed over, unless all are: then it is
    /// the shortest.
    fn files(&self, corpus: &Corpus) -> Result<Vec<Range<usize>>> {
        let names: Vec<&TextFile> = corpus.files.iter().collect();
        if names.len() < 2 {
            return Err(Error::Data(format!(
                "valid-split files: the text of {} is one file, so none is left to train on; name more \
                 files, or use valid-split tail or windows",
                corpus.report.source
            )));
        }
        let starts: Vec<usize> = names.iter().map(|file| file.start).collect();
        let ranges = ranges(&starts, corpus.report.chars);
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_cached_key(|&i| (Sha256::digest(&names[i].name), i));
        let target = corpus.report.chars as f64 * self.valid_fraction;
        let off = |chars: usize| (chars as f64 - target).abs();
        let (mut held, mut chars) = (Vec::new(), 0);
        for &i in order.iter().filter(|&&i| ranges[i].len() as f64 <= target) {
            let more = chars + ranges[i].len();
            if held.len() + 1 == names.len() || off(more) >= off(chars) {
                break;
            }
            held.push(i);
            chars = more;
        }
        if held.is_empty() {
            held.extend(order.into_iter().min_by_key(|&i| ranges[i].len()));
        }
        held.sort_unstable();
        Ok(held.into_iter().map(|i| ranges[i].clone()).collect())
    }

    /// The hash of a text and of what of it validates: the text's own where that is its end, as every
    /// run had it before there was a choice.
    pub fn sha256(&self, corpus: &Corpus, held_out: &[Range<usize>]) -> String {
        let text = &corpus.report.sha256;
        let end = self.tail(0..corpus.report.chars);
        if held_out.is_empty() || *held_out == [end] {
            return text.clone();
        }
        let mut hash = Sha256::new_with_prefix(text);
        for Range { start, end } in held_out {
            hash.update(format!(" {start}-{end}"));
        }
        format!("{:x}", hash.finalize())
    }

    /// What the log says of the division.
    pub fn describe(&self, corpus: &Corpus, held_out: &[Range<usize>]) -> String {
        let chars: usize = held_out.iter().map(Range::len).sum();
        let share = 100.0 * chars as f64 / corpus.report.chars as f64;
        let what = match self.valid_split {
            _ if held_out.is_empty() => return "nothing".into(),
            ValidSplit::Tail if held_out.len() > 1 => {
                format!("the ends of {} corpora", held_out.len())
            }
            ValidSplit::Tail | ValidSplit::End => "the end of the text".into(),
            ValidSplit::Windows => format!("{} windows drawn by seed", held_out.len()),
            ValidSplit::Files => {
                let (held, all) = (held_out.len(), corpus.files.len());
                format!("{held} of {all} files, by the hash of their path")
            }
        };
        format!("{what}, {share:.1} % of the characters")
    }
}

/// Stretches that begin at `starts`, each up to the next.
fn ranges(starts: &[usize], end: usize) -> Vec<Range<usize>> {
    let ends = starts[1.min(starts.len())..].iter().copied().chain([end]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(a, b)| a..b)
        .collect()
}

impl Division {
    /// The division of a text for windows of `seq_length` + 1.
    pub fn new(spec: &DivisionSpec, chars: usize, held_out: &[Range<usize>]) -> Self {
        let valid_chars = held_out.iter().map(Range::len).sum();
        let train_chars = chars - valid_chars;
        let window = spec.seq_length.saturating_add(1);
        Division {
            train_chars,
            valid_chars,
            train_windows: train_chars / window,
            valid_windows: valid_chars / window,
            steps_per_epoch: train_chars / window / spec.batch_size,
        }
    }

    /// Whether there is a window and a batch to train on and a window to validate on.
    ///
    /// # Errors
    /// [`Error::Data`] that says which setting to lower.
    pub fn check(&self, spec: &DivisionSpec) -> Result<()> {
        let DivisionSpec {
            seq_length,
            batch_size,
            valid_fraction,
            ..
        } = *spec;
        let Division {
            train_chars,
            valid_chars,
            train_windows,
            valid_windows,
            ..
        } = *self;
        let window = format!("a window of seq-length {seq_length} + 1 characters");
        let problem = if train_windows == 0 {
            format!(
                "the corpus is shorter than a window: {train_chars} characters train (of {}), and \
                 {window} needs more; lower seq-length or use a longer corpus",
                train_chars + valid_chars
            )
        } else if train_windows < batch_size {
            format!(
                "the corpus is too short for one batch: its {train_chars} training characters give \
                 {train_windows} windows, fewer than batch-size {batch_size} (times accumulate); lower \
                 batch-size to at most {train_windows}, or lower seq-length, or use a longer corpus"
            )
        } else if valid_windows == 0 && valid_fraction > 0.0 {
            format!(
                "nothing to validate on: {valid_chars} characters validate, and {window} needs more; \
                 raise valid-fraction (0 trains without validation) or lower seq-length"
            )
        } else if u32::try_from(train_windows.max(valid_windows)).is_err() {
            format!(
                "{train_windows} training windows are too many to number with 32 bits: raise \
                 seq-length or lower max-chars"
            )
        } else {
            return Ok(());
        };
        Err(Error::Data(problem))
    }
}
