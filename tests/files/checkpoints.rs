//! Checkpoints: saved, marked and pruned.

use std::fs;

use rnnx::files::{RunFolder, TensorFile, TrainState};

use crate::run::{new_run, save};
use crate::{checkpoint_message, io_path, names, small, state};

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
    run.prune(1, &[]).unwrap();
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
    run.prune(2, &[]).unwrap();
    let kept = ["step-10", "step-2", "step-4", "step-5", "step-mine"];
    assert_eq!(names(&checkpoints), kept);
    // A file that somebody put into a checkpoint stays, without the checkpoint.
    fs::write(checkpoints.join("step-4/notes.txt"), "mine").unwrap();
    run.prune(1, &[]).unwrap();
    assert_eq!(names(&checkpoints), kept);
    assert_eq!(names(&checkpoints.join("step-4")), ["notes.txt"]);
    // Its name is taken; a checkpoint that the run was taken back behind does not count.
    assert_eq!(save(&run, 4), checkpoints.join("step-4-2"));
    save(&run, 6);
    run.prune(1, &[]).unwrap();
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
    let text = checkpoint_message(run.prune(1, &[]), &path.join("best"));
    assert!(text.contains("step-2, which is gone"), "{text}");
    assert!(text.contains("holds step-6, step-10, step-11:"), "{text}");
    assert_eq!(names(&checkpoints).len(), 6);
    checkpoint_message(run.mark_best(2), &checkpoints.join("step-2"));
}
