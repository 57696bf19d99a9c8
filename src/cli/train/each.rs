//! A run for each of a setting's words, in folders below one, and what all of them reached.

use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::Table;

use super::{Train, is_run, just};
use crate::cli::process::{emit, emit_text};
use crate::cli::report;
use crate::files::atomic::{clean_leftovers, write_atomic};
use crate::files::run::RunFolder;
use crate::log;
use crate::train::config_file;
use crate::train::job::{Begin, Request};
use crate::train::keys::Key;
use crate::{Error, Result};

/// The figures of a run for each of a setting's words.
const COMPARISON: &str = "comparison.json";

impl Train {
    /// Trains them one after the other, and compares them.
    pub(super) fn each(&self, out: &Path, key: &Key, words: &[&str]) -> Result<()> {
        let requests = self.requests(out, key, words)?;
        let Some((_, first)) = requests.first() else {
            return Ok(());
        };
        // As for one run.
        self.ranks.barrier()?;
        if self.ranks.is_first() {
            clean_leftovers(out)?;
        }
        let mut begins = requests.iter();
        let resumed = begins.find(|(_, request)| request.begin == Begin::Resume);
        let resumed = resumed.map(|(_, request)| &*request.out);
        let mut train = self.trainer(&first.config, resumed)?;
        let mut runs = Vec::new();
        for (word, mut request) in requests {
            request.trained = runs.len();
            if !self.run.quiet {
                log::line(&format!("\n{word}: {}", request.out.display()));
            }
            let ended = train(request)?;
            if !self.ranks.is_first() {
                continue;
            }
            report::write_page(&ended.out, self.run.quiet)?;
            self.tell(&ended);
            runs.push(ended);
        }
        if !self.ranks.is_first() {
            return Ok(());
        }
        let figures = runs.iter().map(|run| self.program.result(run));
        let figures: Value = figures.collect();
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
        let requests: Vec<(&str, Request<Table>)> = folders.map(request).collect::<Result<_>>()?;
        let going_on = requests.iter().map(|(_, request)| request);
        let going_on = going_on.filter(|request| request.begin == Begin::Resume);
        self.check_change(going_on.map(|request| (&request.config, &*request.out)))?;
        Ok(requests)
    }

    /// How one of several runs begins: a resumed one that had saved nothing yet begins anew.
    pub(super) fn begin(&self, folder: &Path) -> Result<Begin> {
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
