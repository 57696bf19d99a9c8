//! A run's folder: whose it is, what is taken of it and what stays, and what a kill leaves.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::seq2seq;
use super::support::{
    EPOCH, Place, Running, age, assert_same_run, metrics, python, snapshot, state_number,
};

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

// ---- one process -------------------------------------------------------------------------------

#[test]
fn a_second_process_is_refused_and_told_of_the_first() {
    let place = Place::new();
    place.write("text.py", python(400));
    let mut first = Running::start(&place, "a", "--epochs 100000 --checkpoint-every 5");
    first.wait_for("step 12/");
    let owner = format!("process {} is training this run", first.pid());
    for flags in ["", "--resume", "--force", "--force --init-from a"] {
        place.train("a", flags).fails(2, &["a: ", &owner, "--out"]);
    }
    // Readers may look on.
    place.run("inspect a").ok();
    place.run("report a").ok();
    // However it ends, the next may go on.
    first.signal("KILL");
    assert_eq!(first.end().code, None);
    let step = state_number(&place.path("a"), "step");
    assert!(step >= 10, "{step}");
    let flags = format!(
        "--epochs 100000 --checkpoint-every 5 --max-steps {}",
        step + 7
    );
    place.train("a", &format!("{flags} --resume")).ok();
    place.train("whole", &flags).ok();
    assert_same_run(&place.path("whole"), &place.path("a"));
}

#[test]
fn each_of_several_runs_is_one_processs() {
    let place = seq2seq::place();
    let flags = "--epochs 100000 --checkpoint-every 5";
    let mut first = Running::of(&place, "log", &seq2seq::train_args("a", "--epochs 3"));
    first.wait_for("lstm: a/lstm");
    first.wait_for("epoch 1/3");
    let all = first.end().ok();
    assert!(all.stderr.contains("comparison"), "{}", all.stderr);
    let flags = format!("{flags} --model lstm --force");
    let mut first = Running::of(&place, "log2", &seq2seq::train_args("a/lstm", &flags));
    first.wait_for("epoch 3/");
    let owner = format!("a/lstm: process {} is training", first.pid());
    for (out, flags) in [
        ("a", "--force"),
        ("a", "--resume"),
        ("a/lstm", "--model lstm --force"),
    ] {
        seq2seq::train(&place, out, flags).fails(2, &[&owner]);
    }
    // Nothing of the others was touched.
    assert!(place.path("a/rnn/last/state.json").is_file());
    first.signal("INT");
    first.end().fails(130, &["--resume"]);
}

// ---- what is rnnx's ----------------------------------------------------------------------------

#[test]
fn force_takes_no_folder_that_another_program_wrote() {
    let place = Place::new();
    for name in [
        "site/config.toml",
        "site/samples/epoch-1.txt",
        "site/checkpoints/step-1/model.safetensors",
        "site/report.html",
    ] {
        place.write(name, "title = \"mine\"\n");
    }
    let before = snapshot(&place.path("site"));
    for flags in ["", "--force", "--force --max-steps 0"] {
        place
            .train("site", flags)
            .fails(2, &["site is not a run of rnnx", "config.toml", "--out"]);
    }
    assert!(snapshot(&place.path("site")) == before);
}

#[test]
fn what_is_foreign_among_checkpoints_stays_and_stops_nothing() {
    let place = Place::with_run("a", "--max-steps 3 --quiet");
    place.train("whole", "--max-steps 16 --quiet").ok();
    let checkpoints = place.path("a/checkpoints");
    place.write("a/checkpoints/step-8/mine.txt", "mine");
    place.write("a/checkpoints/step-2/mine.txt", "mine");
    place.write("elsewhere/model.safetensors", "mine");
    for link in ["step-1", "step-16"] {
        std::os::unix::fs::symlink(place.path("elsewhere"), checkpoints.join(link)).unwrap();
    }
    place.train("a", "--max-steps 16 --resume --quiet").ok();
    assert_same_run(&place.path("whole"), &place.path("a"));
    let kept = [
        "step-1",
        "step-16",
        "step-16-2",
        "step-2",
        "step-8",
        "step-8-2",
    ];
    assert_eq!(names(&checkpoints), kept);
    for step in ["step-2", "step-8"] {
        assert_eq!(names(&checkpoints.join(step)), ["mine.txt"]);
    }
    assert_eq!(names(&place.path("elsewhere")), ["model.safetensors"]);
    place.run("eval a --quiet").ok();
    // With --force too.
    place.train("a", "--force --max-steps 1 --quiet").ok();
    let kept = ["step-1", "step-16", "step-2", "step-8"];
    assert_eq!(
        names(&checkpoints),
        [&["step-1", "step-1-2"], &kept[1..]].concat()
    );
    assert_eq!(names(&place.path("elsewhere")), ["model.safetensors"]);
}

#[test]
fn checkpoints_that_lead_out_of_the_run_are_not_followed() {
    let place = Place::with_run("a", "--max-steps 3 --quiet");
    fs::rename(place.path("a/checkpoints"), place.path("disk")).unwrap();
    std::os::unix::fs::symlink(place.path("disk"), place.path("a/checkpoints")).unwrap();
    let before = snapshot(&place.path("disk"));
    for command in [
        "train-charlm --out a --resume --max-steps 5",
        "generate a --prompt d",
        "eval a",
    ] {
        place.run(command).fails(3, &["a/", "leads out of the run"]);
    }
    place.train("a", "--force --max-steps 1 --quiet").ok();
    assert!(snapshot(&place.path("disk")) == before);
    assert!(
        fs::symlink_metadata(place.path("a/checkpoints"))
            .unwrap()
            .is_dir()
    );
}

// ---- old checkpoints ---------------------------------------------------------------------------

#[test]
fn checkpoints_within_an_epoch_are_pruned() {
    let place = Place::new();
    let kept = |flags: &str| {
        let _ = fs::remove_dir_all(place.path("a"));
        place
            .train("a", &format!("--checkpoint-every 1 {flags}"))
            .ok();
        names(&place.path("a/checkpoints"))
    };
    assert_eq!(kept("--max-steps 6"), ["step-5", "step-6"]);
    assert_eq!(kept("--max-steps 6 --keep 1"), ["step-6"]);
    assert_eq!(kept("--max-steps 4 --keep 9").len(), 4);
    // The best one stays.
    let ends = ["step-11", "step-12", "step-8"];
    assert_eq!(kept(&format!("--max-steps {}", EPOCH + 4)), ends);
    // A resumed run may keep another number.
    place
        .train("a", "--resume --keep 3 --checkpoint-every 1 --max-steps 14")
        .ok();
    let ends = ["step-12", "step-13", "step-14", "step-8"];
    assert_eq!(names(&place.path("a/checkpoints")), ends);
    place.train("b", "--keep 0").fails(2, &["--keep", "'0'"]);
}

// ---- kills -------------------------------------------------------------------------------------

#[test]
fn the_next_start_mends_what_a_kill_left() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    let whole = snapshot(&place.path("a"));
    // Killed after the checkpoint of an epoch, before its sample.
    let leftovers = [
        "a/.tmp-config.toml-77",
        "a/samples/.tmp-epoch-1.txt-77",
        "a/checkpoints/.tmp-step-9/model.safetensors",
    ];
    for name in leftovers {
        place.write(name, "half");
    }
    for lost in ["a/samples/epoch-1.txt", "a/best", "a/report.html"] {
        fs::remove_file(place.path(lost)).unwrap();
    }
    place.run("train-charlm --out a --resume --quiet").ok();
    assert!(snapshot(&place.path("a")) == whole);
    // A new run in place of the old one clears them too.
    for name in leftovers {
        place.write(name, "half");
    }
    place.train("a", "--force --epochs 1 --quiet").ok();
    let files = |snapshot: &[(std::path::PathBuf, Vec<u8>)]| -> Vec<_> {
        snapshot.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(files(&snapshot(&place.path("a"))), files(&whole));
}

#[test]
fn a_folder_that_goes_while_the_run_trains_is_saved_beside_it() {
    let moved = "mv a moved";
    // The run may write while files are deleted.
    let deleted = "while [ -e a ]; do rm -rf a 2>/dev/null; done";
    for script in [moved, deleted] {
        let place = Place::new();
        place.write("text.py", python(400));
        let mut run = Running::start(
            &place,
            "a",
            "--epochs 100000 --checkpoint-every 3 --average 4",
        );
        run.wait_for("epoch 2/");
        place.sh(script, &[]).ok();
        let done = run.end();
        let words = [
            "cannot save to a: ",
            "a.rescued",
            "--resume --out a.rescued",
        ];
        done.fails(1, &words);
        let step = state_number(&place.path("a.rescued"), "step");
        // An average is of what there is: no checkpoint but this one.
        let state = fs::read_to_string(place.path("a.rescued/last/state.json")).unwrap();
        let state: Value = serde_json::from_str(&state).unwrap();
        let averaged = state["averaged"].as_array().into_iter().flatten();
        assert!(averaged.into_iter().all(|at| *at == step), "{state}");
        let flags = format!("--epochs 100000 --max-steps {}", step + 5);
        place
            .run(&format!(
                "train-charlm --out a.rescued --resume --average 1 --max-steps {}",
                step + 5
            ))
            .ok();
        place.train("whole", &flags).ok();
        let same = |file: &str| {
            let [a, b] = ["whole", "a.rescued"].map(|run| fs::read(place.path(run).join(file)));
            assert!(a.unwrap() == b.unwrap(), "{script}: {file}");
        };
        same("last/model.safetensors");
        same("last/optimizer.safetensors");
        assert_eq!(
            metrics(&place.path("whole")),
            metrics(&place.path("a.rescued"))
        );
    }
}

// ---- the configuration -------------------------------------------------------------------------

#[test]
fn a_damaged_configuration_has_the_exit_code_of_bad_data() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    let path = place.path("a/config.toml");
    let good = fs::read_to_string(&path).unwrap();
    let (unsealed, _) = good.split_once("\n# SHA-256").unwrap();
    let spoiled: [&[u8]; 5] = [
        &good.as_bytes()[..good.find("precision = \"").unwrap() + 14],
        b"\xff\xfe",
        b"kind = \"charlm\"\nseed = [",
        b"kind = \"charlm\"\nsede = 1",
        b"kind = 7",
    ];
    for bytes in spoiled {
        fs::write(&path, bytes).unwrap();
        let commands = ["eval a", "train-charlm --out a --resume --epochs 2"];
        for command in commands {
            let done = place.run(command);
            assert_eq!(done.code, Some(3), "{command}: {}", done.stderr);
        }
        // A report knows no settings, and a page of a truncated or odd table is still one.
        let report = place.run("report a");
        let table = std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('['));
        assert_eq!(
            report.code,
            Some(if table { 0 } else { 3 }),
            "{}",
            report.stderr
        );
    }
    // One digit.
    fs::write(&path, good.replace("seed = 1", "seed = 3")).unwrap();
    for command in ["report a", "eval a", "train-charlm --out a --resume"] {
        place.run(command).fails(
            3,
            &["a/config.toml", "SHA-256", "as a flag", "delete the line"],
        );
    }
    // An edit that is kept: free settings are the user's, the others are the checkpoint's.
    fs::write(&path, unsealed.replace("epochs = 300", "epochs = 2")).unwrap();
    place.run("eval a --quiet").ok();
    fs::write(&path, unsealed.replace("dropout = 0.1", "dropout = 0.2")).unwrap();
    for command in ["eval a", "train-charlm --out a --resume"] {
        let words = [
            "a/config.toml",
            "dropout = 0.2",
            "trained with dropout = 0.1",
        ];
        place.run(command).fails(3, &words);
    }
}

#[test]
fn sizes_that_the_weights_do_not_have_ask_for_no_memory() {
    // Of an older run, whose files hold no checksums.
    let spoil = |place: &Place, size: &str| {
        age(&place.path("a"));
        let path = place.path("a/config.toml");
        let text = fs::read_to_string(&path).unwrap();
        let config = text.replace(size, "hidden-size = 16384");
        assert_ne!(config, text);
        fs::write(&path, config).unwrap();
    };
    // 1 GB of address space.
    let limited = |place: &Place, command: &str, words: &[&str]| {
        let script = format!("ulimit -v 1000000; exec \"$0\" {command} --threads 1");
        place.sh(&script, &[]).fails(3, words);
        place.run(command).fails(3, words);
    };
    let place = Place::with_run("a", "--epochs 1 --quiet");
    spoil(&place, "hidden-size = 16");
    for command in ["train-charlm --out a --resume --epochs 2", "eval a"] {
        limited(&place, command, &["lstm.", "[64", "[65536", "shape"]);
    }
    let place = seq2seq::place();
    seq2seq::train(&place, "a", "--model attention --epochs 1 --quiet").ok();
    spoil(&place, "hidden-size = 10");
    for command in [
        "train-seq2seq --out a --resume --epochs 2",
        "eval a",
        "translate a load",
    ] {
        limited(&place, command, &["shape", "[40, 6]", "[65536, 6]"]);
    }
}
