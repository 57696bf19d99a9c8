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

const CONFIG: &str = "rnnx-version = \"0.1.0\"\nepochs = 1\n";

fn new_run(path: &Path) -> RunFolder {
    let run = RunFolder::create(path, false).unwrap();
    run.write_config(CONFIG).unwrap();
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
    for own in ["epoch-1.txt", "test.jsonl", ".tmp-epoch-2.txt-77"] {
        fs::write(run.samples_path().join(own), "x").unwrap();
    }
    fs::write(path.join("notes.txt"), "mine").unwrap();
    drop(run);

    let before = names(&path);
    let text = usage(RunFolder::create(&path, false));
    assert!(
        text.contains("--resume") && text.contains("--force"),
        "{text}"
    );
    assert_eq!(names(&path), before);
    // `--force` takes rnnx's files alone.
    let run = RunFolder::create(&path, true).unwrap();
    assert_eq!(names(&path), [".lock", "config.toml", "notes.txt"]);
    // A start that died here can be made again; the configuration is what the folder is known by.
    drop(run);
    RunFolder::create(&path, true).unwrap();
}

#[test]
fn force_leaves_what_is_not_rnnxs_in_its_folders() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = new_run(&path);
    for step in [1, 2] {
        save(&run, step);
    }
    drop(run);
    let foreign = [
        "samples/epoch-best.txt",
        "samples/old/epoch-1.txt",
        "checkpoints/step-2/notes.txt",
        "checkpoints/step-3/photo.jpg",
        "checkpoints/step-mine/model.safetensors",
        "checkpoints/readme",
    ];
    for name in foreign {
        fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
        fs::write(path.join(name), "mine").unwrap();
    }
    fs::write(path.join("samples/epoch-1.txt"), "x").unwrap();
    RunFolder::create(&path, true).unwrap();
    for name in foreign {
        assert_eq!(fs::read(path.join(name)).unwrap(), b"mine", "{name}");
    }
    assert_eq!(names(&path.join("samples")), ["epoch-best.txt", "old"]);
    let checkpoints = path.join("checkpoints");
    let left = ["readme", "step-2", "step-3", "step-mine"];
    assert_eq!(names(&checkpoints), left);
    assert_eq!(names(&checkpoints.join("step-2")), ["notes.txt"]);
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
    // A configuration that another program wrote is no mark of a run.
    fs::write(dir.path().join("config.toml"), "[server]\nport = 80\n").unwrap();
    for force in [false, true] {
        let text = usage(RunFolder::create(dir.path(), force));
        assert!(
            text.contains("config.toml was not written by rnnx"),
            "{text}"
        );
    }
    assert_eq!(names(dir.path()), ["checkpoints", "config.toml"]);
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
    let samples = dir.path().join("samples");
    fs::create_dir(&samples).unwrap();
    fs::write(samples.join("epoch-1.txt"), "x").unwrap();
    std::os::unix::fs::symlink(&disk, path.join("checkpoints")).unwrap();
    std::os::unix::fs::symlink(&samples, path.join("samples")).unwrap();
    RunFolder::create(&path, true).unwrap();
    assert_eq!(names(&path), [".lock", "config.toml", "samples"]);
    assert_eq!(names(&disk), ["precious"]);
    assert_eq!(names(&samples), ["epoch-1.txt"]);
}

#[cfg(unix)]
#[test]
fn links_out_of_the_run_are_not_followed() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = new_run(&path);
    let other = new_run(&dir.path().join("other"));
    let foreign = save(&other, 5);
    // Entries: neither pruned nor written through.
    save(&run, 1);
    let checkpoints = path.join("checkpoints");
    symlink(&foreign, checkpoints.join("step-0")).unwrap();
    symlink(&foreign, checkpoints.join("step-2")).unwrap();
    let two = save(&run, 2);
    assert_eq!(two, checkpoints.join("step-2-2"));
    run.mark_best(2).unwrap();
    assert_eq!(run.best().unwrap().as_ref(), Some(&two));
    run.prune(1).unwrap();
    assert_eq!(names(&checkpoints), ["step-0", "step-2", "step-2-2"]);
    // `best` itself.
    fs::remove_file(path.join("best")).unwrap();
    symlink(&foreign, path.join("best")).unwrap();
    let text = checkpoint_message(RunFolder::find(&path), &path.join("best"));
    assert!(text.contains("leads out of the run"), "{text}");
    fs::remove_file(path.join("best")).unwrap();
    // The folder of checkpoints.
    let moved = dir.path().join("moved");
    fs::rename(&checkpoints, &moved).unwrap();
    symlink(&moved, &checkpoints).unwrap();
    let before = names(&moved);
    let model = small([1.0, 2.0]);
    for result in [run.last(), run.save_checkpoint(&model, &model, &state(3))] {
        let text = checkpoint_message(result, &path);
        assert!(text.contains("leads out of the run"), "{text}");
    }
    assert_eq!(names(&moved), before);
    assert_eq!(names(&foreign).len(), 3);
}

#[test]
fn a_run_belongs_to_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = new_run(&path);
    save(&run, 1);
    let clone = run.clone();
    drop(run);
    for result in [
        RunFolder::create(&path, true),
        RunFolder::resume(&path),
        RunFolder::check_new(&path, true).map(|()| clone.clone()),
    ] {
        let text = usage(result);
        let owner = format!("process {} is training this run", std::process::id());
        assert!(text.contains(&owner) && text.contains("--out"), "{text}");
    }
    // Whoever reads needs no lock.
    RunFolder::find(&path).unwrap();
    // What a kill leaves holds nobody up, whatever process has that number now.
    drop(clone);
    fs::write(path.join(".lock"), format!("{}\n", std::process::id())).unwrap();
    RunFolder::resume(&path).unwrap();
    assert_eq!(fs::read(path.join(".lock")).unwrap(), b"");
}

#[test]
fn a_run_that_is_gone_is_noticed_and_has_a_place_beside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = new_run(&path);
    assert!(!run.is_gone());
    let moved = dir.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    assert!(run.is_gone());
    // Another run in its place is not this one.
    let other = new_run(&path);
    assert!(run.is_gone() && !other.is_gone());
    assert_eq!(run.beside().unwrap().path(), dir.path().join("run.rescued"));
    assert_eq!(
        run.beside().unwrap().path(),
        dir.path().join("run.rescued-2")
    );
    // One that was emptied.
    fs::remove_file(other.config_path()).unwrap();
    assert!(other.is_gone());
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
fn prune_keeps_the_most_recent_and_best_and_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = new_run(&path);
    for step in [1, 2, 3, 4, 10] {
        save(&run, step);
    }
    run.mark_best(2).unwrap();
    let checkpoints = path.join("checkpoints");
    // Neither a folder of another name nor one without weights is rnnx's.
    fs::create_dir(checkpoints.join("step-mine")).unwrap();
    fs::create_dir(checkpoints.join("step-5")).unwrap();
    run.prune(2).unwrap();
    let kept = ["step-10", "step-2", "step-4", "step-5", "step-mine"];
    assert_eq!(names(&checkpoints), kept);
    // A file that somebody put into a checkpoint stays, without the checkpoint.
    fs::write(checkpoints.join("step-4/notes.txt"), "mine").unwrap();
    run.prune(1).unwrap();
    assert_eq!(names(&checkpoints), kept);
    assert_eq!(names(&checkpoints.join("step-4")), ["notes.txt"]);
    // Its name is taken; a checkpoint that the run was taken back behind does not count.
    assert_eq!(save(&run, 4), checkpoints.join("step-4-2"));
    save(&run, 6);
    run.prune(1).unwrap();
    let kept = [
        "step-10",
        "step-2",
        "step-4",
        "step-5",
        "step-6",
        "step-mine",
    ];
    assert_eq!(names(&checkpoints), kept);

    // With a link that leads nowhere nothing is deleted.
    save(&run, 11);
    fs::remove_dir_all(checkpoints.join("step-2")).unwrap();
    let text = checkpoint_message(run.prune(1), &path.join("best"));
    assert!(text.contains("step-2, which is gone"), "{text}");
    assert!(text.contains("holds step-6, step-10, step-11:"), "{text}");
    assert_eq!(names(&checkpoints).len(), 6);
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
    // A crash between setting the old folder aside and renaming the new one.
    fs::rename(&one, checkpoints.join(".tmp-old-step-1")).unwrap();
    fs::create_dir(run.samples_path()).unwrap();
    fs::write(run.samples_path().join(".tmp-epoch-1.txt-77"), "").unwrap();
    drop(run);

    let run = RunFolder::open(&path).unwrap();
    let text = checkpoint_message(run.last(), &path.join("last"));
    assert!(text.contains("no checkpoint left"), "{text}");
    assert_eq!(names(&checkpoints), [".tmp-old-step-1", ".tmp-step-2"]);
    let run = RunFolder::resume(&path).unwrap();
    assert_eq!(run.last().unwrap(), one);
    assert_eq!(names(&checkpoints), ["step-1"]);
    let files = [
        "checkpoints",
        "config.toml",
        "last",
        "samples",
        "vocab.json",
    ];
    assert_eq!(names(&path), [&[".lock"], &files[..]].concat());
    assert!(names(&run.samples_path()).is_empty());
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
