//! Which way of taking the steps of a recurrence is the faster one on a GPU, as `rnnx bench recurrence
//! --keep` has measured it: a table in the user's cache folder that `--recurrence auto` reads.

use super::nvrtc::{HEADERS, SOURCES};
use crate::error::{Error, Result};
use crate::files::atomic::write_atomic;
use crate::files::cache;
use crate::files::text::sha256;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

/// A recurrence and its batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// The cell's word.
    pub cell: Cow<'static, str>,
    /// H.
    pub units: usize,
    /// B, rows of a step.
    pub rows: usize,
    /// The backward pass, too.
    pub training: bool,
}

/// Both times of one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BothWays {
    /// What was measured.
    #[serde(flatten)]
    pub size: Size,
    /// Microseconds a time step with whole sequences in one kernel.
    pub whole_us: f64,
    /// The same step by step.
    pub steps_us: f64,
}

/// What was measured on a GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured(pub Vec<BothWays>);

impl Measured {
    /// Whether whole sequences are faster, by the measured size of as many units of the cell with the nearest
    /// number of rows (their ratio counts); none where there is no such size.
    pub fn whole_is_faster(&self, size: &Size) -> Option<bool> {
        let alike = |m: &&BothWays| {
            let key = |size: &Size| (size.units, size.training);
            m.size.cell == size.cell && key(&m.size) == key(size)
        };
        let distance = |m: &BothWays| (m.size.rows as f64 / size.rows as f64).ln().abs();
        let candidates = self.0.iter().filter(alike);
        let nearest = candidates.min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        Some(nearest.whole_us < nearest.steps_us)
    }

    /// The table of a device with this description, if one is kept that was measured with these kernels.
    pub fn kept(device: &str) -> Option<Self> {
        let text = fs::read_to_string(file(device)?).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Keeps the table, and says where.
    ///
    /// # Errors
    /// [`Error::Usage`] where the user has no cache folder, [`Error::Io`] where it cannot be written.
    pub fn keep(&self, device: &str) -> Result<PathBuf> {
        let file = file(device).ok_or_else(|| {
            let message = "there is no folder to keep the table in: set XDG_CACHE_HOME or HOME";
            Error::Usage(message.into())
        })?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        }
        let text =
            serde_json::to_vec_pretty(self).map_err(|e| Error::op("table", e.to_string()))?;
        write_atomic(&file, |to| to.write_all(&text))?;
        Ok(file)
    }
}

/// Other kernels, another driver or another GPU have another file.
fn file(device: &str) -> Option<PathBuf> {
    let mut key = device.to_owned();
    for (_, text) in HEADERS.iter().chain(SOURCES) {
        key += text;
    }
    let name = format!("recurrence-{}.json", sha256(key.as_bytes()));
    Some(cache::folder()?.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_size_decides() {
        let size = |cell: &'static str, units, rows, training| Size {
            cell: cell.into(),
            units,
            rows,
            training,
        };
        let row = |units, rows, whole_us| BothWays {
            size: size("lstm", units, rows, true),
            whole_us,
            steps_us: 10.0,
        };
        let table = Measured(vec![
            row(256, 8, 2.0),
            row(256, 512, 20.0),
            row(64, 8, 11.0),
        ]);
        let faster =
            |cell, units, rows, training| table.whole_is_faster(&size(cell, units, rows, training));
        // 64 is as far from 8 as from 512: the first one counts.
        for (rows, is) in [
            (1, true),
            (60, true),
            (64, true),
            (70, false),
            (4096, false),
        ] {
            assert_eq!(faster("lstm", 256, rows, true), Some(is), "{rows}");
        }
        assert_eq!(faster("lstm", 64, 512, true), Some(false));
        assert_eq!(faster("lstm", 128, 8, true), None);
        assert_eq!(faster("lstm", 256, 8, false), None);
        assert_eq!(faster("rnn", 256, 8, true), None);
    }
}
