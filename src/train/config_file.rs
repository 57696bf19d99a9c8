//! Configuration files, and how flags, files, presets and defaults come together.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use toml::{Spanned, Table, Value};

use super::keys::{self, Key};
use super::settings::Config;
use crate::files::run::RunFolder;
use crate::{Error, Result};

/// The configuration of the run in `folder`.
///
/// # Errors
/// [`Error::Checkpoint`] if there is no run, or one of another kind; else as [`read_table`].
pub fn saved<C: Config>(folder: &Path) -> Result<C> {
    let path = RunFolder::open(folder)?.config_path();
    if let Some((_, kind)) = kind_of(&read_text(&path)?)
        && kind.as_str() != Some(C::KIND)
    {
        let message = format!(
            "is a run of kind {kind}, and {} continues only its own ({:?}): give another --out, or \
             use the command that trained it",
            C::COMMAND,
            C::KIND
        );
        return Err(Error::checkpoint(folder, message));
    }
    read(&path)
}

/// Reads a run's `config.toml`, or another file of the same keys, over the defaults.
///
/// # Errors
/// As [`read_table`].
pub fn read<C: Config>(path: &Path) -> Result<C> {
    C::default().with(&read_table::<C>(path)?)
}

/// Reads the keys that a configuration file sets.
///
/// # Errors
/// [`Error::Usage`] with file and line for bad TOML, an unknown key (with the nearest known one),
/// or a value that the key may not hold; without a line for a file that cannot be read.
pub fn read_table<C: Config>(path: &Path) -> Result<Table> {
    parse::<C>(&read_text(path)?, &path.display().to_string())
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

/// Reads the keys that `text` sets; `name` is the file that messages speak of.
///
/// # Errors
/// As [`read_table`].
pub fn parse<C: Config>(text: &str, name: &str) -> Result<Table> {
    let at = |offset: usize, message: String| {
        let line = line_of(text.as_bytes(), offset);
        Error::Usage(format!("{name}:{line}: {message}"))
    };
    let entries: Entries = toml::from_str(text)
        .map_err(|e| at(e.span().map_or(0, |s| s.start), e.message().to_owned()))?;
    // The keys of another kind of file need not be known here.
    if let Some((start, kind)) = kind_of(text).filter(|(_, k)| k.as_str() != Some(C::KIND)) {
        let message = format!(
            "kind = {kind} is not {}'s: {} takes {:?}",
            C::MODEL,
            C::COMMAND,
            C::KIND
        );
        return Err(at(start, message));
    }
    let mut table = Table::new();
    for (key, value) in entries {
        let (start, key) = (key.span().start, key.into_inner());
        let value = value.into_inner();
        match keys::find(C::KEYS, &key) {
            None if key == "kind" || key == "rnnx-version" => {}
            None => return Err(at(start, unknown::<C>(&key))),
            Some(known) if !known.allowed.accepts(&value) => {
                return Err(at(start, refused(known, &value)));
            }
            Some(_) => {
                table.insert(key, value);
            }
        }
    }
    Ok(table)
}

fn refused(key: &Key, value: &Value) -> String {
    let (name, kind) = (key.name, value.type_str());
    format!(
        "{name} = {value} (a TOML {kind}) cannot be used: {name} is {} ({})",
        key.allowed, key.about
    )
}

fn unknown<C: Config>(key: &str) -> String {
    let wanted = key.replace('_', "-").to_lowercase();
    let nearest = C::KEYS.iter().min_by_key(|k| distance(&wanted, k.name));
    match nearest.filter(|k| distance(&wanted, k.name) <= (wanted.len() / 3).max(2)) {
        Some(k) => format!("unknown key {key:?}: did you mean {:?}?", k.name),
        None => {
            let names = C::KEYS.iter().map(|k| k.name).collect::<Vec<_>>();
            format!("unknown key {key:?}; the keys are {}", names.join(", "))
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

/// A configuration as a commented TOML file, as it stands in a run's folder. Reading it gives the
/// same configuration.
pub fn to_toml<C: Config>(config: &C) -> String {
    let (command, kind, version) = (C::COMMAND, C::KIND, env!("CARGO_PKG_VERSION"));
    let mut out = format!(
        "# Configuration of an rnnx run. `rnnx {command} --config FILE` reads it; flags win over \
         it.\nkind = \"{kind}\"\nrnnx-version = \"{version}\"\n"
    );
    let table = config.table();
    let mut group = "";
    for key in C::KEYS {
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
