//! Pairs in the forms that users have: one file, tables, fields of any name.

use std::fmt::Write as _;

use serde_json::Value;

use super::support::Place;

const SMALL: &str = "--embedding-dim 6 --hidden-size 10 --batch-size 8 --max-steps 3 --model lstm";

/// Dates as a table with a header.
fn dates(n: usize) -> String {
    let mut table = "id,text,iso\n".to_owned();
    for i in 0..n {
        let (day, year) = (i % 28 + 1, 1900 + i % 97);
        let _ = writeln!(table, "{i},\"May {day}, {year}\",{year} 05 {day}");
    }
    table
}

fn train(place: &Place, flags: &str) -> super::support::Done {
    place.run(&format!("train-seq2seq {SMALL} {flags}"))
}

#[test]
fn one_table_is_divided_and_a_run_on_it_goes_on() {
    let place = Place::new();
    place.write("dates.csv", dates(200));
    let fields = "--source-field text --target-field iso";
    let done = train(&place, &format!("--pairs dates.csv {fields} --out a")).ok();
    for part in ["dates.csv, divided by hash: valid-fraction 0.1", "pairs: 1"] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    let done = place
        .run("train-seq2seq --resume --out a --max-steps 5")
        .ok();
    assert!(done.stderr.contains("step 3"), "{}", done.stderr);
    place.run("eval a --quiet").ok();
    // Train alone is such a file once a fraction is given.
    let flags = format!("--train dates.csv --test-fraction 0.2 {fields} --out b");
    let done = train(&place, &flags).ok();
    assert!(done.stderr.contains("test-fraction 0.2"), "{}", done.stderr);
    // Pairs to score have the run's fields, or their own.
    place.write("more.tsv", "May 3, 1979\t1979 05 3\n");
    let json = |flags: &str| {
        let done = place
            .run(&format!("eval a --json --quiet --pairs {flags}"))
            .ok();
        serde_json::from_str::<Value>(&done.stdout).unwrap()
    };
    assert!(json("more.tsv --source-field 1 --target-field 2")["loss"].is_f64());
    assert!(json("dates.csv")["loss"].is_f64());
    place
        .run("eval a --pairs more.tsv")
        .fails(3, &["more.tsv:1:", "no field \"text\"", "source-field"]);
    let flags = "data stats --train dates.csv --valid dates.csv --test dates.csv";
    place.run(&format!("{flags} {fields}")).ok();
    place.run(flags).fails(3, &["no field \"docstring\""]);
}

#[test]
fn what_cannot_be_divided_is_said_with_the_way_out() {
    let place = Place::new();
    place.write("dates.csv", dates(20));
    let named = "--source-field text --target-field iso --out a";
    for (flags, code, parts) in [
        (
            "--train dates.csv",
            2,
            &["train without valid and test", "valid-fraction"][..],
        ),
        (
            "--pairs dates.csv --valid dates.csv",
            2,
            &["pairs and valid", "leave one out"],
        ),
        ("--valid-fraction 0.2", 2, &["divide one file", "as pairs"]),
        (
            "--pairs dates.csv --valid-fraction 0.6 --test-fraction 0.6",
            2,
            &["leave no pair"],
        ),
        (
            "--pairs dates.csv --valid-fraction 0.001",
            3,
            &["20 pairs none is for valid"],
        ),
        ("--pairs none.csv", 3, &["none.csv", "no such file"]),
    ] {
        train(&place, &format!("{flags} {named}")).fails(code, parts);
    }
    train(&place, "--pairs dates.csv --out a").fails(3, &["dates.csv:1:", "docstring"]);
}
