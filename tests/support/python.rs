//! Other frameworks, where a Python here has them: `RNNX_PYTHON` names it, else it is that of the
//! active virtual environment, or `python3`.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A Python that has these modules, or a word that there is none.
pub fn with(modules: &[&str]) -> Option<PathBuf> {
    let named = env::var_os("RNNX_PYTHON").map(PathBuf::from);
    let active = env::var_os("VIRTUAL_ENV").map(|folder| Path::new(&folder).join("bin/python"));
    let all = [named, active, Some("python3".into())];
    let mut all = all.into_iter().flatten();
    let import = format!("import {}", modules.join(", "));
    let found = all.find(|python| {
        let output = Command::new(python).args(["-c", &import]).output();
        output.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        // To the terminal itself: the test harness hides what a passing test prints.
        let line = format!(
            "\nSKIPPED: not compared with {}: no Python here has it (RNNX_PYTHON names one)\n",
            modules.join(" and ")
        );
        io::stderr().write_all(line.as_bytes()).unwrap();
    }
    found
}

/// What a script prints as JSON.
#[track_caller]
pub fn run(python: &Path, script: &str, args: &[&Path]) -> Value {
    let output = Command::new(python)
        .args(["-c", script])
        .args(args)
        .env("KERAS_BACKEND", "torch")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}
