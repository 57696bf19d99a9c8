//! `--suite`: a run for each row of a suite, in folders below one, and a table of all.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;
use toml::Table;

use super::{Train, is_run};
use crate::cli::process::{emit, emit_text};
use crate::cli::report;
use crate::files::atomic::{clean_leftovers, write_atomic};
use crate::files::run::RunFolder;
use crate::files::text;
use crate::log;
use crate::programs::Ended;
use crate::programs::suite::{ASKED, Row, Suite};
use crate::train::config_file;
use crate::train::job::{Begin, InitFrom, Request};
use crate::train::places::Origin;
use crate::{Error, Result};

/// The figures of all rows as JSON.
const RESULTS: &str = "suite.json";
/// The same as a table.
const TABLE: &str = "suite.csv";

/// What a suite was asked for, as its folder keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Asked {
    suite: String,
    /// The chosen rows; none for all.
    rows: Vec<String>,
    /// The folder from which its paths are understood.
    started_in: PathBuf,
    /// The settings that were given.
    settings: Table,
}

impl Asked {
    /// That of a folder, where a suite has begun.
    fn read(out: &Path) -> Result<Option<Self>> {
        let path = out.join(ASKED);
        if !path.is_file() {
            return Ok(None);
        }
        let text = text::read(&path, "is missing: restore it")?;
        let asked = toml::from_str(&text);
        let damaged = |e: toml::de::Error| {
            let message = format!("is damaged ({}): restore it", e.message());
            Error::checkpoint(&path, message)
        };
        asked.map(Some).map_err(damaged)
    }

    fn write(&self, out: &Path) -> Result<()> {
        let text = toml::to_string(self);
        let text = text.map_err(|e| Error::Usage(format!("--suite: {e}")))?;
        fs::create_dir_all(out).map_err(Error::io("create", out))?;
        write_atomic(&out.join(ASKED), |w| w.write_all(text.as_bytes()))
    }
}

impl Train {
    /// The suite that the flags name, or that has begun in the folder `out` and is to go on.
    pub(super) fn suite_of(&self, out: &Path) -> Result<Option<&'static Suite>> {
        if self.suite.is_some() || !self.run.resume {
            return Ok(self.suite);
        }
        let Some(asked) = Asked::read(out)? else {
            return Ok(None);
        };
        let mut suites = self.program.suites().iter();
        let begun = suites.find(|suite| suite.name == asked.suite);
        begun.map(Some).ok_or_else(|| {
            let message = format!("names the suite {}, which there is not", asked.suite);
            Error::checkpoint(out.join(ASKED), message)
        })
    }

    /// Trains the rows of a suite, and prints their figures.
    pub(super) fn all_rows(&self, suite: &'static Suite, out: &Path) -> Result<()> {
        if !self.ranks.is_alone() {
            return Err(Error::Usage(
                "--suite: its rows are trained one after the other by one process: start it alone, or \
                 train one row's model with several ranks"
                    .into(),
            ));
        }
        let asked = self.asked(suite, out)?;
        let rows = self.present(suite, &asked)?;
        let requests = rows.iter().map(|row| self.row(suite, row, &asked, out));
        let requests: Vec<Request<Table>> = requests.collect::<Result<_>>()?;
        let Some(first) = requests.first() else {
            return Err(Error::Usage("--rows: no row is left to train".into()));
        };
        self.set_up(&first.config)?;
        asked.write(out)?;
        clean_leftovers(out)?;
        let mut done: Vec<(&Row, Ended)> = Vec::new();
        for (row, mut request) in rows.into_iter().zip(requests) {
            request.trained = done.len();
            if !self.run.quiet {
                log::line(&format!("\n{}: {}", row.name, request.out.display()));
            }
            let resumed = request.begin == Begin::Resume;
            let resumed = resumed.then(|| request.out.clone());
            let mut train =
                self.read(&request.config, resumed.as_deref(), request.nothing_lost())?;
            let ended = train(request)?;
            report::write_page(&ended.out, self.run.quiet)?;
            self.tell(&ended);
            done.push((row, ended));
            keep(suite, &done, out)?;
        }
        let page = report::write_page(out, self.run.quiet)?;
        if !self.run.quiet {
            let table = out.join(TABLE);
            let (table, page) = (table.display(), page.display());
            log::line(&format!("\ntable: {table}; report: {page}"));
        }
        let results = suite.results(&done);
        match self.json {
            true => emit(&format!("{:#}\n", json!(results))),
            false => emit_text(&suite.table(&results)),
        }
    }

    /// What is asked for: what is given now, on top of what was when the suite began.
    fn asked(&self, suite: &Suite, out: &Path) -> Result<Asked> {
        let settings = self.program.settings();
        let mut given = match &self.run.config {
            Some(path) => config_file::read_table(settings, path)?,
            None => Table::new(),
        };
        given.extend(self.flags.clone());
        if let Some((key, _)) = settings.each()
            && given.contains_key(key.name)
        {
            return Err(Error::Usage(format!(
                "{name} with --suite {}: each of its rows has its own; leave {name} out, and choose rows \
                 with --rows",
                suite.name,
                name = key.name
            )));
        }
        let shown = out.display();
        let here = Origin::here(out)?.started_in;
        let before = Asked::read(out)?;
        if !self.run.resume {
            if is_run(out) {
                return Err(Error::Usage(format!(
                    "{shown} is a run: give another folder with --out for those of the suite"
                )));
            }
            if before.is_some() && !self.run.force {
                return Err(Error::Usage(format!(
                    "{shown} already holds a suite: continue it with --resume, replace it with --force, or \
                     give another folder with --out"
                )));
            }
            return Ok(Asked {
                suite: suite.name.to_owned(),
                rows: self.rows.clone(),
                started_in: here,
                settings: given,
            });
        }
        let mut asked = before.ok_or_else(|| {
            let message = format!("no suite has begun there: it has no {ASKED}; check the path");
            Error::checkpoint(out, message)
        })?;
        if asked.suite != suite.name {
            return Err(Error::Usage(format!(
                "--suite {}: {shown} is of the suite {}",
                suite.name, asked.suite
            )));
        }
        let origin = Origin {
            started_in: asked.started_in.clone(),
            run_folder: out.to_path_buf(),
        };
        origin.adopt(settings, &mut given)?;
        asked.settings.extend(given);
        // Those of before stay, and there may be more.
        let more = self.rows.iter().filter(|row| !asked.rows.contains(row));
        let more: Vec<String> = more.cloned().collect();
        if asked.rows.is_empty() && !more.is_empty() {
            return Err(Error::Usage(format!(
                "--rows {}: the suite in {shown} is of all rows, and goes on with each that is not done: \
                 leave --rows out, or train these in another folder (--out)",
                more.join(",")
            )));
        }
        asked.rows.extend(more);
        Ok(asked)
    }

    /// The rows that are trained. Those that lack a setting are left out, with those that start from their
    /// weights: unless they were chosen.
    fn present(&self, suite: &Suite, asked: &Asked) -> Result<Vec<&'static Row>> {
        let mut rows = suite.chosen(&asked.rows)?;
        let lacking: Vec<(&str, &str)> = rows
            .iter()
            .filter_map(|row| Some((row.name, row.needs?)))
            .filter(|(_, setting)| !asked.settings.contains_key(*setting))
            .collect();
        for (name, setting) in lacking {
            let (without, with): (Vec<&Row>, Vec<&Row>) = rows
                .into_iter()
                .partition(|row| row.name == name || row.from == Some(name));
            let names: Vec<&str> = without.iter().map(|row| row.name).collect();
            let names = names.join(", ");
            if !asked.rows.is_empty() {
                return Err(Error::Usage(format!(
                    "--rows {names}: they need --{setting}: give it, or leave them out"
                )));
            }
            if !self.run.quiet {
                log::line(&format!("note: left out without --{setting}: {names}"));
            }
            rows = with;
        }
        Ok(rows)
    }

    /// What a row is asked for. Whatever stands against it is said before the first one trains.
    fn row(&self, suite: &Suite, row: &Row, asked: &Asked, out: &Path) -> Result<Request<Table>> {
        let folder = out.join(row.name);
        let begin = match (self.begin(&folder)?, row.from) {
            (Begin::New { force, .. }, Some(from)) => Begin::New {
                force,
                init_from: Some(InitFrom {
                    path: out.join(from),
                    vocab: None,
                    extend_vocab: false,
                }),
            },
            (begin, _) => begin,
        };
        let (settings, here) = (self.program.settings(), Origin::here(&folder)?);
        let (saved, origin) = match begin {
            Begin::Resume => {
                let saved = config_file::saved(settings, &folder)?;
                (Some(saved), Origin::read(&RunFolder::at(&folder))?)
            }
            Begin::New { .. } => (None, None),
        };
        if saved.is_none() && here.started_in != asked.started_in {
            return Err(Error::Usage(format!(
                "{} has yet to begin, and its data is named from {}: go on from there",
                folder.display(),
                asked.started_in.display()
            )));
        }
        let given = suite.settings(row, &asked.settings)?;
        let config = config_file::resolve(settings, saved.as_ref(), false, [&given])?;
        Ok(self.request((config, origin.unwrap_or(here)), folder, out, begin))
    }
}

/// Writes the figures of the rows so far.
fn keep(suite: &Suite, done: &[(&Row, Ended)], out: &Path) -> Result<()> {
    let results = suite.results(done);
    write_atomic(&out.join(RESULTS), |w| writeln!(w, "{:#}", json!(results)))?;
    let path = out.join(TABLE);
    let table = suite.csv(&results);
    let table = table.map_err(|e| Error::io("write", &path)(e.into()))?;
    write_atomic(&path, |w| w.write_all(&table))
}
