//! What of its settings a run may change that goes on.

use toml::{Table, Value};

use super::Settings;
use crate::files::metrics::Changes;
use crate::optim::ScheduleKind;
use crate::train::keys::{Key, Resume};
use crate::{Error, Result};

impl Settings {
    /// Checks that `now` continues the run that `saved` started: every setting that changes the
    /// computation is the same, but, with `change`, those that can change on the way.
    ///
    /// `auto` precision contradicts nothing: what it chose is the checkpoint's.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the setting, both values and the way out.
    pub fn check_resume(&self, now: &Table, saved: &Table, change: bool) -> Result<()> {
        self.check_against(saved, now, None, change)
    }

    /// The same of a run that differs from `saved` in what the preset `name` alone says.
    ///
    /// # Errors
    /// As [`Settings::check_resume`], with the preset's name.
    pub fn check_preset(&self, name: &str, now: &Table, saved: &Table, change: bool) -> Result<()> {
        self.check_against(saved, now, Some(name), change)
    }

    /// `preset` is the one whose values `now` has.
    fn check_against(
        &self,
        saved: &Table,
        now: &Table,
        preset: Option<&str>,
        change: bool,
    ) -> Result<()> {
        let (by, it) = match preset {
            Some(name) => (format!("preset {name}: "), "the preset"),
            None => (String::new(), "it"),
        };
        for key in self.keys {
            let (name, a, b) = (key.name, now.get(key.name), saved.get(key.name));
            let auto = Value::String("auto".into());
            let is_open = name == "precision" && (a == Some(&auto) || b == Some(&auto));
            if a == b || is_open {
                continue;
            }
            let other = "start a new one from its weights: --init-from FILE with another --out";
            let way_out = match self.resumes(key, [now, saved]) {
                Resume::Fixed => other.to_owned(),
                Resume::Changeable if !change => format!(
                    "say that the run is to change from here on: --change (metrics.jsonl records \
                     it), or {other}"
                ),
                _ => continue,
            };
            let value = |value: Option<&Value>| match value {
                Some(value) => format!("{name} = {value}"),
                None => format!("no {name}"),
            };
            return Err(Error::Usage(format!(
                "--resume: {by}{} contradicts the saved run, which has {}. Leave {it} out to continue that \
                 run, or {way_out}",
                value(a),
                value(b)
            )));
        }
        Ok(())
    }

    /// What of a setting a run may change that goes on, in the settings of `tables`.
    fn resumes(&self, key: &Key, tables: [&Table; 2]) -> Resume {
        let any = |is: fn(ScheduleKind) -> bool| {
            let words = tables
                .into_iter()
                .filter_map(|table| table.get("schedule")?.as_str());
            words.filter_map(ScheduleKind::of).any(is)
        };
        match key.resume {
            Resume::End if any(ScheduleKind::needs_end) => Resume::Changeable,
            Resume::Validation if any(|kind| kind == ScheduleKind::Plateau) => Resume::Changeable,
            Resume::End | Resume::Validation => Resume::Free,
            other => other,
        }
    }

    /// Whether a setting decides what a run of these settings computes.
    pub fn decides(&self, key: &Key, table: &Table) -> bool {
        self.resumes(key, [table, table]) != Resume::Free
    }

    /// The settings that can change on the way and have changed, by name: what they were, and what
    /// they are.
    ///
    /// # Errors
    /// [`Error::Usage`] for a value that JSON has no word for; no setting can have one.
    pub fn changes(&self, now: &Table, was: &Table) -> Result<Changes> {
        let json = |table: &Table, name: &str| {
            let value = serde_json::to_value(table.get(name));
            value.map_err(|e| Error::Usage(format!("{name}: {e}")))
        };
        let changed = self.keys.iter().filter(|key| {
            let changeable = self.resumes(key, [now, was]) == Resume::Changeable;
            changeable && now.get(key.name) != was.get(key.name)
        });
        let changed = changed.map(|key| {
            let values = [json(was, key.name)?, json(now, key.name)?];
            Ok((key.name.to_owned(), values))
        });
        changed.collect()
    }
}
