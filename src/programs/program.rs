//! What a program is to the commands.

use std::path::Path;

use serde_json::Value;
use toml::Table;

use super::orders::{Bench, Ended, EvalOrder, Evaluated, Export};
use super::suite::Suite;
use crate::Result;
use crate::files::RunFolder;
use crate::ranks::Ranks;
use crate::report::RunData;
use crate::train::job::Request;
use crate::train::settings::{Config, Settings};

/// What is trained, scored and drawn: a kind of model with its data.
pub trait Program: Sync {
    /// What its files call it, and the second half of its command's name.
    fn kind(&self) -> &'static str {
        self.settings().kind
    }

    /// What its command does, in a line.
    fn about(&self) -> &'static str;

    /// Its settings.
    fn settings(&self) -> &'static Settings;

    /// Its suites.
    fn suites(&self) -> &'static [Suite] {
        &[]
    }

    /// What a token of its data is.
    fn token(&self) -> &'static str;

    /// The unit of its speed.
    fn speed(&self) -> &'static str;

    /// What to do with the run in `out` once it has ended, as `translate: rnnx translate OUT`.
    fn next(&self, out: &Path) -> String;

    /// Reads what all runs of these settings share, and returns what trains them. The data of a run
    /// that goes on, in the folder `resumed`, is where that run has it. Every rank calls it.
    ///
    /// # Errors
    /// If the data cannot be read, or a rank is lost. What it returns fails as
    /// [`session::run`](crate::train::session::run) does.
    fn trainer(
        &self,
        settings: &Table,
        resumed: Option<&Path>,
        ranks: &Ranks,
        quiet: bool,
    ) -> Result<Trainer>;

    /// What the command prints of the runs that it has trained.
    ///
    /// # Errors
    /// If a run cannot be read.
    fn show(&self, runs: &[Ended], quiet: bool) -> Result<String>;

    /// What a comparison has of a run; null where runs are not compared.
    fn result(&self, _run: &Ended) -> Value {
        Value::Null
    }

    /// Reads what of a run's folder its page alone shows.
    ///
    /// # Errors
    /// If a file is damaged or cannot be read.
    fn read(&self, _folder: &RunFolder, _run: &mut RunData) -> Result<()> {
        Ok(())
    }

    /// Draws its runs on one HTML page that needs nothing but itself.
    fn page(&self, runs: &[RunData]) -> String;

    /// The kind of its vocabularies.
    fn vocab_kind(&self) -> &'static str;

    /// What of it can be timed.
    fn benches(&self) -> &'static [Bench];

    /// Scores a trained model.
    ///
    /// # Errors
    /// For what is not for its models, for data that is not the run's, for weights that cannot be
    /// used, or if the device fails.
    fn eval(&self, order: &EvalOrder) -> Result<Evaluated>;

    /// A trained model for other frameworks; with `graphs` also what it computes.
    ///
    /// # Errors
    /// For a run or weights that cannot be used, and for a model that no graph can express.
    fn export(&self, folder: &RunFolder, checkpoint: &Path, graphs: bool) -> Result<Export>;
}

/// Trains one run after the other.
pub type Trainer = Box<dyn FnMut(Request<Table>) -> Result<Ended>>;

/// A request with the typed configuration.
///
/// # Errors
/// [`Error::Usage`](crate::Error::Usage) for a value of another type.
pub fn typed<C: Config>(request: Request<Table>) -> Result<Request<C>> {
    Ok(Request {
        config: C::from_table(request.config)?,
        origin: request.origin,
        out: request.out,
        resume_out: request.resume_out,
        trained: request.trained,
        begin: request.begin,
        change: request.change,
        quiet: request.quiet,
        check: request.check,
        draw: request.draw,
        ranks: request.ranks,
    })
}
