//! The character language model.

pub mod bench;
pub mod config;
pub mod data;
pub mod division;
pub mod eval;
pub mod explore;
mod export;
pub mod feed;
pub mod generate;
pub mod import;
pub mod keras;
pub mod model;
pub mod page;
pub mod scale;
pub mod score;
pub mod stateful;
pub mod study;
pub mod train;

use std::path::Path;

use toml::Table;

use crate::data::vocab::Vocab;
use crate::files::run::{MODEL, RunFolder};
use crate::files::tensors::TensorFile;
use crate::programs::orders::{Bench, Ended, EvalOrder, Evaluated, Export};
use crate::programs::program::{Program, Trainer, typed};
use crate::ranks::Ranks;
use crate::report::RunData;
use crate::train::config_file::trained;
use crate::train::job::Job;
use crate::train::settings::{Config, Settings};
use crate::{Result, log, sampling};
use config::CharLmConfig;
use generate::sample;
use study::format::Study;

/// Characters of the text that is printed after training.
const SAMPLE_LENGTH: usize = 500;

/// The character language model as a program.
#[derive(Clone, Copy, Debug)]
pub struct CharLmProgram;

impl Program for CharLmProgram {
    fn about(&self) -> &'static str {
        "Train the character language model"
    }

    fn settings(&self) -> &'static Settings {
        CharLmConfig::settings()
    }

    fn token(&self) -> &'static str {
        "character"
    }

    fn speed(&self) -> &'static str {
        train::CharLmJob::SPEED
    }

    fn next(&self, out: &Path) -> String {
        format!("generate more: rnnx generate {}", out.display())
    }

    fn trainer(&self, _: &Table, _: Option<&Path>, _: &Ranks, _: bool) -> Result<Trainer> {
        Ok(Box::new(|request| {
            Ok(Ended {
                out: request.out.clone(),
                word: "",
                summary: train::run(typed(request)?)?,
                test: None,
            })
        }))
    }

    /// A text of each run's best model.
    fn show(&self, runs: &[Ended], quiet: bool) -> Result<String> {
        let mut shown = String::new();
        for run in runs {
            match written(&run.out)? {
                Ok(text) => {
                    if !quiet {
                        log::line(&format!(
                            "a sample at temperature {}:",
                            sampling::TEMPERATURE
                        ));
                    }
                    shown += &format!("{text}\n");
                }
                // The training itself is done and saved.
                Err(e) if !quiet => log::line(&format!("note: no sample: {e}")),
                Err(_) => {}
            }
        }
        Ok(shown)
    }

    fn read(&self, folder: &RunFolder, run: &mut RunData) -> Result<()> {
        let path = folder.study_path();
        if path.is_file() {
            run.measured = study::page::measured(&Study::read(&path)?)?;
        }
        Ok(())
    }

    fn page(&self, runs: &[RunData]) -> String {
        page::render(runs)
    }

    fn vocab_kind(&self) -> &'static str {
        "char"
    }

    fn benches(&self) -> &'static [Bench] {
        &[
            Bench {
                name: "charlm",
                run: bench::step,
            },
            Bench {
                name: "generate",
                run: bench::generate,
            },
            Bench {
                name: "scale",
                run: scale::scale,
            },
        ]
    }

    fn eval(&self, order: &EvalOrder) -> Result<Evaluated> {
        eval::run(order)
    }

    fn export(&self, folder: &RunFolder, checkpoint: &Path, graphs: bool) -> Result<Export> {
        export::run(folder, checkpoint, graphs)
    }
}

/// A text of the best model; weights that it cannot be made of are the inner error.
fn written(out: &Path) -> Result<Result<String>> {
    let (run, checkpoint) = RunFolder::find(out)?;
    let vocab = Vocab::read_chars(&run)?;
    let config: CharLmConfig = trained(&run, &checkpoint)?;
    let file = TensorFile::load(&checkpoint.join(MODEL))?;
    let weights = sample::weights(&file, config.tie_embeddings);
    Ok(weights.and_then(|w| sample::text(&w, &vocab, SAMPLE_LENGTH, 1)))
}
