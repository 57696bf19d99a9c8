//! `study.json`: what a study found. `docs/formats.md` describes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::duplicates::Duplicate;
use super::recipe::Recipe;
use super::source::{Half, SourceFile};
use crate::files::atomic::write_atomic;
use crate::files::run::STUDY;
use crate::{Error, Result};

/// What its `kind` says.
pub const KIND: &str = "rnnx-study";
/// The version of the format; parts of another one are measured again.
pub const FORMAT: u64 = 2;

/// What a study found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// [`KIND`].
    pub kind: String,
    /// [`FORMAT`].
    pub format: u64,
    /// What was read.
    pub text: TextInfo,
    /// How much was measured.
    pub settings: StudySettings,
    /// The models, in the order of the tables.
    pub models: Vec<ModelFound>,
    /// What a reader should know of the text.
    pub notes: Vec<String>,
}

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudySettings {
    /// Whether it is the short study.
    pub quick: bool,
    /// Characters that are read at most.
    pub max_chars: usize,
    /// Places at which the context is cut.
    pub context_places: usize,
}

impl StudySettings {
    /// Those of the short study, about a minute on two cores, or of the whole one.
    pub fn new(quick: bool) -> Self {
        StudySettings {
            quick,
            max_chars: if quick { 400_000 } else { 2_000_000 },
            context_places: if quick { 400 } else { 4_000 },
        }
    }
}

/// The files that were read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextInfo {
    /// Where they are from.
    pub source: String,
    /// SHA-256 of their names and characters.
    pub sha256: String,
    /// Characters of all.
    pub characters: usize,
    /// Characters left out because the vocabulary lacks them.
    pub left_out: usize,
    /// The files.
    pub files: Vec<FileInfo>,
    /// Files that are not among them because they are almost the same as one that was trained on.
    #[serde(default)]
    pub duplicates: Vec<Duplicate>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Its name.
    pub name: String,
    /// Its characters.
    pub characters: usize,
    /// Its half.
    pub half: Half,
}

impl FileInfo {
    /// That of a file.
    pub fn of(file: &SourceFile) -> Self {
        FileInfo {
            name: file.name.clone(),
            characters: file.chars.len(),
            half: file.half(),
        }
    }
}

/// What was found of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFound {
    /// Its name in tables.
    pub name: String,
    /// `run` or `baseline`.
    pub kind: String,
    /// Its checkpoint's folder; empty for a baseline.
    pub checkpoint: String,
    /// The optimizer steps that it was trained for.
    pub step: Option<u64>,
    /// How it was trained; none of a baseline, or of a run that an older rnnx studied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
    /// SHA-256 of all that decides what it predicts.
    pub sha256: String,
    /// By the name of the measure: what it found, or [`Blank`].
    pub measures: BTreeMap<String, Value>,
}

/// Why a measure has found nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blank {
    /// The reason.
    pub blank: String,
}

/// What a measure found, typed.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<T> {
    /// Figures.
    Figures(T),
    /// Nothing, and why.
    Blank(String),
}

impl ModelFound {
    /// What a measure found; none where it was not taken.
    ///
    /// # Errors
    /// What is wrong with it where it is neither a [`Blank`] nor a `T`.
    pub fn measure<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<Found<T>>> {
        let Some(value) = self.measures.get(name) else {
            return Ok(None);
        };
        if let Ok(Blank { blank }) = Blank::deserialize(value) {
            return Ok(Some(Found::Blank(blank)));
        }
        let found = T::deserialize(value).map_err(|e| {
            let model = &self.name;
            Error::Data(format!("{STUDY}: {name} of {model}: {e}: study it again"))
        })?;
        Ok(Some(Found::Figures(found)))
    }
}

impl Study {
    /// Reads a `study.json`.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that is none, or of a newer format; [`Error::Io`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(Error::io("read", path))?;
        let study: Study = serde_json::from_slice(&text).map_err(|e| {
            let path = path.display();
            Error::Data(format!(
                "{path}: is no study that this rnnx can read ({e}): study the run again, or delete \
                 the file"
            ))
        })?;
        if study.kind != KIND || study.format != FORMAT {
            return Err(Error::Data(format!(
                "{}: is a {} of format {}, not a {KIND} of format {FORMAT}: study the run again, or \
                 delete the file",
                path.display(),
                study.kind,
                study.format
            )));
        }
        Ok(study)
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = self.to_json()?;
        write_atomic(path, |w| w.write_all(text.as_bytes()))
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`Error::Data`] for a figure that JSON cannot hold.
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self);
        let text = text.map_err(|e| Error::Data(format!("{STUDY}: {e}")))?;
        Ok(format!("{text}\n"))
    }
}
