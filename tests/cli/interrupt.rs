//! Ctrl-C and the termination signal, where a run has nothing to save yet or any more, and signals that
//! a run was started with to ignore.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use super::seq2seq::{self, pairs};
use super::support::{Place, Running, assert_same_run, metrics, python, state_number, train_args};

/// Both end a run.
const SIGNALS: [&str; 2] = ["INT", "TERM"];

// ---- before training -----------------------------------------------------------------------

#[test]
fn while_a_text_is_read() {
    let place = Place::new();
    // All of its characters are dropped, which takes seconds.
    File::create(place.path("zeros.txt"))
        .unwrap()
        .set_len(2 << 30)
        .unwrap();
    for signal in SIGNALS {
        let mut run = Running::start(&place, "a", "--corpus zeros.txt");
        run.wait_for("device: ");
        run.signal(signal);
        run.end().fails(
            130,
            &["interrupted before a began to train: nothing was written"],
        );
        assert!(!place.path("a").exists());
    }
}

#[cfg(target_os = "linux")] // for /proc
#[test]
fn while_pairs_are_read() {
    let place = seq2seq::place();
    // Reading takes a second.
    place.write("train.jsonl", pairs(20, 1).repeat(20_000));
    for signal in SIGNALS {
        let mut run = Running::of(&place, "log", &seq2seq::train_args("a", "--model lstm"));
        let files = format!("/proc/{}/fd", run.pid());
        let is_pairs =
            |link: PathBuf| fs::read_link(link).is_ok_and(|to| to.ends_with("train.jsonl"));
        run.wait_until("the pairs are read", || {
            let open = fs::read_dir(&files).into_iter().flatten().flatten();
            open.map(|entry| entry.path()).any(is_pairs)
        });
        run.signal(signal);
        run.end().fails(
            130,
            &["interrupted while the data was read: nothing was written"],
        );
        assert!(!place.path("a").exists());
    }
}

// ---- scoring and decoding ------------------------------------------------------------------

#[test]
fn while_an_epoch_is_validated() {
    let place = Place::new();
    let text = python(12000);
    place.write("long.py", &text);
    // Nine batches of four windows validate for one that trains.
    let flags = "--corpus long.py --valid-fraction 0.9 --epochs 1";
    let steps = (text.len() as f64 * (1.0 - 0.9)).floor() as u64 / 17 / 4;
    let mut run = Running::start(&place, "cut", flags);
    run.wait_for(&format!("step {steps}/{steps} "));
    run.signal("TERM");
    run.end()
        .fails(130, &["everything is saved", "--resume --out cut"]);
    let cut = place.path("cut");
    // Validation itself was cut short.
    assert_eq!(state_number(&cut, "epoch"), 0);
    assert_eq!(state_number(&cut, "step_in_epoch"), steps);
    assert!(
        metrics(&cut)
            .iter()
            .all(|line| !line.contains("valid_loss"))
    );
    place
        .train("cut", &format!("{flags} --resume --quiet"))
        .ok();
    place.train("whole", &format!("{flags} --quiet")).ok();
    assert_same_run(&place.path("whole"), &cut);
}

#[test]
fn while_the_test_pairs_are_decoded() {
    let place = seq2seq::place();
    place.write("test.jsonl", pairs(4000, 3));
    for signal in SIGNALS {
        let flags = "--model lstm --epochs 1 --beam 50 --force";
        let mut run = Running::of(&place, "log", &seq2seq::train_args("a", flags));
        run.wait_for("decoded with a beam of 50");
        run.signal(signal);
        run.end().fails(
            130,
            &[
                "interrupted in the test of a; everything is saved but the test",
                "--resume --out a",
            ],
        );
        let metrics = fs::read_to_string(place.path("a/metrics.jsonl")).unwrap();
        assert!(
            metrics.contains("\"epoch\"") && !metrics.contains("\"test\""),
            "{metrics}"
        );
        assert!(!place.path("a/samples/test.jsonl").exists());
        let page = fs::read_to_string(place.path("a/report.html")).unwrap();
        assert!(page.ends_with("</html>\n") && !page.contains("<p class=\"live\""));
    }
    // What the message says.
    let done = place.run("eval a --beam 1 --batch-size 500 --quiet").ok();
    assert!(done.stdout.contains("bleu"), "{}", done.stdout);
}

#[test]
fn while_eval_decodes() {
    let place = seq2seq::place();
    seq2seq::train(&place, "a", "--model lstm --epochs 1 --quiet").ok();
    place.write("more.jsonl", pairs(4000, 3));
    for (signal, number) in [("INT", 2), ("TERM", 15)] {
        let args = ["eval", "a", "--pairs", "more.jsonl", "--beam", "50"];
        let mut run = Running::of(&place, "log", &args);
        run.wait_for("4,000 pairs");
        run.signal(signal);
        assert_eq!(run.ended_by(), Some(number));
    }
}

// ---- signals that are ignored --------------------------------------------------------------

/// A training as `nohup` and `&` in a script start it.
fn ignoring(place: &Place) -> Running {
    let script = "trap '' INT HUP; exec \"$0\" \"$@\"";
    let mut sh = Command::new("sh");
    sh.args(["-c", script, env!("CARGO_BIN_EXE_rnnx")])
        .args(train_args("a", "--corpus long.py --epochs 1 --force"))
        .current_dir(place.path(""));
    let mut run = Running::command(place, "log", sh);
    run.wait_for("step 2/");
    run.signal("INT");
    run.signal("HUP");
    run
}

#[test]
fn what_a_run_was_started_with_to_ignore_stays_ignored() {
    let place = Place::new();
    place.write("long.py", python(1200));
    let done = ignoring(&place).end().ok();
    assert!(!done.stderr.contains("saving"), "{}", done.stderr);
    assert!(done.stderr.contains("\ndone: "), "{}", done.stderr);
    // The others still end it.
    let run = ignoring(&place);
    run.signal("TERM");
    run.end()
        .fails(130, &["everything is saved", "--resume --out a"]);
}
