//! The files that a study reads: what a run did not train on.

use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::duplicates::{Duplicate, duplicates};
use super::source::SourceFile;
use crate::data::chars::{CharVocab, Token};
use crate::data::charset::Charset;
use crate::data::corpus::{Corpus, embedded_files};
use crate::data::folders::Patterns;
use crate::data::prepare;
use crate::files::run::RunFolder;
use crate::files::state::TrainState;
use crate::programs::charlm::config::CharLmConfig;
use crate::programs::charlm::data::CharSource;
use crate::programs::charlm::train::load;
use crate::train::places::find;
use crate::{Error, Result};

/// Which files a study reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextOrder {
    /// Files and folders of the user's; empty for those of the run.
    pub paths: Vec<PathBuf>,
    /// Files are taken, by the hash of their path, until they hold so many characters. The first is
    /// always taken.
    pub max_chars: usize,
}

/// A stretch of a training text, within one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingPart {
    /// The file's name.
    pub name: String,
    /// The ids of its characters.
    pub ids: Vec<u32>,
}

/// What a study of a run reads.
#[derive(Clone, Debug)]
pub struct StudyText {
    /// Where the files are from.
    pub source: String,
    /// Files that the run did not train on.
    pub files: Vec<SourceFile>,
    /// What it trained on, in order; none where that is not found (of files of the user's only).
    pub training: Option<Arc<Vec<TrainingPart>>>,
    /// Those of the files that are almost the same as one that the run trained on; once
    /// [`Self::leave_out`] was called, those that it took out.
    pub duplicates: Vec<Duplicate>,
    /// The run's vocabulary.
    pub vocab: CharVocab,
    /// Characters that were left out because the vocabulary lacks them.
    pub left_out: usize,
    /// What a reader should know of how the text was found.
    pub notes: Vec<String>,
}

impl StudyText {
    /// The text of a run, or the files that `order` names, in the run's characters.
    ///
    /// # Errors
    /// [`Error::Data`] where the run's text is not found or not what it was, where nothing of it is
    /// whole files outside the training part, or where the files cannot be read.
    pub fn find(
        run: &RunFolder,
        config: &CharLmConfig,
        state: &TrainState,
        vocab: CharVocab,
        order: &TextOrder,
    ) -> Result<Self> {
        let mut text = StudyText {
            source: String::new(),
            files: Vec::new(),
            training: None,
            duplicates: Vec::new(),
            vocab,
            left_out: 0,
            notes: Vec::new(),
        };
        match run_text(run, config, state, order.paths.is_empty()) {
            Ok(source) => {
                text.training = Some(Arc::new(text.training_parts(&source)));
                if order.paths.is_empty() {
                    text.take_unseen(run, &source, config, order.max_chars)?;
                }
            }
            Err(e) if order.paths.is_empty() => return Err(e),
            Err(e) => text.notes.push(format!(
                "what counts names of the training text is left blank, and the n-grams of it are left \
                 out: {e}"
            )),
        }
        if !order.paths.is_empty() {
            let charset = config.charset.settle(config.corpus.is_empty());
            text.take_own(&order.paths, charset, order.max_chars)?;
        }
        text.duplicates = text.find_duplicates();
        Ok(text)
    }

    /// The character of an id; of the unknown token U+FFFD.
    pub fn char_of(&self) -> Vec<char> {
        char_of(&self.vocab)
    }

    /// SHA-256 of the names and characters of the files, in hexadecimal.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for file in &self.files {
            let text: String = file.chars.iter().collect();
            hash.update(format!("{} {} {text}", file.name.len(), file.name));
            hash.update(format!(" {} ", text.len()));
        }
        format!("{:x}", hash.finalize())
    }

    /// SHA-256 of the files that it trained on, whatever their order, in hexadecimal; none where they are
    /// not found.
    pub fn trained_sha256(&self) -> Option<String> {
        let parts = self.training.as_ref()?.iter().map(|part| {
            let mut hash = Sha256::new();
            hash.update(format!("{} {} ", part.name.len(), part.name));
            for id in &part.ids {
                hash.update(id.to_le_bytes());
            }
            hash.finalize()
        });
        let mut parts: Vec<_> = parts.collect();
        parts.sort_unstable();
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(part));
        Some(format!("{:x}", hash.finalize()))
    }

    // ---- the run's own files ---------------------------------------------------------------

    fn training_parts(&self, source: &CharSource) -> Vec<TrainingPart> {
        let chars = characters(&source.corpus);
        let mut parts = Vec::new();
        for (name, file) in ranges(&source.corpus) {
            let mut start = file.start;
            let inside = |held: &&Range<usize>| held.start < file.end && held.end > file.start;
            let behind = file.end..file.end;
            for held in source.held_out.iter().filter(inside).chain([&behind]) {
                if start < held.start {
                    let ids = chars[start..held.start].iter().map(|&c| self.id(c));
                    parts.push(TrainingPart {
                        name: name.clone(),
                        ids: ids.flatten().collect(),
                    });
                }
                start = start.max(held.end);
            }
        }
        parts
    }

    /// The files that lie wholly in what validates, and those of the embedded corpus that are not
    /// part of the text.
    fn take_unseen(
        &mut self,
        run: &RunFolder,
        source: &CharSource,
        config: &CharLmConfig,
        max_chars: usize,
    ) -> Result<()> {
        let (corpus, held_out) = (&source.corpus, &source.held_out);
        let chars = characters(corpus);
        let is_unseen = |file: &Range<usize>| {
            let holds = |held: &Range<usize>| held.start <= file.start && file.end <= held.end;
            held_out.iter().any(holds)
        };
        let mut unseen: Vec<(String, Vec<char>)> = ranges(corpus)
            .filter(|(_, file)| is_unseen(file))
            .map(|(name, file)| (name, chars[file].to_vec()))
            .collect();
        if config.corpus.is_empty() {
            let used: HashSet<&str> = corpus.files.iter().map(|file| &*file.name).collect();
            let mut others = embedded_files()?;
            others.retain(|(name, _)| !used.contains(&**name));
            unseen.extend(cleaned(&others, corpus.report.charset));
        }
        if unseen.is_empty() {
            return Err(Error::Data(format!(
                "{}: the run trained on a part of every file of its text ({}), so there is none to \
                 study it on: train with --valid-split files, or give other Python files with \
                 --text FILE_OR_FOLDER",
                run.config_path().display(),
                corpus.report.source
            )));
        }
        self.source = corpus.report.source.clone();
        self.take(unseen, max_chars);
        Ok(())
    }

    // ---- files of the user's ---------------------------------------------------------------

    fn take_own(&mut self, paths: &[PathBuf], charset: Charset, max_chars: usize) -> Result<()> {
        let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
        self.source = names.join(", ");
        self.take(
            cleaned(&prepare::gather(paths, &Patterns::python()?)?, charset),
            max_chars,
        );
        if self.files.is_empty() {
            return Err(Error::Data(format!(
                "{}: no character is left of it in the run's character set and vocabulary; give \
                 Python files",
                self.source
            )));
        }
        Ok(())
    }

    // ---- both ------------------------------------------------------------------------------

    fn find_duplicates(&self) -> Vec<Duplicate> {
        let char_of = self.char_of();
        let chars = |part: &TrainingPart| {
            let chars = part.ids.iter().map(|&id| char_of[id as usize]);
            chars.collect::<Vec<char>>()
        };
        let training = self.training.iter().flat_map(|parts| parts.iter());
        duplicates(&self.files, training.map(|part| (&*part.name, chars(part))))
    }

    /// Leaves out files that a run knows in almost the same words; but not all there are.
    pub fn leave_out(&mut self, known: &[Duplicate]) {
        let names: HashSet<&str> = known.iter().map(|file| &*file.name).collect();
        let is_known = |file: &SourceFile| names.contains(&*file.name);
        self.duplicates.clear();
        if known.is_empty() {
            return;
        }
        if self.files.iter().all(is_known) {
            self.notes.push(
                "every file is almost the same as one that was trained on, so the figures say what \
                 models know by heart: give other files with --text"
                    .into(),
            );
            return;
        }
        self.files.retain(|file| !is_known(file));
        self.duplicates = known.to_vec();
        let each = known
            .iter()
            .map(|file| format!("{} (as {})", file.name, file.of));
        self.notes.push(format!(
            "left out because they are almost the same as files that were trained on: {}",
            each.collect::<Vec<_>>().join(", ")
        ));
    }

    /// Lexes the files of the lowest hashes, in the order of their names.
    fn take(&mut self, mut files: Vec<(String, Vec<char>)>, max_chars: usize) {
        files.sort_by_cached_key(|(name, _)| Sha256::digest(name));
        let (all, mut total) = (files.len(), 0);
        let fits = |(_, chars): &(String, Vec<char>)| {
            let is_first = total == 0;
            total += chars.len();
            is_first || total <= max_chars
        };
        let mut taken: Vec<_> = files.into_iter().take_while(fits).collect();
        if taken.len() < all {
            self.notes.push(format!(
                "{} of {all} files are read, by the hash of their path, at most {max_chars} characters",
                taken.len()
            ));
        }
        taken.sort();
        for (name, chars) in taken {
            let known: Vec<(char, u32)> = chars
                .iter()
                .filter_map(|&c| Some((c, self.id(c)?)))
                .collect();
            self.left_out += chars.len() - known.len();
            let (chars, ids): (Vec<char>, Vec<u32>) = known.into_iter().unzip();
            if !chars.is_empty() {
                self.files.push(SourceFile::new(name, chars, ids));
            }
        }
    }

    /// The id of a character, be it the unknown one's.
    fn id(&self, c: char) -> Option<u32> {
        let id = self.vocab.id(c).or(self.vocab.unknown());
        id.map(u32::from)
    }
}

/// The text that a run was trained on, and how it was divided. Messages tell of `--text` unless files of
/// the user's are read anyway.
fn run_text(
    run: &RunFolder,
    config: &CharLmConfig,
    state: &TrainState,
    tell_others: bool,
) -> Result<CharSource> {
    const OTHERS: &str = ", or give Python files that the run did not train on with --text";
    let others = if tell_others { OTHERS } else { "" };
    if state.is_imported() {
        return Err(Error::Data(format!(
            "{} was imported and has no text of its own{others}",
            run.path().display()
        )));
    }
    let help = &*format!("restore it{others}");
    let found = (run, &*state.data_sha256);
    let source = find(found, config, help, load, |source| &source.sha256)?;
    if source.sha256 == state.data_sha256 {
        return Ok(source);
    }
    Err(Error::Data(format!("{}{others}", source.foreign())))
}

fn characters(corpus: &Corpus) -> Vec<char> {
    let mut chars = Vec::with_capacity(corpus.report.chars);
    corpus.for_each(|c| chars.push(c));
    chars
}

/// Each file of a corpus with its characters' places.
fn ranges(corpus: &Corpus) -> impl Iterator<Item = (String, Range<usize>)> {
    let starts = corpus.files.iter().map(|file| file.start);
    let ends = starts.skip(1).chain([corpus.report.chars]);
    let files = corpus.files.iter().zip(ends);
    files.map(|(file, end)| (file.name.clone(), file.start..end))
}

/// Files as a character set keeps them; those of which nothing is left are none.
fn cleaned(files: &[(String, Vec<u8>)], charset: Charset) -> Vec<(String, Vec<char>)> {
    let each = files.iter().map(|(name, content)| {
        let mut kept = Vec::new();
        charset.clean_into(content, &mut kept, usize::MAX);
        let chars: Vec<char> = match charset {
            Charset::Unicode => String::from_utf8_lossy(&kept).chars().collect(),
            _ => kept.into_iter().map(char::from).collect(),
        };
        (name.clone(), chars)
    });
    each.filter(|(_, chars)| !chars.is_empty()).collect()
}

/// The character of each id; of the unknown token U+FFFD, of bytes U+0000 to U+00FF.
pub fn char_of(vocab: &CharVocab) -> Vec<char> {
    let chars = vocab.tokens().map(|token| match token {
        Token::Char(c) => c,
        Token::Unknown => char::REPLACEMENT_CHARACTER,
    });
    chars.collect()
}
