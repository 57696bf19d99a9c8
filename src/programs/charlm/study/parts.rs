//! What is measured already, so that a study that was interrupted goes on: a file for each model and
//! measure in the study's folder, named by the hash of all that decides its content.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::files::atomic::write_atomic;
use crate::files::text::sha256;
use crate::train::progress::Progress;
use crate::{Error, Result};

/// The parts' folder in the study's.
const FOLDER: &str = "study-parts";

/// The parts of the studies in a folder.
#[derive(Clone, Debug)]
pub struct Parts {
    folder: PathBuf,
}

impl Parts {
    /// Those in the folder of a study, which is made.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(out: &Path) -> Result<Self> {
        let folder = out.join(FOLDER);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        Ok(Parts { folder })
    }

    /// The name of a part that these words decide.
    pub fn key(words: &[&str]) -> String {
        sha256(json!(words).to_string().as_bytes())
    }

    /// The part of a key, where it is there and whole. One that is damaged is measured again, with a
    /// note.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn get(&self, key: &str, progress: &Progress) -> Result<Option<Value>> {
        let path = self.path(key);
        let text = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(Error::io("read", &path))?,
        };
        let part = serde_json::from_slice(&text).ok();
        let part = part.and_then(|part: Value| {
            let found = part.get("found")?.clone();
            let is_whole = part.get("sha256")? == &json!(sha256(found.to_string().as_bytes()));
            (is_whole && part.get("key")? == key).then_some(found)
        });
        if part.is_none() {
            let path = path.display();
            progress.line(&format!("note: {path} is damaged: it is measured again"));
        }
        Ok(part)
    }

    /// Keeps a part and returns it as it will be read again: with twelve digits of each number.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&self, key: &str, found: &Value) -> Result<Value> {
        let found = rounded(found);
        let sha256 = sha256(found.to_string().as_bytes());
        let part = json!({"key": key, "sha256": sha256, "found": found});
        write_atomic(&self.path(key), |w| writeln!(w, "{part}"))?;
        Ok(found)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{}.json", &key[..32]))
    }
}

/// Twelve digits of every number that is not whole, and 0 for those below 1e-11: so many, times a
/// power of ten that a double holds exactly, are read as they were written.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Number(n) if n.is_f64() => {
            let x = n.as_f64().unwrap_or(f64::NAN);
            let digits = format!("{x:.11e}").parse().unwrap_or(x);
            json!(if x.abs() < 1e-11 { 0.0 } else { digits })
        }
        Value::Array(items) => items.iter().map(rounded).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(name, field)| (name.clone(), rounded(field)))
                .collect()
        }
        other => other.clone(),
    }
}
