//! A suite: runs one after the other, each with some settings on top of another's, and one table of their
//! figures.

use std::time::Duration;

use serde_json::{Map, Value, json};
use toml::Table;

use super::orders::Ended;
use crate::files::TestEvent;
use crate::log;
use crate::train::progress::clock;
use crate::{Error, Result};

/// Runs that are compared.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Its runs; one stands behind those that it builds on.
    pub rows: &'static [Row],
    /// What the table has of each.
    pub figures: &'static [Figure],
}

/// A run of a suite.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// The row whose settings it has, too.
    pub on: Option<&'static str>,
    /// The settings that it has on top of those.
    pub values: fn() -> Table,
    /// A setting that has to be given for it: without it, the row is left out.
    pub needs: Option<&'static str>,
    /// The row whose weights it starts from.
    pub from: Option<&'static str>,
}

/// A figure of a result.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its key in files.
    pub key: &'static str,
    /// What a table calls it; none of one that only the file has.
    pub name: Option<&'static str>,
    /// Its value.
    pub value: fn(&TestEvent) -> Value,
}

/// A figure with these fields.
pub const fn figure(
    key: &'static str,
    name: Option<&'static str>,
    value: fn(&TestEvent) -> Value,
) -> Figure {
    Figure { key, name, value }
}

impl Figure {
    /// The same, which a table calls so.
    pub const fn called(self, name: &'static str) -> Self {
        Figure {
            name: Some(name),
            ..self
        }
    }

    /// The same, which only the file has.
    pub const fn unseen(self) -> Self {
        Figure { name: None, ..self }
    }
}

/// The figure that is a time.
pub const SECONDS: &str = "seconds";
/// The lowest validation loss, which a run without a test has, too.
pub const BEST_VALID_LOSS: &str = "best_valid_loss";
/// The file of a suite's folder that says what it was asked for.
pub const ASKED: &str = "suite.toml";
/// What names a row.
const ROW: &str = "row";

impl Suite {
    /// The row of this name.
    ///
    /// # Errors
    /// [`Error::Usage`] that lists the rows.
    pub fn row(&self, name: &str) -> Result<&'static Row> {
        let row = self.rows.iter().find(|row| row.name == name);
        row.ok_or_else(|| {
            let names: Vec<_> = self.rows.iter().map(|row| row.name).collect();
            let names = names.join(", ");
            Error::Usage(format!(
                "--rows {name}: suite {} has no such row; its rows are {names}",
                self.name
            ))
        })
    }

    /// The settings of a row, those of the rows below it among them.
    ///
    /// # Errors
    /// As [`Suite::row`].
    pub fn values(&self, row: &Row) -> Result<Table> {
        let mut values = match row.on {
            Some(below) => self.values(self.row(below)?)?,
            None => Table::new(),
        };
        values.extend((row.values)());
        Ok(values)
    }

    /// The settings of a row where these are `given`: what the rows of the suite set or need holds in those
    /// rows alone, all else in every row.
    ///
    /// # Errors
    /// As [`Suite::values`].
    pub fn settings(&self, row: &Row, given: &Table) -> Result<Table> {
        let mut settings = self.values(row)?;
        for (name, value) in given {
            let needs = |row: &Row| row.needs == Some(name.as_str());
            let mut rows = self.rows.iter();
            let of_rows = rows.any(|row| needs(row) || (row.values)().contains_key(name));
            if !of_rows || needs(row) || settings.contains_key(name) {
                settings.insert(name.clone(), value.clone());
            }
        }
        Ok(settings)
    }

    /// The rows of these names with those whose weights they start from, or all; in the suite's order.
    ///
    /// # Errors
    /// As [`Suite::row`].
    pub fn chosen(&self, names: &[String]) -> Result<Vec<&'static Row>> {
        let mut wanted: Vec<&str> = Vec::new();
        for name in names {
            let row = self.row(name)?;
            wanted.extend([row.name].into_iter().chain(row.from));
        }
        let is_wanted = |row: &&Row| names.is_empty() || wanted.contains(&row.name);
        Ok(self.rows.iter().filter(is_wanted).collect())
    }

    // ---- the table -----------------------------------------------------------------------------

    /// The results of rows as objects, in their order. A run without a test, as one of pre-training, has its
    /// best validation loss and its time alone.
    pub fn results(&self, rows: &[(&Row, Ended)]) -> Vec<Map<String, Value>> {
        let result = |(row, ended): &(&Row, Ended)| {
            let mut result = Map::from_iter([(ROW.to_owned(), json!(row.name))]);
            for figure in self.figures {
                let value = ended.test.as_ref().map(|test| (figure.value)(test));
                let value = value.unwrap_or_else(|| match figure.key {
                    SECONDS => json!(ended.summary.elapsed.as_secs_f64()),
                    BEST_VALID_LOSS => json!(ended.summary.best),
                    _ => Value::Null,
                });
                result.insert(figure.key.to_owned(), value);
            }
            result
        };
        rows.iter().map(result).collect()
    }

    /// The results as a table for people: a line for each row.
    pub fn table(&self, results: &[Map<String, Value>]) -> String {
        let columns: Vec<(&str, &str)> = self.columns().collect();
        let head = columns.iter().map(|(_, name)| (*name).to_owned());
        let mut lines = vec![[String::new()].into_iter().chain(head).collect::<Vec<_>>()];
        for result in results {
            let name = result.get(ROW).and_then(Value::as_str).unwrap_or_default();
            let cells = columns
                .iter()
                .map(|(key, _)| for_people(key, result.get(*key)));
            lines.push([name.to_owned()].into_iter().chain(cells).collect());
        }
        let width = |column: usize| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..=columns.len()).map(width).collect();
        let line = |cells: &Vec<String>| {
            let first = format!("{:<1$}", cells[0], widths[0]);
            let others = cells.iter().zip(&widths).skip(1);
            let others = others.map(|(cell, width)| format!("  {cell:>width$}"));
            first + &others.collect::<String>() + "\n"
        };
        lines.iter().map(line).collect()
    }

    /// The same as CSV (RFC 4180), whose columns are named as in the JSON; what is not there is an empty
    /// cell.
    ///
    /// # Errors
    /// What the writer of the table says.
    pub fn csv(&self, results: &[Map<String, Value>]) -> Result<Vec<u8>, csv::Error> {
        let mut out = csv::Writer::from_writer(Vec::new());
        let keys: Vec<&str> = [ROW]
            .into_iter()
            .chain(self.columns().map(|c| c.0))
            .collect();
        out.write_record(&keys)?;
        for result in results {
            out.write_record(keys.iter().map(|key| match result.get(*key) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
            }))?;
        }
        out.into_inner().map_err(|e| e.into_error().into())
    }

    /// Key and name of each figure that tables have.
    fn columns(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.figures.iter().filter_map(|f| Some((f.key, f.name?)))
    }
}

/// A value for people: counts whole, times as a clock shows them, others with four digits behind
/// the point; a dash for one that there is not.
pub fn for_people(key: &str, value: Option<&Value>) -> String {
    let value = value.unwrap_or(&Value::Null);
    match (value.as_u64(), value.as_f64()) {
        (_, Some(s)) if key == SECONDS => {
            clock(Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX))
        }
        (Some(n), _) => log::thousands(n),
        (None, Some(x)) => format!("{x:.4}"),
        (None, None) => "-".into(),
    }
}
