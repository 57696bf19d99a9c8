//! Run folders and checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use rnnx::data::vocab::Vocab;
use rnnx::files::{RunFolder, TensorFile, TrainState};

use crate::{checkpoint_message, names, small, state};

const CONFIG: &str = "rnnx-version = \"0.1.0\"\nepochs = 1\n";

pub fn new_run(path: &Path) -> RunFolder {
    let run = RunFolder::create(path, false).unwrap();
    run.write_config(CONFIG).unwrap();
    run.write_vocab(r#"{"kind":"char","tokens":["a"]}"#)
        .unwrap();
    run
}

pub fn save(run: &RunFolder, step: u64) -> PathBuf {
    let value = step as f32;
    run.save_checkpoint(&small([value, 0.0]), &small([0.0, value]), &state(step))
        .unwrap()
}

#[test]
fn a_new_run_saves_and_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs/one");
    let run = new_run(&path);
    let config = fs::read_to_string(run.config_path()).unwrap();
    assert!(config.starts_with(CONFIG), "{config}");
    assert_eq!(run.read_config().unwrap(), config);
    let text = checkpoint_message(RunFolder::find(&path), &path);
    assert!(text.contains("no checkpoint yet"), "{text}");

    let one = save(&run, 1);
    assert_eq!(one, path.join("checkpoints/step-1"));
    assert_eq!(
        names(&one),
        ["model.safetensors", "optimizer.safetensors", "state.json"]
    );
    assert_eq!(TrainState::load(&one.join("state.json")).unwrap(), state(1));
    let model = TensorFile::load(&one.join("model.safetensors")).unwrap();
    assert_eq!(model.get("w", &[2]).unwrap().data, [1.0, 0.0]);
    let optimizer = TensorFile::load(&one.join("optimizer.safetensors")).unwrap();
    assert_eq!(optimizer.get("w", &[2]).unwrap().data, [0.0, 1.0]);

    // `last` speaks for the run until there is a `best`.
    assert_eq!(RunFolder::find(&path).unwrap(), (run.clone(), one.clone()));
    run.mark_best(1).unwrap();
    let two = save(&run, 2);
    assert_eq!(RunFolder::find(&path).unwrap().1, one);
    drop(run);
    assert_eq!(RunFolder::resume(&path).unwrap().last().unwrap(), two);
    let files = ["best", "checkpoints", "config.toml", "last", "vocab.json"];
    assert_eq!(names(&path), [&[".lock"], &files[..]].concat());
    assert_eq!(names(&path.join("checkpoints")), ["step-1", "step-2"]);

    // A checkpoint's folder, by its name or by a link, belongs to the same run.
    let canonical = fs::canonicalize(&path).unwrap();
    for checkpoint in [&two, &path.join("best")] {
        let (run, found) = RunFolder::find(checkpoint).unwrap();
        assert_eq!((run.path(), &found), (canonical.as_path(), checkpoint));
    }
}

#[test]
fn a_run_moved_or_copied_without_links_still_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = new_run(&path);
    save(&run, 4);
    drop(run);
    let moved = dir.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    assert_eq!(
        RunFolder::open(&moved).unwrap().last().unwrap(),
        moved.join("checkpoints/step-4")
    );
    // As a system without symbolic links writes it.
    fs::remove_file(moved.join("last")).unwrap();
    fs::write(moved.join("last"), "checkpoints/step-4\n").unwrap();
    assert_eq!(
        RunFolder::find(&moved).unwrap().1,
        moved.join("checkpoints/step-4")
    );
    let (_, found) = RunFolder::find(&moved.join("last")).unwrap();
    assert_eq!(found, moved.join("checkpoints/step-4"));
}

#[test]
fn an_edited_configuration_is_refused_unless_its_checksum_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let run = new_run(&dir.path().join("run"));
    let path = run.config_path();
    let written = fs::read_to_string(&path).unwrap();
    let edited = written.replace("epochs = 1", "epochs = 3");
    let appended = format!("{written}epochs = 3\n");
    for text in [&edited, &appended] {
        fs::write(&path, text).unwrap();
        let message = checkpoint_message(run.read_config(), &path);
        for words in ["SHA-256", "edited by hand", "as a flag", "delete the line"] {
            assert!(message.contains(words), "{message}");
        }
    }
    let (kept, _) = edited.split_once("\n# SHA-256").unwrap();
    fs::write(&path, kept).unwrap();
    assert_eq!(run.read_config().unwrap(), kept);
}

#[test]
fn the_vocabulary_is_the_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = new_run(&path);
    let mut state = state(1);
    state.vocab_sha256 = Some(run.vocab_sha256().unwrap());
    let model = small([1.0, 2.0]);
    let folder = run.save_checkpoint(&model, &model, &state).unwrap();
    RunFolder::find(&path).unwrap();
    run.write_vocab(r#"{"kind":"char","tokens":["b"]}"#)
        .unwrap();
    for named in [&path, &folder, &path.join("last")] {
        let text = checkpoint_message(RunFolder::find(named), Path::new("vocab.json"));
        assert!(
            text.contains("SHA-256") && text.contains("restore"),
            "{text}"
        );
    }
    // A checkpoint of weights alone says nothing of a vocabulary.
    fs::remove_file(folder.join("state.json")).unwrap();
    RunFolder::find(&path).unwrap();
}

#[test]
fn a_run_that_is_not_there_or_of_another_kind_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    for result in [RunFolder::open(&missing), RunFolder::resume(&missing)] {
        assert!(checkpoint_message(result, &missing).contains("no such run"));
    }
    let text = checkpoint_message(RunFolder::find(dir.path()), dir.path());
    assert!(text.contains("has no config.toml"), "{text}");

    let path = dir.path().join("run");
    let run = new_run(&path);
    Vocab::read_chars(&run).unwrap();
    let vocab = run.vocab_path();
    let text = checkpoint_message(Vocab::read_words(&run), &vocab);
    assert!(
        text.contains("is of a character LM") && text.contains("needs a seq2seq"),
        "{text}"
    );
    fs::write(&vocab, "{\"kind\":").unwrap();
    let text = checkpoint_message(Vocab::read_chars(&run), &vocab);
    assert!(text.contains("not a vocabulary"), "{text}");
    fs::remove_file(&vocab).unwrap();
    let text = checkpoint_message(Vocab::read_chars(&run), &vocab);
    assert!(text.contains("is missing"), "{text}");

    // A checkpoint on its own lacks the vocabulary.
    let lone = dir.path().join("lone");
    fs::rename(save(&run, 1), &lone).unwrap();
    let text = checkpoint_message(RunFolder::find(&lone), &lone);
    assert!(text.contains("outside of its run"), "{text}");
}
