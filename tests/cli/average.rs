//! The average of the last checkpoints, made where a run ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rnnx::files::tensors::TensorFile;
use rnnx::report::read_metrics;
use serde_json::Value;

use super::schedule::{die_after, events, of_kind};
use super::seq2seq;
use super::support::{EPOCH, Place, assert_same_run};

fn weights(checkpoint: &Path) -> TensorFile {
    TensorFile::load(&checkpoint.join("model.safetensors")).unwrap()
}

/// The validation of the average.
fn averaged(run: &Path) -> Value {
    let events = events(run);
    let valid = of_kind(&events, "valid").into_iter();
    let mut valid = valid.filter(|e| !e["averaged"].is_null());
    let event = valid.next().expect("a validation of the average").clone();
    assert!(valid.next().is_none());
    event
}

fn loss(valid: &Value) -> f64 {
    valid["valid_loss"].as_f64().unwrap()
}

/// The lowest loss of the run's own weights.
fn best_loss(run: &Path) -> f64 {
    let events = events(run);
    let losses = events.iter().filter(|e| e["averaged"].is_null());
    let losses = losses.filter_map(|e| e["valid_loss"].as_f64());
    losses.fold(f64::INFINITY, f64::min)
}

#[test]
fn the_average_is_the_mean_of_the_last_checkpoints_and_the_best_if_it_is_better() {
    let place = Place::new();
    let is_best = ["0.03", "0.3"].map(|rate| {
        let run = place.path(rate);
        let flags = format!("--learning-rate {rate} --epochs 6 --average 3 --keep 1 --quiet");
        place.train(rate, &flags).ok();
        let at = |step: u64| weights(&run.join(format!("checkpoints/step-{step}")));
        let parts = [4, 5, 6].map(|epoch| at(epoch * EPOCH));
        let mean = weights(&run.join("checkpoints/average"));
        assert!(mean.tensors.len() > 5);
        for (name, tensor) in &mean.tensors {
            for (i, &x) in tensor.data.iter().enumerate() {
                let sum: f64 = parts
                    .iter()
                    .map(|p| f64::from(p.tensors[name].data[i]))
                    .sum();
                assert_eq!(x, (sum / 3.0) as f32, "{name} {i}");
            }
        }
        let event = averaged(&run);
        assert_eq!(
            (&event["averaged"], &event["closing"]),
            (&3.into(), &true.into())
        );
        // The run has ended: it belongs to the last epoch, not to one that would follow.
        assert_eq!(
            (&event["epoch"], &event["step"]),
            (&6.into(), &(6 * EPOCH).into())
        );
        let best = fs::canonicalize(run.join("best")).unwrap();
        let is_best = best.ends_with("checkpoints/average");
        assert_eq!(is_best, loss(&event) < best_loss(&run));
        let done = place
            .run(&format!("eval {rate}/checkpoints/average --json -q"))
            .ok();
        let eval: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(eval["loss"], event["valid_loss"]);
        place.run(&format!("generate {rate} --length 5")).ok();
        is_best
    });
    // Averaging helps weights that jump about, and holds back those that still get better.
    assert_eq!(is_best, [false, true]);
}

#[test]
fn what_is_told_of_the_average_is_not_told_of_the_last_weights() {
    let place = Place::with_run("a", "--learning-rate 0.3 --epochs 6 --average 3 --quiet");
    let run = place.path("a");
    let event = averaged(&run);
    let read = read_metrics(&run.join("metrics.jsonl")).unwrap();
    let average = read.average.unwrap();
    assert_eq!(
        (average.valid_loss, average.averaged),
        (loss(&event), Some(3))
    );
    // No step has two validations.
    assert_eq!((read.valids.len(), read.epochs.len()), (0, 6));
    assert!(loss(&event) < best_loss(&run));
    let last = read.epochs[5].valid_loss.unwrap();
    for (of, loss) in [
        ("a", loss(&event)),
        ("a/best", loss(&event)),
        ("a/checkpoints/average", loss(&event)),
        ("a/last", last),
    ] {
        place
            .run(&format!("explore {of} --quiet -o page.html"))
            .ok();
        let page = fs::read_to_string(place.path("page.html")).unwrap();
        let shown = format!("validation loss {loss:.4} nats");
        assert!(page.contains(&shown), "{of}: {shown}");
    }
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    let tile = |value: String, note: &str| format!("<dd>{value} <small>{note}</small></dd>");
    for tile in [
        tile(format!("{:.4}", loss(&event)), "nats per character"),
        tile(
            format!("{:.2} %", 100.0 * average.valid_accuracy),
            "average of 3 checkpoints",
        ),
    ] {
        assert!(page.contains(&tile), "{tile}");
    }
    let done = place.run("report a --csv").ok();
    let mut table = csv::Reader::from_reader(done.stdout.as_bytes());
    let rows: Vec<BTreeMap<String, String>> = table.deserialize().map(|row| row.unwrap()).collect();
    let (row, others) = rows.split_last().unwrap();
    assert_eq!([&*row["event"], &row["averaged"]], ["valid", "3"]);
    assert_eq!(row["valid_loss"].parse::<f64>().unwrap(), loss(&event));
    assert!(others.iter().all(|row| row["averaged"].is_empty()));
}

#[test]
fn a_run_that_goes_on_has_the_same_average() {
    let place = Place::new();
    let flags = "--epochs 2 --checkpoint-every 3 --average 4 --keep 1 --quiet";
    place.train("whole", flags).ok();
    // Stopped where no checkpoint was due, and after an end of its own.
    place.train("parts", &format!("{flags} --max-steps 5")).ok();
    let early = averaged(&place.path("parts"));
    assert_eq!((&early["averaged"], &early["step"]), (&2.into(), &5.into()));
    for flags in [
        "--max-steps 9",
        "--max-steps 10",
        "--epochs 2 --max-steps 1000",
    ] {
        place
            .run(&format!(
                "train-charlm --resume --out parts --quiet {flags}"
            ))
            .ok();
    }
    assert_same_run(&place.path("whole"), &place.path("parts"));
    let [x, y] =
        ["whole", "parts"].map(|run| weights(&place.path(run).join("checkpoints/average")));
    assert_eq!(x.tensors, y.tensors);
    assert_eq!(
        averaged(&place.path("whole")),
        averaged(&place.path("parts"))
    );
    // What is left of a run that died after a checkpoint is what its average needs.
    place
        .train("dead", &flags.replace("--keep 1", "--keep 99"))
        .ok();
    die_after(&place.path("dead"), EPOCH);
    place.run("train-charlm --resume --out dead --quiet").ok();
    assert_same_run(&place.path("whole"), &place.path("dead"));
    // Nothing of it is left in a run that takes its place.
    place.train("whole", "--max-steps 2 --force --quiet").ok();
    assert!(!place.path("whole/checkpoints/average").exists());
}

#[test]
fn a_seq2seq_run_is_tested_with_its_average_where_that_is_best() {
    let place = seq2seq::place();
    let flags = "--model lstm --learning-rate 0.3 --epochs 3 --average 2 --quiet";
    seq2seq::train(&place, "run", flags).ok();
    let run = place.path("run");
    let (event, best) = (averaged(&run), best_loss(&run));
    assert_eq!(event["averaged"], 2);
    assert!(loss(&event) < best, "{event}: {best}");
    let linked = fs::canonicalize(run.join("best")).unwrap();
    assert!(linked.ends_with("checkpoints/average"));
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    let lowest = format!(
        "<td>{:.4}</td><td>average of 2 checkpoints</td>",
        loss(&event)
    );
    assert!(page.contains(&lowest), "{lowest}");
    let done = place.run("eval run --json -q").ok();
    let eval: Value = serde_json::from_str(&done.stdout).unwrap();
    let events = events(&run);
    let test = of_kind(&events, "test")[0];
    assert_eq!(test["loss"], eval["loss"]);
    seq2seq::train(&place, "one", "--model lstm --epochs 1 --average 2").ok();
    assert!(!place.path("one/checkpoints/average").exists());
}

#[test]
fn a_checkpoint_of_another_model_is_no_reason_to_fail() {
    let place = Place::with_run("a", "--epochs 2 --average 3 --keep 9 --quiet");
    place.train("b", "--epochs 1 --hidden-size 12 --quiet").ok();
    let file = |run: &str| place.path(run).join("checkpoints/step-8/model.safetensors");
    fs::copy(file("b"), file("a")).unwrap();
    let done = place.run("train-charlm --resume --out a --epochs 3").ok();
    assert!(
        done.stderr.contains("note: no average: "),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("has the shape"), "{}", done.stderr);
    assert_eq!(super::support::state_number(&place.path("a"), "epoch"), 3);
}
