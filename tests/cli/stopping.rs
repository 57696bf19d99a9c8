//! Validations inside of epochs, and what ends a run before its last step.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::schedule::{die_after, events, of_kind};
use super::support::{EPOCH, Place, assert_same_run, state_number};

/// Step and validation loss of each validation, in order.
fn validations(run: &Path) -> Vec<(u64, f64)> {
    let found = events(run).into_iter();
    let found = found.filter(|e| e["event"] == "epoch" || e["event"] == "valid");
    let number = |value: &Value| (value["step"].as_u64(), value["valid_loss"].as_f64());
    let found = found.map(|e| number(&e));
    found
        .map(|(step, loss)| (step.unwrap(), loss.unwrap()))
        .collect()
}

/// The step of a link's checkpoint.
fn step_of(run: &Path, link: &str) -> u64 {
    let target = fs::read_link(run.join(link)).unwrap();
    let name = target.file_name().unwrap().to_str().unwrap().to_owned();
    name.strip_prefix("step-").unwrap().parse().unwrap()
}

/// The first of the lowest.
fn lowest(validations: &[(u64, f64)]) -> u64 {
    let least = validations.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    least.unwrap().0
}

#[test]
fn eval_every_validates_between_epochs_and_finds_the_best_there() {
    let place = Place::new();
    let flags =
        "--learning-rate 0.5 --epochs 2 --eval-every 3 --checkpoint-every 2 --keep 99 --quiet";
    for run in ["whole", "parts"] {
        place.train(run, flags).ok();
    }
    let (whole, parts) = (place.path("whole"), place.path("parts"));
    let found = validations(&whole);
    let steps: Vec<u64> = found.iter().map(|v| v.0).collect();
    assert_eq!(steps, [3, 6, EPOCH, 9, 12, 15, 2 * EPOCH]);
    assert_eq!(step_of(&whole, "best"), lowest(&found));
    let event = &of_kind(&events(&whole), "valid")[0].clone();
    let keys: Vec<&str> = event
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = [
        "event",
        "step",
        "epoch",
        "valid_loss",
        "valid_accuracy",
        "crc32",
    ];
    assert_eq!((&keys[..], &event["epoch"]), (&expected[..], &1.into()));
    // Before a validation and after one, inside of an epoch and at its end.
    for step in [2, 4, 6, EPOCH, 12] {
        die_after(&parts, step);
        place.run("train-charlm --out parts --resume --quiet").ok();
        assert_same_run(&whole, &parts);
    }
    let page = fs::read_to_string(whole.join("report.html")).unwrap();
    let tile = format!("step {}", lowest(&found));
    assert!(
        lowest(&found).is_multiple_of(EPOCH) || page.contains(&tile),
        "{tile}"
    );
    // The run is the same but for what was looked at.
    place
        .train("plain", "--learning-rate 0.5 --epochs 2 --quiet")
        .ok();
    let model = |run: &str| fs::read(place.path(run).join("last/model.safetensors")).unwrap();
    assert!(model("plain") == model("whole"));
}

#[test]
fn a_run_that_ends_inside_an_epoch_is_validated_there() {
    let place = Place::with_run("a", "--learning-rate 0.01 --max-steps 11 --keep 1");
    let run = place.path("a");
    let found = validations(&run);
    assert_eq!(found.iter().map(|v| v.0).collect::<Vec<_>>(), [EPOCH, 11]);
    assert!(found[1].1 < found[0].1, "the test needs a loss that falls");
    assert_eq!(events(&run).last().unwrap()["closing"], true);
    assert_eq!((step_of(&run, "best"), step_of(&run, "last")), (11, 11));
    // Nothing is left to do: it stays the best.
    let done = place.run("train-charlm --out a --resume").ok();
    assert!(
        done.stderr.contains("has reached max-steps 11"),
        "{}",
        done.stderr
    );
    assert_eq!(validations(&run), found);
    assert_eq!(step_of(&run, "best"), 11);
    // A run that goes on is one that never ended there.
    place
        .run("train-charlm --out a --resume --max-steps 14")
        .ok();
    place
        .train("whole", "--learning-rate 0.01 --max-steps 14 --keep 1")
        .ok();
    assert_same_run(&place.path("whole"), &run);
    let steps: Vec<u64> = validations(&run).iter().map(|v| v.0).collect();
    assert_eq!(steps, [EPOCH, 14]);
}

#[test]
fn patience_ends_a_run_and_a_resumed_one_counts_on() {
    let place = Place::new();
    // So high a rate that the loss goes up and down.
    let flags = "--learning-rate 2 --epochs 50 --eval-every 2 --patience 3 --keep 99";
    let done = place.train("whole", flags).ok();
    let found = validations(&place.path("whole"));
    let best = lowest(&found);
    let since = found.iter().filter(|v| v.0 > best).count();
    assert_eq!(since, 3, "{found:?}");
    let last = found.last().unwrap().0;
    let told = format!("stopped at step {last}: none of the last 3 validations was better");
    assert!(done.stderr.contains(&told), "{}", done.stderr);
    assert_eq!(step_of(&place.path("whole"), "last"), last);
    assert_eq!(step_of(&place.path("whole"), "best"), best);
    assert_eq!(state_number(&place.path("whole"), "stale"), 3);
    let done = place.run("train-charlm --out whole --resume").ok();
    let told = "nothing is left to do: none of the last 3 validations";
    for words in [told, "raise patience"] {
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
    // Stopped between two of them, it counts on.
    let stop = last - 1;
    place
        .train("parts", &format!("{flags} --max-steps {stop} --quiet"))
        .ok();
    place
        .run("train-charlm --out parts --resume --max-steps 1000 --quiet")
        .ok();
    assert_same_run(&place.path("whole"), &place.path("parts"));
    place
        .run(&format!(
            "train-charlm --out whole --resume --patience 99 --max-steps {}",
            last + 3
        ))
        .ok();
    assert_eq!(step_of(&place.path("whole"), "last"), last + 3);
}

#[test]
fn max_time_ends_a_run_that_then_goes_on() {
    let place = Place::new();
    let done = place
        .train("a", "--epochs 1000000 --max-time 1s --log-every 999")
        .ok();
    let told = ": max-time 1s is over; --resume goes on for as long again";
    assert!(done.stderr.contains(told), "{}", done.stderr);
    let (run, step) = (place.path("a"), state_number(&place.path("a"), "step"));
    assert!(step > 0);
    assert_eq!(validations(&run).last().unwrap().0, step);
    assert!(run.join("best/model.safetensors").is_file());
    place
        .run(&format!(
            "train-charlm --out a --resume --max-steps {} -q",
            step + 2
        ))
        .ok();
    assert_eq!(state_number(&run, "step"), step + 2);
}
