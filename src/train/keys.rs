//! What a setting is: its name, its meaning, and the values that it may have.

use std::fmt;

use toml::Value;

use super::device::DeviceChoice;
use super::span::Span;
use crate::data::folders::Patterns;

/// One setting: a row of a program's table, see [`settings!`](crate::settings).
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in files; the flag is `--` and the name.
    pub name: &'static str,
    /// The heading that it stands under.
    pub group: &'static str,
    /// What it is, with its unit; of a switch, what it turns on.
    pub about: &'static str,
    /// What it may hold.
    pub allowed: Allowed,
    /// What of it a resumed run may change.
    pub resume: Resume,
}

/// Whether a run that goes on may have another value than it began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// It may: what is computed is the same, but for the rounding of another device or way of computing.
    Free,
    /// It may where that is said in so many words, and is recorded: what follows is another
    /// computation.
    Changeable,
    /// As [`Resume::Free`], unless the learning rate follows from where training ends; then as
    /// [`Resume::Changeable`].
    End,
    /// As [`Resume::Free`], unless the learning rate follows from the validations; then as
    /// [`Resume::Changeable`].
    Validation,
    /// It may not.
    Fixed,
}

impl Key {
    /// Says that `value` cannot be used, and what can.
    pub fn refused(&self, value: &Value) -> String {
        let (name, kind) = (self.name, value.type_str());
        format!(
            "{name} = {value} (a TOML {kind}) cannot be used: {name} is {} ({})",
            self.allowed, self.about
        )
    }
}

/// What a setting may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed {
    /// A whole number from the first to the second, both included.
    Whole(i64, i64),
    /// A number from the first to the second, both included.
    Real(f64, f64),
    /// A number from the first, included, to the second, left out.
    Below(f64, f64),
    /// A number from the first, left out, to the second, included.
    Above(f64, f64),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words. The command line takes [`ALL`] too, and takes it for granted: then each
    /// of the first so many words has a run of its own, in a folder of its name.
    EachOf(&'static [&'static str], usize),
    /// The name of a device.
    Device,
    /// A length of time.
    Time,
    /// A path.
    Path,
    /// A list of paths.
    Paths,
    /// A list of patterns of file names.
    Globs,
    /// The name of a field, or the number of a column.
    Name,
}

/// The word for all of [`Allowed::EachOf`].
pub const ALL: &str = "all";

/// Ranges of settings that several programs have. They are generous, and such that no product of
/// sizes overflows 64 bits.
pub mod ranges {
    use super::Allowed::{self, Above, Below, OneOf, Real, Whole};
    use crate::device::Recurrence;
    use crate::optim::{OptimizerKind, ScheduleKind};
    use crate::train::exchange::Exchange;

    /// Passes over the data.
    pub const EPOCHS: Allowed = Whole(1, 1_000_000);
    /// Optimizer steps.
    pub const STEPS: Allowed = Whole(0, 1_000_000_000_000);
    /// Examples a step, and tokens of an example.
    pub const BATCH: Allowed = Whole(1, 65_536);
    /// Units of a layer, numbers that stand for a token.
    pub const UNITS: Allowed = Whole(1, 16_384);
    /// Share of values dropped.
    pub const DROPOUT: Allowed = Below(0.0, 1.0);
    /// The optimizer's step size.
    pub const LEARNING_RATE: Allowed = Above(0.0, 10.0);
    /// The least that a schedule makes of it.
    pub const MIN_LR: Allowed = Real(0.0, 10.0);
    /// How it goes after the warm-up.
    pub const SCHEDULE: Allowed = OneOf(&ScheduleKind::NAMES);
    /// How a gradient becomes a step.
    pub const OPTIMIZER: Allowed = OneOf(&OptimizerKind::NAMES);
    /// Largest gradient norm.
    pub const CLIP_NORM: Allowed = Real(0.0, 1e9);
    /// Seed of random streams.
    pub const SEED: Allowed = Whole(0, i64::MAX - 1);
    /// Steps from one event to the next.
    pub const INTERVAL: Allowed = Whole(1, 1_000_000_000);
    /// Number format of the arithmetic.
    pub const PRECISION: Allowed = OneOf(&["auto", "fp32", "fp16"]);
    /// How a GPU takes the steps of a recurrence.
    pub const RECURRENCE: Allowed = OneOf(&Recurrence::NAMES);
    /// How ranks on GPUs exchange gradients.
    pub const EXCHANGE: Allowed = OneOf(&Exchange::NAMES);
    /// CPU threads.
    pub const THREADS: Allowed = Whole(1, 1_024);
}

impl Allowed {
    /// Whether `value` is of the right type and in range. NaN is in no range; a whole number will
    /// do for a real one.
    pub fn accepts(&self, value: &Value) -> bool {
        let real = match value {
            Value::Float(x) => *x,
            Value::Integer(n) => *n as f64,
            _ => f64::NAN,
        };
        match (self, value) {
            (Allowed::Whole(lo, hi), Value::Integer(n)) => (lo..=hi).contains(&n),
            (Allowed::Real(lo, hi), _) => real >= *lo && real <= *hi,
            (Allowed::Below(lo, hi), _) => real >= *lo && real < *hi,
            (Allowed::Above(lo, hi), _) => real > *lo && real <= *hi,
            (Allowed::Switch, Value::Boolean(_)) => true,
            (Allowed::OneOf(words) | Allowed::EachOf(words, _), Value::String(s)) => {
                words.contains(&s.as_str())
            }
            (Allowed::Device, Value::String(s)) => s.parse::<DeviceChoice>().is_ok(),
            (Allowed::Time, Value::String(s)) => s.parse::<Span>().is_ok(),
            (Allowed::Path, Value::String(s)) => !s.is_empty(),
            (Allowed::Name, Value::String(s)) => !s.is_empty(),
            (Allowed::Paths, Value::Array(a)) => a.iter().all(|v| v.as_str().is_some()),
            (Allowed::Globs, Value::Array(a)) => {
                let is_glob = |v: &Value| v.as_str().is_some_and(Patterns::is_pattern);
                a.iter().all(is_glob)
            }
            _ => false,
        }
    }

    /// Whether it is a list, of which a flag gives one or several.
    pub fn is_list(self) -> bool {
        matches!(self, Allowed::Paths | Allowed::Globs)
    }

    /// The value that a word stands for; of a list, one of them.
    ///
    /// # Errors
    /// Says what to give instead of a word that is of another type or out of range.
    pub fn parse(&self, word: &str) -> Result<Value, String> {
        use Allowed::{Above, Below, Real, Whole};
        let text = || Value::String(word.to_owned());
        if self.is_list() {
            let listed = self.accepts(&Value::Array(vec![text()]));
            return listed.then(text).ok_or_else(|| format!("give {self}"));
        }
        let value = match self {
            Whole(..) => word.parse().ok().map(Value::Integer),
            Real(..) | Below(..) | Above(..) => word.parse().ok().map(Value::Float),
            _ => Some(text()),
        };
        let value = value.filter(|v| self.accepts(v));
        value.ok_or_else(|| format!("give {self}"))
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Whole(lo, hi) if lo == hi => write!(f, "a whole number, so far only {lo}"),
            Allowed::Whole(lo, hi) => write!(f, "a whole number from {lo} to {hi}"),
            Allowed::Real(lo, hi) => write!(f, "a number from {lo} to {hi}"),
            Allowed::Below(lo, hi) => write!(f, "a number from {lo} to less than {hi}"),
            Allowed::Above(lo, hi) => write!(f, "a number above {lo}, at most {hi}"),
            Allowed::Switch => f.write_str("true or false"),
            Allowed::OneOf(words) | Allowed::EachOf(words, _) => f.write_str(&words.join(" or ")),
            Allowed::Device => f.write_str("auto, cpu, cuda, cuda:N or emulated"),
            Allowed::Time => f.write_str("a time, as 90s, 30m or 2h"),
            Allowed::Path => f.write_str("a path"),
            Allowed::Paths => f.write_str("a list of paths, as [\"a.py\", \"folder\"]"),
            Allowed::Globs => f.write_str("a list of patterns of file names, as [\"*.txt\"]"),
            Allowed::Name => f.write_str("a name"),
        }
    }
}
