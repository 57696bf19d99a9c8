//! The files of a folder that patterns name.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::log;
use crate::{Error, Result};

/// What is read of a folder unless patterns say otherwise.
const PYTHON: &str = "*.py";
/// Endings of names that a message lists.
const LISTED: usize = 3;

/// Patterns of file names, as a shell has them: `*` and `?`, `[a-z]`, and `**` for any folders. One
/// with a `/` is of the path below the folder, any other of the file's name alone.
#[derive(Clone, Debug)]
pub struct Patterns {
    all: Vec<Pattern>,
    /// Whether the user can say which.
    are_free: bool,
}

impl Patterns {
    /// These patterns, or without one that of Python files.
    ///
    /// # Errors
    /// [`Error::Usage`] for one that is no pattern.
    pub fn new(globs: &[String]) -> Result<Self> {
        let python = [PYTHON.to_owned()];
        let globs = if globs.is_empty() { &python } else { globs };
        let pattern = |glob: &String| {
            let wrong = |e| Error::Usage(format!("glob {glob:?} is no pattern: {e}"));
            Pattern::new(glob).map_err(wrong)
        };
        Ok(Patterns {
            all: globs.iter().map(pattern).collect::<Result<_>>()?,
            are_free: true,
        })
    }

    /// That of Python files, where nothing else is ever meant.
    ///
    /// # Errors
    /// None: it is a pattern.
    pub fn python() -> Result<Self> {
        Ok(Patterns {
            are_free: false,
            ..Self::new(&[])?
        })
    }

    /// Whether this text is a pattern.
    pub fn is_pattern(glob: &str) -> bool {
        Pattern::new(glob).is_ok()
    }

    /// Whether a file is meant that has this path below its folder, with `/` between names.
    fn take(&self, path: &str) -> bool {
        let options = MatchOptions {
            require_literal_separator: true,
            ..MatchOptions::new()
        };
        let name = path.rsplit('/').next().unwrap_or(path);
        self.all.iter().any(|pattern| {
            let text = match pattern.as_str().contains('/') {
                true => path,
                false => name,
            };
            pattern.matches_with(text, options)
        })
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.all[..] {
            [one] if one.as_str() == PYTHON => f.write_str(".py files"),
            all => {
                let all: Vec<&str> = all.iter().map(Pattern::as_str).collect();
                write!(f, "files that are {}", all.join(" or "))
            }
        }
    }
}

/// What there is in a folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    /// The files that are meant, sorted bytewise by their path below the folder with `/` between
    /// names.
    pub files: Vec<PathBuf>,
    /// How many others there are with each ending.
    others: BTreeMap<String, usize>,
}

impl Folder {
    /// Reads the folder `root`. Hidden entries and `__pycache__` are passed over, and so are links to
    /// folders: no loops. What is no file, a link that leads nowhere or in a circle among them, is
    /// passed over with a note.
    ///
    /// # Errors
    /// The path that cannot be read, and what the system said.
    pub fn read(root: &Path, patterns: &Patterns) -> Result<Self, (PathBuf, io::Error)> {
        let (mut found, mut passed, mut others) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut folders = vec![(root.to_path_buf(), Vec::new())];
        while let Some((folder, prefix)) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(|e| (folder.clone(), e))? {
                let entry = entry.map_err(|e| (folder.clone(), e))?;
                let (path, name) = (entry.path(), entry.file_name());
                let name = name.as_encoded_bytes();
                if name.starts_with(b".") || name == b"__pycache__" {
                    continue;
                }
                let kind = entry.file_type().map_err(|e| (path.clone(), e))?;
                let mut key: Vec<u8> = prefix.clone();
                key.extend_from_slice(name);
                if kind.is_dir() {
                    key.push(b'/');
                    folders.push((path, key));
                } else if patterns.take(&String::from_utf8_lossy(&key)) {
                    match fs::metadata(&path) {
                        Ok(target) if target.is_file() => found.push((key, path)),
                        Ok(target) if target.is_dir() => {}
                        Err(e)
                            if !kind.is_symlink()
                                || e.kind() == io::ErrorKind::PermissionDenied =>
                        {
                            return Err((path, e));
                        }
                        _ => passed.push(path),
                    }
                } else if kind.is_file()
                    && let Some(ending) = path.extension()
                {
                    *others
                        .entry(ending.to_string_lossy().into_owned())
                        .or_default() += 1;
                }
            }
        }
        if let Some(first) = passed.iter().min() {
            log::line(&format!(
                "{}: passed over {} that {} no file: links that lead nowhere, pipes or devices; the \
                 first is {}",
                root.display(),
                passed.len(),
                if passed.len() == 1 { "is" } else { "are" },
                first.display()
            ));
        }
        found.sort();
        let files = found.into_iter().map(|(_, path)| path).collect();
        Ok(Folder { files, others })
    }

    /// Says that nothing in it is meant, and what else there is.
    pub fn nothing(&self, patterns: &Patterns) -> String {
        let listed = self.most().into_iter().take(LISTED);
        let listed: Vec<_> = listed.map(|(e, n)| format!("{n} .{e}")).collect();
        let others = match listed.is_empty() {
            true => String::new(),
            false => format!("; it holds {} files", listed.join(", ")),
        };
        format!(
            "no {patterns} (hidden entries, __pycache__ and links to folders are passed over){others}"
        )
    }

    /// How others are meant, to be followed by another way; empty where there are none, or none can be.
    pub fn advice(&self, patterns: &Patterns) -> String {
        let most = self.most().into_iter().next();
        most.filter(|_| patterns.are_free)
            .map_or(String::new(), |(ending, _)| {
                format!("say with glob which are meant, as glob \"*.{ending}\", ")
            })
    }

    /// The endings of others, the most frequent first.
    fn most(&self) -> Vec<(&String, &usize)> {
        let mut others: Vec<_> = self.others.iter().collect();
        others.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        others
    }
}
