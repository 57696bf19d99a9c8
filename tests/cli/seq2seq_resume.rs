//! Seq2seq runs that were stopped and resumed give the same bits as runs that never were.

use std::fs;

use super::seq2seq::{EPOCH, KINDS, events, pairs, place, train, train_args};
use super::support::{Running, assert_same_run, json_of, metrics, state_number};

/// Trains to `stops` one after the other, then to `steps`, and compares with one run of `steps`.
fn check(flags: &str, stops: &[u64], steps: u64) {
    let place = place();
    let flags = format!("{flags} --quiet");
    train(&place, "whole", &format!("{flags} --max-steps {steps}")).ok();
    let mut resume = "";
    for n in stops.iter().chain([&steps]) {
        train(
            &place,
            "parts",
            &format!("{flags} --max-steps {n} {resume}"),
        )
        .ok();
        assert_eq!(state_number(&place.path("parts"), "step"), *n);
        resume = "--resume";
    }
    assert_same_run(&place.path("whole"), &place.path("parts"));
}

#[test]
fn each_model_stopped_within_an_epoch_and_at_its_end() {
    for kind in KINDS {
        check(
            &format!("--model {kind}"),
            &[0, 2, EPOCH, EPOCH + 1],
            2 * EPOCH + 3,
        );
    }
}

#[test]
fn with_its_own_predictions_buckets_and_no_shuffle() {
    check(
        "--model attention --teacher-forcing 0.5 --bucket-batches 3",
        &[4],
        EPOCH + 2,
    );
    check(
        "--model lstm --teacher-forcing 0 --dropout 0 --no-shuffle",
        &[3],
        EPOCH + 1,
    );
    check(
        "--model rnn --clip-norm 0 --checkpoint-every 2",
        &[5],
        EPOCH + 4,
    );
}

#[test]
fn the_number_of_threads_changes_no_bit_and_the_seed_does() {
    let place = place();
    for kind in KINDS {
        let run = |out: &str, flags: &str| {
            let flags = format!("--model {kind} --epochs 1 --force --quiet {flags}");
            train(&place, out, &flags).ok();
        };
        run("one", "--threads 1");
        run("two", "--threads 2");
        assert_same_run(&place.path("one"), &place.path("two"));
        run("other", "--seed 2");
        assert_ne!(metrics(&place.path("one")), metrics(&place.path("other")));
    }
}

#[test]
fn a_finished_run_is_not_tested_again() {
    let place = place();
    train(&place, "a", "--model rnn --epochs 1").ok();
    let tests = |run: &str| events(&place, run, "test");
    let before = fs::read(place.path("a/metrics.jsonl")).unwrap();
    let done = place.run("train-seq2seq --out a --resume").ok();
    assert!(
        done.stderr.contains("nothing is left to do"),
        "{}",
        done.stderr
    );
    assert!(!done.stderr.contains("testing"), "{}", done.stderr);
    assert!(done.stdout.contains("BLEU-4"), "{}", done.stdout);
    assert!(fs::read(place.path("a/metrics.jsonl")).unwrap() == before);
    // Another search is another test.
    let done = place.run("train-seq2seq --out a --resume --beam 3").ok();
    assert!(
        done.stderr.contains("decoded with a beam of 3"),
        "{}",
        done.stderr
    );
    assert_eq!((tests("a").len(), &tests("a")[0]["beam"]), (1, &3.into()));
    // So is another choice among what it has found; greedily there is none.
    let tested = |flags: &str| {
        let done = place.run(&format!("train-seq2seq --out a --resume {flags}"));
        (done.ok().stderr.contains("testing"), tests("a"))
    };
    let (again, events) = tested("--length-penalty 0.5");
    assert!(again);
    assert_eq!(
        (events.len(), &events[0]["length_penalty"]),
        (1, &0.5.into())
    );
    assert!(!tested("").0);
    assert!(tested("--length-penalty 1 --beam 1").0);
    assert!(!tested("--length-penalty 2").0);
    // More epochs: the saved configuration holds, and the last test alone remains.
    place
        .run("train-seq2seq --out a --resume --epochs 2 --length-penalty 1")
        .ok();
    train(&place, "whole", "--model rnn --epochs 2").ok();
    assert_same_run(&place.path("whole"), &place.path("a"));
}

#[test]
fn all_models_go_on_from_where_each_stands() {
    let place = place();
    train(&place, "whole", "--epochs 2").ok();
    train(&place, "parts", "--epochs 1").ok();
    // As if it had been stopped before the last model, with the second one half done.
    fs::remove_dir_all(place.path("parts/attention")).unwrap();
    train(&place, "half", "--model lstm --max-steps 3").ok();
    fs::remove_dir_all(place.path("parts/lstm")).unwrap();
    fs::rename(place.path("half"), place.path("parts/lstm")).unwrap();
    place
        .run("train-seq2seq --out parts --resume --epochs 2 --max-steps 1000")
        .ok();
    for kind in KINDS {
        assert_same_run(
            &place.path("whole").join(kind),
            &place.path("parts").join(kind),
        );
    }
    let results = |run: &str| {
        let mut rows = json_of(&place, &format!("{run}/comparison.json"));
        for row in rows.as_array_mut().unwrap() {
            row["seconds"] = 0.into();
        }
        rows
    };
    assert_eq!(results("whole"), results("parts"));
}

#[test]
fn pairs_that_have_moved_are_named_anew() {
    let place = place();
    train(&place, "whole", "--model lstm --max-steps 5").ok();
    train(&place, "parts", "--model lstm --max-steps 2").ok();
    fs::rename(place.path("train.jsonl"), place.path("moved.jsonl")).unwrap();
    let more = "train-seq2seq --out parts --resume --max-steps 5";
    place.run(more).fails(3, &["train.jsonl", "no such file"]);
    place.run(&format!("{more} --train moved.jsonl")).ok();
    assert_same_run(&place.path("whole"), &place.path("parts"));
    // Other pairs are not the run's.
    place.write("moved.jsonl", pairs(21, 1));
    let done = place.run(&format!("{more} --train moved.jsonl"));
    done.fails(
        3,
        &["the pairs of moved.jsonl", "train", "--init-from parts/"],
    );
}

// ---- Ctrl-C --------------------------------------------------------------------------------

#[test]
fn ctrl_c_saves_and_the_run_goes_on_from_there() {
    let place = place();
    let flags = "--model attention --epochs 100000";
    let mut run = Running::of(&place, "log", &train_args("cut", flags));
    run.wait_for("epoch 3/");
    run.interrupt("cut");
    let step = state_number(&place.path("cut"), "step");
    assert!(step >= 2 * EPOCH);
    let flags = format!("{flags} --max-steps {} --quiet", step + 5);
    train(&place, "cut", &format!("{flags} --resume")).ok();
    train(&place, "whole", &flags).ok();
    assert_same_run(&place.path("whole"), &place.path("cut"));
}

#[test]
fn ctrl_c_among_all_models_says_how_to_go_on_with_all() {
    let place = place();
    let mut run = Running::of(&place, "log", &train_args("cut", "--epochs 40"));
    run.wait_for("lstm: cut/lstm");
    run.wait_for("units");
    // The signal may come between two models, or in the test.
    let done = run.interrupt("cut");
    assert!(!done.stderr.contains("comparison"), "{}", done.stderr);
    assert!(!place.path("cut/comparison.json").exists());
    place.run("train-seq2seq --out cut --resume --quiet").ok();
    train(&place, "whole", "--epochs 40 --quiet").ok();
    for kind in KINDS {
        assert_same_run(
            &place.path("whole").join(kind),
            &place.path("cut").join(kind),
        );
    }
}
