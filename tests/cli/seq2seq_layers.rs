//! Seq2seq models of several layers, from training to everything that reads them; smoothed labels and
//! dropout before the output layer.

use serde_json::Value;

use super::seq2seq::{EPOCH, json_lines, pairs, place, train};
use super::support::{assert_same_run, state_number};

#[test]
fn they_train_resume_are_scored_translate_and_are_exported() {
    for kind in ["rnn", "lstm", "attention", "gru"] {
        let place = place();
        let flags = format!("--model {kind} --num-layers 2 --teacher-forcing 0.5 --quiet");
        let steps = EPOCH + 2;
        train(&place, "a", &format!("{flags} --max-steps {steps}")).ok();
        train(&place, "b", &format!("{flags} --max-steps 3")).ok();
        train(
            &place,
            "b",
            &format!("{flags} --max-steps {steps} --resume"),
        )
        .ok();
        assert_eq!(state_number(&place.path("b"), "step"), steps);
        assert_same_run(&place.path("a"), &place.path("b"));

        let scored = place.run("eval a --json -q").ok();
        let scored: Value = serde_json::from_str(&scored.stdout).unwrap();
        let tested = json_lines(&place, "a/metrics.jsonl");
        assert_eq!(scored["loss"], tested.last().unwrap()["loss"], "{kind}");
        for search in ["", "--beam 3"] {
            place.run(&format!("translate a -q copy {search}")).ok();
        }
        let inspected = place.run("inspect a --json").ok();
        assert!(inspected.stdout.contains("decoder.rnn.weight_ih_l1"));
        place
            .run("export a --format torch -o a.safetensors -q")
            .ok();
        place
            .run("export a --format onnx -o out -q")
            .fails(2, &["several layers", "--format torch"]);
        place
            .run("train-seq2seq --out a --resume --num-layers 3")
            .fails(2, &["num-layers = 3", "num-layers = 2"]);
    }
}

#[test]
fn all_three_and_copying_have_as_many_as_asked_for() {
    let place = place();
    train(&place, "all", "--num-layers 2 --epochs 1 --quiet").ok();
    for kind in super::seq2seq::KINDS {
        let inspected = place.run(&format!("inspect all/{kind} --json")).ok();
        assert!(inspected.stdout.contains("encoder.rnn.weight_hh_l1"));
    }
    let flags = "--model attention --num-layers 2 --copy --tie-embeddings --epochs 1 --beam 2";
    let done = train(&place, "copy", flags).ok();
    assert!(
        done.stderr.contains("attention, 2 layers of 10 units"),
        "{}",
        done.stderr
    );
}

/// The records name what they are of: the loss with smoothed labels is what a step minimises, the
/// cross-entropy and all that validates are without.
#[test]
fn smoothed_labels_and_output_dropout_train_and_resume() {
    let place = place();
    // Targets of one length, so that steps weigh the same.
    let lines = pairs(96, 1);
    let lines: Vec<&str> = lines.lines().step_by(4).collect();
    place.write("train.jsonl", lines.join("\n"));
    let flags = "--model attention --label-smoothing 0.2 --output-dropout 0.4 --quiet";
    let steps = EPOCH + 2;
    train(&place, "a", &format!("{flags} --max-steps {steps}")).ok();
    train(&place, "b", &format!("{flags} --max-steps 3")).ok();
    train(
        &place,
        "b",
        &format!("{flags} --max-steps {steps} --resume"),
    )
    .ok();
    assert_same_run(&place.path("a"), &place.path("b"));
    let records = json_lines(&place, "a/metrics.jsonl");
    let number = |record: &Value, key: &str| record[key].as_f64().unwrap();
    let of_steps = records.iter().filter(|r| r["event"] == "step");
    for record in of_steps.clone() {
        let (loss, ce) = (number(record, "loss"), number(record, "ce"));
        assert!((loss - ce).abs() > 1e-6, "{record}");
    }
    // An epoch's is the mean of what was minimised, and a validation's is the plain one of eval.
    let epoch = records.iter().find(|r| r["event"] == "epoch").unwrap();
    let losses = of_steps.take(EPOCH as usize).map(|r| number(r, "loss"));
    let mean = losses.sum::<f64>() / EPOCH as f64;
    let train_loss = number(epoch, "train_loss");
    assert!((train_loss - mean).abs() < 1e-9, "{train_loss} {mean}");
    let scored = place.run("eval a --split valid --json -q").ok();
    let scored: Value = serde_json::from_str(&scored.stdout).unwrap();
    let last = records.iter().rfind(|r| r["event"] == "valid").unwrap();
    let best = number(epoch, "valid_loss").min(number(last, "valid_loss"));
    assert_eq!(scored["loss"].as_f64(), Some(best));
    train(
        &place,
        "c",
        "--model attention --copy --label-smoothing 0.1",
    )
    .fails(
        2,
        &["label-smoothing with copy", "leave one of the two out"],
    );
}
