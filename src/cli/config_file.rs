//! Configuration files, and how flags, files, presets and defaults come together.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use toml::{Spanned, Table, Value};

use super::args::TrainCharlmArgs;
use crate::train::config::{CharLmConfig, Preset};
use crate::train::keys::{self, KEYS, Key};
use crate::{Error, Result};

/// What `kind` says in the configuration of a character LM.
const KIND: &str = "charlm";

/// The configuration of a run: each key from its flag, else the file of `--config`, else the
/// preset, else the default. With `--resume` the saved run's values stand in the default's place.
///
/// # Errors
/// [`Error::Usage`] for a file that cannot be used, a value out of range, or a key that
/// contradicts the saved run; [`Error::Io`] for a file that cannot be read.
pub fn resolve(args: &TrainCharlmArgs, saved: Option<&CharLmConfig>) -> Result<CharLmConfig> {
    let mut config = saved.cloned().unwrap_or_default();
    if let Some(name) = &args.run.preset {
        let preset: Preset = name
            .parse()
            .map_err(|e| Error::Usage(format!("--preset {name}: {e}")))?;
        config = config.with(&preset.table())?;
    }
    if let Some(path) = &args.run.config {
        config = config.with(&read_table(path)?)?;
    }
    config = config.with(&args.table())?;
    config.validate()?;
    if let Some(saved) = saved {
        config.check_resume(saved)?;
    }
    Ok(config)
}

/// Reads a run's `config.toml`, or another file of the same keys, over the defaults.
///
/// # Errors
/// As [`read_table`].
pub fn read(path: &Path) -> Result<CharLmConfig> {
    CharLmConfig::default().with(&read_table(path)?)
}

/// Reads the keys that a configuration file sets.
///
/// # Errors
/// [`Error::Usage`] with file and line for bad TOML, an unknown key (with the nearest known one),
/// or a value that the key may not hold; without a line for a file that cannot be read.
pub fn read_table(path: &Path) -> Result<Table> {
    let unreadable = |e| {
        let shown = path.display();
        Error::Usage(format!(
            "cannot read the configuration {shown}: {e}; check the path"
        ))
    };
    let bytes = fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = line_of(e.as_bytes(), e.utf8_error().valid_up_to());
        let message = "not UTF-8 text; is this a TOML file?";
        Error::Usage(format!("{}:{line}: {message}", path.display()))
    })?;
    parse(&text, &path.display().to_string())
}

/// Reads the keys that `text` sets; `name` is the file that messages speak of.
///
/// # Errors
/// As [`read_table`].
pub fn parse(text: &str, name: &str) -> Result<Table> {
    let at = |offset: usize, message: String| {
        let line = line_of(text.as_bytes(), offset);
        Error::Usage(format!("{name}:{line}: {message}"))
    };
    let entries: BTreeMap<Spanned<String>, Spanned<Value>> = toml::from_str(text)
        .map_err(|e| at(e.span().map_or(0, |s| s.start), e.message().to_owned()))?;
    let mut table = Table::new();
    for (key, value) in entries {
        let (start, key) = (key.span().start, key.into_inner());
        let value = value.into_inner();
        match (key.as_str(), keys::find(&key)) {
            ("kind", _) if value.as_str() == Some(KIND) => {}
            ("kind", _) => {
                return Err(at(
                    start,
                    format!("kind = {value} is not a character LM's: this command takes {KIND:?}"),
                ));
            }
            ("rnnx-version", _) => {}
            (_, None) => return Err(at(start, unknown(&key))),
            (_, Some(known)) if !known.allowed.accepts(&value) => {
                return Err(at(start, refused(known, &value)));
            }
            _ => {
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

fn unknown(key: &str) -> String {
    let wanted = key.replace('_', "-").to_lowercase();
    let nearest = KEYS.iter().min_by_key(|k| distance(&wanted, k.name));
    match nearest.filter(|k| distance(&wanted, k.name) <= (wanted.len() / 3).max(2)) {
        Some(k) => format!("unknown key {key:?}: did you mean {:?}?", k.name),
        None => {
            let names = KEYS.iter().map(|k| k.name).collect::<Vec<_>>();
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
pub fn to_toml(config: &CharLmConfig) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut out = format!(
        "# Configuration of an rnnx run. `rnnx train-charlm --config FILE` reads it; flags win over \
         it.\nkind = \"{KIND}\"\nrnnx-version = \"{version}\"\n"
    );
    let table = config.table();
    let mut group = "";
    for key in KEYS {
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
