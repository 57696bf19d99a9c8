//! Weights that a new run takes from elsewhere, and the vocabulary that says which token each of
//! their rows stands for.
//!
//! The run has that vocabulary, too, also for tokens that its own data lacks: what the model knows of
//! them is kept. Tokens of the data that it lacks come behind it, if that is asked for.

use super::job::{InitFrom, Job};
use super::make::Weights;
use super::progress::Progress;
use crate::data::vocab::Vocab;
use crate::error::{Error, Result};
use crate::files::run::{MODEL, RunFolder};
use crate::files::tensors::TensorFile;
use crate::files::text::sha256;
use std::path::{Path, PathBuf};

/// Tokens that a message shows.
const SHOWN: usize = 8;

/// What a run starts from.
pub(super) struct Init<J: Job> {
    /// The weights.
    pub weights: Weights,
    /// SHA-256 of their file.
    pub sha256: String,
    /// The vocabulary.
    pub vocab: J::Vocab,
}

/// The weights and the vocabulary of a run that starts from others.
///
/// # Errors
/// [`Error::Usage`] for weights without a vocabulary; [`Error::Checkpoint`] for what is not
/// there, damaged or of another kind, and for a vocabulary of other weights; [`Error::Data`] for
/// data with tokens that the vocabulary lacks.
pub(super) fn load<J: Job>(
    from: &InitFrom,
    config: &J::Config,
    source: &J::Source,
    progress: &Progress,
) -> Result<Init<J>> {
    let file = weights_file(&from.path)?;
    let path = from.vocab.clone().or_else(|| vocab_beside(&file));
    let path = path.ok_or_else(|| {
        Error::Usage(format!(
            "--init-from {}: there is no vocab.json beside it or in its run's folder, so \
             nothing says which token each row of these weights stands for: name their \
             vocabulary with --vocab FILE",
            from.path.display()
        ))
    })?;
    if let (None, Some(run), Some(checkpoint)) = (&from.vocab, path.parent(), file.parent()) {
        RunFolder::at(run).check_vocab(checkpoint)?;
    }
    let mut vocab = Vocab::load(&path)?;
    J::vocab(vocab.clone(), &path)?;
    let weights = load_weights(&file)?;
    check_rows((&vocab, &path), (&weights, &file), J::TOKEN_ROWS)?;
    progress.line(&format!(
        "weights: {}; vocabulary: {}",
        file.display(),
        path.display()
    ));
    let of_data = J::tokens(config, source, &vocab)?;
    vocab.check_form(&of_data, &path)?;
    for (list, new) in vocab.extend(&of_data) {
        let (n, tokens) = (new.len(), some(&new));
        if !from.extend_vocab {
            return Err(Error::Data(format!(
                "the vocabulary {} ({list}) lacks {n} of the data's tokens: {tokens}. Give them \
                 initial values with --extend-vocab, or {}",
                path.display(),
                J::FEWER_TOKENS
            )));
        }
        progress.line(&format!(
            "new in the vocabulary ({list}), with initial values: {n} of the data's tokens: \
             {tokens}"
        ));
    }
    let bytes = std::fs::read(&file).map_err(Error::io("read", &file))?;
    Ok(Init {
        weights: Weights::Given(weights),
        sha256: sha256(&bytes),
        vocab: J::vocab(vocab, &path)?,
    })
}

/// The file of the weights that a path names: itself, or that of a checkpoint, or of a run's best.
fn weights_file(path: &Path) -> Result<PathBuf> {
    if !path.exists() {
        return Err(Error::checkpoint(path, "--init-from: no such file or run"));
    }
    if path.is_file() {
        return Ok(path.to_path_buf());
    }
    let own = path.join(MODEL);
    if own.is_file() && !RunFolder::at(path).config_path().is_file() {
        return Ok(own);
    }
    Ok(RunFolder::open(path)?.checkpoint()?.join(MODEL))
}

/// The `vocab.json` in the folder of a file of weights, or in the run that the folder is in, as
/// `RUN/best` and `RUN/checkpoints/step-N` are.
fn vocab_beside(weights: &Path) -> Option<PathBuf> {
    // As it was typed, so that messages name it so; a link may lead to elsewhere.
    let places = [Some(weights.to_path_buf()), weights.canonicalize().ok()];
    places.into_iter().flatten().find_map(|file| {
        let folder = file.parent()?;
        let is_run = |folder: &&Path| RunFolder::at(folder).config_path().is_file();
        let runs = folder.ancestors().skip(1).take(2).filter(is_run);
        let folders = std::iter::once(folder).chain(runs);
        let mut files = folders.map(|folder| RunFolder::at(folder).vocab_path());
        files.find(|path| path.is_file())
    })
}

/// Checks that the tensors `rows` have as many rows as each list of the vocabulary has tokens.
///
/// # Errors
/// [`Error::Checkpoint`] that names both files.
pub fn check_rows(
    (vocab, path): (&Vocab, &Path),
    (weights, file): (&TensorFile, &Path),
    rows: &[&[&str]],
) -> Result<()> {
    for ((list, tokens), names) in vocab.lists().into_iter().zip(rows) {
        let shape = |name| Some((name, *weights.tensors.get(name)?.shape.first()?));
        let mut tables = names.iter().copied().filter_map(shape);
        if let Some((name, rows)) = tables.find(|(_, rows)| *rows != tokens.len()) {
            let message = format!(
                "\"{list}\" has {} tokens, but {name} of {} has {rows} rows: they belong to \
                 different models; restore the vocabulary that these weights were trained with",
                tokens.len(),
                file.display()
            );
            return Err(Error::checkpoint(path, message));
        }
    }
    Ok(())
}

/// The weights of a file; all of them are numbers that training can start from.
///
/// # Errors
/// [`Error::Checkpoint`] for a damaged file and for a value that is not finite.
pub fn load_weights(path: &Path) -> Result<TensorFile> {
    let file = TensorFile::load(path)?;
    for (name, tensor) in &file.tensors {
        if let Some(at) = tensor.data.iter().position(|x| !x.is_finite()) {
            let message = format!(
                "tensor `{name}` holds {} at index {at}: its training had diverged; use weights \
                 from before that",
                tensor.data[at]
            );
            return Err(Error::checkpoint(path, message));
        }
    }
    Ok(file)
}

/// The first tokens of a list, for people.
fn some(tokens: &[String]) -> String {
    let shown = tokens.iter().take(SHOWN);
    let shown: Vec<String> = shown.map(|t| format!("'{}'", t.escape_debug())).collect();
    let more = match tokens.len().saturating_sub(SHOWN) {
        0 => "",
        _ => " ...",
    };
    shown.join(" ") + more
}
