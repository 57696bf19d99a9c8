//! Flags that are made of settings, and parsers of numbers for flags that are not.

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches};
use toml::{Table, Value};

use crate::programs::charlm::config::CharLmConfig;
use crate::train::keys::{ALL, Allowed, Key};
use crate::train::settings::{Config, Settings};

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
        Allowed::Paths => {
            let paths = matches.get_many::<Value>(key.name)?;
            Some(Value::Array(paths.cloned().collect()))
        }
        _ => matches.get_one::<Value>(key.name).cloned(),
    };
    let picked = settings.keys.iter().filter(|k| pick(k));
    let given = picked.filter_map(|key| Some((key.name.to_owned(), value(key)?)));
    given.collect()
}

/// The flag of a setting; of a switch there are two, for on and off.
fn flag(key: &'static Key, default: Option<&Value>) -> Vec<Arg> {
    let (name, mut help) = (key.name, sentence(key.about));
    let arg = Arg::new(name).long(name).help_heading(key.group);
    if let Allowed::Switch = key.allowed {
        let off = format!("no-{name}");
        let is = |on: bool| match default == Some(&Value::Boolean(on)) {
            true => "; this is the default",
            false => "",
        };
        let on_help = format!("{help}{}", is(true));
        let off_help = format!("Turn --{name} off{}", is(false));
        let arg = arg.action(ArgAction::SetTrue);
        let no = arg.clone().id(off.clone()).long(off.clone());
        return vec![
            no.help(off_help).overrides_with(name),
            arg.help(on_help).overrides_with(off),
        ];
    }
    let default = match (key.allowed, default) {
        (Allowed::EachOf(_), _) => Some(ALL.to_owned()),
        (_, Some(Value::String(word))) => Some(word.clone()),
        (_, Some(Value::Array(_)) | None) => None,
        (_, Some(number)) => Some(number.to_string()),
    };
    match key.allowed {
        Allowed::Device => help += &format!(": {}", key.allowed),
        Allowed::Paths => help += "; may be given several times",
        _ => {}
    }
    if let Some(default) = default {
        help += &format!(" [default: {default}]");
    }
    let (action, value_name) = match key.allowed {
        Allowed::Paths => (ArgAction::Append, "PATH"),
        Allowed::Path => (ArgAction::Set, "FILE"),
        Allowed::Whole(..) => (ArgAction::Set, "N"),
        Allowed::Real(..) | Allowed::Below(..) | Allowed::Above(..) => (ArgAction::Set, "X"),
        _ => (ArgAction::Set, name.rsplit('-').next().unwrap_or(name)),
    };
    let arg = arg.action(action).value_name(value_name.to_uppercase());
    let arg = arg.value_parser(parser(key.allowed)).help(help);
    // A number may be below 0; a path that looks like a flag is a slip.
    vec![arg.allow_hyphen_values(matches!(value_name, "N" | "X"))]
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
        Allowed::EachOf(words) => [words, &[ALL]].concat(),
        _ => return ValueParser::from(move |word: &str| allowed.parse(word)),
    };
    PossibleValuesParser::new(words).map(Value::String).into()
}

// ---- parsers -----------------------------------------------------------------------------------

/// A parser of sizes in the range that the character LM's setting `name` has.
pub fn size(name: &str) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + use<> {
    let allowed = allowed(name);
    move |word| as_size(allowed, word)
}

/// A parser of the words that the character LM's setting `name` may have.
pub fn words(name: &str) -> PossibleValuesParser {
    match allowed(name) {
        Allowed::OneOf(words) => PossibleValuesParser::new(words),
        other => panic!("{name} is {other}"),
    }
}

fn allowed(name: &str) -> Allowed {
    // Each name is written beside its flag; building the command looks every one of them up.
    let key = CharLmConfig::settings().find(name);
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
