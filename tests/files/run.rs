//! Run folders and checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use rnnx::Error;
use rnnx::data::vocab::Vocab;
use rnnx::files::{RunFolder, TensorFile, TrainState};

use crate::{checkpoint_message, io_path, names, small, state};

fn usage<T: std::fmt::Debug>(result: rnnx::Result<T>) -> String {
    match result {
        Err(Error::Usage(text)) => text,
        other => panic!("a usage error was due, not {other:?}"),
    }
}

fn new_run(path: &Path) -> RunFolder {
    let run = RunFolder::create(path, false).unwrap();
    run.write_config("epochs = 1\n").unwrap();
    run.write_vocab(r#"{"kind":"char","tokens":["a"]}"#)
        .unwrap();
    run
}

fn save(run: &RunFolder, step: u64) -> PathBuf {
    let value = step as f32;
    run.save_checkpoint(&small([value, 0.0]), &small([0.0, value]), &state(step))
        .unwrap()
}

#[test]
fn a_new_run_saves_and_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs/one");
    let run = new_run(&path);
    assert_eq!(
        std::fs::read_to_string(run.config_path()).unwrap(),
        "epochs = 1\n"
    );
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
    assert_eq!(RunFolder::resume(&path).unwrap().last().unwrap(), two);
    assert_eq!(
        names(&path),
        ["best", "checkpoints", "config.toml", "last", "vocab.json"]
    );
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
fn an_existing_folder_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    // An empty folder, or one with the temporary file of a start that failed, will do.
    fs::create_dir(&path).unwrap();
    fs::write(path.join(".tmp-config.toml-1"), "").unwrap();
    let run = new_run(&path);
    save(&run, 1);
    run.mark_best(1).unwrap();
    for own in ["metrics.jsonl", "report.html"] {
        fs::write(path.join(own), "x").unwrap();
    }
    fs::create_dir(run.samples_path()).unwrap();
    fs::write(run.samples_path().join("1.txt"), "x").unwrap();
    fs::write(path.join("notes.txt"), "mine").unwrap();

    let before = names(&path);
    let text = usage(RunFolder::create(&path, false));
    assert!(
        text.contains("--resume") && text.contains("--force"),
        "{text}"
    );
    assert_eq!(names(&path), before);
    // `--force` takes rnnx's files alone.
    RunFolder::create(&path, true).unwrap();
    assert_eq!(names(&path), ["notes.txt"]);
}

#[test]
fn force_refuses_what_is_no_run() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("checkpoints")).unwrap();
    for force in [false, true] {
        let text = usage(RunFolder::create(dir.path(), force));
        assert!(
            text.contains("not a run of rnnx") && text.contains("--out"),
            "{text}"
        );
    }
    assert_eq!(names(dir.path()), ["checkpoints"]);
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(usage(RunFolder::create(&file, true)).contains("is a file"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
}

#[cfg(unix)]
#[test]
fn force_removes_a_link_and_not_what_it_points_to() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    fs::write(disk.join("precious"), "x").unwrap();
    let path = dir.path().join("run");
    new_run(&path);
    std::os::unix::fs::symlink(&disk, path.join("checkpoints")).unwrap();
    RunFolder::create(&path, true).unwrap();
    assert!(names(&path).is_empty());
    assert_eq!(names(&disk), ["precious"]);
}

#[test]
fn a_save_that_fails_leaves_the_previous_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = new_run(&path);
    let one = save(&run, 1);
    run.mark_best(1).unwrap();
    let checkpoints = path.join("checkpoints");
    let intact = |step: u64| {
        assert_eq!(run.last().unwrap(), one, "step {step}");
        assert_eq!(run.best().unwrap().as_ref(), Some(&one));
        assert_eq!(TrainState::load(&one.join("state.json")).unwrap(), state(1));
        assert!(!checkpoints.join(format!("step-{}", step.max(2))).exists());
    };

    // The temporary folder cannot be made.
    let block = checkpoints.join(".tmp-step-2");
    fs::write(&block, "").unwrap();
    let model = small([5.0, 5.0]);
    assert_eq!(
        io_path(run.save_checkpoint(&model, &model, &state(2))),
        block
    );
    intact(2);
    fs::remove_file(block).unwrap();

    // A later file of the checkpoint cannot be written, for a new step and for the same one.
    let mut bad = small([5.0, 5.0]);
    bad.tensors.get_mut("w").unwrap().shape = vec![9];
    for step in [1, 2] {
        run.save_checkpoint(&model, &bad, &state(step)).unwrap_err();
        intact(step);
        assert_eq!(names(&checkpoints), ["step-1"]);
    }

    // The link cannot be moved: the links that were there still lead to a whole checkpoint.
    fs::remove_file(path.join("last")).unwrap();
    fs::create_dir_all(path.join("last/in-the-way")).unwrap();
    let result = run.save_checkpoint(&model, &model, &state(2));
    assert_eq!(io_path(result), path.join("last"));
    assert_eq!(run.best().unwrap(), Some(one));
}

#[test]
fn saving_the_same_step_again_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let run = new_run(&dir.path().join("run"));
    save(&run, 1);
    let model = small([8.0, 9.0]);
    let folder = run.save_checkpoint(&model, &model, &state(1)).unwrap();
    let back = TensorFile::load(&folder.join("model.safetensors")).unwrap();
    assert_eq!(back.tensors, model.tensors);
    assert_eq!(names(folder.parent().unwrap()), ["step-1"]);
}

#[test]
fn prune_keeps_best_and_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = new_run(&path);
    for step in [1, 2, 3, 10] {
        save(&run, step);
    }
    run.mark_best(2).unwrap();
    let checkpoints = path.join("checkpoints");
    fs::create_dir(checkpoints.join("step-mine")).unwrap();
    run.prune().unwrap();
    assert_eq!(names(&checkpoints), ["step-10", "step-2", "step-mine"]);

    // With a link that leads nowhere nothing is deleted.
    save(&run, 11);
    fs::remove_dir_all(checkpoints.join("step-2")).unwrap();
    let text = checkpoint_message(run.prune(), &path.join("best"));
    assert!(text.contains("step-2, which is gone"), "{text}");
    assert!(text.contains("holds step-10, step-11:"), "{text}");
    assert_eq!(names(&checkpoints), ["step-10", "step-11", "step-mine"]);
    checkpoint_message(run.mark_best(2), &checkpoints.join("step-2"));
}

#[test]
fn resume_clears_what_a_crash_left_and_open_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = new_run(&path);
    let one = save(&run, 1);
    let checkpoints = path.join("checkpoints");
    fs::create_dir(checkpoints.join(".tmp-step-2")).unwrap();
    fs::write(path.join(".tmp-vocab.json-77"), "").unwrap();
    let samples = run.samples_path();
    fs::create_dir(&samples).unwrap();
    fs::write(samples.join("epoch-1.txt"), "").unwrap();
    fs::write(samples.join(".tmp-epoch-2.txt-77"), "").unwrap();
    // A crash between setting the old folder aside and renaming the new one.
    fs::rename(&one, checkpoints.join(".tmp-old-step-1")).unwrap();

    let run = RunFolder::open(&path).unwrap();
    let text = checkpoint_message(run.last(), &path.join("last"));
    assert!(text.contains("no checkpoint left"), "{text}");
    assert_eq!(names(&checkpoints), [".tmp-old-step-1", ".tmp-step-2"]);
    let run = RunFolder::resume(&path).unwrap();
    assert_eq!(run.last().unwrap(), one);
    assert_eq!(names(&checkpoints), ["step-1"]);
    assert_eq!(
        names(&path),
        [
            "checkpoints",
            "config.toml",
            "last",
            "samples",
            "vocab.json"
        ]
    );
    assert_eq!(names(&samples), ["epoch-1.txt"]);
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
