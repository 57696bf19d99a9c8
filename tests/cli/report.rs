//! `rnnx report` through the binary, and the page of a run under way.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::support::{EPOCH, Place, Running};

#[test]
fn one_page_of_one_run_and_of_several() {
    let place = Place::with_run("a", "--epochs 2 --quiet");
    fs::remove_file(place.path("a/report.html")).unwrap();
    let done = place.run("report a").ok();
    assert_eq!(
        (done.stdout.as_str(), done.stderr.as_str()),
        ("a/report.html\n", "")
    );
    let page = fs::read_to_string(place.path("a/report.html")).unwrap();
    for words in ["<svg", "hidden-size", "epoch-2", "text.py"] {
        assert!(page.contains(words), "{words}");
    }
    for network in ["http:", "https:", "src="] {
        assert!(!page.contains(network), "{network}");
    }
    place.train("b", "--epochs 1 --seed 2 --quiet").ok();
    place.run("report a b --out both.html").ok();
    let both = fs::read_to_string(place.path("both.html")).unwrap();
    assert!(both.starts_with("<!") && both.len() > page.len());
    place.write("s2s/config.toml", "kind = \"seq2seq\"\n");
    let step = "{\"event\":\"step\",\"step\":1,\"epoch\":1}\n";
    place.write("s2s/metrics.jsonl", step);
    place.run("report a s2s").fails(
        2,
        &["a is a run of a character LM", "s2s one of a seq2seq model"],
    );
    // Drawing a page changes no run.
    assert_eq!(
        fs::read_to_string(place.path("a/report.html")).unwrap(),
        page
    );
}

#[test]
fn what_cannot_be_drawn() {
    let place = Place::with_run("a", "--max-steps 0 --quiet");
    place.run("report").fails(2, &["<RUN>"]);
    place.run("report none").fails(3, &["none: no such run"]);
    place.write("empty/readme", "");
    place.run("report empty").fails(3, &["no metrics.jsonl"]);
    place.run("report a").fails(3, &["no step is recorded yet"]);
    place.write("a/metrics.jsonl", "{\"event\":\"step\",\"step\":1}\n");
    place
        .run("report a")
        .fails(3, &["a/metrics.jsonl:1", "epoch"]);
}

#[test]
fn a_run_with_odd_names_is_drawn() {
    let place = Place::new();
    place.write("a b/<&>.py", super::support::python(19));
    place
        .run_args(&[
            "train-charlm",
            "--corpus",
            "a b/<&>.py",
            "--out",
            "runs/\u{e9} \"x\"",
            "--hidden-size",
            "16",
            "--seq-length",
            "16",
            "--batch-size",
            "4",
            "--epochs",
            "1",
            "--valid-fraction",
            "0.1",
            "--quiet",
        ])
        .ok();
    let page = fs::read_to_string(place.path("runs/\u{e9} \"x\"/report.html")).unwrap();
    assert!(page.contains("&lt;&amp;&gt;.py") && !page.contains("<&>"));
    place
        .run_args(&[
            "train-charlm",
            "--out",
            "runs/\u{e9} \"x\"",
            "--resume",
            "--epochs",
            "2",
        ])
        .ok();
}

#[test]
fn a_page_is_there_while_a_run_trains_and_says_when_it_has_ended() {
    let place = Place::new();
    let page = place.path("a/report.html");
    let read = || fs::read_to_string(&page).unwrap_or_default();
    let is_live = |page: &str| page.contains("<p class=\"live\"");
    let mut run = Running::start(&place, "a", "--epochs 1000000 --log-every 999");
    run.wait_until("a page", || is_live(&read()));
    // What is recorded first is the end of an epoch.
    assert!(read().contains("0 step records, 1 epoch records"));
    run.signal("INT");
    let done = run.end();
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert!(!is_live(&read()) && read().ends_with("</html>\n"));
    // One that cannot be drawn stops no training.
    fs::remove_file(&page).unwrap();
    fs::create_dir(&page).unwrap();
    let more = "train-charlm --out a --resume --epochs 1000000 --max-time 1s --log-every 1";
    let done = place.run(more).fails(1, &["a/report.html"]);
    assert!(done.stderr.contains("note: the report is no longer drawn"));
    assert!(done.stderr.contains("max-time 1s is over"));
}

/// The rows of a table with the names of its columns.
fn rows(table: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    reader.deserialize().map(|row| row.unwrap()).collect()
}

#[test]
fn records_as_csv() {
    let place = Place::with_run("a", "--epochs 2 --eval-every 5 --quiet");
    let done = place.run("report a --csv").ok();
    assert_eq!(done.stderr, "");
    let head = "run,event,epoch,step,loss,ce,accuracy,grad_norm,lr,loss_scale,tokens_per_s,train_loss,\
                train_accuracy,valid_loss,valid_accuracy,averaged,seconds\n";
    assert!(done.stdout.starts_with(head), "{}", done.stdout);
    let table = rows(&done.stdout);
    // As many rows as records, and every value of theirs to the last bit.
    let records = fs::read_to_string(place.path("a/metrics.jsonl")).unwrap();
    let records: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(table.len(), records.len());
    assert_eq!(table.len() as u64, 2 * EPOCH + 2 + 3);
    for (row, record) in table.iter().zip(&records) {
        assert_eq!(
            (&*row["run"], &row["event"][..]),
            ("a", record["event"].as_str().unwrap())
        );
        for (column, cell) in row
            .iter()
            .filter(|(name, _)| !["run", "event"].contains(&&***name))
        {
            let number = (!cell.is_empty()).then(|| cell.parse::<f64>().unwrap());
            assert_eq!(number, record[column].as_f64(), "{column} of {record}");
        }
    }
    // Several runs, of whatever kind, into a file.
    place.write("b,c/config.toml", "kind = \"seq2seq\"\n");
    let step = "{\"event\":\"step\",\"step\":7,\"epoch\":1,\"loss\":0.25,\"ce\":null}\n";
    place.write("b,c/metrics.jsonl", step);
    let done = place
        .run_args(&["report", "a", "b,c", "--csv", "--out", "both.csv"])
        .ok();
    assert_eq!(done.stdout, "");
    let both = rows(&fs::read_to_string(place.path("both.csv")).unwrap());
    assert_eq!(both[..table.len()], table);
    let [last] = &both[table.len()..] else {
        panic!("{both:?}");
    };
    let cells = ["run", "step", "loss", "ce", "seconds"].map(|name| &*last[name]);
    assert_eq!(cells, ["b,c", "7", "0.25", "", ""]);
    // A table without rows has its columns, too.
    place.write(
        "tested/metrics.jsonl",
        "{\"event\":\"test\",\"bleu\":0.5}\n",
    );
    let done = place.run("report tested --csv").ok();
    assert_eq!(done.stdout, head);
    place
        .run("report none --csv")
        .fails(3, &["none: no such run"]);
    assert!(!place.path("a/report.csv").exists());
}
