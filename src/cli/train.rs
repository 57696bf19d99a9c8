//! `rnnx train-KIND`: one command for all programs. Flags to one run, or to a run for each of a
//! setting's words, and what is said when they have ended.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use serde_json::Value;
use toml::Table;

use super::process::{emit, emit_text, use_threads};
use super::{flags, report};
use crate::files::atomic::{clean_leftovers, write_atomic};
use crate::files::run::RunFolder;
use crate::interrupt;
use crate::log;
use crate::programs::{self, Ended, Program, Trainer};
use crate::selftest::startup;
use crate::train::config_file;
use crate::train::job::{Begin, InitFrom, Request};
use crate::train::keys::{ALL, Key};
use crate::train::places::Origin;
use crate::train::progress::{clock, speed, thousands};
use crate::train::settings::{Preset, Settings};
use crate::{Error, Result};

/// The heading of the flags that are no settings.
const GROUP: &str = "Run";
/// Where runs go unless `--out` says so.
const OUT: &str = "runs";
/// The figures of a run for each of a setting's words.
const COMPARISON: &str = "comparison.json";
/// The flag that names a set of values, where a program has such.
const PRESET: &str = "preset";
/// The flag for results as JSON, where a program compares runs.
const JSON: &str = "json";

// ---- flags -------------------------------------------------------------------------------------

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
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
}

/// A training command: a program, and what it was asked for.
#[derive(Clone)]
pub struct Train {
    program: &'static dyn Program,
    run: RunArgs,
    /// The values of `--preset`.
    preset: Table,
    /// The settings that were given as flags.
    flags: Table,
    json: bool,
}

impl Subcommand for Train {
    fn augment_subcommands(command: Command) -> Command {
        command.subcommands(programs::ALL.map(|program| {
            let settings = program.settings();
            let command = flags(Command::new(settings.command()), settings);
            command.about(program.about())
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
        let values = preset.map_or(Ok(Table::new()), |preset| (preset.values)());
        Ok(Train {
            program,
            run: RunArgs::from_arg_matches(matches)?,
            preset: values.map_err(|e| clap::Error::raw(ErrorKind::InvalidValue, e))?,
            flags: flags::given(settings, |_| true, matches),
            json: settings.each().is_some() && matches.get_flag(JSON),
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

/// Adds the flags of a training command over these settings.
pub fn flags(command: Command, settings: &Settings) -> Command {
    let mut before = flags::of(settings, |_| true);
    let run = |flag: &Arg| flag.get_help_heading() == Some(GROUP);
    let after = before.split_off(before.iter().position(run).unwrap_or(before.len()));
    let mut command = command.args(before);
    if let Some(first) = settings.presets.first() {
        let help = format!(
            "Start from a named set of values; the file and flags win over it [default: {}]",
            first.name
        );
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

// ---- training ----------------------------------------------------------------------------------

impl Train {
    /// Trains one run, or one for each of a setting's words; writes the report and prints what the
    /// program shows.
    ///
    /// # Errors
    /// As [`session::run`](crate::train::session::run), and for flags that contradict each other.
    pub fn run(&self) -> Result<()> {
        let home = Path::new(OUT).join(self.program.kind());
        let out = |default: PathBuf| self.run.out.clone().unwrap_or(default);
        let Some((key, words)) = self.program.settings().each() else {
            return self.one(out(home), Table::new());
        };
        match self.word(key, &out(home.clone()))? {
            Some(word) => self.one(out(home.join(&word)), just(key, &word)),
            None => self.each(&out(home), key, words),
        }
    }

    /// The one word that is trained: what the flag says, else the file, else the run that is to go
    /// on; none for all.
    fn word(&self, key: &Key, out: &Path) -> Result<Option<String>> {
        let word = |table: &Table| Some(table.get(key.name)?.as_str()?.to_owned());
        if let Some(word) = word(&self.flags) {
            return Ok((word != ALL).then_some(word));
        }
        let settings = self.program.settings();
        if let Some(path) = &self.run.config
            && let Some(word) = word(&config_file::read_table(settings, path)?)
        {
            return Ok(Some(word));
        }
        match self.run.resume && is_run(out) {
            true => Ok(word(&config_file::saved(settings, out)?)),
            false => Ok(None),
        }
    }

    /// The settings of a run: each from its flag, else the file of `--config`, else the preset,
    /// else the run that goes on, else its default.
    fn resolve(&self, only: &Table, saved: Option<&Table>, origin: &Origin) -> Result<Table> {
        let settings = self.program.settings();
        let mut file = match &self.run.config {
            Some(path) => config_file::read_table(settings, path)?,
            None => Table::new(),
        };
        let mut flags = self.flags.clone();
        origin.adopt(settings, &mut file)?;
        origin.adopt(settings, &mut flags)?;
        config_file::resolve(settings, saved, [&self.preset, &file, &flags, only])
    }

    /// Where the relative paths of a run begin: a run that goes on, or takes over the configuration
    /// of another, `lender`, has those paths.
    fn origin(&self, out: &Path, lender: Option<&Path>) -> Result<Origin> {
        let here = Origin::here(out)?;
        let of = |run: &Path| Origin::read(&RunFolder::at(run));
        match lender.map(of).transpose()?.flatten() {
            Some(origin) if lender == Some(out) => Ok(origin),
            Some(Origin { started_in, .. }) => Ok(Origin { started_in, ..here }),
            None => Ok(here),
        }
    }

    fn request(
        &self,
        (config, origin): (Table, Origin),
        out: PathBuf,
        resume_out: &Path,
        begin: Begin,
    ) -> Request<Table> {
        Request {
            config,
            origin,
            out,
            resume_out: resume_out.to_path_buf(),
            trained: 0,
            begin,
            quiet: self.run.quiet,
            check: startup::check,
        }
    }

    /// Sets the process up, and reads what the runs share.
    fn trainer(&self, settings: &Table, resumed: Option<&Path>) -> Result<Trainer> {
        let threads = settings.get("threads").and_then(toml::Value::as_integer);
        use_threads(threads.map(|n| n as usize))?;
        interrupt::install("saving and stopping (once more to stop at once, without saving)")?;
        let _reading = interrupt::at_once(
            "interrupted while the data was read: nothing was written, and what was there is as it was",
        )?;
        self.program.trainer(settings, resumed, self.run.quiet)
    }

    fn tell(&self, ended: &Ended) {
        if self.run.quiet {
            return;
        }
        let (summary, token) = (&ended.summary, self.program.token());
        let best = summary.best.map_or(String::new(), |loss| {
            format!("; best validation loss {loss:.4} nats a {token}")
        });
        // A run that had nothing left to do has no rate.
        let rate = summary.rate.map_or(String::new(), |rate| {
            format!(", {}", speed(rate, self.program.speed()))
        });
        log::line(&format!(
            "done: {} steps in {}{rate}{best}",
            thousands(summary.step as f64),
            clock(summary.elapsed)
        ));
    }

    /// A run's figures, as a comparison has them.
    fn result(&self, ended: &Ended) -> Value {
        let test = ended.test.as_ref();
        test.map_or(Value::Null, |test| self.program.result(test))
    }

    // ---- one run -------------------------------------------------------------------------------

    fn one(&self, out: PathBuf, only: Table) -> Result<()> {
        let args = &self.run;
        let (saved, begin) = match args.resume {
            true => {
                let saved = config_file::saved(self.program.settings(), &out)?;
                (Some(saved), Begin::Resume)
            }
            false => {
                let (force, init_from) = (args.force, self.init_from());
                (None, Begin::New { force, init_from })
            }
        };
        let resumed = args.resume.then_some(&*out);
        let origin = self.origin(&out, resumed)?;
        let config = self.resolve(&only, saved.as_ref(), &origin)?;
        let mut train = self.trainer(&config, resumed)?;
        let ended = train(self.request((config, origin), out.clone(), &out, begin))?;
        // A run that ended before its first record has nothing to draw.
        let page = match report::write_page(&out, args.quiet) {
            Ok(page) => format!("; report: {}", page.display()),
            Err(Error::Data(_)) => String::new(),
            Err(e) => return Err(e),
        };
        self.tell(&ended);
        if !args.quiet {
            let next = self.program.next(&out);
            log::line(&format!("run: {}{page}\n{next}", out.display()));
        }
        match self.json {
            true => emit(&format!("{:#}\n", self.result(&ended))),
            false => emit_text(&self.program.show(&[ended], args.quiet)?),
        }
    }

    fn init_from(&self) -> Option<InitFrom> {
        Some(InitFrom {
            path: self.run.init_from.clone()?,
            vocab: self.run.vocab.clone(),
            extend_vocab: self.run.extend_vocab,
        })
    }

    // ---- a run for each word -------------------------------------------------------------------

    fn each(&self, out: &Path, key: &Key, words: &[&str]) -> Result<()> {
        let requests = self.requests(out, key, words)?;
        let Some((_, first)) = requests.first() else {
            return Ok(());
        };
        clean_leftovers(out)?;
        let mut resumed = requests.iter().filter(|(_, r)| r.begin == Begin::Resume);
        let resumed = resumed.next().map(|(_, request)| &*request.out);
        let mut train = self.trainer(&first.config, resumed)?;
        let mut runs = Vec::new();
        for (word, mut request) in requests {
            request.trained = runs.len();
            if !self.run.quiet {
                log::line(&format!("\n{word}: {}", request.out.display()));
            }
            let ended = train(request)?;
            report::write_page(&ended.out, self.run.quiet)?;
            self.tell(&ended);
            runs.push(ended);
        }
        let figures: Value = runs.iter().map(|run| self.result(run)).collect();
        let path = out.join(COMPARISON);
        write_atomic(&path, |w| writeln!(w, "{figures:#}"))?;
        let page = report::write_page(out, self.run.quiet)?;
        if !self.run.quiet {
            let (path, page) = (path.display(), page.display());
            log::line(&format!("\ncomparison: {path}; report: {page}"));
        }
        match self.json {
            true => emit(&format!("{figures:#}\n")),
            false => emit_text(&self.program.show(&runs, self.run.quiet)?),
        }
    }

    /// What each word is asked for. Whatever stands against one of them is said before the first
    /// trains.
    fn requests<'a>(
        &self,
        out: &Path,
        key: &Key,
        words: &[&'a str],
    ) -> Result<Vec<(&'a str, Request<Table>)>> {
        let name = key.name;
        if is_run(out) {
            return Err(Error::Usage(format!(
                "{} is the run of one {name}: give another folder with --out for all of them",
                out.display()
            )));
        }
        if self.run.init_from.is_some() {
            return Err(Error::Usage(format!(
                "--init-from: the weights are of one {name}: name it with --{name}"
            )));
        }
        let settings = self.program.settings();
        let folders = words.iter().map(|word| (*word, out.join(word)));
        let begun = folders
            .clone()
            .filter(|(_, f)| self.run.resume && is_run(f));
        let saved = begun.clone();
        let saved = saved.map(|(_, folder)| config_file::saved(settings, &folder));
        let saved: Vec<Table> = saved.collect::<Result<_>>()?;
        let begun: Vec<PathBuf> = begun.map(|(_, folder)| folder).collect();
        if self.run.resume && saved.is_empty() {
            let message = format!(
                "no such run: none of {} is in it; train them with --out, or check the path",
                words.join(", ")
            );
            return Err(Error::checkpoint(out, message));
        }
        let request = |(word, folder): (&'a str, PathBuf)| {
            let only = just(key, word);
            // One that had not begun takes over the configuration of those that had.
            let own = saved.iter().find(|table| table.get(name) == only.get(name));
            let base = own.or(saved.first()).map(|table| {
                let mut base = table.clone();
                base.extend(only.clone());
                base
            });
            let own = begun.iter().find(|begun| **begun == folder);
            let origin = self.origin(&folder, own.or(begun.first()).map(|f| &**f))?;
            let config = self.resolve(&only, base.as_ref(), &origin)?;
            let begin = self.begin(&folder)?;
            Ok((word, self.request((config, origin), folder, out, begin)))
        };
        folders.map(request).collect()
    }

    /// How one of several runs begins: a resumed one that had saved nothing yet begins anew.
    fn begin(&self, folder: &Path) -> Result<Begin> {
        let run = RunFolder::open(folder).ok();
        let force = match (&run, self.run.resume) {
            (Some(run), true) if run.last().is_ok() => return Ok(Begin::Resume),
            (Some(_), true) => true,
            _ => self.run.force,
        };
        RunFolder::check_new(folder, force)?;
        Ok(Begin::New {
            force,
            init_from: None,
        })
    }
}

fn is_run(folder: &Path) -> bool {
    RunFolder::open(folder).is_ok()
}

/// This setting alone.
fn just(key: &Key, word: &str) -> Table {
    Table::from_iter([(key.name.to_owned(), word.into())])
}
