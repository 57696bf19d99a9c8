//! Flags that all training commands share.

use std::path::PathBuf;

use clap::Args;
use toml::Table;

use super::values::whole;
use crate::Result;
use crate::train::config_file;
use crate::train::job::Begin;
use crate::train::settings::Config;

/// The arguments of a training command.
pub trait TrainArgs {
    /// What they decide.
    type Config: Config;

    /// The keys that were given as flags, with their values.
    fn table(&self) -> Table;

    /// How the run starts.
    fn run(&self) -> &RunArgs;

    /// The keys that a preset sets, where one was named.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] for an unknown name.
    fn preset(&self) -> crate::Result<Option<Table>> {
        Ok(None)
    }
}

/// How a run starts and how often it reports.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Continue the run in --out exactly where its last checkpoint stands
    #[arg(long, conflicts_with_all = ["force", "init_from"])]
    pub resume: bool,
    /// Replace the run that --out already holds
    #[arg(long)]
    pub force: bool,
    /// Start from the weights of this safetensors file, with a fresh optimizer
    #[arg(long, value_name = "FILE")]
    pub init_from: Option<PathBuf>,
    /// Read settings from this TOML file; flags win over it
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Seed of every random stream [default: 1]
    #[arg(long, value_name = "N", value_parser = whole("seed"), allow_hyphen_values = true)]
    pub seed: Option<i64>,
    /// Write a step record every N steps [default: 50, of seq2seq 10]
    #[arg(long, value_name = "N", value_parser = whole("log-every"), allow_hyphen_values = true)]
    pub log_every: Option<i64>,
    /// Save a checkpoint every N steps, besides the one at each epoch's end
    #[arg(long, value_name = "N", value_parser = whole("checkpoint-every"), allow_hyphen_values = true)]
    pub checkpoint_every: Option<i64>,
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
}

impl RunArgs {
    /// Where the run's weights come from.
    pub fn begin(&self) -> Begin {
        match self.resume {
            true => Begin::Resume,
            false => Begin::New {
                force: self.force,
                init_from: self.init_from.clone(),
            },
        }
    }
}

/// The configuration of a run: each key from its flag, else the file of `--config`, else the
/// preset, else the default. With `--resume` the saved run's values stand in the default's place.
///
/// # Errors
/// [`Error::Usage`] for a file that cannot be used, a value out of range, or a key that
/// contradicts the saved run; [`Error::Io`] for a file that cannot be read.
pub fn resolve<A: TrainArgs>(args: &A, saved: Option<&A::Config>) -> Result<A::Config> {
    let mut config = saved.cloned().unwrap_or_default();
    if let Some(table) = args.preset()? {
        config = config.with(&table)?;
    }
    if let Some(path) = &args.run().config {
        config = config.with(&config_file::read_table::<A::Config>(path)?)?;
    }
    config = config.with(&args.table())?;
    config.validate()?;
    if let Some(saved) = saved {
        config.check_resume(saved)?;
    }
    Ok(config)
}
