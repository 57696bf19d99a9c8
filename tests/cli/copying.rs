//! Runs of a model that copies, through the binary.

use serde_json::json;

use super::seq2seq::train;
use super::support::Place;

/// Names that stand once each in the training pairs, so that no vocabulary has them.
const NAMES: [&str; 10] = [
    "alba", "brno", "caen", "dijon", "elba", "fano", "genf", "husum", "ilm", "jena",
];

/// A pair whose target names a function that its source names: to be copied.
pub fn pair(name: &str, argument: &str) -> String {
    let docstring = format!("call {name} with {argument}");
    let code = format!("{name} ( {argument} )");
    format!("{}\n", json!({"docstring": docstring, "code": code}))
}

/// A place with pairs that want copying, and no run yet.
pub fn place() -> Place {
    let place = super::seq2seq::place();
    let pairs = NAMES
        .iter()
        .flat_map(|name| ["x", "y"].map(|argument| pair(name, argument)));
    // Each name twice, and words from three occurrences on.
    place.write("train.jsonl", pairs.collect::<String>());
    let other = |names: [&str; 3]| names.map(|name| pair(name, "x")).concat();
    place.write("valid.jsonl", other(["wien", "ziel", "weit"]));
    place.write("test.jsonl", other(["oslo", "ziel", "quer"]));
    place
}

/// The flags of a small model that copies.
pub const FLAGS: &str = "--model attention --copy --min-frequency 3 --hidden-size 24 --embedding-dim 16 \
                         --dropout 0 --quiet";

/// A place with the run `a`, which has learned to copy.
pub fn learned() -> Place {
    let place = place();
    train(
        &place,
        "a",
        &format!("{FLAGS} --epochs 40 --learning-rate 0.02"),
    )
    .ok();
    place
}
