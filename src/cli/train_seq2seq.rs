//! `rnnx train-seq2seq`: flags to one run or three, and what is said when they have ended.

use super::seq2seq_args::{Models, TrainSeq2seqArgs};
use super::{config_file, emit, report, use_threads};
use crate::data::pairs::Splits;
use crate::files::atomic::write_atomic;
use crate::files::run::RunFolder;
use crate::log::{self, thousands};
use crate::programs::seq2seq::comparison::{self, row, table};
use crate::programs::seq2seq::config::Seq2SeqConfig;
use crate::programs::seq2seq::model::ModelKind;
use crate::programs::seq2seq::run::{self, Done};
use crate::train::interrupt;
use crate::train::job::{Begin, Request};
use crate::train::progress::clock;
use crate::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where runs go unless `--out` says so.
const OUT: &str = "runs/seq2seq";

/// Trains one model or all, tests them, writes the report and prints the results.
///
/// # Errors
/// As [`run::run`], and for flags that contradict each other.
pub fn run(args: &TrainSeq2seqArgs) -> Result<()> {
    match models(args)? {
        Models::One(kind) => one(args, kind),
        Models::All => all(args),
    }
}

/// What to train: what the flag says, else the file, else the run that is to go on, else all.
fn models(args: &TrainSeq2seqArgs) -> Result<Models> {
    if let Some(models) = args.models() {
        return Ok(models);
    }
    if let Some(path) = &args.run.config {
        let table = config_file::read_table::<Seq2SeqConfig>(path)?;
        let kind = table.get("model").and_then(|m| m.as_str()?.parse().ok());
        if let Some(kind) = kind {
            return Ok(Models::One(kind));
        }
    }
    let out = args.out.as_deref().unwrap_or(Path::new(OUT));
    if args.run.resume && is_run(out) {
        let saved: Seq2SeqConfig = config_file::saved(out)?;
        return Ok(Models::One(saved.model));
    }
    Ok(Models::All)
}

fn is_run(folder: &Path) -> bool {
    RunFolder::open(folder).is_ok()
}

// ---- one model -----------------------------------------------------------------------------

fn one(args: &TrainSeq2seqArgs, kind: ModelKind) -> Result<()> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => Path::new(OUT).join(kind.to_string()),
    };
    let saved = match args.run.resume {
        true => Some(config_file::saved(&out)?),
        false => None,
    };
    let config = config_file::resolve(&args.for_model(kind), saved.as_ref())?;
    let splits = prepare(args, &config)?;
    let request = Request {
        config_text: config_file::to_toml(&config),
        config,
        out: out.clone(),
        resume_out: out.clone(),
        begin: args.run.begin(),
        quiet: args.run.quiet,
    };
    let done = run::run(request, &splits)?;
    let page = report::write_page(&out)?;
    if !args.run.quiet {
        tell(&done);
        let (out, page) = (out.display(), page.display());
        log::line(&format!(
            "run: {out}; report: {page}\ntranslate: rnnx translate {out} \"Return the sum.\""
        ));
    }
    match args.json {
        true => emit(&format!("{:#}\n", row(&done.test))),
        false => emit(&table(&[done.test])),
    }
}

/// Sets the process up, reads the pairs and tells of them.
fn prepare(args: &TrainSeq2seqArgs, config: &Seq2SeqConfig) -> Result<Arc<Splits>> {
    use_threads(config.threads)?;
    interrupt::install()?;
    let splits = config.splits()?;
    if !args.run.quiet {
        let [train, valid, test] = [&splits.train, &splits.valid, &splits.test];
        let count = |pairs: &[_]| thousands(pairs.len() as u64);
        log::line(&format!(
            "pairs: {} train, {} valid, {} test; {}",
            count(train),
            count(valid),
            count(test),
            splits.source
        ));
        let overlap = splits.overlap();
        if overlap > 0 {
            log::line(&format!(
                "note: {} of the {} test pairs are training pairs, too: their scores say nothing \
                 of what was learned; `rnnx data prepare` makes splits without such pairs",
                thousands(overlap as u64),
                count(test)
            ));
        }
    }
    Ok(Arc::new(splits))
}

fn tell(done: &Done) {
    let summary = &done.summary;
    let best = summary.best.map_or(String::new(), |loss| {
        format!("; best validation loss {loss:.4} nats a token")
    });
    // A run that had nothing left to do has no rate.
    let rate = match summary.rate {
        0.0 => String::new(),
        rate => format!(", {} tokens/s", thousands(rate.round() as u64)),
    };
    log::line(&format!(
        "done: {} steps in {}{rate}{best}",
        thousands(summary.step),
        clock(summary.elapsed)
    ));
}

// ---- all models ----------------------------------------------------------------------------

fn all(args: &TrainSeq2seqArgs) -> Result<()> {
    let out = args.out.as_deref().unwrap_or(Path::new(OUT));
    let requests = requests(args, out)?;
    let Some(first) = requests.first() else {
        return Ok(());
    };
    let splits = prepare(args, &first.config)?;
    let mut tests = Vec::new();
    for request in requests {
        if !args.run.quiet {
            let (kind, out) = (request.config.model, request.out.display());
            log::line(&format!("\n{kind}: {out}"));
        }
        let folder = request.out.clone();
        let done = run::run(request, &splits)?;
        report::write_page(&folder)?;
        if !args.run.quiet {
            tell(&done);
        }
        tests.push(done.test);
    }
    let array = Value::Array(tests.iter().map(row).collect());
    let path = out.join(comparison::FILE);
    write_atomic(&path, |w| writeln!(w, "{array:#}"))?;
    let page = report::write_page(out)?;
    if !args.run.quiet {
        let (path, page) = (path.display(), page.display());
        log::line(&format!("\ncomparison: {path}; report: {page}"));
    }
    match args.json {
        true => emit(&format!("{array:#}\n")),
        false => emit(&table(&tests)),
    }
}

/// What each model is asked for. Whatever stands against one of them is said before the first
/// trains.
fn requests(args: &TrainSeq2seqArgs, out: &Path) -> Result<Vec<Request<Seq2SeqConfig>>> {
    if is_run(out) {
        return Err(Error::Usage(format!(
            "{} is the run of one model: give another folder with --out for all three",
            out.display()
        )));
    }
    if args.run.init_from.is_some() {
        return Err(Error::Usage(
            "--init-from: the weights are of one model: name it with --model".into(),
        ));
    }
    let folders = ModelKind::ALL.map(|kind| (kind, out.join(kind.to_string())));
    let begun = folders.iter().filter(|(_, f)| args.run.resume && is_run(f));
    let saved = begun.map(|(_, folder)| config_file::saved(folder));
    let saved: Vec<Seq2SeqConfig> = saved.collect::<Result<_>>()?;
    if args.run.resume && saved.is_empty() {
        return Err(Error::checkpoint(
            out,
            "no such run: none of rnn, lstm and attention is in it; train them with --out, or \
             check the path",
        ));
    }
    let request = |(kind, folder): (ModelKind, PathBuf)| {
        // A model that had not begun takes over the configuration of those that had.
        let own = saved.iter().find(|c| c.model == kind).cloned();
        let base = own.or_else(|| {
            let model = kind;
            saved.first().map(|c| Seq2SeqConfig { model, ..c.clone() })
        });
        let config = config_file::resolve(&args.for_model(kind), base.as_ref())?;
        let begin = begin(args, &folder)?;
        Ok(Request {
            config_text: config_file::to_toml(&config),
            config,
            out: folder,
            resume_out: out.to_path_buf(),
            begin,
            quiet: args.run.quiet,
        })
    };
    folders.into_iter().map(request).collect()
}

/// How one of three runs begins: a resumed one that had saved nothing yet begins anew.
fn begin(args: &TrainSeq2seqArgs, folder: &Path) -> Result<Begin> {
    let run = RunFolder::open(folder).ok();
    let force = match (&run, args.run.resume) {
        (Some(run), true) if run.last().is_ok() => return Ok(Begin::Resume),
        (Some(_), true) => true,
        _ => args.run.force,
    };
    RunFolder::check_new(folder, force)?;
    Ok(Begin::New {
        force,
        init_from: None,
    })
}
