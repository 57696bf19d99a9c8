//! `rnnx inspect`: what a safetensors file, a checkpoint or a run holds.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::args::InspectArgs;
use super::process::emit;
use crate::error::{Error, Result};
use crate::files::run::{MODEL, STATE};
use crate::files::{Header, HostTensor, RunFolder, TensorFile, TensorInfo, TrainState};
use crate::log::thousands;
use crate::nn::torch_names;
use crate::terminal::visible;

/// Characters of a name or a metadata key that are shown.
const MAX_NAME: usize = 80;
/// The same of a metadata value.
const MAX_VALUE: usize = 800;
/// Dimensions that are shown.
const MAX_DIMS: usize = 6;

/// Runs `rnnx inspect`. A reader that goes away is no failure.
///
/// # Errors
/// As [`run`].
pub fn command(args: &InspectArgs) -> Result<()> {
    let mut text = Vec::new();
    run(&args.path, args.json, &mut text)?;
    emit(&String::from_utf8_lossy(&text))
}

/// Prints a table (or, with `json`, one object) about the tensors of a safetensors file, or of
/// the model of a checkpoint's or a run's folder (its best checkpoint) with its training state.
///
/// # Errors
/// [`Error::Checkpoint`] for a file that is damaged or no checkpoint; [`Error::Io`].
pub fn run(path: &Path, json: bool, out: &mut dyn Write) -> Result<()> {
    let subject = Subject::find(path)?;
    let header = Header::load(&subject.file)?;
    let tensors = TensorFile::load(&subject.file)?;
    let rows: Vec<(&TensorInfo, Stats)> = header
        .tensors
        .iter()
        .filter_map(|info| {
            let untrained = torch_names::is_untrained(&tensors, &info.name);
            Some((info, Stats::of(tensors.tensors.get(&info.name)?, untrained)))
        })
        .collect();
    let text = if json {
        let value = to_json(&subject, &header, &rows);
        format!("{value:#}\n")
    } else {
        to_text(&subject, &header, &rows)
    };
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Error::io("write to", "standard output"))
}

/// What the path given names.
struct Subject {
    /// The safetensors file.
    file: PathBuf,
    /// The run and the training state, unless a bare file was given.
    run: Option<(RunFolder, TrainState)>,
}

impl Subject {
    fn find(path: &Path) -> Result<Self> {
        // A small text file may stand for a link to a checkpoint: `find` follows it.
        let bare = path.is_file() && path.file_name().is_none_or(|n| n != "best" && n != "last");
        if bare {
            let file = path.to_path_buf();
            return Ok(Self { file, run: None });
        }
        if !path.exists() {
            let message = "no such file or run; check the path";
            return Err(Error::checkpoint(path, message));
        }
        let (run, checkpoint) = RunFolder::find(path)?;
        let state = TrainState::load(&checkpoint.join(STATE))?;
        Ok(Self {
            file: checkpoint.join(MODEL),
            run: Some((run, state)),
        })
    }
}

/// Figures of one tensor; NaN and infinities are counted and left out of the rest.
struct Stats {
    /// Trained numbers: all of its values, or none.
    parameters: usize,
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    /// Population standard deviation.
    std: Option<f64>,
    nan: usize,
    inf: usize,
}

impl Stats {
    fn of(tensor: &HostTensor, untrained: bool) -> Self {
        let finite = || {
            let values = tensor.data.iter().map(|&v| f64::from(v));
            values.filter(|v| v.is_finite())
        };
        let count = finite().count();
        let nan = tensor.data.iter().filter(|v| v.is_nan()).count();
        // The second pass takes the mean off first: no cancellation.
        let mean = (count > 0).then(|| finite().sum::<f64>() / count as f64);
        let std = mean.map(|mean| {
            let squares: f64 = finite().map(|v| (v - mean) * (v - mean)).sum();
            (squares / count as f64).sqrt()
        });
        Self {
            parameters: if untrained { 0 } else { tensor.data.len() },
            min: finite().reduce(f64::min),
            max: finite().reduce(f64::max),
            mean,
            std,
            nan,
            inf: tensor.data.len() - count - nan,
        }
    }
}

/// Sums over all tensors.
struct Totals {
    /// Trained numbers, as training counts them.
    parameters: usize,
    /// The others.
    untrained: usize,
    bytes: usize,
}

impl Totals {
    fn of(rows: &[(&TensorInfo, Stats)]) -> Self {
        let sum = |of: fn(&(&TensorInfo, Stats)) -> usize| rows.iter().map(of).sum();
        let parameters = sum(|(_, stats)| stats.parameters);
        let values: usize = sum(|(info, _)| info.parameters());
        Totals {
            parameters,
            untrained: values - parameters,
            bytes: sum(|(info, _)| info.parameters() * info.dtype.size()),
        }
    }
}

// ---- JSON ----------------------------------------------------------------------------------

fn to_json(subject: &Subject, header: &Header, rows: &[(&TensorInfo, Stats)]) -> Value {
    let tensors: Vec<Value> = rows
        .iter()
        .map(|(info, stats)| {
            json!({
                "name": info.name,
                "dtype": info.dtype.name(),
                "shape": info.shape,
                "parameters": stats.parameters,
                "min": stats.min,
                "max": stats.max,
                "mean": stats.mean,
                "std": stats.std,
                "nan": stats.nan,
                "inf": stats.inf,
            })
        })
        .collect();
    let totals = Totals::of(rows);
    let mut value = json!({
        "file": subject.file.display().to_string(),
        "parameters": totals.parameters,
        "untrained": totals.untrained,
        "bytes": totals.bytes,
        "checksum_verified": header.has_checksum(),
        "metadata": header.metadata,
        "tensors": tensors,
    });
    if let Some((run, state)) = &subject.run {
        value["run"] = json!(run.path().display().to_string());
        value["config"] = json!(run.config_path().display().to_string());
        value["program"] = json!(state.program);
        value["step"] = json!(state.step);
        value["epoch"] = json!(state.epoch);
        value["best"] = match &state.best {
            None => Value::Null,
            Some(best) => json!({
                "score": best.score,
                "metric": best.metric,
                "direction": best.direction.name(),
                "step": best.step,
            }),
        };
    }
    value
}

// ---- text ----------------------------------------------------------------------------------

fn to_text(subject: &Subject, header: &Header, rows: &[(&TensorInfo, Stats)]) -> String {
    let mut text = String::new();
    if let Some((run, state)) = &subject.run {
        let best = state.best.as_ref().map_or("none yet".into(), |best| {
            format!(
                "{} {} ({}) at step {}",
                best.metric,
                best.score,
                best.direction.name(),
                best.step
            )
        });
        text += &format!("run      {} ({})\n", run.path().display(), state.program);
        text += &format!("config   {}\n", run.config_path().display());
        text += &format!(
            "step     {}\nepoch    {}\nbest     {best}\n",
            state.step, state.epoch
        );
    }
    text += &format!("file     {}\n\n", subject.file.display());
    text += &table(rows);
    let Totals {
        parameters,
        untrained,
        bytes,
    } = Totals::of(rows);
    let checked = match header.has_checksum() {
        true => "SHA-256 verified",
        false => "no checksum",
    };
    text += &format!(
        "\n{} tensors, {parameters} parameters, {bytes} bytes, {checked}\n",
        rows.len()
    );
    if untrained > 0 {
        text += &format!(
            "not counted: {untrained} zeros that stand for torch's second biases and are not trained\n"
        );
    }
    for (key, value) in &header.metadata {
        let (key, value) = (shown(key, MAX_NAME), shown(value, MAX_VALUE));
        text += &format!("metadata {key} = {value}\n");
    }
    text
}

/// The tensors, one a line: names and shapes to the left, numbers to the right.
fn table(rows: &[(&TensorInfo, Stats)]) -> String {
    const HEAD: [&str; 10] = [
        "name",
        "dtype",
        "shape",
        "parameters",
        "min",
        "max",
        "mean",
        "std",
        "nan",
        "inf",
    ];
    let number = |value: Option<f64>| value.map_or("-".to_string(), decimal);
    let mut lines: Vec<[String; 10]> = vec![HEAD.map(String::from)];
    lines.extend(rows.iter().map(|(info, stats)| {
        [
            shown(&info.name, MAX_NAME),
            info.dtype.name().into(),
            shape(&info.shape),
            stats.parameters.to_string(),
            number(stats.min),
            number(stats.max),
            number(stats.mean),
            number(stats.std),
            stats.nan.to_string(),
            stats.inf.to_string(),
        ]
    }));
    let widths: [usize; 10] = std::array::from_fn(|column| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    });
    let mut text = String::new();
    for line in &lines {
        let cells = line
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| match column < 3 {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Foreign text in a line, of about `limit` characters at most: the middle of a longer one is left out.
fn shown(text: &str, limit: usize) -> String {
    let all = thousands(text.chars().count() as u64);
    let text = visible(text).replace('\n', "\\n").replace('\t', "\\t");
    let length = text.chars().count();
    if length <= limit {
        return text;
    }
    let start: String = text.chars().take(limit / 2).collect();
    let end: String = text.chars().skip(length - limit / 2).collect();
    format!("{start}... ({all} characters) ...{end}")
}

fn shape(dims: &[usize]) -> String {
    match dims.get(..MAX_DIMS) {
        Some(first) if dims.len() > MAX_DIMS => {
            let first = first.iter().map(ToString::to_string).collect::<Vec<_>>();
            let count = thousands(dims.len() as u64);
            format!("[{}, ... ({count} dimensions)]", first.join(", "))
        }
        _ => format!("{dims:?}"),
    }
}

/// Six decimals where they tell something, else an exponent: Adam's squares are about 1e-9.
fn decimal(value: f64) -> String {
    if value == 0.0 || (1e-3..1e6).contains(&value.abs()) {
        format!("{value:.6}")
    } else {
        format!("{value:.3e}")
    }
}
