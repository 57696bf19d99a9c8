//! Learning-rate schedules, and what a run that goes on may change.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::support::{EPOCH, Place, assert_same_run, state_number};

/// The events of a run.
pub fn events(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
    events.collect()
}

pub fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|e| e["event"] == kind).collect()
}

/// The learning rate of each step.
fn rates(run: &Path) -> Vec<f64> {
    let events = events(run);
    let steps = of_kind(&events, "step").into_iter();
    steps.map(|e| e["lr"].as_f64().unwrap()).collect()
}

/// Makes the checkpoint of `step` the last one, as if the run had died right after it.
pub fn die_after(run: &Path, step: u64) {
    let checkpoint = format!("checkpoints/step-{step}");
    assert!(run.join(&checkpoint).is_dir());
    fs::remove_file(run.join("last")).unwrap();
    // What stands for a link where there are none.
    fs::write(run.join("last"), checkpoint).unwrap();
}

#[test]
fn the_rate_rises_and_falls_and_a_resumed_run_has_the_same() {
    let place = Place::new();
    for kind in ["constant", "linear", "cosine"] {
        let flags = format!(
            "--schedule {kind} --learning-rate 0.01 --warmup-steps 4 --min-lr 0.001 --epochs 2 \
             --checkpoint-every 3 --keep 99 --quiet"
        );
        let [whole, parts] = ["whole", "parts"].map(|out| place.path(&format!("{kind}-{out}")));
        for run in [&whole, &parts] {
            place.train(run.to_str().unwrap(), &flags).ok();
        }
        let found = rates(&whole);
        assert_eq!(found.len() as u64, 2 * EPOCH);
        assert_eq!(found[..4], [0.0025, 0.005, 0.0075, 0.01]);
        // The middle between the end of the warm-up, step 3 from 0, and step 15.
        let (middle, last) = match kind {
            "constant" => (0.01, 0.01),
            _ => (0.0055, 0.001),
        };
        assert!((found[9] - middle).abs() < 1e-9, "{kind}: {found:?}");
        assert!((found[15] - last).abs() < 1e-9, "{kind}: {found:?}");
        for step in [3, 9] {
            die_after(&parts, step);
            let out = parts.to_str().unwrap();
            place
                .run(&format!("train-charlm --out {out} --resume --quiet"))
                .ok();
            assert_same_run(&whole, &parts);
        }
    }
    // An end that comes before that of the epochs.
    let flags = "--schedule linear --learning-rate 0.01 --max-steps 3 --epochs 9 --quiet";
    place.train("short", flags).ok();
    assert_eq!(rates(&place.path("short")), [0.01, 0.005, 0.0]);
}

#[test]
fn a_plateau_halves_the_rate_after_a_validation_that_is_no_better() {
    let place = Place::new();
    // So high a rate that the loss goes up and down.
    let flags = "--schedule plateau --learning-rate 2 --min-lr 0.6 --epochs 8 --keep 99 --quiet";
    for run in ["whole", "parts"] {
        place.train(run, flags).ok();
    }
    let (mut best, mut expected) = (f64::INFINITY, 2.0f64);
    let mut cuts = 0;
    for event in events(&place.path("whole")) {
        match event["event"].as_str().unwrap() {
            "step" => assert_eq!(event["lr"].as_f64().unwrap(), expected.max(0.6), "{event}"),
            _ => {
                let loss = event["valid_loss"].as_f64().unwrap();
                if loss >= best {
                    cuts += 1;
                    expected /= 2.0;
                }
                best = best.min(loss);
            }
        }
    }
    assert!(
        cuts >= 1,
        "the loss must stop falling for the test to say something"
    );
    assert_eq!(state_number(&place.path("whole"), "rate_cuts"), cuts);
    die_after(&place.path("parts"), 5 * EPOCH);
    place.run("train-charlm --out parts --resume --quiet").ok();
    assert_same_run(&place.path("whole"), &place.path("parts"));
}

#[test]
fn a_device_that_counts_its_steps_itself_has_the_same_rates() {
    let place = Place::new();
    let flags = "--schedule cosine --learning-rate 0.01 --warmup-steps 2 --max-steps 6 \
                 --checkpoint-every 3 --precision fp32 --quiet";
    place.train("cpu", &format!("{flags} --device cpu")).ok();
    place
        .train(
            "device",
            &format!("{flags} --device emulated --log-every 1"),
        )
        .ok();
    assert_eq!(rates(&place.path("cpu")), rates(&place.path("device")));
    let losses = |run: &str| {
        let events = events(&place.path(run));
        let steps = of_kind(&events, "step").into_iter();
        steps.map(|e| e["ce"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    for (a, b) in losses("cpu").into_iter().zip(losses("device")) {
        // Other orders of sums; a rate of another step would move the loss by a thousandth.
        assert!((a - b).abs() < 1e-4, "{a} on the CPU, {b} on the device");
    }
}

// ---- --change ------------------------------------------------------------------------------

#[test]
fn a_learning_rate_changes_only_where_that_is_said_and_is_recorded() {
    let place = Place::with_run("a", "--max-steps 4 --quiet");
    let resume = "train-charlm --out a --resume --max-steps 7 --keep 9";
    place.run(&format!("{resume} --learning-rate 0.002")).fails(
        2,
        &["learning-rate = 0.002 contradicts", "0.00018", "--change"],
    );
    let change = "--change --learning-rate 0.002 --warmup-steps 6";
    let done = place.run(&format!("{resume} {change}")).ok();
    let told = "changed from step 4 on: learning-rate 0.00018 → 0.002, warmup-steps 0 → 6";
    assert!(done.stderr.contains(told), "{}", done.stderr);
    let old = 1.8e-4;
    // The warm-up counts from the run's first step.
    let new = 0.002 * 5.0 / 6.0;
    let expected = [old, old, old, old, new, 0.002, 0.002];
    assert_eq!(rates(&place.path("a")), expected);
    let found = events(&place.path("a"));
    assert_eq!(found[4]["event"], "change");
    assert_eq!(found[4]["step"], 4);
    let changes = &found[4]["changes"];
    assert_eq!(changes["learning-rate"], serde_json::json!([1.8e-4, 0.002]));
    assert_eq!(changes["warmup-steps"], serde_json::json!([0, 6]));
    assert_eq!(changes.as_object().unwrap().len(), 2);
    // The page marks the place in the curves and says what it was.
    let page = fs::read_to_string(place.path("a/report.html")).unwrap();
    let text = "after step 4: learning-rate 0.00018 → 0.002, warmup-steps 0 → 6";
    assert!(page.contains(&format!("<title>{text}</title></path>")));
    assert!(page.contains(&format!("<p class=\"note\">changed {text}</p>")));

    // From then on the run has the new values: nothing more is recorded, nothing needs to be said.
    place
        .run("train-charlm --out a --resume --max-steps 8 -q")
        .ok();
    place
        .run("train-charlm --out a --resume --change --max-steps 9")
        .fails(2, &["--change: nothing changes"]);
    place
        .train("b", "--change --learning-rate 0.1")
        .fails(2, &["--resume"]);
    let found = events(&place.path("a"));
    assert_eq!(of_kind(&found, "change").len(), 1);
    assert_eq!(rates(&place.path("a")).len(), 8);
}

#[test]
fn a_run_that_died_after_a_change_goes_on_with_it() {
    let flags = "--max-steps 4 --checkpoint-every 2 --keep 9 --quiet";
    let place = Place::with_run("whole", flags);
    place.train("parts", flags).ok();
    let change = "--resume --change --learning-rate 0.002 --max-steps 6 --quiet";
    for run in ["whole", "parts"] {
        place
            .run(&format!("train-charlm --out {run} {change}"))
            .ok();
    }
    // Before its next checkpoint: the change is in the configuration, not in what was saved.
    die_after(&place.path("parts"), 4);
    place.run("train-charlm --out parts --resume --quiet").ok();
    assert_same_run(&place.path("whole"), &place.path("parts"));
    let found = events(&place.path("parts"));
    assert_eq!(of_kind(&found, "change").len(), 1);
    // Before that the run had not been changed: what it goes on with would be new to it.
    die_after(&place.path("parts"), 2);
    place
        .run("train-charlm --out parts --resume --quiet")
        .fails(
            3,
            &[
                "learning-rate = 0.002",
                "learning-rate = 0.00018",
                "--change",
            ],
        );
    place
        .run("train-charlm --out parts --resume --change --learning-rate 0.003 --quiet")
        .ok();
    let found = events(&place.path("parts"));
    let [event] = of_kind(&found, "change")[..] else {
        panic!("{found:?}")
    };
    assert_eq!(event["step"], 2);
    assert_eq!(
        event["changes"]["learning-rate"],
        serde_json::json!([1.8e-4, 0.003])
    );
}
