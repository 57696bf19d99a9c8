//! The files of rnnx: atomic writes, safetensors, run folders, training state, metrics, inspect.

mod access;
mod atomic;
mod checkpoints;
mod group;
mod inspect;
mod metrics;
mod own;
mod run;
mod state;
mod tensors;

use std::path::Path;

use rnnx::Error;
use rnnx::files::{HostTensor, TensorFile, TrainState};

/// The message of a [`Error::Checkpoint`]; it must name `path` and have the exit code 3.
fn checkpoint_message<T: std::fmt::Debug>(result: rnnx::Result<T>, path: &Path) -> String {
    let error = result.expect_err("the file is at fault");
    assert_eq!(error.exit_code(), 3, "{error:?}");
    let text = error.to_string();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
    assert!(text.contains(&path.display().to_string()), "{text}");
    text
}

/// The path and action of a [`Error::Io`].
fn io_path<T: std::fmt::Debug>(result: rnnx::Result<T>) -> std::path::PathBuf {
    match result {
        Err(Error::Io { path, .. }) => path,
        other => panic!("an Io error was due, not {other:?}"),
    }
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A file with one tensor `w` of the shape `[2]`.
fn small(values: [f32; 2]) -> TensorFile {
    let mut file = TensorFile::new();
    let tensor = HostTensor {
        shape: vec![2],
        data: values.to_vec(),
    };
    file.tensors.insert("w".into(), tensor);
    file
}

/// A training state at `step`.
fn state(step: u64) -> TrainState {
    let mut state = TrainState::new("charlm", 7, "ab".repeat(32));
    state.step = step;
    state
}
