//! `rnnx study`: what it compares runs with, and which files it leaves out.

use std::fs;

use serde_json::{Value, json};

use super::support::{Place, python};

/// A run whose training text is `code`, eight files that begin alike.
fn with_run() -> Place {
    let place = Place::new();
    for i in 0..8 {
        place.write(&format!("code/part{i}.py"), python(24 + i % 3));
    }
    let flags = "--corpus code --valid-split files --valid-fraction 0.3 --max-steps 2";
    place.train("a", flags).ok();
    place
}

/// A file that shares nothing with those. Like them it is short, so that no context is cut.
fn other() -> String {
    let line = |i| format!("def other_{i}(y, z):\n    return [y, {i}] if z else other_{i}(z, y)\n");
    (100..116).map(line).collect()
}

fn study(place: &Place, line: &str) -> (Value, String) {
    let done = place.run(line).ok();
    (serde_json::from_str(&done.stdout).unwrap(), done.stderr)
}

fn bits(model: &Value) -> f64 {
    let all = &model["measures"]["classes"]["all"];
    all["bits"]["mean"].as_f64().unwrap()
}

#[test]
fn runs_are_compared_with_n_grams_and_a_cache() {
    let place = with_run();
    place.write("other.py", other());
    let (found, _) = study(&place, "study a --quick --json --text other.py");
    let models = found["models"].as_array().unwrap();
    let names: Vec<_> = models.iter().map(|m| m["name"].as_str().unwrap()).collect();
    let baselines = [
        "3-grams",
        "6-grams",
        "10-grams",
        "20-grams",
        "n-grams + cache",
    ];
    assert_eq!(names, [&["a"], &baselines[..]].concat());
    assert!(models[1..].iter().all(|model| model["kind"] == "baseline"));
    // The file says the same again and again; what was trained on does not say it.
    assert!(
        models[1..5]
            .iter()
            .all(|model| bits(model) > 2.0 * bits(&models[5])),
        "{found}"
    );
    // Whoever trained on another text has baselines of its own.
    place.write("more/x.py", python(40));
    place.write("more/y.py", python(44));
    place
        .train(
            "b",
            "--corpus more --valid-split files --valid-fraction 0.5 --max-steps 2",
        )
        .ok();
    let (found, _) = study(&place, "study a b --quick --json --text other.py -o both");
    let models = found["models"].as_array().unwrap();
    let model = |name: &str| models.iter().find(|model| model["name"] == name).unwrap();
    assert_eq!(models.len(), 12);
    assert_ne!(bits(model("10-grams of a")), bits(model("10-grams of b")));
    // Files in another order are the same text.
    let turned =
        "--corpus more --corpus code --valid-split files --valid-fraction 0.3 --max-steps 2";
    place.train("c", turned).ok();
    let swapped = turned.replace("--corpus more --corpus code", "--corpus code --corpus more");
    place.train("d", &swapped).ok();
    let (found, _) = study(&place, "study c d --quick --json -o order");
    assert_eq!(found["models"].as_array().unwrap().len(), 7);
    // Without the training text there are none.
    fs::remove_dir_all(place.path("code")).unwrap();
    let (found, notes) = study(&place, "study a --quick --json --text other.py -o alone");
    assert_eq!(found["models"].as_array().unwrap().len(), 1);
    assert!(notes.contains("the n-grams"), "{notes}");
}

#[test]
fn files_that_are_almost_as_trained_ones_are_left_out() {
    let place = with_run();
    place.write("texts/other.py", other());
    place.write("texts/near.py", python(24).replace("load_0", "renamed"));
    let (found, notes) = study(&place, "study a --quick --json --text texts");
    let names = |files: &Value| -> Vec<Value> {
        let files = files.as_array().unwrap().iter();
        let path = |file: &Value| file["name"].as_str().unwrap().to_owned();
        files
            .map(|file| path(file).replace("texts/", "").into())
            .collect()
    };
    assert_eq!(names(&found["text"]["files"]), [json!("other.py")]);
    assert_eq!(names(&found["text"]["duplicates"]), [json!("near.py")]);
    assert!(notes.contains("near.py (as part"), "{notes}");
    // For a run beside it, too, which has trained on no such file.
    place.write("more/x.py", python(40));
    place.write("more/y.py", python(44));
    place
        .train(
            "b",
            "--corpus more --valid-split files --valid-fraction 0.5 --max-steps 2",
        )
        .ok();
    let (both, _) = study(&place, "study b a --quick --json --text texts -o both");
    assert_eq!(both["text"], found["text"]);
    // All there is stays.
    let (found, notes) = study(
        &place,
        "study a --quick --json --text texts/near.py -o near",
    );
    assert_eq!(names(&found["text"]["files"]), [json!("near.py")]);
    assert_eq!(found["text"]["duplicates"], json!([]));
    assert!(notes.contains("know by heart"), "{notes}");
}
