//! `rnnx import FILE.keras`: a run of a model that Keras has trained.

use std::path::PathBuf;

use clap::Args;

use super::process::emit;
use crate::Result;
use crate::log;
use crate::programs::charlm::import;

/// Arguments of `rnnx import`.
#[derive(Args, Clone, Debug)]
#[command(after_help = NOTES)]
pub struct ImportArgs {
    /// What Keras 3 saved as NAME.keras: Embedding, LSTM layers of one size, Dense
    #[arg(value_name = "FILE.keras")]
    pub file: PathBuf,
    /// The vocabulary, which is not in that file: a JSON list of the characters in the order of their
    /// ids, or a vocab.json of rnnx
    #[arg(long, value_name = "FILE.json")]
    pub vocab: PathBuf,
    /// The run's folder
    #[arg(long, short, value_name = "RUN")]
    pub out: PathBuf,
    /// Replace the run that --out already holds
    #[arg(long)]
    pub force: bool,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

const NOTES: &str = "\
The run can write (rnnx generate), be scored (rnnx score, rnnx eval --text) and looked at (rnnx \
explore). It has no data and no optimizer of its own: train it further with rnnx train-charlm \
--init-from RUN --out ANOTHER.";

/// Makes the run and prints its folder.
///
/// # Errors
/// [`Error::Checkpoint`](crate::Error::Checkpoint) for a file or vocabulary that cannot be read, a
/// model of other layers, and a vocabulary of another model; [`Error::Usage`](crate::Error::Usage)
/// where the folder is in use; [`Error::Io`](crate::Error::Io).
pub fn run(args: &ImportArgs) -> Result<()> {
    let sizes = import::run(&args.file, &args.vocab, &args.out, args.force)?;
    if !args.quiet {
        log::line(&format!(
            "imported: {} LSTM layers of {} units, embedding {}, vocabulary {}",
            sizes.layers, sizes.hidden, sizes.embedding, sizes.vocab
        ));
    }
    emit(&format!("{}\n", args.out.display()))
}
