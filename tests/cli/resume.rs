//! A run that was stopped and resumed gives the same bits as one that never was.

use std::fs;

use super::support::{
    EPOCH, Place, Running, assert_same_run, change_state, metrics, state, state_number,
};

/// Trains to `stops` one after the other, then to `steps`, and compares with one run of `steps`.
fn check(flags: &str, stops: &[u64], steps: u64) {
    let place = Place::new();
    let flags = format!("{flags} --quiet");
    place
        .train("whole", &format!("{flags} --max-steps {steps}"))
        .ok();
    let mut resume = "";
    for n in stops.iter().chain([&steps]) {
        place
            .train("parts", &format!("{flags} --max-steps {n} {resume}"))
            .ok();
        assert_eq!(state_number(&place.path("parts"), "step"), *n);
        resume = "--resume";
    }
    assert_same_run(&place.path("whole"), &place.path("parts"));
}

#[test]
fn stopped_inside_an_epoch_with_dropout_and_shuffle() {
    check("--dropout 0.3", &[3], 2 * EPOCH + 2);
}

#[test]
fn stopped_at_the_end_of_an_epoch() {
    check("--dropout 0.2", &[EPOCH], 2 * EPOCH);
}

#[test]
fn stopped_before_the_first_step_and_often() {
    let stops = [0, 1, 2, EPOCH - 1, EPOCH + 1, 2 * EPOCH, 2 * EPOCH + 3];
    check("--dropout 0.3", &stops, 3 * EPOCH);
}

#[test]
fn stopped_without_shuffle_dropout_or_validation() {
    check(
        "--dropout 0 --no-shuffle --valid-fraction 0 --clip-mode global --l2 0",
        &[4],
        EPOCH + 3,
    );
}

#[test]
fn checkpoints_in_between_change_no_bit() {
    let place = Place::new();
    let steps = 2 * EPOCH + 5;
    place.train("plain", &format!("--max-steps {steps}")).ok();
    place
        .train(
            "often",
            &format!("--max-steps {steps} --checkpoint-every 2"),
        )
        .ok();
    assert_same_run(&place.path("plain"), &place.path("often"));
    // The most recent ones and the best one are there, the rest went.
    let mut kept: Vec<String> = fs::read_dir(place.path("often/checkpoints"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, ["step-16", "step-20", "step-21"]);
    // A run that died after its last checkpoint goes on from there, and its later records go.
    let log = place.path("often/metrics.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let last = text
        .lines()
        .last()
        .unwrap()
        .replace("\"step\":21", "\"step\":22");
    let (last, _) = last.split_once(",\"crc32\"").unwrap();
    fs::write(&log, format!("{text}{last}}}\n{{\"event\":\"st")).unwrap();
    let more = format!("--max-steps {}", steps + 3);
    place.train("often", &format!("{more} --resume")).ok();
    place.train("plain", &format!("{more} --resume")).ok();
    assert_same_run(&place.path("plain"), &place.path("often"));
}

#[test]
fn more_epochs_continue_a_finished_run() {
    let place = Place::new();
    place.train("whole", "--epochs 3 --dropout 0.2").ok();
    place.train("parts", "--epochs 1 --dropout 0.2").ok();
    // Nothing is left to do, and the program says so.
    let before = state(&place.path("parts"));
    let done = place.run("train-charlm --out parts --resume").ok();
    for word in ["nothing is left to do", "epochs 1"] {
        assert!(done.stderr.contains(word), "{}", done.stderr);
    }
    assert_eq!(state(&place.path("parts")), before);
    // No flag but the one that changes: the rest comes from the saved configuration.
    place
        .run("train-charlm --out parts --resume --epochs 3")
        .ok();
    assert_same_run(&place.path("whole"), &place.path("parts"));
    let config = fs::read_to_string(place.path("parts/config.toml")).unwrap();
    assert!(config.contains("\nepochs = 3\n"), "{config}");
    assert!(config.contains("\nhidden-size = 16\n"), "{config}");
}

#[test]
fn the_number_of_threads_changes_no_bit_and_the_seed_does() {
    let place = Place::new();
    let train = |out: &str, flags: &str| {
        let flags = format!("--epochs 1 --dropout 0.2 {flags}");
        place.train(out, &flags).ok();
        place.path(out)
    };
    let one = train("one", "--threads 1");
    assert_same_run(&one, &train("two", "--threads 2"));
    assert_same_run(&one, &train("again", "--threads 1"));
    let other = train("other", "--threads 1 --seed 2");
    assert_ne!(metrics(&one), metrics(&other));
    let weights = |run: &std::path::Path| fs::read(run.join("last/model.safetensors")).unwrap();
    assert!(weights(&one) != weights(&other));
    // Matrices that are worth dividing.
    place.write("text.py", super::support::python(400));
    let large = "--hidden-size 128 --batch-size 32 --seq-length 64 --max-steps 3";
    let one_large = train("one-large", &format!("{large} --threads 1"));
    let two_large = train("two-large", &format!("{large} --threads 2"));
    assert_same_run(&one_large, &two_large);
    // A run may be resumed with another number of threads.
    place.write("text.py", super::support::python(19));
    train("mixed", "--threads 1 --max-steps 3");
    assert_same_run(
        &one,
        &train("mixed", "--threads 2 --resume --max-steps 1000"),
    );
}

#[test]
fn a_run_that_died_before_it_marked_its_best_checkpoint() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    let best = place.path("a/best");
    assert_eq!(
        fs::read_link(&best).unwrap(),
        fs::read_link(place.path("a/last")).unwrap()
    );
    fs::remove_file(&best).unwrap();
    place.run("train-charlm --out a --resume --epochs 2").ok();
    place.train("b", "--epochs 2").ok();
    assert_same_run(&place.path("b"), &place.path("a"));
    // The same where nothing was left to train.
    fs::remove_file(&best).unwrap();
    place.run("train-charlm --out a --resume").ok();
    assert_same_run(&place.path("b"), &place.path("a"));
}

// ---- Ctrl-C --------------------------------------------------------------------------------

/// Stops a long run with a signal, resumes it, and compares with a run that was let alone.
fn check_signal(name: &str) {
    let place = Place::new();
    place.write("text.py", super::support::python(400));
    let flags = "--dropout 0.2 --epochs 100000";
    let mut run = Running::start(&place, "cut", flags);
    run.wait_for("step 20/");
    run.signal(name);
    let done = run.end().fails(130, &["--resume", "--out cut"]);
    let step = state_number(&place.path("cut"), "step");
    assert!(step >= 20);
    for words in ["saving and stopping", &format!("at step {step};")] {
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
    let epochs = state_number(&place.path("cut"), "epoch");
    assert_eq!(metrics(&place.path("cut")).len() as u64, step + epochs);
    let flags = format!("{flags} --max-steps {}", step + 5);
    place.train("cut", &format!("{flags} --resume")).ok();
    place.train("whole", &flags).ok();
    assert_same_run(&place.path("whole"), &place.path("cut"));
}

#[test]
fn ctrl_c_saves_and_the_run_goes_on_from_there() {
    check_signal("INT");
}

#[test]
fn a_termination_signal_is_treated_as_ctrl_c() {
    check_signal("TERM");
}

#[test]
fn an_interrupt_at_the_very_last_step_leaves_no_epoch_unended() {
    // As if Ctrl-C had come during the last step: saved before the epoch's end.
    let place = Place::new();
    let flags = format!("--epochs 2 --max-steps {}", 2 * EPOCH);
    place.train("whole", &flags).ok();
    place.train("cut", &flags).ok();
    change_state(&place.path("cut"), |state| {
        assert_eq!(state.epoch, 2);
        (state.epoch, state.step_in_epoch) = (1, EPOCH);
        state.streams.insert("shuffle".into(), 1);
    });
    place.train("cut", &format!("{flags} --resume")).ok();
    let epochs = |out: &str| {
        let lines = metrics(&place.path(out));
        lines
            .iter()
            .filter(|l| l.contains("\"epoch\",\"epoch\""))
            .count()
    };
    assert_eq!((epochs("whole"), epochs("cut")), (2, 2));
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let place = Place::new();
    // A step of seconds, so that both signals fall into it.
    let flags = "--seq-length 128 --batch-size 256 --hidden-size 256 --corpus long.py";
    place.write("long.py", super::support::python(1200));
    let mut run = Running::start(&place, "cut", flags);
    // Before it has a folder, the first signal ends it.
    let begun = place.path("cut/vocab.json");
    run.wait_until("the run's folder", || begun.is_file());
    run.signal("INT");
    run.wait_for("once more to stop at once");
    run.signal("INT");
    let done = run.end();
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert!(
        !done.stderr.contains("everything is saved"),
        "{}",
        done.stderr
    );
    assert!(!place.path("cut/last").exists());
}

#[test]
fn a_corpus_that_has_moved_is_named_anew() {
    let place = Place::new();
    place.train("whole", "--max-steps 6 --quiet").ok();
    place.train("parts", "--max-steps 3 --quiet").ok();
    fs::rename(place.path("text.py"), place.path("moved.py")).unwrap();
    let more = "--max-steps 6 --quiet --resume";
    place
        .train("parts", &format!("{more} --corpus moved.py"))
        .ok();
    assert_same_run(&place.path("whole"), &place.path("parts"));
}
