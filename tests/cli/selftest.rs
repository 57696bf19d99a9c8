//! `rnnx selftest` through the binary.

use super::support::Place;
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
