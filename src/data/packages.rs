//! Lists of pinned packages (pip requirements with hashes), and the wheels that answer them.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::files::access;
use crate::{Error, Result};

/// The list that is in the program.
pub const EMBEDDED: &str = include_str!("../../data/packages.txt");
/// Where the embedded list is from, for people.
pub const EMBEDDED_NAME: &str = "data/packages.txt";

/// How a package is written.
const FORM: &str =
    "NAME==VERSION --hash=sha256:HEX, a package a line (`\\` at the end continues it)";

/// A package of which one version is wanted, as one of certain files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    name: String,
    version: String,
    /// SHA-256 of the files that are good, in lower-case hexadecimal; at least one.
    hashes: Vec<String>,
}

/// As pip reads it: `name==version --hash=sha256:...`.
impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=={}", self.name, self.version)?;
        let mut hashes = self.hashes.iter();
        hashes.try_for_each(|hash| write!(f, " --hash=sha256:{hash}"))
    }
}

// ---- lists -----------------------------------------------------------------------------------

/// Reads a list from a file.
///
/// # Errors
/// [`Error::Data`] where the file is missing, cannot be read or is no text; as [`parse`].
pub fn read(path: &Path) -> Result<Vec<Package>> {
    let file = path.display();
    let mut text = String::new();
    let read = access::open(path).and_then(|mut file| file.read_to_string(&mut text));
    read.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::Data(format!(
            "{file}: no such file; check the path, or leave it out for the embedded list"
        )),
        io::ErrorKind::InvalidData => {
            Error::Data(format!("{file}: not UTF-8; give a text file: {FORM}"))
        }
        _ => access::unreadable(path, &e),
    })?;
    parse(&text, &file.to_string())
}

/// The packages of a list, in its order; `file` is its name, for messages.
///
/// Of pip's requirements files it takes what pins a package and its files: every package has an
/// exact version and a SHA-256. Options, extras and conditions are refused.
///
/// # Errors
/// [`Error::Data`] with file and line where a package is not pinned so, or where there is none.
pub fn parse(text: &str, file: &str) -> Result<Vec<Package>> {
    let (mut packages, mut words, mut first) = (Vec::new(), Vec::new(), 1);
    // The empty line ends a last line that goes on.
    for (number, line) in text.lines().chain([""]).enumerate() {
        let code = match line.trim_start().starts_with('#') {
            true => "",
            false => line.split(" #").next().unwrap_or(line).trim_end(),
        };
        let (code, goes_on) = match code.strip_suffix('\\') {
            Some(code) => (code, true),
            None => (code, false),
        };
        if words.is_empty() {
            first = number + 1;
        }
        words.extend(code.split_whitespace());
        if !goes_on && !words.is_empty() {
            let package = package(&words);
            packages
                .push(package.map_err(|what| {
                    Error::Data(format!("{file}:{first}: {what}; write {FORM}"))
                })?);
            words.clear();
        }
    }
    if packages.is_empty() {
        return Err(Error::Data(format!(
            "{file}: there are no packages in it; write {FORM}"
        )));
    }
    Ok(packages)
}

fn package(words: &[&str]) -> Result<Package, String> {
    let (pin, rest) = (words[0], &words[1..]);
    let plain = |text: &str, more: &[char]| {
        let good = |c: char| c.is_ascii_alphanumeric() || more.contains(&c);
        !text.is_empty() && !text.starts_with('-') && text.chars().all(good)
    };
    let Some((name, version)) = pin.split_once("==").filter(|(name, version)| {
        plain(name, &['-', '_', '.']) && plain(version, &['.', '+', '!', '-', '_'])
    }) else {
        return Err(format!("`{pin}` is no package with an exact version"));
    };
    let mut hashes = Vec::new();
    for word in rest {
        let hash = word.strip_prefix("--hash=sha256:");
        let is_sha256 = |h: &&str| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit());
        match hash.filter(is_sha256) {
            Some(hash) => hashes.push(hash.to_ascii_lowercase()),
            None => return Err(format!("{pin}: `{word}` is no SHA-256 of a wheel")),
        }
    }
    match hashes.is_empty() {
        true => Err(format!("{pin} has no hash, so that any file would do")),
        false => Ok(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            hashes,
        }),
    }
}

// ---- wheels ----------------------------------------------------------------------------------

impl Package {
    /// The wheels of this package in a folder, of any version, sorted by name. A folder that is not
    /// there has none.
    ///
    /// # Errors
    /// [`Error::Io`] that names the folder.
    pub fn wheels(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::io("read", folder))?,
        };
        let mut wheels = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::io("read", folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let stem = name.and_then(|name| name.strip_suffix(".whl"));
            let owner = stem.and_then(|stem| stem.split('-').next());
            // Links that lead nowhere, pipes and devices are no wheels.
            if owner.is_some_and(|owner| same_name(owner, &self.name)) && path.is_file() {
                wheels.push(path);
            }
        }
        wheels.sort();
        Ok(wheels)
    }

    /// Whether the file is one of those wanted, by its SHA-256.
    ///
    /// # Errors
    /// [`Error::Io`] that names the file.
    pub fn is_wanted(&self, wheel: &Path) -> Result<bool> {
        Ok(self.hashes.contains(&sha256(wheel)?))
    }

    /// Makes sure that the file is one of those wanted.
    ///
    /// # Errors
    /// [`Error::Data`] with the file's name and both hashes where it is another one;
    /// [`Error::Io`].
    pub fn check(&self, wheel: &Path) -> Result<()> {
        let found = sha256(wheel)?;
        if self.hashes.contains(&found) {
            return Ok(());
        }
        let name = wheel.file_name().unwrap_or_default().display();
        Err(Error::Data(format!(
            "{name}: its SHA-256 is {found}, but {}=={} is pinned to {}; nothing of the download is \
             used: run it again, and if it stays so, whoever serves the file has changed it",
            self.name,
            self.version,
            self.hashes.join(" or ")
        )))
    }
}

/// Whether two names mean the same package: case and the kind of separator do not matter (PEP 503).
fn same_name(a: &str, b: &str) -> bool {
    let parts = |name: &str| -> Vec<String> {
        let parts = name.split(['-', '_', '.']);
        let parts = parts.filter(|part| !part.is_empty());
        parts.map(str::to_ascii_lowercase).collect()
    };
    parts(a) == parts(b)
}

fn sha256(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let read = access::open(path).and_then(|mut file| io::copy(&mut file, &mut hash));
    read.map_err(Error::io("read", path))?;
    Ok(format!("{:x}", hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_list_is_pinned() {
        let packages = parse(EMBEDDED, EMBEDDED_NAME).unwrap();
        assert_eq!(packages.len(), 19);
        let licences = EMBEDDED.lines().filter(|line| {
            let id = line.strip_prefix("# ");
            id.is_some_and(|id| ["Apache-2.0", "BSD-3-Clause", "MIT"].contains(&id))
        });
        assert_eq!(licences.count(), packages.len());
        // No place to download from: that is pip's configuration.
        assert!(!EMBEDDED.contains("//"));
    }

    #[test]
    fn a_list_is_read_as_pip_reads_it() {
        let [a, b] = ["A".repeat(64), "b".repeat(64)];
        let text = format!(
            "# licence\r\nOne.x==1.0+a \\\r\n    --hash=sha256:{a} \\\n  --hash=sha256:{b} # two\n\n \
             two==2!1 --hash=sha256:{b} \\"
        );
        let told: Vec<String> = parse(&text, "list")
            .unwrap()
            .iter()
            .map(Package::to_string)
            .collect();
        let a = a.to_ascii_lowercase();
        assert_eq!(
            told,
            [
                format!("One.x==1.0+a --hash=sha256:{a} --hash=sha256:{b}"),
                format!("two==2!1 --hash=sha256:{b}")
            ]
        );
    }

    #[test]
    fn names_are_compared_as_pip_does() {
        assert!(same_name("Zope.Interface", "zope_interface"));
        assert!(same_name("a--b", "a.b"));
        assert!(!same_name("ab", "a-b"));
        assert!(!same_name("cirq", "cirq_core"));
    }
}
