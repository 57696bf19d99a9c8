//! `rnnx selftest` through the binary.

use super::support::{Done, Place};
use serde_json::Value;

#[test]
fn a_table_on_the_emulated_device() {
    let place = Place::new();
    let run = place.run("selftest --device emulated --filter sum").ok();
    let lines: Vec<Vec<&str>> = run
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0][..3], ["op", "type", "cases"]);
    let ops: Vec<_> = lines[1..].iter().map(|l| (l[0], l[1], l[5])).collect();
    assert_eq!(
        ops,
        [
            ("sum", "f32", "ok"),
            ("sum", "f16", "ok"),
            ("sum_squares", "f32", "ok"),
            ("sum_squares", "f16", "ok"),
        ]
    );
    assert!(run.stderr.contains("emulated device"), "{}", run.stderr);
}

/// On a GPU without clusters the kernels of more than 128 units are not checked, which must not pass for
/// a check.
#[test]
fn what_went_by_steps_is_no_check() {
    let place = Place::new();
    let words = "selftest --device emulated --filter lstm_whole --json";
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut command = place.command(&words);
    command.env("RNNX_EMULATED", "no-clusters");
    let done = Done::of(command.output().unwrap()).ok();
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(report["by_steps"], 6);
    let of_units = |units: &str| {
        let cases = report["cases"].as_array().unwrap().iter();
        let mut of_units = cases.filter(|c| c["case"].as_str().unwrap().contains(units));
        of_units.all(|c| c["by_steps"] == true)
    };
    assert!(of_units("512 units") && !of_units("128 units"));
}

#[test]
fn the_environment_names_defects_of_the_emulated_device() {
    let place = Place::new();
    let mut command = place.command(&["selftest", "--device", "emulated", "--filter", "sum"]);
    command.env("RNNX_EMULATED", "slow");
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(2));
    assert!(
        done.stderr.contains("RNNX_EMULATED=slow: give no-clusters"),
        "{}",
        done.stderr
    );
}

#[test]
fn json_has_every_case() {
    let place = Place::new();
    let run = place.run("selftest --device cpu --filter tanh --json").ok();
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["passed"], true);
    assert_eq!(report["failed"], 0);
    let cases = report["cases"].as_array().unwrap();
    assert!(cases.len() > 5);
    for case in cases {
        assert_eq!(
            (&case["op"], &case["dtype"]),
            (&"tanh".into(), &"f32".into())
        );
        let figure = |name: &str| case[name].as_f64().unwrap();
        assert!(figure("error") <= figure("bound") && figure("bound") < 1e-5);
        assert!(!case["why"].as_str().unwrap().is_empty());
        assert_eq!(case["digest"].as_str().unwrap().len(), 16);
    }
}

#[test]
fn refused() {
    let place = Place::new();
    let run = place.run("selftest --device cpu --filter conv");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--filter conv") && run.stderr.contains("softmax_xent"));
    let run = place.run("selftest --device cuda:99");
    assert_eq!(run.code, Some(4));
    assert!(run.stderr.contains("cuda:99"), "{}", run.stderr);
    assert_eq!(run.stdout, "");
}

// ---- whole sequences against their steps -------------------------------------------------------

/// `rnnx selftest --recurrence` on an emulated device with these defects.
fn recurrences(defects: &str, words: &str) -> Done {
    let place = Place::new();
    let words = format!("selftest --recurrence --device emulated {words}");
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut command = place.command(&words);
    command.env("RNNX_EMULATED", defects);
    Done::of(command.output().unwrap())
}

/// What has no kernel for whole sequences, or no clusters to run it, is told apart from what was compared.
#[test]
fn whole_sequences_against_their_steps() {
    let run = recurrences("no-clusters", "").ok();
    let lines = run.stdout.lines().skip(1).take(3);
    let ops: Vec<String> = lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            [&words[..3], &words[5..]].concat().join(" ")
        })
        .collect();
    assert_eq!(
        ops,
        [
            "lstm_whole f16 30 ok, 21 by steps",
            "rnn_whole f16 30 ok, 12 by steps",
            "attention_whole f16 5 by steps",
        ]
    );
    let said = |line: &str| assert!(run.stdout.contains(line), "{}", run.stdout);
    said("by steps: 26 sizes: a single step");
    said("by steps: 9 sizes: lstm of 192 units, step by step (whole: the device runs no clusters");
    said(
        "by steps: 3 sizes: attention of 64 units, step by step (whole: the device runs no clusters",
    );
    let json = recurrences("no-clusters", "--filter rnn --json").ok();
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&report["whole"], &report["by_steps"]),
        (&18.into(), &12.into())
    );
    let case = &report["cases"][0];
    assert_eq!(case["case"], "table, 64 units, 1 row of 1 step");
    assert_eq!(
        (&case["by_steps"], &case["message"]),
        (&true.into(), &"a single step".into())
    );
}

/// Where nothing is whole nothing is compared, which must not pass for a comparison.
#[test]
fn a_device_that_takes_nothing_whole_fails() {
    let run = recurrences("no-clusters", "--filter attention");
    assert_eq!(run.code, Some(1));
    let says = "the device took none of 5 sizes whole: nothing was compared";
    assert!(run.stderr.contains(says), "{}", run.stderr);
}

/// A store between blocks that is lost: the size is named, and where it waited.
#[test]
fn a_size_whose_kernel_gives_up_is_named() {
    let run = recurrences("losing=1", "--filter lstm --json");
    assert_eq!(run.code, Some(1));
    let named = "lstm_whole f16 (table, 192 units, 1 row of 3 steps)";
    assert!(
        run.stderr.contains(named) && run.stderr.contains("Train with --recurrence steps"),
        "{}",
        run.stderr
    );
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let cases = report["cases"].as_array().unwrap();
    let failed: Vec<&Value> = cases.iter().filter(|c| c["passed"] == false).collect();
    let says = |case: &Value, what: &str| case["message"].as_str().unwrap().contains(what);
    let gave_up = "lstm_whole_fwd_192 gave up waiting at step 1 in cluster 0";
    assert!(says(failed[0], gave_up), "{}", failed[0]);
    assert_eq!(failed.len(), 14);
    let rest = "not compared: see the first size of as many units";
    assert!(failed[1..].iter().all(|case| says(case, rest)));
    // Blocks of 64 units wait for nobody.
    let of_64 = cases
        .iter()
        .filter(|c| c["case"].as_str().unwrap().contains("64 units"));
    assert_eq!(of_64.filter(|c| c["by_steps"] == false).count(), 9);
}

#[test]
fn recurrences_are_compared_on_gpus() {
    let place = Place::new();
    place
        .run("selftest --recurrence --device cpu")
        .fails(2, &["--recurrence is for GPUs", "this is the CPU"]);
    place
        .run("selftest --recurrence --device emulated --filter matmul")
        .fails(
            2,
            &["--filter matmul", "lstm_whole, rnn_whole, attention_whole"],
        );
}
