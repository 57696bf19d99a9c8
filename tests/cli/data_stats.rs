//! What the binary says of corpora.

use serde_json::json;

use super::data_prepare::object;
use super::support::Place;

#[test]
fn statistics_of_pairs() {
    let place = Place::new();
    let line = |docstring: &str, code: &str| {
        json!({ "docstring": docstring, "code": code }).to_string() + "\n"
    };
    place.write(
        "train.jsonl",
        line("a b", "x = 1") + &line("a b c d e f", "x = 2 + y"),
    );
    place.write("valid.jsonl", line("a zz", "x y"));
    place.write("test.jsonl", line("a b", "x = 1") + &line("b b", "q"));
    let files = "--train train.jsonl --valid valid.jsonl --test test.jsonl";
    let table = place.run(&format!("data stats {files}")).ok().stdout;
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert_eq!(
        rows,
        [
            "vocabularies     6 docstring, 6 code tokens that occur 2 times in train",
            "tokens              pairs     mean   median      95%      max   tokens  unknown",
            "train docstring         2      4.0      4.0        6        6        8    50.0%",
            "train code              2      4.0      4.0        5        5        8    50.0%",
            "valid docstring         1      2.0      2.0        2        2        2    50.0%",
            "valid code              1      2.0      2.0        2        2        2    50.0%",
            "test docstring          2      2.0      2.0        2        2        4     0.0%",
            "test code               2      2.0      2.0        3        3        4    50.0%",
            "overlap          1 test pairs are in train, too",
            "valid in train   0 with nearly the same code (4 of 5 words shared), 0 with the same docstring",
            "test in train    1 with nearly the same code (4 of 5 words shared), 1 with the same docstring",
        ]
    );
    let all = object(place.run(&format!("data stats {files} --json --min-frequency 1")));
    assert_eq!(all["vocabulary"], json!({ "source": 10, "target": 10 }));
    assert_eq!(all["overlap"], 1);
    assert_eq!(
        all["test"],
        json!({
            "pairs": 2,
            "source": { "mean": 2.0, "median": 2.0, "p95": 2, "max": 2, "tokens": 4, "unknown_rate": 0.0 },
            "target": { "mean": 2.0, "median": 2.0, "p95": 3, "max": 3, "tokens": 4, "unknown_rate": 0.25 },
            "near": { "near_code": 1, "same_docstring": 1 },
        })
    );
}

#[test]
fn statistics_that_cannot_be_made() {
    let place = Place::new();
    place.write("good.jsonl", "{\"docstring\":\"a a\",\"code\":\"b\"}\n");
    place.write("broken.jsonl", "\n{\"docstring\":\"a\"\n");
    place.write("field.jsonl", "{\"docstring\":\"a\"}\n");
    place.write("blank.jsonl", "\n\n");
    place.write("cut.jsonl.gz", b"\x1f\x8b\x08\x00");
    for (valid, words) in [
        (
            "broken.jsonl",
            &["broken.jsonl:2: broken JSON at column", "mend or remove"][..],
        ),
        ("field.jsonl", &["field.jsonl:1: no field \"code\""]),
        ("blank.jsonl", &["blank.jsonl: an empty split"]),
        (
            "cut.jsonl.gz",
            &["cut.jsonl.gz:1: the gzip data is cut off"],
        ),
        ("none.jsonl", &["none.jsonl: no such file"]),
        (
            "good.jsonl",
            &["nothing but its special tokens", "min-frequency"],
        ),
    ] {
        let flags = format!("--train good.jsonl --valid {valid} --test good.jsonl");
        place.run(&format!("data stats {flags}")).fails(3, words);
    }
    for (flags, words) in [
        ("--train good.jsonl", &["--valid", "--test"][..]),
        (
            "--task pairs --corpus text.py",
            &["--corpus", "describe text, not pairs"],
        ),
        (
            "--min-frequency 3 --seed 3",
            &["--seed describe text, not pairs"],
        ),
        (
            "--task text --min-frequency 3",
            &["--min-frequency describe pairs, not text"],
        ),
        (
            "--min-frequency 0",
            &["--min-frequency", "a whole number from 1"],
        ),
    ] {
        place.run(&format!("data stats {flags}")).fails(2, words);
    }
}
