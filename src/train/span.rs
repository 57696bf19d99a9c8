//! Lengths of time, as settings have them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Units and their seconds, the largest first.
const UNITS: [(char, u64); 3] = [('h', 3600), ('m', 60), ('s', 1)];
/// Ten years, in seconds.
const LONGEST: u64 = 10 * 366 * 24 * 3600;

/// A length of time in whole seconds, as `90s`, `30m` or `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(u64);

impl Span {
    /// The same for a clock.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let wrong = "a time from 1s to ten years, as 90s, 30m or 2h";
        let unit = word.chars().next_back().ok_or(wrong)?;
        let (_, seconds) = UNITS.into_iter().find(|(u, _)| *u == unit).ok_or(wrong)?;
        let digits = &word[..word.len() - 1];
        // A sign is no digit.
        let number = Some(digits).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
        let number = number.and_then(|d| d.parse::<u64>().ok()).ok_or(wrong)?;
        let span = number.checked_mul(seconds).ok_or(wrong)?;
        match (1..=LONGEST).contains(&span) {
            true => Ok(Span(span)),
            false => Err(wrong),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, seconds): &(char, u64)| self.0.is_multiple_of(*seconds);
        let (unit, seconds) = UNITS.into_iter().find(whole).unwrap_or(('s', 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

impl TryFrom<String> for Span {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        word.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_its_unit() {
        for (word, seconds, shown) in [
            ("1s", 1, "1s"),
            ("90s", 90, "90s"),
            ("120s", 120, "2m"),
            ("30m", 1800, "30m"),
            ("2h", 7200, "2h"),
            ("60m", 3600, "1h"),
        ] {
            let span: Span = word.parse().unwrap();
            assert_eq!(span.duration(), Duration::from_secs(seconds), "{word}");
            assert_eq!(span.to_string(), shown);
            assert_eq!(shown.parse(), Ok(span));
        }
        for word in [
            "",
            "s",
            "0s",
            "5",
            "-1s",
            "+1s",
            "1.5h",
            "5d",
            "1 m",
            "3µ",
            "99999999999999999999h",
            "9999999999999999h",
            "100000h",
        ] {
            assert!(word.parse::<Span>().is_err(), "{word}");
        }
    }
}
