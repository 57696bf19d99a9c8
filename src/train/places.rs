//! Where the data of a run is, from whichever folder a command is given, and after a move.
//!
//! Paths of a configuration are as they were typed, from the folder in which the run was started. So
//! `config.toml` says also which folder that was, and where the run's own folder was.

use super::config_file::{self, RUN_FOLDER, STARTED_IN};
use super::keys::{Allowed, Key};
use super::settings::{Config, Settings};
use crate::data::input::STDIN;
use crate::error::{Error, Result};
use crate::files::run::{RunFolder, STATE};
use crate::files::state::TrainState;
use crate::ranks::Ranks;
use std::path::{Component, Path, PathBuf, absolute};
use toml::{Table, Value};

/// The folders from which a run's paths are understood, both absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The folder in which the run was started.
    pub started_in: PathBuf,
    /// The run's folder as it was then.
    pub run_folder: PathBuf,
}

impl Origin {
    /// That of a run which is started here and now.
    ///
    /// # Errors
    /// [`Error::Io`] if the system does not say where that is.
    pub fn here(run: &Path) -> Result<Self> {
        let of = |path: &Path| absolute(path).map_err(Error::io("find", path));
        Ok(Origin {
            started_in: of(Path::new("."))?,
            run_folder: of(run)?,
        })
    }

    /// That of a run; none where an older rnnx has written it.
    ///
    /// # Errors
    /// As [`config_file::read_any`].
    pub fn read(run: &RunFolder) -> Result<Option<Self>> {
        let table = config_file::read_any(run)?;
        let path = |key| table.get(key).and_then(Value::as_str).map(PathBuf::from);
        let both = path(STARTED_IN).zip(path(RUN_FOLDER));
        Ok(both.map(|(started_in, run_folder)| Origin {
            started_in,
            run_folder,
        }))
    }

    /// The lines of `config.toml`; nothing for a name that TOML cannot hold.
    pub fn to_toml(&self) -> String {
        let value = |path: &Path| path.to_str().map(|path| Value::from(path).to_string());
        match (value(&self.started_in), value(&self.run_folder)) {
            (Some(folder), Some(run)) => format!(
                "\n# Where paths are found from: the folder in which the run was started, and its own\n\
                 {STARTED_IN} = {folder}\n{RUN_FOLDER} = {run}\n"
            ),
            _ => String::new(),
        }
    }

    /// Paths that were given now, as those of the run.
    ///
    /// # Errors
    /// As [`Origin::here`].
    pub fn adopt(&self, settings: &Settings, given: &mut Table) -> Result<()> {
        let here = Origin::here(&self.run_folder)?.started_in;
        if here != self.started_in {
            change_paths(settings, given, &|path| here.join(path));
        }
        Ok(())
    }
}

/// Opens the run that goes on in `out`. At rank 0 it belongs to the process as long as the value or a
/// clone of it lives; the others look at it when rank 0 has cleared away what a crash left.
///
/// # Errors
/// As [`RunFolder::resume`], and if a rank is lost.
pub fn open_resumed(out: &Path, ranks: &Ranks) -> Result<RunFolder> {
    let run = match ranks.is_first() {
        true => RunFolder::resume(out)?,
        false => RunFolder::open(out)?,
    };
    ranks.barrier()?;
    Ok(run)
}

/// The data of the run that goes on in `out`, as [`find`].
///
/// # Errors
/// As [`find`] and [`open_resumed`], and if the run's state cannot be read.
pub fn find_resumed<C: Config, S>(
    (out, ranks): (&Path, &Ranks),
    config: &C,
    load: impl Fn(&C) -> Result<S>,
    hash: impl Fn(&S) -> &str,
) -> Result<S> {
    let run = open_resumed(out, ranks)?;
    let state = TrainState::load(&run.last()?.join(STATE))?;
    let keys: Vec<&str> = path_keys(C::settings()).map(|key| key.name).collect();
    let help = format!("restore it, or give its new place as {}", keys.join(", "));
    find((&run, &state.data_sha256), config, &help, load, hash)
}

/// The data of a run: what is found first with the run's hash at its paths as they are written, from
/// the folder in which the run was started, or as far from the run's folder as it was then. Where
/// there is but one of these, it is taken, whatever its hash. `help` says what to do if there is none.
///
/// # Errors
/// [`Error::Data`] that lists the places; else as `load`.
pub fn find<C: Config, S>(
    (run, sha256): (&RunFolder, &str),
    config: &C,
    help: &str,
    load: impl Fn(&C) -> Result<S>,
    hash: impl Fn(&S) -> &str,
) -> Result<S> {
    let (mut tried, mut there) = (Vec::new(), Vec::new());
    for place in places(run, config)? {
        let paths = paths_of(C::settings(), &place.table()?);
        let found = paths
            .iter()
            .map(|path| path.canonicalize().map_err(|_| path));
        match found.collect::<Result<Vec<_>, _>>() {
            Ok(real) if there.iter().any(|(_, other)| *other == real) => {}
            Ok(real) => there.push((place, real)),
            Err(gone) => tried.push(format!("{}: no such file or folder", gone.display())),
        }
    }
    if let [(place, _)] = &there[..] {
        return load(place);
    }
    for (place, real) in &there {
        match load(place) {
            Ok(data) if hash(&data) == sha256 => return Ok(data),
            Ok(_) => {
                let names: Vec<_> = real.iter().map(|p| p.display().to_string()).collect();
                let names = names.join(", ");
                tried.push(format!(
                    "{names}: not what the run was trained on (by its SHA-256)"
                ));
            }
            Err(e) => tried.push(e.to_string()),
        }
    }
    tried.dedup();
    Err(Error::Data(format!(
        "{}: the run's data is not found. Tried: {}. You can {help}",
        run.config_path().display(),
        tried.join("; ")
    )))
}

/// The configuration with its paths at every place where they may be, the likeliest first.
fn places<C: Config>(run: &RunFolder, config: &C) -> Result<Vec<C>> {
    let config = &with_kept_input(run, config)?;
    let mut places = vec![config.clone()];
    if let Some(origin) = Origin::read(run)? {
        let now = Origin::here(run.path())?.run_folder;
        let from_there = |path: &Path| origin.started_in.join(path);
        let with_run = |path: &Path| {
            let way = way(&origin.run_folder, &from_there(path));
            plain(&now.join(way))
        };
        for change in [&from_there as &dyn Fn(&Path) -> PathBuf, &with_run] {
            let mut table = config.table()?;
            change_paths(C::settings(), &mut table, change);
            places.push(C::from_table(table)?);
        }
    }
    Ok(places)
}

/// The configuration with the run's own copy in place of standard input.
fn with_kept_input<C: Config>(run: &RunFolder, config: &C) -> Result<C> {
    let mut table = config.table()?;
    let copy = absolute(run.stdin_path()).map_err(Error::io("find", run.path()))?;
    for key in path_keys(C::settings()) {
        for value in each_path(table.get_mut(key.name)) {
            if let (Some(STDIN), Some(copy)) = (value.as_str(), copy.to_str()) {
                *value = copy.into();
            }
        }
    }
    C::from_table(table)
}

// ---- paths -----------------------------------------------------------------------------------

/// The settings that are paths.
fn path_keys(settings: &Settings) -> impl Iterator<Item = &'static Key> {
    let keys = settings.keys.iter();
    keys.filter(|key| matches!(key.allowed, Allowed::Path | Allowed::Paths))
}

/// Changes every path of a table of settings.
fn change_paths(settings: &Settings, table: &mut Table, change: &dyn Fn(&Path) -> PathBuf) {
    // A name that is not UTF-8 stays: TOML cannot hold it. Standard input is no path.
    for key in path_keys(settings) {
        for value in each_path(table.get_mut(key.name)) {
            let path = value.as_str().filter(|path| *path != STDIN);
            let changed = path.map(|path| change(Path::new(path)));
            if let Some(path) = changed.as_deref().and_then(Path::to_str) {
                *value = path.into();
            }
        }
    }
}

/// Each path of a setting's value.
fn each_path(value: Option<&mut Value>) -> &mut [Value] {
    match value {
        Some(Value::Array(paths)) => paths,
        Some(path) => std::slice::from_mut(path),
        None => &mut [],
    }
}

/// Every path of a table of settings.
pub(super) fn paths_of(settings: &Settings, table: &Table) -> Vec<PathBuf> {
    let values = path_keys(settings).filter_map(|key| table.get(key.name));
    let each = values.flat_map(|value| match value {
        Value::Array(paths) => paths.iter().collect(),
        path => vec![path],
    });
    each.filter_map(Value::as_str).map(PathBuf::from).collect()
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// The way from one folder to a path, both absolute.
fn way(from: &Path, to: &Path) -> PathBuf {
    let (from, to) = (plain(from), plain(to));
    let shared = from.components().zip(to.components());
    let shared = shared.take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_between_folders() {
        for (from, to, want) in [
            ("/home/me/runs/a", "/home/me/data/t.txt", "../../data/t.txt"),
            ("/home/me/runs/a", "/home/me/runs/a/t.txt", "t.txt"),
            ("/home/me/./runs/../a", "/t.txt", "../../../t.txt"),
        ] {
            assert_eq!(way(Path::new(from), Path::new(to)), Path::new(want));
        }
        let moved = Path::new("/new/runs/a").join("../../data/t.txt");
        assert_eq!(plain(&moved), Path::new("/new/data/t.txt"));
    }
}
