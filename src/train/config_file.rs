//! Configuration files: how they are read, checked and written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use toml::{Spanned, Table, Value};

use super::keys::{Allowed, Key, Resume};
use super::settings::{Config, Settings};
use crate::files::metrics::Changes;
use crate::files::run::RunFolder;
use crate::files::state::TrainState;
use crate::{Error, Result};

/// The key of the folder in which a run was started.
pub const STARTED_IN: &str = "started-in";
/// The key of the run's folder as it was then.
pub const RUN_FOLDER: &str = "run-folder";
/// Keys that a run's configuration has besides its settings.
const NOT_SETTINGS: [&str; 4] = ["kind", VERSION, STARTED_IN, RUN_FOLDER];
/// The key of the version that wrote a file.
const VERSION: &str = "rnnx-version";

/// The settings of layers, the later ones over the earlier; below them are those of the run that goes
/// on, some of which it may `change`, or the defaults.
///
/// # Errors
/// [`Error::Usage`] for a value out of range, or one that contradicts the saved run.
pub fn resolve<const N: usize>(
    settings: &Settings,
    saved: Option<&Table>,
    change: bool,
    layers: [&Table; N],
) -> Result<Table> {
    let mut table = saved.cloned().unwrap_or_default();
    for layer in layers {
        table.extend(layer.clone());
    }
    let table = (settings.fill)(table)?;
    settings.check(&table)?;
    if let Some(saved) = saved {
        settings.check_resume(&table, saved, change)?;
    }
    Ok(table)
}

/// The settings of the run in `folder`.
///
/// # Errors
/// [`Error::Checkpoint`] if there is no run, one of another kind, or one whose configuration is
/// damaged; [`Error::Data`] with the line for one that no program can have written.
pub fn saved(settings: &Settings, folder: &Path) -> Result<Table> {
    of_run(settings, &RunFolder::open(folder)?)
}

fn of_run(settings: &Settings, run: &RunFolder) -> Result<Table> {
    let (text, path) = (run.read_config()?, run.config_path());
    if let Some((_, kind)) = kind_of(&text)
        && kind.as_str() != Some(settings.kind)
    {
        let message = format!(
            "is a run of kind {kind}, and {} continues only its own ({:?}): give another --out, or \
             use the command that trained it",
            settings.command(),
            settings.kind
        );
        return Err(Error::checkpoint(run.path(), message));
    }
    // What is wrong in a run's own file is no wrong usage.
    let table = parse(settings, &text, &path.display().to_string());
    (settings.fill)(table.map_err(|e| Error::Data(e.to_string()))?)
}

/// The configuration that a checkpoint was trained with.
///
/// # Errors
/// As [`saved`] and [`check_trained`].
pub fn trained<C: Config>(run: &RunFolder, checkpoint: &Path) -> Result<C> {
    let table = of_run(C::settings(), run)?;
    if let Some(state) = RunFolder::state_of(checkpoint)? {
        check_trained(C::settings(), &table, &state, run, true)?;
    }
    C::from_table(table)
}

/// The settings that decide what is computed, as a checkpoint keeps them.
pub fn deciding(settings: &Settings, table: &Table) -> BTreeMap<String, String> {
    let keys = settings.keys.iter();
    let keys = keys.filter(|key| settings.decides(key, table));
    keys.filter_map(|key| Some((key.name.to_owned(), table.get(key.name)?.to_string())))
        .collect()
}

/// The settings that the ranks of a run have alike: all but paths, whose content counts, and what each
/// machine has of its own.
pub fn alike(settings: &Settings, table: &Table) -> BTreeMap<String, String> {
    let is_own = |key: &Key| {
        matches!(key.allowed, Allowed::Path | Allowed::Paths)
            || ["device", "threads"].contains(&key.name)
    };
    let keys = settings.keys.iter().filter(|key| !is_own(key));
    keys.filter_map(|key| Some((key.name.to_owned(), table.get(key.name)?.to_string())))
        .collect()
}

/// The settings that a checkpoint was trained with: those that it keeps, over those of its run.
///
/// # Errors
/// As [`saved`].
pub fn behind(settings: &Settings, state: &TrainState, run: &RunFolder) -> Result<Table> {
    let mut table = of_run(settings, run)?;
    for (name, value) in &state.settings {
        let kept = format!("{name} = {value}").parse::<Table>();
        // One that this version does not know says nothing to it.
        if let (Some(_), Ok(kept)) = (settings.find(name), kept) {
            table.extend(kept);
        }
    }
    Ok(table)
}

/// What `now` changes of what the run in `folder` was trained with, and may.
///
/// # Errors
/// As [`saved`], and if there is no checkpoint or its state is damaged.
pub fn changes(settings: &Settings, now: &Table, folder: &Path) -> Result<Changes> {
    let run = RunFolder::open(folder)?;
    let was = match RunFolder::state_of(&run.last()?)? {
        Some(state) => behind(settings, &state, &run)?,
        None => of_run(settings, &run)?,
    };
    settings.changes(now, &was)
}

/// Checks that a run's settings are those that a checkpoint of it was trained with; with `change`, but
/// for those that can change on the way.
///
/// # Errors
/// [`Error::Checkpoint`] with the setting and both values.
pub fn check_trained(
    settings: &Settings,
    table: &Table,
    state: &TrainState,
    run: &RunFolder,
    change: bool,
) -> Result<()> {
    let known = |(name, _): &(&String, &String)| {
        let key = settings.find(name);
        key.is_some_and(|key| key.resume == Resume::Fixed || !change)
    };
    for (name, was) in state.settings.iter().filter(known) {
        let now = table.get(name).map_or("unset".into(), Value::to_string);
        let auto = Value::from("auto").to_string();
        if now != *was && now != auto && *was != auto {
            let fixed = settings
                .find(name)
                .is_none_or(|key| key.resume == Resume::Fixed);
            let message = format!(
                "has {name} = {now}, but its checkpoint was trained with {name} = {was}: the file was \
                 edited or is of another run; restore it, or give {name} its value again{}",
                match fixed {
                    true => "",
                    false => "; if it is to change from here on, say --change",
                }
            );
            return Err(Error::checkpoint(run.config_path(), message));
        }
    }
    Ok(())
}

/// Reads the keys that a configuration file sets.
///
/// # Errors
/// [`Error::Usage`] with file and line for bad TOML, an unknown key (with the nearest known one),
/// or a value that the key may not hold; without a line for a file that cannot be read.
pub fn read_table(settings: &Settings, path: &Path) -> Result<Table> {
    parse(settings, &read_text(path)?, &path.display().to_string())
}

/// Reads every key of a run's configuration, those that are no settings too.
///
/// # Errors
/// As [`RunFolder::read_config`]; [`Error::Data`] for bad TOML.
pub fn read_any(run: &RunFolder) -> Result<Table> {
    let parsed = toml::from_str(&run.read_config()?);
    parsed.map_err(|e| Error::Data(format!("{}: {}", run.config_path().display(), e.message())))
}

fn read_text(path: &Path) -> Result<String> {
    let unreadable = |e| {
        let shown = path.display();
        Error::Usage(format!(
            "cannot read the configuration {shown}: {e}; check the path"
        ))
    };
    let bytes = fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|e| {
        let line = line_of(e.as_bytes(), e.utf8_error().valid_up_to());
        let message = "not UTF-8 text; is this a TOML file?";
        Error::Usage(format!("{}:{line}: {message}", path.display()))
    })
}

type Entries = BTreeMap<Spanned<String>, Spanned<Value>>;

/// The `kind` of a configuration file, and where it stands.
fn kind_of(text: &str) -> Option<(usize, Value)> {
    let entries: Entries = toml::from_str(text).ok()?;
    let (key, value) = entries.into_iter().find(|(k, _)| k.get_ref() == "kind")?;
    Some((key.span().start, value.into_inner()))
}

/// Reads the keys that `text` sets; `name` is the file that messages speak of. A file that rnnx wrote
/// holds every setting that there was: what it lacks is as it was before, see [`Settings::before`].
///
/// # Errors
/// As [`read_table`].
pub fn parse(settings: &Settings, text: &str, name: &str) -> Result<Table> {
    let at = |offset: usize, message: String| {
        let line = line_of(text.as_bytes(), offset);
        Error::Usage(format!("{name}:{line}: {message}"))
    };
    let entries: Entries = toml::from_str(text)
        .map_err(|e| at(e.span().map_or(0, |s| s.start), e.message().to_owned()))?;
    // The keys of another kind of file need not be known here.
    if let Some((start, kind)) = kind_of(text).filter(|(_, k)| k.as_str() != Some(settings.kind)) {
        let message = format!(
            "kind = {kind} is not {}'s: {} takes {:?}",
            settings.model,
            settings.command(),
            settings.kind
        );
        return Err(at(start, message));
    }
    let is_of_rnnx = entries.keys().any(|key| key.get_ref() == VERSION);
    let mut table = match is_of_rnnx {
        true => (settings.before)()?,
        false => Table::new(),
    };
    for (key, value) in entries {
        let (start, key) = (key.span().start, key.into_inner());
        let value = value.into_inner();
        match settings.find(&key) {
            None if NOT_SETTINGS.contains(&&*key) => {}
            None => return Err(at(start, unknown(settings, &key))),
            Some(known) if !known.allowed.accepts(&value) => {
                return Err(at(start, known.refused(&value)));
            }
            Some(_) => {
                table.insert(key, value);
            }
        }
    }
    Ok(table)
}

fn unknown(settings: &Settings, key: &str) -> String {
    let wanted = key.replace('_', "-").to_lowercase();
    let names = settings.keys.iter().map(|k| k.name);
    let nearest = names.clone().min_by_key(|name| distance(&wanted, name));
    match nearest.filter(|name| distance(&wanted, name) <= (wanted.len() / 3).max(2)) {
        Some(name) => format!("unknown key {key:?}: did you mean {name:?}?"),
        None => {
            let names = names.collect::<Vec<_>>().join(", ");
            format!("unknown key {key:?}; the keys are {names}")
        }
    }
}

/// Letters to insert, delete or replace to turn `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn line_of(text: &[u8], offset: usize) -> usize {
    let before = &text[..offset.min(text.len())];
    1 + before.iter().filter(|b| **b == b'\n').count()
}

/// Settings as a commented TOML file, as it stands in a run's folder. Reading it gives the same.
pub fn to_toml(settings: &Settings, table: &Table) -> String {
    let (command, kind) = (settings.command(), settings.kind);
    let version = env!("CARGO_PKG_VERSION");
    let mut out = format!(
        "# Configuration of an rnnx run. `rnnx {command} --config FILE` reads it; flags win over \
         it.\nkind = \"{kind}\"\n{VERSION} = \"{version}\"\n"
    );
    let mut group = "";
    for key in settings.keys {
        if group != key.group {
            group = key.group;
            out += &format!("\n# {group}\n");
        }
        let (name, about, allowed) = (key.name, key.about, key.allowed);
        out += &format!("\n# {about}: {allowed}\n");
        match table.get(name) {
            Some(value) => out += &format!("{name} = {value}\n"),
            None => out += &format!("# {name} is not set\n"),
        }
    }
    out
}
