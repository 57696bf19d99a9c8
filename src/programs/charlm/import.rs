//! A run of a character LM that was trained elsewhere.

use super::config::CharLmConfig;
use super::generate::sample;
use super::keras;
use super::model::{CharLm, CharLmSizes};
use super::train::CharLmJob;
use crate::data::vocab::Vocab;
use crate::error::Result;
use crate::files::run::RunFolder;
use crate::files::state::TrainState;
use crate::files::tensors::TensorFile;
use crate::nn::torch_names;
use crate::train::config_file::{deciding, to_toml};
use crate::train::init::check_rows;
use crate::train::job::Job;
use crate::train::places::Origin;
use crate::train::settings::Config;
use std::path::Path;

/// Makes a run in `out` from a `.keras` file and the vocabulary in a file of its own. It has no data, so
/// it cannot be resumed, only be started from.
///
/// # Errors
/// As [`keras::read`]; [`Error::Checkpoint`](crate::Error::Checkpoint) for a vocabulary that cannot be
/// read or is another model's, [`Error::Data`](crate::Error::Data) for a weight that is not finite,
/// and as [`RunFolder::create`].
pub fn run(file: &Path, vocab_path: &Path, out: &Path, force: bool) -> Result<CharLmSizes> {
    RunFolder::check_new(out, force)?;
    let vocab = Vocab::load_list(vocab_path)?;
    vocab.clone().into_chars(vocab_path)?;
    let model = keras::read(file)?;
    check_rows(
        (&vocab, vocab_path),
        (&model.weights, file),
        CharLmJob::TOKEN_ROWS,
    )?;
    let sizes = sample::weights(&model.weights, false)?.sizes();
    torch_names::check(&CharLm::layout(sizes), &model.weights, &[])?;
    let config = CharLmConfig {
        cell: sizes.cell,
        embedding_dim: sizes.embedding,
        hidden_size: sizes.hidden,
        num_layers: sizes.layers,
        dropout: model.dropout,
        ..CharLmConfig::default()
    };
    config.validate()?;
    let (settings, table) = (CharLmConfig::settings(), config.table()?);
    let folder = RunFolder::create(out, force)?;
    folder.write_config(&(to_toml(settings, &table) + &Origin::here(out)?.to_toml()))?;
    folder.write_vocab(&vocab.to_text())?;
    // The hash of no text: whatever is to be trained on is foreign to it.
    let mut state = TrainState::new(CharLmJob::PROGRAM, config.seed, String::new());
    state.vocab_sha256 = Some(folder.vocab_sha256()?);
    state.settings = deciding(settings, &table);
    folder.save_checkpoint(&model.weights, &TensorFile::new(), &state)?;
    Ok(sizes)
}
