//! A folder in which a test runs the program, and how a run of it ended.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A folder in which the program runs.
pub struct Place {
    folder: TempDir,
}

/// How a run of the program ended.
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn empty() -> Self {
        Place {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The program with these arguments, in this folder, with nothing on its standard input.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = self.other(env!("CARGO_BIN_EXE_rnnx"));
        command.args(args);
        command
    }

    /// Another program, likewise.
    pub fn other(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("NO_COLOR", "1")
            // The same tests on a machine with a GPU.
            .env("CUDA_VISIBLE_DEVICES", "")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program with arguments that hold no blanks.
    pub fn run(&self, line: &str) -> Done {
        self.run_args(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub fn run_args(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().unwrap())
    }
}

impl Done {
    pub fn of(output: Output) -> Self {
        let done = Done {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        // Nothing that a user can cause panics, whatever else a test looks at.
        for word in ["panicked", "RUST_BACKTRACE", "memory allocation"] {
            assert!(!done.stderr.contains(word), "{}", done.stderr);
        }
        done
    }

    /// The run ended well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// The run ended with this code, and its last words hold all of these.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        let at = self.stderr.rfind("error:");
        let message = &self.stderr[at.expect("an error is labelled")..];
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
        self
    }
}
