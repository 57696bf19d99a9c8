//! `rnnx inspect`: what a safetensors file, a checkpoint or a run holds.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::args::InspectArgs;
use super::process::emit;
use crate::error::{Error, Result};
use crate::files::run::{MODEL, STATE};
use crate::files::{Header, HostTensor, RunFolder, TensorFile, TensorInfo, TrainState};

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
        .filter_map(|info| Some((info, Stats::of(tensors.tensors.get(&info.name)?))))
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
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    /// Population standard deviation.
    std: Option<f64>,
    nan: usize,
    inf: usize,
}

impl Stats {
    fn of(tensor: &HostTensor) -> Self {
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
            min: finite().reduce(f64::min),
            max: finite().reduce(f64::max),
            mean,
            std,
            nan,
            inf: tensor.data.len() - count - nan,
        }
    }
}

/// Values and bytes of all tensors.
fn totals(header: &Header) -> (usize, usize) {
    header.tensors.iter().fold((0, 0), |(values, bytes), info| {
        let count = info.parameters();
        (values + count, bytes + count * info.dtype.size())
    })
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
                "parameters": info.parameters(),
                "min": stats.min,
                "max": stats.max,
                "mean": stats.mean,
                "std": stats.std,
                "nan": stats.nan,
                "inf": stats.inf,
            })
        })
        .collect();
    let (parameters, bytes) = totals(header);
    let mut value = json!({
        "file": subject.file.display().to_string(),
        "parameters": parameters,
        "bytes": bytes,
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
    let (parameters, bytes) = totals(header);
    let checked = match header.has_checksum() {
        true => "SHA-256 verified",
        false => "no checksum",
    };
    text += &format!(
        "\n{} tensors, {parameters} parameters, {bytes} bytes, {checked}\n",
        rows.len()
    );
    for (key, value) in &header.metadata {
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
            info.name.clone(),
            info.dtype.name().into(),
            format!("{:?}", info.shape),
            info.parameters().to_string(),
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

/// Six decimals where they tell something, else an exponent: Adam's squares are about 1e-9.
fn decimal(value: f64) -> String {
    if value == 0.0 || (1e-3..1e6).contains(&value.abs()) {
        format!("{value:.6}")
    } else {
        format!("{value:.3e}")
    }
}
