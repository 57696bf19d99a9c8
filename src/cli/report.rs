//! `rnnx report RUN...`: reads runs' folders and writes the HTML page.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::args::ReportArgs;
use super::emit;
use crate::files::atomic::write_atomic;
use crate::files::run::RunFolder;
use crate::report::{RunData, read_metrics, render};
use crate::{Error, Result};

/// Writes the page and prints its path.
///
/// # Errors
/// [`Error::Data`] for a folder that is no run, has no metrics yet or holds a broken file;
/// [`Error::Io`] where reading or writing fails.
pub fn run(args: &ReportArgs) -> Result<()> {
    let runs = args.runs.iter().map(|p| read_run(p));
    let mut runs = runs.collect::<Result<Vec<_>>>()?;
    // Folders of the same name, as a/charlm and b/charlm, are told apart by their paths.
    for i in 0..runs.len() {
        let alike = runs.iter().filter(|r| r.name == runs[i].name).count();
        if alike > 1 {
            runs[i].name = args.runs[i].display().to_string();
        }
    }
    let out = match (&args.out, args.runs.first()) {
        (Some(path), _) => path.clone(),
        (None, Some(run)) => run.join("report.html"),
        (None, None) => return Err(Error::Usage("name at least one run's folder".into())),
    };
    write_atomic(&out, |w| w.write_all(render(&runs).as_bytes()))?;
    emit(&format!("{}\n", out.display()))
}

/// Writes the page of one run into its folder and returns its path.
///
/// # Errors
/// As [`run`].
pub fn write_page(folder: &Path) -> Result<PathBuf> {
    let page = RunFolder::open(folder)?.report_path();
    let runs = [read_run(folder)?];
    write_atomic(&page, |w| w.write_all(render(&runs).as_bytes()))?;
    Ok(page)
}

/// Reads what the page shows of the run in `folder`.
///
/// # Errors
/// As [`run`].
pub fn read_run(folder: &Path) -> Result<RunData> {
    let shown = folder.display();
    if !folder.is_dir() {
        return Err(Error::Data(format!(
            "{shown}: no such run: give the folder that --out of a training command named"
        )));
    }
    let metrics = folder.join("metrics.jsonl");
    if !metrics.is_file() {
        return Err(Error::Data(format!(
            "{shown}: no metrics.jsonl: this is not a run's folder, or its training has not \
             started. Train first: rnnx train-charlm --out {shown}"
        )));
    }
    let (steps, epochs) = read_metrics(&metrics)?;
    if steps.is_empty() && epochs.is_empty() {
        return Err(Error::Data(format!(
            "{}: no step is recorded yet: wait for the first, or train with a smaller --log-every",
            metrics.display()
        )));
    }
    let name = folder.canonicalize().ok();
    let name = name.as_deref().and_then(Path::file_name);
    Ok(RunData {
        name: name.map_or_else(|| shown.to_string(), |n| n.to_string_lossy().into_owned()),
        config: read_config(&folder.join("config.toml"))?,
        steps,
        epochs,
        samples: read_samples(&folder.join("samples"))?,
    })
}

/// The keys of a run's configuration, in the file's order; none where there is no such file.
fn read_config(path: &Path) -> Result<Vec<(String, String)>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let table: Table = toml::from_str(&text)
        .map_err(|e| Error::Data(format!("{}: {}", path.display(), e.message())))?;
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
