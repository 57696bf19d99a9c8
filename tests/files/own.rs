//! Run folders in the hands of the process that trains: made, replaced, resumed, lost.

use std::fs;

use rnnx::Error;
use rnnx::files::RunFolder;

use crate::run::{new_run, save};
use crate::{checkpoint_message, names};

fn usage<T: std::fmt::Debug>(result: rnnx::Result<T>) -> String {
    match result {
        Err(Error::Usage(text)) => text,
        other => panic!("a usage error was due, not {other:?}"),
    }
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
