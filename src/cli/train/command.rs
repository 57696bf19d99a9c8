//! The flags of a training command.

use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use toml::Table;

use crate::cli::flags;
use crate::programs::suite::Suite;
use crate::programs::{self, Program};
use crate::ranks::Ranks;
use crate::train::keys::ALL;
use crate::train::settings::{Preset, Settings};
use crate::train::span::Span;

/// The heading of the flags that are no settings.
const GROUP: &str = "Run";
/// Where runs go unless `--out` says so.
pub(super) const OUT: &str = "runs";
/// The flag that names a set of values, where a program has such.
const PRESET: &str = "preset";
/// The flag that names a suite, where a program has one.
const SUITE: &str = "suite";
/// The flag that chooses rows of it.
const ROWS: &str = "rows";
/// The flag for results as JSON, where a program compares runs.
const JSON: &str = "json";

/// How a run starts, and what is said of it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = GROUP)]
pub struct RunArgs {
    /// The run's folder
    #[arg(long, value_name = "RUN")]
    pub out: Option<PathBuf>,
    /// Continue the run in --out exactly where its last checkpoint stands
    #[arg(long, conflicts_with_all = ["force", "init_from"])]
    pub resume: bool,
    /// Let a run that goes on have another learning-rate, schedule, warmup-steps or min-lr from here
    /// on, and where these depend on it another end; metrics.jsonl records it
    #[arg(long, requires = "resume")]
    pub change: bool,
    /// Replace the run that --out already holds
    #[arg(long)]
    pub force: bool,
    /// Start from the weights of this safetensors file, checkpoint or run and from its vocabulary,
    /// with a fresh optimizer
    #[arg(long, value_name = "FILE")]
    pub init_from: Option<PathBuf>,
    /// The vocabulary of those weights [default: the vocab.json beside them or in their run]
    #[arg(long, value_name = "VOCAB.json", requires = "init_from")]
    pub vocab: Option<PathBuf>,
    /// Give tokens of the data that this vocabulary lacks initial values
    #[arg(long, requires = "init_from")]
    pub extend_vocab: bool,
    /// Read settings from this TOML file; flags win over it
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Longest wait for another of the processes that train together, as 90s, 10m or 1h
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub rank_timeout: Span,
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
}

/// A training command: a program, and what it was asked for.
#[derive(Clone)]
pub struct Train {
    pub(super) program: &'static dyn Program,
    pub(super) run: RunArgs,
    /// The word of `--preset`.
    pub(super) preset_name: Option<&'static str>,
    /// Its values.
    pub(super) preset: Table,
    /// The settings that were given as flags.
    pub(super) flags: Table,
    pub(super) json: bool,
    /// The suite whose rows are trained.
    pub(super) suite: Option<&'static Suite>,
    /// The rows that are chosen; none for all.
    pub(super) rows: Vec<String>,
    /// The processes that train together.
    pub(super) ranks: Arc<Ranks>,
    /// CPUs that are this one's, where what started it says so.
    pub(super) cpus: Option<usize>,
}

impl Subcommand for Train {
    fn augment_subcommands(command: Command) -> Command {
        command.subcommands(programs::ALL.map(|program| {
            let settings = program.settings();
            let command = flags(Command::new(settings.command()), settings);
            suites(command, program.suites()).about(program.about())
        }))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        find(name).is_some()
    }
}

impl FromArgMatches for Train {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (name, matches) = matches.subcommand().unwrap_or(("", matches));
        let program = find(name);
        let program = program.ok_or_else(|| clap::Error::new(ErrorKind::InvalidSubcommand))?;
        let settings = program.settings();
        let chosen = |preset: &&Preset| {
            let name = matches.get_one::<String>(PRESET);
            name.is_some_and(|name| name == preset.name)
        };
        let preset = settings.presets.iter().find(chosen);
        let chosen = |suite: &&Suite| {
            let name = matches.get_one::<String>(SUITE);
            name.is_some_and(|name| name == suite.name)
        };
        let suite = program.suites().iter().find(chosen);
        let rows = suite.and_then(|_| matches.get_many::<String>(ROWS));
        let values = preset.map_or(Ok(Table::new()), |preset| (preset.values)());
        Ok(Train {
            program,
            run: RunArgs::from_arg_matches(matches)?,
            preset_name: preset.map(|preset| preset.name),
            preset: values.map_err(|e| clap::Error::raw(ErrorKind::InvalidValue, e))?,
            flags: flags::given(settings, |_| true, matches),
            json: settings.each().is_some() && matches.get_flag(JSON),
            suite,
            rows: rows.map_or(Vec::new(), |rows| rows.cloned().collect()),
            ranks: Ranks::alone(),
            cpus: None,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn find(command: &str) -> Option<&'static dyn Program> {
    let named = |program: &&dyn Program| program.settings().command() == command;
    programs::ALL.into_iter().find(named)
}

/// The preset whose values are the defaults.
fn default_preset(settings: &Settings) -> Option<&'static str> {
    let defaults = (settings.fill)(Table::new()).ok()?;
    let is_default = |preset: &&Preset| {
        let filled = (preset.values)().and_then(settings.fill);
        filled.is_ok_and(|filled| filled == defaults)
    };
    let mut presets = settings.presets.iter();
    presets.find(is_default).map(|preset| preset.name)
}

/// Adds the flags of a training command over these settings.
pub fn flags(command: Command, settings: &Settings) -> Command {
    let mut before = flags::of(settings, |_| true);
    let run = |flag: &Arg| flag.get_help_heading() == Some(GROUP);
    let after = before.split_off(before.iter().position(run).unwrap_or(before.len()));
    let mut command = command.args(before);
    if !settings.presets.is_empty() {
        let help = "Start from a named set of values; the file and flags win over it";
        let help = match default_preset(settings) {
            Some(name) => format!("{help} [default: {name}]"),
            None => help.to_owned(),
        };
        let names = settings.presets.iter().map(|preset| preset.name);
        let preset = Arg::new(PRESET).long(PRESET).help(help).value_name("NAME");
        let preset = preset.value_parser(PossibleValuesParser::new(names));
        command = command.arg(preset.help_heading(GROUP));
    }
    if settings.each().is_some() {
        let json = Arg::new(JSON).long(JSON).action(ArgAction::SetTrue);
        let json = json.help("Print the results as JSON").help_heading(GROUP);
        command = command.arg(json);
    }
    let out = match settings.each() {
        None => format!("The run's folder [default: {OUT}/{}]", settings.kind),
        Some((key, _)) => format!(
            "The run's folder, with --{name} {ALL} the folder of their folders [default: \
             {OUT}/{kind}/{value}, {OUT}/{kind}]",
            name = key.name,
            kind = settings.kind,
            value = key.name.to_uppercase()
        ),
    };
    let command = RunArgs::augment_args(command).mut_arg("out", |arg| arg.help(out));
    command.args(after)
}

/// Adds the flags of suites, where there are such.
fn suites(command: Command, suites: &'static [Suite]) -> Command {
    if suites.is_empty() {
        return command;
    }
    let about = suites
        .iter()
        .map(|suite| format!("{} is {}", suite.name, suite.about));
    let about = about.collect::<Vec<_>>().join("; ");
    let names = suites.iter().map(|suite| suite.name);
    let suite = Arg::new(SUITE)
        .long(SUITE)
        .value_name("NAME")
        .help_heading(GROUP);
    let suite = suite
        .value_parser(PossibleValuesParser::new(names))
        .conflicts_with_all([PRESET, "init_from", "change"])
        .help(format!(
            "Train a run for each row of a suite, in folders below --out, and compare them in a table: \
             {about}"
        ));
    let rows = Arg::new(ROWS)
        .long(ROWS)
        .value_name("A,B")
        .help_heading(GROUP);
    let rows = rows
        .value_delimiter(',')
        .requires(SUITE)
        .help("These rows of the suite alone, each with the settings of those that it builds on");
    command.args([suite, rows])
}
