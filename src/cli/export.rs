//! `rnnx export RUN`: a trained model for other frameworks.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::process::emit;
use crate::files::RunFolder;
use crate::files::group::write_group;
use crate::files::onnx::OPSET;
use crate::programs;
use crate::programs::orders::Export;
use crate::{Error, Result, log};

/// Arguments of `rnnx export`.
#[derive(Args, Clone, Debug)]
#[command(after_help = NOTES)]
pub struct ExportArgs {
    /// The run's folder (its best checkpoint), or one checkpoint's folder
    pub run: PathBuf,
    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Format,
    /// The file to write; a seq2seq model in ONNX is two files, for which it is their folder
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

/// What other frameworks read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Graphs with weights and vocabulary, for ONNX Runtime and others
    Onnx,
    /// Weights under torch's names with sizes and vocabulary, a safetensors file
    Torch,
}

const NOTES: &str = "\
The ONNX graph of a character LM reads ids [T, B] and a state, and gives logits [T, B, V] and the \
state after them. A seq2seq model is encoder.onnx and decoder.onnx, one step of the decoder. \
docs/formats.md has all names and shapes, and a loader in Python for torch.";

/// Writes the files and prints their paths.
///
/// # Errors
/// [`Error::Checkpoint`] for a run or weights that cannot be read; [`Error::Usage`] for files that are
/// there, and for a file in the place of a folder or a folder in that of a file; [`Error::Data`] for a
/// model that the format cannot hold; [`Error::Io`].
pub fn run(args: &ExportArgs) -> Result<()> {
    let (folder, checkpoint) = RunFolder::find(&args.run)?;
    let program = programs::trained(&folder)?;
    let export = program.export(&folder, &checkpoint, args.format == Format::Onnx)?;
    let written = match args.format {
        Format::Onnx => onnx(args, export)?,
        Format::Torch => torch(args, export)?,
    };
    if !args.quiet {
        let what = match args.format {
            Format::Onnx => format!("ONNX, operators {OPSET}"),
            Format::Torch => "weights under torch's names".into(),
        };
        log::line(&format!("{}: {what}", checkpoint.display()));
    }
    let lines = written.iter().map(|path| format!("{}\n", path.display()));
    emit(&lines.collect::<String>())
}

fn onnx(args: &ExportArgs, export: Export) -> Result<Vec<PathBuf>> {
    let out = &args.out;
    let metadata = metadata(&export)?;
    let mut graphs = export.graphs;
    if graphs.len() == 1
        && let Some(graph) = graphs.pop()
    {
        check_file(args)?;
        graph.save(out, &metadata)?;
        return Ok(vec![out.clone()]);
    }
    let names: Vec<String> = graphs
        .iter()
        .map(|g| format!("{}.onnx", g.name()))
        .collect();
    if out.is_file() || out.extension().is_some_and(|end| end == "onnx") {
        return Err(Error::Usage(format!(
            "-o {}: this model is the files {}: name the folder for them",
            out.display(),
            names.join(" and ")
        )));
    }
    let paths: Vec<PathBuf> = names.iter().map(|name| out.join(name)).collect();
    paths
        .iter()
        .try_for_each(|path| check_free(path, args.force))?;
    write_group(out, |folder| {
        let mut graphs = graphs.into_iter().zip(&names);
        graphs.try_for_each(|(graph, name)| graph.save(&folder.join(name), &metadata))
    })?;
    Ok(paths)
}

fn torch(args: &ExportArgs, mut export: Export) -> Result<Vec<PathBuf>> {
    check_file(args)?;
    let metadata = metadata(&export)?.into_iter();
    export.weights.metadata = metadata.map(|(key, value)| (key.into(), value)).collect();
    // What other programs know a file for torch by.
    export.weights.metadata.insert("format".into(), "pt".into());
    export.weights.save(&args.out)?;
    Ok(vec![args.out.clone()])
}

/// What the model is, and its vocabulary, both as JSON.
fn metadata(export: &Export) -> Result<[(&'static str, String); 2]> {
    let vocab = serde_json::to_string(&export.vocab);
    let vocab = vocab.map_err(|e| Error::Data(format!("the vocabulary is no JSON: {e}")))?;
    let facts = Value::Object(export.facts.clone()).to_string();
    Ok([("model", facts), ("vocab", vocab)])
}

fn check_file(args: &ExportArgs) -> Result<()> {
    if args.out.is_dir() {
        return Err(Error::Usage(format!(
            "-o {}: this is a folder: name a file",
            args.out.display()
        )));
    }
    check_free(&args.out, args.force)
}

fn check_free(path: &Path, force: bool) -> Result<()> {
    if force || path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{} is there already: replace it with --force, or give another -o",
        path.display()
    )))
}
