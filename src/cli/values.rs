//! Parsers of flag values, in the ranges of [`crate::train::keys`].

use crate::train::keys::{self, Allowed, KEYS, Key};
use clap::builder::PossibleValuesParser;
use std::str::FromStr;
use toml::Value;

/// A parser of whole numbers that the character LM's key `name` allows.
pub(super) fn whole(
    name: &'static str,
) -> impl Fn(&str) -> Result<i64, String> + Clone + Send + Sync {
    whole_of(KEYS, name)
}

/// A parser of whole numbers that the key `name` of a table allows.
pub(super) fn whole_of(
    keys: &'static [Key],
    name: &str,
) -> impl Fn(&str) -> Result<i64, String> + Clone + Send + Sync + use<> {
    let allowed = allowed(keys, name);
    move |text| checked(text, allowed, Value::Integer)
}

/// A parser of sizes that the character LM's key `name` allows.
pub(super) fn key_size(
    name: &'static str,
) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync {
    let allowed = allowed(KEYS, name);
    move |text| {
        let n = checked(text, allowed, Value::Integer)?;
        usize::try_from(n).map_err(|e| e.to_string())
    }
}

/// A parser of whole numbers from `low` to `high`, both included.
pub(super) fn between(
    low: u32,
    high: i64,
) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync {
    let allowed = Allowed::Whole(low.into(), high);
    move |text| {
        let n = checked(text, allowed, Value::Integer)?;
        u64::try_from(n).map_err(|e| e.to_string())
    }
}

/// A parser of numbers that the character LM's key `name` allows.
pub(super) fn real(
    name: &'static str,
) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync {
    real_of(KEYS, name)
}

/// A parser of numbers that the key `name` of a table allows.
pub(super) fn real_of(
    keys: &'static [Key],
    name: &str,
) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + use<> {
    real_in(allowed(keys, name))
}

/// A parser of numbers in a range.
pub(super) fn real_in(
    allowed: Allowed,
) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync {
    move |text| checked(text, allowed, Value::Float)
}

/// A parser of the words that the character LM's key `name` allows; clap suggests the nearest.
pub(super) fn words(name: &str) -> PossibleValuesParser {
    words_of(KEYS, name)
}

/// A parser of the words that the key `name` of a table allows.
pub(super) fn words_of(keys: &'static [Key], name: &str) -> PossibleValuesParser {
    match allowed(keys, name) {
        Allowed::OneOf(words) => PossibleValuesParser::new(words),
        _ => PossibleValuesParser::new([] as [&str; 0]),
    }
}

fn allowed(keys: &'static [Key], name: &str) -> Allowed {
    // Each name is written beside its flag; building the command looks every one of them up.
    let key = keys::find(keys, name).unwrap_or_else(|| panic!("no configuration key {name}"));
    key.allowed
}

fn checked<T: FromStr + Copy>(
    text: &str,
    allowed: Allowed,
    value: fn(T) -> Value,
) -> Result<T, String> {
    let number = text.parse().ok();
    let number = number.filter(|n| allowed.accepts(&value(*n)));
    number.ok_or_else(|| format!("give {allowed}"))
}
