//! `rnnx report RUN...`: reads runs' folders and writes the HTML page, or their records as CSV.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::args::ReportArgs;
use super::process::{emit, emit_text};
use crate::files::RunFolder;
use crate::files::atomic::write_atomic;
use crate::programs::suite::ASKED;
use crate::programs::{self, render};
use crate::report::csv::to_csv;
use crate::report::{Metrics, RunData, read_metrics};
use crate::train::config_file::{RUN_FOLDER, STARTED_IN};
use crate::{Error, Result, log};

/// Writes the page and prints its path; or writes the table.
///
/// # Errors
/// [`Error::Data`] for a folder that is no run, has no metrics yet or holds a broken file;
/// [`Error::Usage`] for runs of different kinds; [`Error::Io`] where reading or writing fails.
pub fn run(args: &ReportArgs) -> Result<()> {
    if args.csv {
        return write_table(args);
    }
    let out = match (&args.out, args.runs.first()) {
        (Some(path), _) => path.clone(),
        (None, Some(run)) => RunFolder::at(run).report_path(),
        (None, None) => return Err(Error::Usage("name at least one run's folder".into())),
    };
    draw(&args.runs, &out, args.quiet)?;
    emit(&format!("{}\n", out.display()))
}

/// Writes the records of runs, of whatever kinds, to standard output or into a file.
fn write_table(args: &ReportArgs) -> Result<()> {
    let runs = read(&args.runs, args.quiet, read_records)?;
    let unwritten = |e: csv::Error| Error::io("write", "the table")(e.into());
    let table = to_csv(&runs).map_err(unwritten)?;
    match &args.out {
        Some(path) => write_atomic(path, |w| w.write_all(&table)),
        None => emit_text(&String::from_utf8_lossy(&table)),
    }
}

/// Writes the page of a run into its folder; a `live` one follows the run.
///
/// # Errors
/// As [`run`].
pub fn draw_run(folder: &Path, live: bool) -> Result<()> {
    let mut run = read_run(folder)?;
    run.live = live;
    let page = render(&[run]);
    let path = RunFolder::at(folder).report_path();
    write_atomic(&path, |w| w.write_all(page.as_bytes()))
}

/// Writes the page of one run, or of the runs in a folder, into the folder and returns its path;
/// `quiet` leaves out the notes.
///
/// # Errors
/// As [`run`].
pub fn write_page(folder: &Path, quiet: bool) -> Result<PathBuf> {
    let page = RunFolder::at(folder).report_path();
    draw(&[folder.to_path_buf()], &page, quiet)?;
    Ok(page)
}

fn draw(named: &[PathBuf], out: &Path, quiet: bool) -> Result<()> {
    let mut first = None;
    let runs = read(named, quiet, |folder| {
        let run = read_run(folder)?;
        let model = programs::of(&run).settings().model;
        let (of, begun) = first.get_or_insert_with(|| (folder.to_path_buf(), model));
        match *begun == model {
            true => Ok(run),
            false => Err(Error::Usage(format!(
                "{} is a run of {begun}, {} one of {model}: a page shows runs of one kind. Draw each \
                 kind by itself",
                of.display(),
                folder.display()
            ))),
        }
    })?;
    write_atomic(out, |w| w.write_all(render(&runs).as_bytes()))
}

/// What `one` reads of each run that is named, or stands in a folder that is.
fn read(
    named: &[PathBuf],
    quiet: bool,
    one: impl FnMut(&Path) -> Result<RunData>,
) -> Result<Vec<RunData>> {
    let mut folders = Vec::new();
    for path in named {
        folders.extend(runs_in(path, quiet)?);
    }
    let runs = folders.iter().map(PathBuf::as_path).map(one);
    let mut runs = runs.collect::<Result<Vec<_>>>()?;
    // Folders of the same name, as a/charlm and b/charlm, are told apart by their paths.
    let names: Vec<_> = runs.iter().map(|r| r.name.clone()).collect();
    for (i, run) in runs.iter_mut().enumerate() {
        if names.iter().filter(|n| **n == names[i]).count() > 1 {
            run.name = folders[i].display().to_string();
        }
    }
    Ok(runs)
}

/// The run's folder itself, or the runs in a folder that is none, as a training of all three
/// models leaves it. A run in it that has recorded nothing yet is left out, with a note.
fn runs_in(folder: &Path, quiet: bool) -> Result<Vec<PathBuf>> {
    let metrics = |path: &Path| RunFolder::at(path).metrics_path();
    let is_run = |path: &Path| metrics(path).is_file();
    let has_config = RunFolder::at(folder).config_path().is_file();
    if !folder.is_dir() || is_run(folder) || has_config {
        return Ok(vec![folder.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if is_run(&path) {
            found.push(path);
        }
    }
    let of_suites = programs::ALL.iter().flat_map(|p| p.suites());
    let of_suites = of_suites.flat_map(|suite| suite.rows.iter().map(|row| row.name));
    let each = programs::ALL.iter().filter_map(|p| p.settings().each());
    let each = each.flat_map(|(_, words)| words.iter().copied());
    let words: Vec<&str> = match folder.join(ASKED).is_file() {
        true => of_suites.collect(),
        false => each.collect(),
    };
    let place = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        let place = words.iter().position(|word| name == *word);
        place.unwrap_or(words.len())
    };
    found.sort_by_cached_key(|path| (place(path), path.clone()));
    let mut started = Vec::new();
    for path in &found {
        if is_started(&read_metrics(&metrics(path))?) {
            started.push(path.clone());
        } else if !quiet {
            log::line(&format!(
                "note: {}: no step is recorded yet: left out",
                path.display()
            ));
        }
    }
    Ok(match (started.is_empty(), found.first()) {
        (false, _) => started,
        // Reading it says what is missing.
        (true, Some(first)) => vec![first.clone()],
        (true, None) => vec![folder.to_path_buf()],
    })
}

fn is_started(metrics: &Metrics) -> bool {
    let trained = [metrics.steps.is_empty(), metrics.epochs.is_empty()];
    trained.contains(&false) || !metrics.valids.is_empty() || metrics.test.is_some()
}

/// Reads what the page shows of the run in `folder`.
///
/// # Errors
/// As [`run`].
fn read_run(folder: &Path) -> Result<RunData> {
    let mut run = read_records(folder)?;
    let files = RunFolder::at(folder);
    run.samples = read_samples(&files.samples_path())?;
    programs::of(&run).read(&files, &mut run)?;
    Ok(run)
}

/// Reads the configuration and the records of the run in `folder`.
fn read_records(folder: &Path) -> Result<RunData> {
    let shown = folder.display();
    if !folder.is_dir() {
        return Err(Error::Data(format!(
            "{shown}: no such run: give the folder that --out of a training command named"
        )));
    }
    let files = RunFolder::at(folder);
    let config = read_config(&files)?;
    let mut run = RunData {
        config,
        ..RunData::default()
    };
    let path = files.metrics_path();
    if !path.is_file() {
        if is_imported(&files)? {
            return Err(Error::Usage(format!(
                "{shown} was imported and has no records of its own: name a run that was trained from \
                 it, with --init-from {shown}"
            )));
        }
        return Err(Error::Data(format!(
            "{shown}: no metrics.jsonl: this is not a run's folder, or its training has not \
             started. Train first: rnnx train-{} --out {shown}",
            programs::of(&run).kind()
        )));
    }
    let metrics = read_metrics(&path)?;
    if !is_started(&metrics) {
        return Err(Error::Data(format!(
            "{}: no step is recorded yet: wait for the first, or train with a smaller --log-every",
            path.display()
        )));
    }
    run.name = files.name();
    run.steps = metrics.steps;
    run.epochs = metrics.epochs;
    run.valids = metrics.valids;
    run.average = metrics.average;
    run.changes = metrics.changes;
    (run.test, run.overtaken) = (metrics.test, metrics.overtaken);
    Ok(run)
}

/// Whether the run was made of a model that was trained elsewhere.
fn is_imported(run: &RunFolder) -> Result<bool> {
    let state = match run.last() {
        Ok(last) => RunFolder::state_of(&last)?,
        // It has not saved anything yet, or is no run.
        Err(_) => None,
    };
    Ok(state.is_some_and(|state| state.is_imported()))
}

/// The keys of a run's configuration, in the file's order; none where there is no such file.
fn read_config(run: &RunFolder) -> Result<Vec<(String, String)>> {
    let path = run.config_path();
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = run.read_config()?;
    let mut table: Table = toml::from_str(&text)
        .map_err(|e| Error::Data(format!("{}: {}", path.display(), e.message())))?;
    // A page is shown to others, whom the folders of this machine do not concern.
    table.retain(|key, _| key != STARTED_IN && key != RUN_FOLDER);
    let mut pairs: Vec<(String, String)> = table
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(s) => (key, s),
            Value::Array(a) if a.is_empty() && key == "corpus" => (key, "embedded".into()),
            Value::Array(a) => (key, a.iter().map(plain).collect::<Vec<_>>().join(", ")),
            other => (key, other.to_string()),
        })
        .collect();
    // The table is sorted by name; people look for keys where the file has them.
    pairs.sort_by_key(|(key, _)| text.find(&format!("\n{key} =")).unwrap_or(0));
    Ok(pairs)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or(value.to_string(), str::to_owned)
}

/// The text files of a run's samples, in the order of the numbers in their names.
fn read_samples(folder: &Path) -> Result<Vec<(String, String)>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut samples = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if path.extension().is_some_and(|e| e == "txt") {
            let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            samples.push((name.into_owned(), text));
        }
    }
    samples.sort_by_key(|(name, _)| (number_in(name), name.clone()));
    Ok(samples)
}

/// The last run of digits in `name`, so that step-1000 comes after step-200.
fn number_in(name: &str) -> u64 {
    let mut digits = name.split(|c: char| !c.is_ascii_digit());
    let last = digits.rfind(|d| !d.is_empty());
    last.and_then(|d| d.parse().ok()).unwrap_or(0)
}
