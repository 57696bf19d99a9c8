//! Flags that are made of settings, and parsers of numbers for flags that are not.

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches};
use toml::{Table, Value};

use crate::programs;
use crate::train::keys::{ALL, Allowed, Key};
use crate::train::settings::Settings;

// ---- flags of settings -------------------------------------------------------------------------

/// The flags of those settings that `pick` wants, each with its default in the help.
pub fn of(settings: &Settings, pick: impl Fn(&Key) -> bool) -> Vec<Arg> {
    // Only a program whose defaults TOML cannot hold would fail, before it has any command.
    let defaults = (settings.fill)(Table::new()).expect("defaults of settings");
    let picked = settings.keys.iter().filter(|k| pick(k));
    let flags = picked.flat_map(|k| flag(k, defaults.get(k.name)));
    flags.collect()
}

/// The settings that were given as flags, of those that `pick` wants.
pub fn given(settings: &Settings, pick: impl Fn(&Key) -> bool, matches: &ArgMatches) -> Table {
    let value = |key: &Key| match key.allowed {
        Allowed::Switch => {
            let (on, off) = (key.name, format!("no-{}", key.name));
            let given = matches.get_flag(on) || matches.get_flag(&off);
            given.then(|| Value::Boolean(matches.get_flag(on)))
        }
        list if list.is_list() => {
            let values = matches.get_many::<Value>(key.name)?;
            Some(Value::Array(values.cloned().collect()))
        }
        _ => matches.get_one::<Value>(key.name).cloned(),
    };
    let picked = settings.keys.iter().filter(|k| pick(k));
    let given = picked.filter_map(|key| Some((key.name.to_owned(), value(key)?)));
    given.collect()
}

/// The flag of a setting; of a switch there are two, for on and off.
fn flag(key: &'static Key, default: Option<&Value>) -> Vec<Arg> {
    match key.allowed {
        Allowed::Switch => switch(key, default).into(),
        _ => vec![valued(key, default)],
    }
}

fn switch(key: &'static Key, default: Option<&Value>) -> [Arg; 2] {
    let (on, off) = (key.name, format!("no-{}", key.name));
    let arg = |name: &str, other: &str, value: bool, help: &str| {
        let note = match default == Some(&Value::Boolean(value)) {
            true => "; this is the default",
            false => "",
        };
        let arg = Arg::new(name.to_owned()).long(name.to_owned());
        let arg = arg.action(ArgAction::SetTrue).help_heading(key.group);
        arg.overrides_with(other.to_owned())
            .help(format!("{help}{note}"))
    };
    [
        arg(&off, on, false, &format!("Turn --{on} off")),
        arg(on, &off, true, &sentence(key.about)),
    ]
}

fn valued(key: &'static Key, default: Option<&Value>) -> Arg {
    use Allowed::{Above, Below, Device, EachOf, Globs, Path, Paths, Real, Whole};
    let mut help = sentence(key.about);
    match key.allowed {
        Device => help += &format!(": {}", key.allowed),
        Paths => help += "; takes several, and may be given several times",
        Globs => help += "; may be given several times",
        _ => {}
    }
    match (key.allowed, default) {
        (EachOf(..), _) => help += &format!(" [default: {ALL}]"),
        (_, Some(Value::String(word))) => help += &format!(" [default: {word}]"),
        (_, Some(Value::Array(_)) | None) => {}
        (_, Some(Value::Float(x))) if *x != 0.0 && x.abs() < 1e-3 => {
            help += &format!(" [default: {x:e}]");
        }
        (_, Some(Value::Float(x))) => help += &format!(" [default: {x}]"),
        (_, Some(number)) => help += &format!(" [default: {number}]"),
    }
    let last = key.name.rsplit('-').next().unwrap_or(key.name);
    let (value_name, is_number) = match key.allowed {
        Whole(..) => ("N".to_owned(), true),
        Real(..) | Below(..) | Above(..) => ("X".to_owned(), true),
        Path => ("FILE".to_owned(), false),
        Paths => ("PATH".to_owned(), false),
        Globs => ("PATTERN".to_owned(), false),
        _ => (last.to_uppercase(), false),
    };
    let action = match key.allowed.is_list() {
        true => ArgAction::Append,
        false => ArgAction::Set,
    };
    let arg = Arg::new(key.name).long(key.name).help(help).action(action);
    let arg = match key.allowed {
        Paths => arg.num_args(1..),
        _ => arg,
    };
    let arg = arg.help_heading(key.group).value_name(value_name);
    // A number may be below 0; a path that looks like a flag is a slip.
    arg.value_parser(parser(key.allowed))
        .allow_hyphen_values(is_number)
}

/// The same with a capital letter.
fn sentence(about: &str) -> String {
    let mut letters = about.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Of words clap lists the possible ones and suggests the nearest.
fn parser(allowed: Allowed) -> ValueParser {
    let words = match allowed {
        Allowed::OneOf(words) => words.to_vec(),
        Allowed::EachOf(words, _) => [words, &[ALL]].concat(),
        _ => return ValueParser::from(move |word: &str| allowed.parse(word)),
    };
    PossibleValuesParser::new(words).map(Value::String).into()
}

// ---- parsers -----------------------------------------------------------------------------------

/// A parser of sizes in the range of the setting `name`, as the first program that has it gives it.
pub fn size(name: &str) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + use<> {
    let allowed = allowed(name);
    move |word| as_size(allowed, word)
}

/// A parser of numbers in the range of the setting `name`, as [`size`] takes it.
pub fn real(name: &str) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + use<> {
    real_in(allowed(name))
}

/// A parser of the words of the setting `name`, as the first program that has it gives them.
pub fn words(name: &str) -> PossibleValuesParser {
    match allowed(name) {
        Allowed::OneOf(words) => PossibleValuesParser::new(words),
        other => panic!("{name} is {other}"),
    }
}

fn allowed(name: &str) -> Allowed {
    // Each name is written beside its flag; building the command looks every one of them up.
    let key = programs::ALL.iter().find_map(|p| p.settings().find(name));
    key.unwrap_or_else(|| panic!("no setting {name}")).allowed
}

/// A parser of whole numbers from `low` to `high`, both included.
pub fn between(low: u32, high: i64) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync {
    let allowed = Allowed::Whole(low.into(), high);
    move |word| Ok(as_size(allowed, word)? as u64)
}

/// A parser of numbers in a range.
pub fn real_in(allowed: Allowed) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync {
    move |word| {
        let number = allowed.parse(word)?.as_float();
        number.ok_or_else(|| format!("give {allowed}"))
    }
}

fn as_size(allowed: Allowed, word: &str) -> Result<usize, String> {
    let number = allowed.parse(word)?.as_integer();
    let size = number.and_then(|n| n.try_into().ok());
    size.ok_or_else(|| format!("give {allowed}"))
}
