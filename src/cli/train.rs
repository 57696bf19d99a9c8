//! `rnnx train-KIND`: one command for all programs. Flags to one run, or to a run for each of a
//! setting's words, and what is said when they have ended.

mod command;
mod each;
mod suite;

pub use command::{RunArgs, Train, flags};

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::process::{emit, emit_text, use_threads};
use super::report;
use crate::files::run::RunFolder;
use crate::interrupt;
use crate::log;
use crate::programs::{Ended, Trainer};
use crate::ranks::{Ranks, Who};
use crate::selftest::startup;
use crate::train::config_file;
use crate::train::job::{Begin, InitFrom, Request};
use crate::train::keys::{ALL, Key};
use crate::train::places::Origin;
use crate::train::progress::{clock, speed, thousands};
use crate::train::shards::OF_RANKS;
use crate::{Error, Result};
use command::OUT;

impl Train {
    /// Trains one run, or one for each of a setting's words; writes the report and prints what the
    /// program shows.
    ///
    /// # Errors
    /// As [`session::run`](crate::train::session::run), for flags that contradict each other, and for
    /// ranks that do not come.
    pub fn run(&self) -> Result<()> {
        let who = Who::of_process()?;
        if who.size > 1 {
            log::of_rank(who.rank);
        }
        let mut train = self.clone();
        // Rank 0 speaks for all.
        train.run.quiet |= who.rank > 0;
        train.ranks = Ranks::join(&who, self.run.rank_timeout.duration())?;
        train.cpus = who.cpus;
        if who.size > 1 && !train.run.quiet {
            log::line(&format!(
                "ranks: {}, started by {}, over {}",
                who.size,
                who.launcher,
                train.ranks.carrier()
            ));
        }
        let trained = train.all();
        let may_end = match &trained {
            Ok(()) => true,
            // Of the ranks that all end so rank 0 may have to save, which the end of another must not cut
            // short; where one fails by itself, its end is to end the others.
            Err(Error::Interrupted(_) | Error::Diverged(_)) => who.rank > 0,
            Err(_) => false,
        };
        if may_end {
            // Where the user has asked for the end already, the second signal is the one that ends it.
            let _waiting = interrupt::at_once(
                "this rank is through, and no longer waits for the end of rank 0, which may have to save or to \
                 test",
            );
            if let Err(e) = train.ranks.close()
                && !self.run.quiet
            {
                log::line(&format!("note: rank {}: {e}", who.rank));
            }
        }
        // The others wait until these connections end: with the process, whose last words are still to come.
        std::mem::forget(train.ranks.clone());
        trained
    }

    fn all(&self) -> Result<()> {
        let home = Path::new(OUT).join(self.program.kind());
        let out = |default: PathBuf| self.run.out.clone().unwrap_or(default);
        let folder = out(match self.suite {
            Some(suite) => home.with_file_name(format!("{}-{}", self.program.kind(), suite.name)),
            None => home.clone(),
        });
        if let Some(suite) = self.suite_of(&folder)? {
            return self.all_rows(suite, &folder);
        }
        let Some((key, words)) = self.program.settings().each() else {
            return self.one(out(home), Table::new());
        };
        match self.word(key, &out(home.clone()))? {
            Some(word) => self.one(out(home.join(&word)), just(key, &word)),
            None => self.each(&out(home), key, words),
        }
    }

    /// The one word that is trained: what the flag says, else the file, else the preset, else the run
    /// that is to go on; none for all.
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
        if let Some(word) = word(&self.preset) {
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
        let given = [&self.preset, &file, &flags, only];
        if let Some(saved) = saved {
            self.check_preset(saved, [&file, &flags, only])?;
        }
        let is_local = given.iter().any(|table| table.contains_key("local-steps"));
        let begun = match saved {
            None if !is_local => self.shards(),
            _ => Table::new(),
        };
        let layers = [&begun, &self.preset, &file, &flags, only];
        config_file::resolve(settings, saved, self.run.change, layers)
    }

    /// Fails where the run that goes on has another value of a setting than the preset, and nothing that
    /// was `said` besides names that setting.
    fn check_preset(&self, saved: &Table, said: [&Table; 3]) -> Result<()> {
        let Some(name) = self.preset_name else {
            return Ok(());
        };
        let settings = self.program.settings();
        let mut now = saved.clone();
        let alone = |(key, _): &(&String, &Value)| said.iter().all(|said| !said.contains_key(*key));
        let unsaid = self.preset.iter().filter(alone);
        now.extend(unsaid.map(|(key, value)| (key.clone(), value.clone())));
        settings.check_preset(name, &(settings.fill)(now)?, saved, self.run.change)
    }

    /// The shards of a run that several ranks begin, unless they are set.
    fn shards(&self) -> Table {
        let shards = OF_RANKS.max(self.ranks.size().next_power_of_two());
        let shards = [("virtual-shards".to_owned(), (shards as i64).into())];
        Table::from_iter(shards.into_iter().filter(|_| !self.ranks.is_alone()))
    }

    /// Checks that what is to change does, in one of the runs that go on: their configurations and
    /// folders.
    fn check_change<'a>(
        &self,
        runs: impl IntoIterator<Item = (&'a Table, &'a Path)>,
    ) -> Result<()> {
        if !self.run.change {
            return Ok(());
        }
        for (now, folder) in runs {
            if !config_file::changes(self.program.settings(), now, folder)?.is_empty() {
                return Ok(());
            }
        }
        Err(Error::Usage(
            "--change: nothing changes: the saved run already has these values. Give another one \
             (as --learning-rate), or leave --change out"
                .into(),
        ))
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
            change: self.run.change,
            quiet: self.run.quiet,
            check: startup::check,
            draw: report::draw_run,
            ranks: self.ranks.clone(),
        }
    }

    /// Sets the process up, and reads what the runs share.
    fn trainer(&self, settings: &Table, resumed: Option<&Path>) -> Result<Trainer> {
        self.set_up(settings)?;
        let nothing = "interrupted while the data was read: nothing was written, and what was there is as it was";
        self.read(settings, resumed, nothing.to_owned())
    }

    /// Sets the process up, once.
    fn set_up(&self, settings: &Table) -> Result<()> {
        let threads = settings.get("threads").and_then(toml::Value::as_integer);
        use_threads(threads.map_or_else(|| self.threads(), |n| Some(n as usize)))?;
        interrupt::install("saving and stopping (once more to stop at once, without saving)")
    }

    /// Reads what runs of these settings share; `interrupted` is what is said where the user interrupts it.
    fn read(
        &self,
        settings: &Table,
        resumed: Option<&Path>,
        interrupted: String,
    ) -> Result<Trainer> {
        let _reading = interrupt::at_once(interrupted)?;
        self.program
            .trainer(settings, resumed, &self.ranks, self.run.quiet)
    }

    /// This rank's part of the CPU threads, where its machine has several: its own CPUs, or an equal part.
    fn threads(&self) -> Option<usize> {
        let ranks = self.ranks.local_size();
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let part = self.cpus.unwrap_or(cores / ranks);
        (ranks > 1).then(|| part.clamp(1, cores))
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
        self.check_change([(&config, &*out)])?;
        // All have read the run's folder before rank 0 changes anything there.
        self.ranks.barrier()?;
        let mut train = self.trainer(&config, resumed)?;
        let ended = train(self.request((config, origin), out.clone(), &out, begin))?;
        if !self.ranks.is_first() {
            return Ok(());
        }
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
            true => emit(&format!("{:#}\n", self.program.result(&ended))),
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
}

fn is_run(folder: &Path) -> bool {
    RunFolder::open(folder).is_ok()
}

/// This setting alone.
fn just(key: &Key, word: &str) -> Table {
    Table::from_iter([(key.name.to_owned(), word.into())])
}
