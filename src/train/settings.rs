//! The settings of a program: one table of rows, from which come the typed configuration, the flags
//! and their help, the keys of files and their comments, and the checks.

mod resume;
mod rounds;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;

pub use super::device::{DeviceChoice, Precision};
use super::exchange::Exchange;
use super::keys::{Allowed, Key};
use super::shards::Reduce;
use crate::device::Recurrence;
use crate::optim::{AdamConfig, Schedule};
use crate::{Error, Result};

/// The settings of a program, whatever their types.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What `kind` says in its files.
    pub kind: &'static str,
    /// Whose settings they are, as `a character LM`.
    pub model: &'static str,
    /// Every row, in the order in which files and help list them.
    pub keys: &'static [Key],
    /// Named sets of values.
    pub presets: &'static [Preset],
    /// What a run had where it was written before some settings existed, if that is not their default.
    pub before: fn() -> Result<Table>,
    /// Fills a table with the defaults of what it leaves out, each value in its own type.
    pub fill: fn(Table) -> Result<Table>,
    /// Checks what no range of a single row can say.
    pub together: fn(&Table) -> Result<()>,
}

/// A named set of values, which stands below files and flags.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// The settings that it sets.
    pub values: fn() -> Result<Table>,
}

impl Settings {
    /// The command that takes them.
    pub fn command(&self) -> String {
        format!("train-{}", self.kind)
    }

    /// The row that is called `name`.
    pub fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|k| k.name == name)
    }

    /// The row whose words can each have a run of its own.
    pub fn each(&self) -> Option<(&'static Key, &'static [&'static str])> {
        self.keys.iter().find_map(|key| match key.allowed {
            Allowed::EachOf(words, first) => Some((key, &words[..first])),
            _ => None,
        })
    }

    /// Checks every value against its range, and the values together.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the setting, its value and what is allowed.
    pub fn check(&self, table: &Table) -> Result<()> {
        for key in self.keys {
            if let Some(value) = table.get(key.name).filter(|v| !key.allowed.accepts(v)) {
                return Err(Error::Usage(key.refused(value)));
            }
        }
        (self.together)(table)
    }
}

/// What the session needs of every program's configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Common {
    /// Seed of every random stream.
    pub seed: u64,
    /// Where the model runs.
    pub device: DeviceChoice,
    /// Number format of the arithmetic.
    pub precision: Precision,
    /// How a GPU takes the steps of a recurrence.
    pub recurrence: Recurrence,
    /// Write TensorBoard's event files.
    pub tensorboard: bool,
    /// Shards of a batch.
    pub virtual_shards: usize,
    /// What decides the bits on several ranks.
    pub reduce: Reduce,
    /// How ranks on GPUs exchange gradients.
    pub exchange: Exchange,
    /// Steps of a round of ranks that train by themselves.
    pub local_steps: Option<u64>,
    /// Step size of the outer optimizer.
    pub outer_learning_rate: f64,
    /// Its momentum.
    pub outer_momentum: f64,
    /// Steps after which training ends.
    pub max_steps: Option<u64>,
    /// Steps between two checkpoints.
    pub checkpoint_every: Option<u64>,
    /// Steps between two validations.
    pub eval_every: Option<u64>,
}

/// The typed configuration that [`settings!`](crate::settings) makes of a program's rows.
pub trait Config: Clone + Default + Serialize + DeserializeOwned {
    /// The rows.
    fn settings() -> &'static Settings;

    /// What every configuration has.
    fn common(&self) -> Common;

    /// The optimizer's constants.
    fn optimizer(&self) -> AdamConfig;

    /// The learning rate of each step.
    fn schedule(&self) -> Schedule;

    /// The settings that are set, with their values.
    ///
    /// # Errors
    /// [`Error::Usage`] for a number or path that TOML cannot hold.
    fn table(&self) -> Result<Table> {
        Table::try_from(self).map_err(|e| Error::Usage(format!("configuration: {e}")))
    }

    /// The configuration of a table; what is not in it has its default.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown setting or a value of another type.
    fn from_table(table: Table) -> Result<Self> {
        let config = table.try_into();
        config.map_err(|e: toml::de::Error| Error::Usage(format!("configuration: {}", e.message())))
    }

    /// Checks every value against its range, and the values together.
    ///
    /// # Errors
    /// As [`Settings::check`].
    fn validate(&self) -> Result<()> {
        Self::settings().check(&self.table()?)
    }
}

/// A field's name as files and flags have it: `_` is `-`.
pub const fn kebab<const N: usize>(field: &str) -> [u8; N] {
    let mut name = [0; N];
    let mut i = 0;
    while i < N {
        name[i] = match field.as_bytes()[i] {
            b'_' => b'-',
            letter => letter,
        };
        i += 1;
    }
    name
}

/// Declares the settings of a program, each once: a row is
/// `field: type = default, allowed, fixed | changeable | end | valid | free, "meaning";` in the braces
/// of its group. A setting that is `fixed` changes the computation, so that a resumed run must have the
/// same; the others are as in [`Resume`](crate::train::keys::Resume). What is allowed is an
/// [`Allowed`](crate::train::keys::Allowed) or one of the [`ranges`](crate::train::keys::ranges).
///
/// `optimizer` holds the defaults of the optimizer's rows, an
/// [`AdamConfig`](crate::optim::AdamConfig).
///
/// `before` holds what runs had that were written before a setting existed, where that is not its
/// default.
///
/// It makes the struct, its [`Default`], serde's traits (so the crate needs `serde` with `derive`)
/// and its [`Config`](crate::train::settings::Config). The groups `Optimiser`, `Run` and
/// `Device`, which every program has, are added to the program's own.
#[macro_export]
macro_rules! settings {
    (
        $(#[$doc:meta])*
        $config:ident {
            kind: $kind:literal,
            model: $model:literal,
            log_every: $log_every:literal,
            optimizer: $optimizer:expr,
            together: $together:expr,
            presets: $presets:tt,
            $(before: $before:tt,)?
        }
        $($groups:tt)*
    ) => {
        $crate::settings! {
            @make [$(#[$doc])*] $config $kind $model [$together] $presets [$($before)?]
            $($groups)*
            "Optimiser" {
                max_steps: Option<usize> = None, STEPS, end,
                    "optimizer steps after which training ends; 0 saves the initial weights";
                learning_rate: f64 = $optimizer.learning_rate, LEARNING_RATE, changeable,
                    "the optimizer's step size";
                schedule: $crate::optim::ScheduleKind = $crate::optim::ScheduleKind::Constant,
                    SCHEDULE, changeable,
                    "how it goes after the warm-up: stays, falls to min-lr at the last step in a line or along a cosine, or halves when a validation is no better";
                warmup_steps: usize = 0, STEPS, changeable,
                    "first steps, in which it rises to that evenly";
                min_lr: f64 = 0.0, MIN_LR, changeable, "learning rate that no step is below";
                optimizer: $crate::optim::OptimizerKind = $optimizer.kind, OPTIMIZER, fixed,
                    "how a gradient becomes a step: by Adam, or plain gradient descent without momentum";
                beta1: f64 = $optimizer.beta1, Below(0.0, 1.0), fixed,
                    "decay of Adam's first moment; sgd, which has no moments, does not read it";
                beta2: f64 = $optimizer.beta2, Below(0.0, 1.0), fixed,
                    "decay of Adam's second moment; sgd does not read it";
                epsilon: f64 = $optimizer.epsilon, Above(0.0, 1.0), fixed,
                    "added to the root of Adam's second moment; sgd does not read it";
                weight_decay: f64 = $optimizer.weight_decay, Real(0.0, 1e3), fixed,
                    "share of every parameter that a step takes away, times the learning rate; it is no part of the loss";
                accumulate: usize = 1, Whole(1, $crate::optim::adam_gpu::RATES as i64), fixed,
                    "batches of a step, whose gradients are added up: as one so many times as large, in the memory of one";
                virtual_shards: usize = 1, Whole(1, 65_536), fixed,
                    "parts of each batch whose gradients are computed by themselves and added in a fixed order, so that any number of ranks gives the same bits; a run that several ranks begin has 8 unless set";
                reduce: $crate::train::shards::Reduce = $crate::train::shards::Reduce::Exact,
                    OneOf(&$crate::train::shards::Reduce::NAMES), fixed,
                    "what decides the bits of a run on several ranks: exact is the virtual shards, fast how many ranks there are, each of which takes its rows at once";
                local_steps: Option<usize> = None, Whole(1, 100_000), fixed,
                    "steps that each rank trains by itself, on its rows of them, before all meet in a step of an outer optimizer along the mean of what they have changed (DiLoCo); the number of ranks is part of the run then";
                outer_learning_rate: f64 = $crate::train::outer::Local::LEARNING_RATE,
                    Above(0.0, 10.0), fixed,
                    "the outer optimizer's step size; 1 with outer-momentum 0 is the mean of the ranks' weights";
                outer_momentum: f64 = $crate::train::outer::Local::MOMENTUM, Below(0.0, 1.0),
                    fixed, "the outer optimizer's momentum, Nesterov's";
            }
            "Run" {
                seed: u64 = 1, SEED, fixed, "seed of every random stream";
                log_every: usize = $log_every, INTERVAL, free,
                    "steps between two step records in metrics.jsonl";
                checkpoint_every: Option<usize> = None, INTERVAL, free,
                    "steps between two checkpoints, besides the one at each epoch's end";
                keep: usize = 2, INTERVAL, free,
                    "most recent checkpoints that are kept, besides the best one";
                eval_every: Option<usize> = None, INTERVAL, valid,
                    "steps between two validations, besides the one at each epoch's end";
                average: Option<usize> = None, Whole(1, 1_000), free,
                    "checkpoints whose weights are averaged when training ends, the last so many of those at the epochs' ends and every checkpoint-every steps; the average is validated, and the best if it is better";
                patience: Option<usize> = None, INTERVAL, free,
                    "validations without a better one after which training ends";
                max_time: Option<$crate::train::span::Span> = None, Time, free,
                    "time after which training ends, counted anew when a run goes on";
                tensorboard: bool = false, Switch, free,
                    "write the curves as TensorBoard event files, too, to tensorboard/ in the run's folder";
            }
            "Device" {
                device: $crate::train::device::DeviceChoice =
                    $crate::train::device::DeviceChoice::Auto, Device, free,
                    "where the model runs";
                precision: $crate::train::device::Precision =
                    $crate::train::device::Precision::Auto, PRECISION, fixed,
                    "number format: auto is fp16 on a GPU and fp32 on the CPU";
                recurrence: $crate::device::Recurrence =
                    $crate::device::Recurrence::Auto, RECURRENCE, free,
                    "how a GPU takes the steps of an LSTM, a tanh RNN or a decoder with attention: whole sequences in one kernel, step by step, or auto, what rnnx bench recurrence --keep measured to be faster, else whole where all rows run at once (with attention in up to four rounds); whole and steps differ in rounding";
                exchange: $crate::train::exchange::Exchange =
                    $crate::train::exchange::Exchange::Auto, EXCHANGE, free,
                    "how ranks on GPUs exchange gradients: nccl from device to device, host through the memory of their machines, auto by NCCL where every rank has it";
                threads: Option<usize> = None, THREADS, free,
                    "CPU threads; one for each logical CPU unless set";
            }
        }
    };
    (
        @make [$(#[$doc:meta])*] $config:ident $kind:literal $model:literal [$together:expr]
        { $($preset:literal: { $($set:ident: $value:expr),* },)* }
        [$({ $($old:ident: $was:expr),* })?]
        $($group:literal {
            $($field:ident: $type:ty = $default:expr, $allowed:expr, $resume:ident,
                $about:literal;)*
        })*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
        pub struct $config {
            $($(#[doc = $about] pub $field: $type,)*)*
        }

        impl Default for $config {
            fn default() -> Self {
                Self { $($($field: $default,)*)* }
            }
        }

        impl $crate::train::settings::Config for $config {
            fn settings() -> &'static $crate::train::settings::Settings {
                use $crate::train::keys::{Allowed::*, Key, Resume, ranges::*};
                use $crate::train::settings::Settings;
                static SETTINGS: Settings = Settings {
                    kind: $kind,
                    model: $model,
                    keys: &[$($(Key {
                        name: $crate::settings!(@name $field),
                        group: $group,
                        about: $about,
                        allowed: $allowed,
                        resume: $crate::settings!(@resume $resume),
                    },)*)*],
                    presets: &[$($crate::train::settings::Preset {
                        name: $preset,
                        values: || {
                            let preset = $config { $($set: $value,)* ..Default::default() };
                            let mut table = preset.table()?;
                            let set = [$($crate::settings!(@name $set)),*];
                            table.retain(|name, _| set.contains(&name));
                            Ok(table)
                        },
                    },)*],
                    before: || {
                        let before = $config { $($($old: $was,)*)? ..Default::default() };
                        let mut table = before.table()?;
                        let old: &[&str] = &[$($($crate::settings!(@name $old)),*)?];
                        table.retain(|name, _| old.contains(&name));
                        Ok(table)
                    },
                    fill: |table| $config::from_table(table)?.table(),
                    together: |table| {
                        let together: fn(&$config) -> $crate::Result<()> = $together;
                        let config = $config::from_table(table.clone())?;
                        config.schedule().check()?;
                        config.common().check_rounds()?;
                        together(&config)
                    },
                };
                &SETTINGS
            }

            fn common(&self) -> $crate::train::settings::Common {
                $crate::train::settings::Common {
                    seed: self.seed,
                    device: self.device,
                    precision: self.precision,
                    recurrence: self.recurrence,
                    tensorboard: self.tensorboard,
                    virtual_shards: self.virtual_shards,
                    reduce: self.reduce,
                    exchange: self.exchange,
                    local_steps: self.local_steps.map(|n| n as u64),
                    outer_learning_rate: self.outer_learning_rate,
                    outer_momentum: self.outer_momentum,
                    max_steps: self.max_steps.map(|n| n as u64),
                    checkpoint_every: self.checkpoint_every.map(|n| n as u64),
                    eval_every: self.eval_every.map(|n| n as u64),
                }
            }

            fn optimizer(&self) -> $crate::optim::AdamConfig {
                $crate::optim::AdamConfig {
                    kind: self.optimizer,
                    learning_rate: self.learning_rate,
                    beta1: self.beta1,
                    beta2: self.beta2,
                    epsilon: self.epsilon,
                    weight_decay: self.weight_decay,
                }
            }

            fn schedule(&self) -> $crate::optim::Schedule {
                $crate::optim::Schedule {
                    kind: self.schedule,
                    base: self.learning_rate,
                    min: self.min_lr,
                    warmup: self.warmup_steps as u64,
                }
            }
        }
    };
    (@resume fixed) => { Resume::Fixed };
    (@resume changeable) => { Resume::Changeable };
    (@resume end) => { Resume::End };
    (@resume valid) => { Resume::Validation };
    (@resume free) => { Resume::Free };
    (@name $field:ident) => {{
        const NAME: [u8; stringify!($field).len()] =
            $crate::train::settings::kebab(stringify!($field));
        match ::std::str::from_utf8(&NAME) {
            Ok(name) => name,
            Err(_) => unreachable!(),
        }
    }};
}
