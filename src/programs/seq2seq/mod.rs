//! Sequence to sequence, as docstring to code: encoder-decoder models.

pub mod bench;
pub mod comparison;
pub mod config;
pub mod copying;
pub mod cost;
pub mod data;
pub mod decode;
pub mod eval;
mod export;
#[rustfmt::skip] // a line each
mod figures;
pub mod language;
pub mod likelihood;
pub mod model;
pub mod page;
pub mod run;
pub mod score;
pub mod suite;
pub mod tokens;
pub mod train;
pub mod trained;
pub mod unknown;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use toml::Table;

use crate::Result;
use crate::data::pairs::Splits;
use crate::data::vocab::Vocab;
use crate::files::{RunFolder, TestEvent};
use crate::log::{self, thousands};
use crate::programs::orders::{Bench, Ended, EvalOrder, Evaluated, Export};
use crate::programs::program::{Program, Trainer, typed};
use crate::programs::suite::Suite;
use crate::ranks::Ranks;
use crate::report::{RunData, read_pairs};
use crate::train::config_file;
use crate::train::job::{Job, Request};
use crate::train::places::find_resumed;
use crate::train::settings::{Config, Settings};
use config::Seq2SeqConfig;
use model::ModelKind;

/// The seq2seq models as a program.
#[derive(Clone, Copy, Debug)]
pub struct Seq2SeqProgram;

impl Program for Seq2SeqProgram {
    fn about(&self) -> &'static str {
        "Train a model that writes targets for sources, as code for docstrings, or three and compare them"
    }

    fn settings(&self) -> &'static Settings {
        Seq2SeqConfig::settings()
    }

    fn suites(&self) -> &'static [Suite] {
        &[suite::CODE]
    }

    fn token(&self) -> &'static str {
        "token"
    }

    fn speed(&self) -> &'static str {
        train::Seq2SeqJob::SPEED
    }

    fn next(&self, out: &Path) -> String {
        let table = config_file::saved(self.settings(), out);
        let config = table.and_then(Seq2SeqConfig::from_table);
        if config.as_ref().is_ok_and(|c| c.pretrain.is_some()) {
            return format!(
                "next: rnnx train-seq2seq --init-from {} --out ANOTHER, with the same pairs, sizes and tokens",
                out.display()
            );
        }
        let is_text = config.is_ok_and(|c| !c.target_language.is_python());
        let example = if is_text {
            "A source."
        } else {
            "Return the sum."
        };
        format!("translate: rnnx translate {} \"{example}\"", out.display())
    }

    fn trainer(
        &self,
        settings: &Table,
        resumed: Option<&Path>,
        ranks: &Ranks,
        quiet: bool,
    ) -> Result<Trainer> {
        let config = Seq2SeqConfig::from_table(settings.clone())?;
        let splits = match resumed {
            Some(out) => find_resumed((out, ranks), &config, Seq2SeqConfig::splits, |s| &s.sha256)?,
            None => config.splits()?,
        };
        let splits = Arc::new(splits);
        // A run that goes on has what it began with.
        let language = match resumed {
            Some(_) => config.target_language,
            None => config.target_language.settle(&splits.train),
        };
        if !quiet {
            tell(&splits, config.pretrain.is_some());
            if language != config.target_language {
                log::line(&format!("target-language: {language} (auto)"));
            }
        }
        Ok(Box::new(move |request| {
            let out = request.out.clone();
            let mut request: Request<Seq2SeqConfig> = typed(request)?;
            request.config.target_language = language;
            // A run keeps what its model's default was.
            request.config.num_layers = Some(request.config.layers());
            let word = ModelKind::NAMES[request.config.model as usize];
            let done = run::run(request, &splits)?;
            Ok(Ended {
                out,
                word,
                summary: done.summary,
                test: done.test,
            })
        }))
    }

    /// A table with a column for each run; of language models, which are not tested, a line each.
    fn show(&self, runs: &[Ended], _: bool) -> Result<String> {
        let tests: Vec<TestEvent> = runs.iter().filter_map(|run| run.test.clone()).collect();
        if !tests.is_empty() {
            return Ok(comparison::table(&tests));
        }
        let line = |run: &Ended| {
            let loss = run.summary.best?;
            let out = run.out.display();
            Some(format!(
                "{out}: best validation loss {loss:.4} nats a token, without sources\n"
            ))
        };
        Ok(runs.iter().filter_map(line).collect())
    }

    fn result(&self, run: &Ended) -> Value {
        match &run.test {
            Some(test) => comparison::row(test),
            None => comparison::untested(run.word, &run.summary),
        }
    }

    fn read(&self, folder: &RunFolder, run: &mut RunData) -> Result<()> {
        if folder.predictions_path().is_file() {
            run.pairs = read_pairs(&folder.predictions_path())?;
        }
        if folder.vocab_path().is_file() {
            run.vocabulary = match Vocab::read(folder)? {
                Vocab::Words { source, target, .. } => Some((source.len(), target.len())),
                Vocab::Char { .. } => None,
            };
        }
        Ok(())
    }

    fn page(&self, runs: &[RunData]) -> String {
        page::render(runs)
    }

    fn vocab_kind(&self) -> &'static str {
        "words"
    }

    fn benches(&self) -> &'static [Bench] {
        &[
            Bench {
                name: "seq2seq",
                run: bench::steps,
            },
            Bench {
                name: "translate",
                run: bench::decoding::writing,
            },
            Bench {
                name: "decode",
                run: bench::decoding::decoding,
            },
            Bench {
                name: "copy",
                run: bench::copying,
            },
        ]
    }

    fn eval(&self, order: &EvalOrder) -> Result<Evaluated> {
        eval::run(order)
    }

    fn export(&self, _: &RunFolder, checkpoint: &Path, graphs: bool) -> Result<Export> {
        export::run(checkpoint, graphs)
    }
}

/// Says how many pairs there are, of which the targets alone may be learned, and whether they can be
/// trusted.
fn tell(splits: &Splits, targets_alone: bool) {
    let parts = [&splits.train, &splits.valid, &splits.test];
    let [train, valid, test] = parts.map(|pairs| thousands(pairs.len() as u64));
    let what = if targets_alone { "targets" } else { "pairs" };
    log::line(&format!(
        "{what}: {train} train, {valid} valid, {test} test; {}",
        splits.source
    ));
    if let Some(note) = &splits.skipped {
        log::line(&format!("note: {note}"));
    }
    let overlap = splits.overlap();
    if overlap > 0 {
        log::line(&format!(
            "note: {} of the {test} test pairs are training pairs, too: their scores say nothing \
             of what was learned; `rnnx data prepare` makes splits without such pairs",
            thousands(overlap as u64)
        ));
    }
}
