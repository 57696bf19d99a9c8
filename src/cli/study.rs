//! `rnnx study RUN...`: how far character LMs remember.

use std::path::{Path, PathBuf};

use clap::Args;

use super::flags::size;
use super::process::{emit, use_threads};
use crate::files::RunFolder;
use crate::files::atomic::write_atomic;
use crate::programs::charlm::study::format::StudySettings;
use crate::programs::charlm::study::run::{StudyOrder, run as study};
use crate::programs::charlm::study::{page, tables};
use crate::train::progress::Progress;
use crate::{Result, interrupt};

/// Arguments of `rnnx study`.
#[derive(Args, Clone, Debug)]
pub struct StudyArgs {
    /// Folders of runs of a character LM (their best checkpoints), or checkpoints' folders; several
    /// are compared
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Measure less: about a minute on two cores
    #[arg(long)]
    pub quick: bool,
    /// Python files, or folders of them, to read in place of those that the runs did not train on;
    /// may be given several times
    #[arg(long, value_name = "FILE_OR_FOLDER")]
    pub text: Vec<PathBuf>,
    /// Where study.json goes [default: the run's folder; study where several are compared]
    #[arg(long, short, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Draw the figures, too, as SVG files beside study.json
    #[arg(long)]
    pub svg: bool,
    /// Print study.json in place of tables
    #[arg(long)]
    pub json: bool,
    /// No notes on standard error
    #[arg(long, short)]
    pub quiet: bool,
    /// CPU threads [default: one for each logical CPU]
    #[arg(long, value_name = "N", value_parser = size("threads"), allow_hyphen_values = true)]
    pub threads: Option<usize>,
}

/// Measures the runs, writes `study.json` and prints it. Ctrl-C keeps what is measured.
///
/// # Errors
/// As [`study`].
pub fn run(args: &StudyArgs) -> Result<()> {
    use_threads(args.threads)?;
    interrupt::install("stopping; what is measured is kept (once more to stop at once)")?;
    let order = StudyOrder {
        runs: names(&args.runs)
            .into_iter()
            .zip(args.runs.clone())
            .collect(),
        text: args.text.clone(),
        settings: StudySettings::new(args.quick),
        out: args.out.clone(),
        progress: Progress::new(args.quiet),
    };
    let (found, file) = study(&order)?;
    order.progress.line(&format!("written: {}", file.display()));
    if args.svg {
        let folder = file.parent().unwrap_or(Path::new("."));
        for (name, picture) in page::pictures(&found)? {
            let path = folder.join(name);
            write_atomic(&path, |w| w.write_all(picture.as_bytes()))?;
            order.progress.line(&format!("written: {}", path.display()));
        }
    }
    emit(&match args.json {
        true => found.to_json()?,
        false => tables::render(&found)?,
    })
}

/// The folders' names; their paths where a name is there twice.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let names: Vec<String> = paths
        .iter()
        .map(|path| RunFolder::at(path).name())
        .collect();
    let each = paths.iter().zip(&names).map(|(path, name)| {
        match names.iter().filter(|other| *other == name).count() {
            1 => name.clone(),
            _ => path.display().to_string(),
        }
    });
    each.collect()
}
