//! `rnnx translate --sampling` through the binary.

use serde_json::Value;

use super::support::{Done, Place};
use super::translate::{begun, learned, piped, translate};

const TEXT: &str = "find the name again";

#[track_caller]
fn object(done: Done) -> Value {
    serde_json::from_str(&done.ok().stdout).unwrap()
}

/// What is written in place of each line of standard input.
#[track_caller]
fn lines(place: &Place, input: &str, flags: &str) -> Vec<String> {
    let done = piped(place, input, &format!("--sampling --quiet {flags}"));
    done.ok().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn samples_depend_on_the_seed_and_come_in_their_order() {
    let place = begun("attention", "");
    let flags = |more: &str| format!("--sampling --max-length 12 {more}");
    let one = translate(&place, TEXT, &flags("")).ok().stdout;
    assert_eq!(translate(&place, TEXT, &flags("--seed 1")).ok().stdout, one);
    assert_ne!(translate(&place, TEXT, &flags("--seed 2")).ok().stdout, one);
    let four = translate(&place, TEXT, &flags("--n-best 4")).ok().stdout;
    assert_eq!(four.lines().count(), 4);
    let mut distinct: Vec<&str> = four.lines().collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 4, "{four}");
    assert_eq!(four.lines().next(), one.lines().next());
    // Each line draws numbers of its own, whatever stands before it.
    let input = [TEXT; 3].join("\n");
    let all = lines(&place, &input, "--max-length 12");
    assert_eq!(all.len(), 3);
    assert!(
        all[0] != all[1] && all[1] != all[2] && all[0] != all[2],
        "{all:?}"
    );
    assert_eq!(all[0], one.trim_end());
    let other = lines(&place, &format!("load\nload\n{TEXT}"), "--max-length 12");
    assert_eq!(other[2], all[2]);
}

#[test]
fn json_has_the_log_probability_of_each_sample() {
    let place = learned("attention");
    let flags = "--json --sampling --temperature 1.5 --n-best 20 --seed 3";
    let got = object(translate(&place, TEXT, flags));
    let samples = got["n_best"].as_array().unwrap();
    assert_eq!(samples.len(), 20);
    for key in [
        "prediction",
        "code",
        "log_probability",
        "score",
        "attention",
    ] {
        assert_eq!(got[key], samples[0][key], "{key}");
    }
    let greedy = object(translate(&place, TEXT, "--json"));
    let of = |answer: &Value| answer["log_probability"].as_f64().unwrap();
    let mut same = 0;
    for sample in samples {
        assert!(of(sample) < 0.0);
        let tokens = sample["prediction"].as_array().unwrap().len();
        let length = tokens + usize::from(sample["ended"].as_bool().unwrap());
        // One division of f64.
        let error = sample["score"].as_f64().unwrap() - of(sample) / length as f64;
        assert!(error.abs() < 1e-12, "{sample}");
        if sample["prediction"] == greedy["prediction"] {
            // f32 sums over other batches.
            assert!((of(sample) - of(&greedy)).abs() < 1e-5, "{sample} {greedy}");
            same += 1;
        }
    }
    assert!(same > 0 && same < 20, "{same}");
}

#[test]
fn without_a_choice_it_is_greedy() {
    let place = learned("lstm");
    let greedy = translate(&place, TEXT, "").ok().stdout;
    for flags in ["--temperature 0", "--top-k 1", "--top-p 1e-9 --seed 9"] {
        let drawn = translate(&place, TEXT, &format!("--sampling {flags}")).ok();
        assert_eq!(drawn.stdout, greedy, "{flags}");
    }
    let wild = format!("--sampling --temperature 9 --seed 1 --max-length {}", 20);
    assert_ne!(translate(&place, TEXT, &wild).ok().stdout, greedy);
    // A blank line has a blank answer here, too.
    assert_eq!(lines(&place, "load\n \nload", "--temperature 0")[1], "");
}

#[test]
fn refused() {
    let place = begun("attention", "");
    let refuse = |flags: &str, words: &[&str]| {
        let done = translate(&place, TEXT, flags);
        assert_eq!(done.stdout, "");
        done.fails(2, words);
    };
    let words = ["--sampling", "--beam 5", "leave out one of them"];
    refuse("--sampling --beam 5", &words);
    refuse("--sampling --beam 1 --n-best 1", &["--beam 1", "leave out"]);
    refuse(
        "--sampling --length-penalty 0.5",
        &["--length-penalty", "leave it out with --sampling"],
    );
    refuse(
        "--length-penalty 0.5",
        &["--length-penalty", "give --beam N"],
    );
    refuse(
        "--n-best 3",
        &["--n-best 3", "give --beam 3", "--sampling to draw 3"],
    );
    for flag in ["--temperature 1", "--top-k 3", "--top-p 0.5", "--seed 4"] {
        refuse(flag, &["--sampling"]);
        refuse(&format!("{flag} --beam 3"), &["--sampling"]);
    }
    // As `rnnx generate` refuses them.
    for (flag, values) in [
        ("--temperature", "-1 nan inf 1e30"),
        ("--top-k", "0 -1 1.5"),
        ("--top-p", "0 1.5 nan"),
        ("--seed", "-1 x"),
    ] {
        for value in values.split(' ') {
            let flags = format!("{flag} {value}");
            let message = |done: Done| {
                let at = done.stderr.find("error:").unwrap();
                let line = done.stderr[at..].lines().next().unwrap().to_owned();
                (done.code, line)
            };
            let found = message(translate(&place, TEXT, &format!("--sampling {flags}")));
            let known = message(place.run(&format!("generate a {flags}")));
            assert_eq!(found, known);
            assert_eq!(found.0, Some(2));
        }
    }
}
