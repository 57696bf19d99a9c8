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
