//! The command line: one file a command.

pub mod args;
pub mod bench;
pub mod bench_args;
mod bench_hardware;
mod bench_recurrence;
pub mod completions;
pub mod data;
pub mod data_fetch;
pub mod data_pairs;
pub mod data_prepare;
mod data_stats;
pub mod doctor;
pub mod eval;
pub mod explore;
pub mod export;
pub mod flags;
pub mod generate;
pub mod import;
pub mod inspect;
pub mod man;
pub mod prepared_pairs;
mod process;
pub mod report;
pub mod score;
mod scratch;
pub mod selftest;
pub mod study;
pub mod train;
pub mod translate;
pub mod translate_args;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::device::Level;
use crate::terminal::visible;
use crate::{Error, Result, log};

/// A hand-written deep-learning engine for recurrent networks.
#[derive(Parser)]
#[command(name = "rnnx", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 failure, 2 usage, 3 bad data or checkpoint, \
    4 device unavailable, 5 training diverged, 130 interrupted (what was trained is saved)."
)]
pub struct Cli {
    // Commands with notes have the flag themselves. The others take it, too, so that a script can give
    // it to every command.
    /// No notes on standard error
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do; without one the help is printed, and the exit code is that of wrong usage.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    #[command(flatten)]
    Train(train::Train),
    /// Stream text from a trained character language model
    Generate(args::GenerateArgs),
    /// Write code for docstrings with a trained seq2seq model
    Translate(translate_args::TranslateArgs),
    /// Score a trained model on a part of its data
    Eval(eval::EvalArgs),
    /// Score a text by a character LM, or a target given its source by a seq2seq model: log-probability,
    /// bits, perplexity
    Score(score::ScoreArgs),
    /// Measure how far character language models remember: brackets, indentation, strings, names
    Study(study::StudyArgs),
    /// Write a page that runs a character language model in the browser, unit by unit
    Explore(explore::ExploreArgs),
    /// Write a trained model for other frameworks: ONNX, or weights for torch
    Export(export::ExportArgs),
    /// Make a run of a character language model that Keras has trained
    Import(import::ImportArgs),
    /// Draw runs on one self-contained HTML page: curves, configuration, samples
    Report(args::ReportArgs),
    /// Make corpora, or describe one
    #[command(subcommand)]
    Data(DataCommand),
    /// Time matrix products, training steps and generation
    Bench(args::BenchArgs),
    /// Compare every op on a device with the CPU
    Selftest(args::SelftestArgs),
    /// Show what a checkpoint or safetensors file holds
    Inspect(args::InspectArgs),
    /// Show what was found here: CPU, threads, memory, corpus, GPU
    Doctor(args::DoctorArgs),
    /// Print shell completions
    Completions(args::CompletionsArgs),
    /// Print or write manual pages
    Man(man::ManArgs),
}

/// The commands of `rnnx data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Make pairs or text from files, folders, wheels or the embedded corpus
    Prepare(data_prepare::DataPrepareArgs),
    /// Download pinned packages with pip and make pairs of them
    Fetch(data_fetch::DataFetchArgs),
    /// Print what a corpus holds and how it would be divided
    Stats(args::DataStatsArgs),
}

/// Runs the program with the process's arguments and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => refuse(&e),
    };
    match limit_vectors().and_then(|()| dispatch(&cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            log::error(&e);
            ExitCode::from(e.exit_code())
        }
    }
}

/// clap's own exit: 2 for wrong usage, 0 for --help and --version. An error repeats arguments, so it
/// is that of the arguments as they are visible.
fn refuse(error: &clap::Error) -> ! {
    let shown = |argument: OsString| visible(&argument.to_string_lossy()).into_owned();
    match Cli::try_parse_from(std::env::args_os().map(shown)) {
        Err(shown) => shown.exit(),
        // Only an argument that is no Unicode text can be right when it is shown; clap does not
        // repeat those.
        Ok(_) => error.exit(),
    }
}

fn dispatch(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Train(train) => train.run(),
        Command::Generate(args) => generate::command(args),
        Command::Translate(args) => translate::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Score(args) => score::run(args),
        Command::Study(args) => study::run(args),
        Command::Explore(args) => explore::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
        Command::Report(args) => report::run(args),
        Command::Data(DataCommand::Prepare(args)) => data_prepare::run(args),
        Command::Data(DataCommand::Fetch(args)) => data_fetch::run(args),
        Command::Data(DataCommand::Stats(args)) => data::command(args),
        Command::Bench(args) => bench::run(args),
        Command::Selftest(args) => selftest::run(args),
        Command::Inspect(args) => inspect::command(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}

/// Obeys RNNX_VECTORS, which keeps the kernels to narrower vectors than the machine has.
fn limit_vectors() -> Result<()> {
    let Some(wanted) = std::env::var_os("RNNX_VECTORS") else {
        return Ok(());
    };
    let level = match wanted.to_str() {
        Some("avx512") => Some(Level::Avx512),
        Some("avx2") => Some(Level::Avx2),
        Some("portable") => Some(Level::Portable),
        _ => None,
    };
    if level.is_some_and(Level::limit) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "RNNX_VECTORS={}: give avx512, avx2 or portable, and one that this machine has (see rnnx \
         doctor), or unset it",
        wanted.display()
    )))
}
