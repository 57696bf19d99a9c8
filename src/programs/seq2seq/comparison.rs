//! The results of seq2seq models side by side: `comparison.json` and the table on the terminal.

use serde_json::{Value, json};

use crate::files::TestEvent;
use crate::programs::suite::{Figure, SECONDS, figure, for_people};

/// A figure that only runs have that copy.
const COPIED: &str = "copied_rate";

/// All figures, in the order of the file and of the table.
#[rustfmt::skip]
static FIGURES: [Figure; 23] = [
    figure("model", None, |t| json!(t.model)),
    figure("bleu", Some("BLEU-4"), |t| json!(t.scores.bleu)),
    figure("bleu_smoothed", Some("BLEU-4, smoothed"), |t| json!(t.scores.bleu_smoothed)),
    figure("bleu_python", Some("BLEU-4, Python's tokens"), |t| json!(t.scores.bleu_python)),
    figure("bleu_sentence", Some("BLEU, mean of outputs"), |t| json!(t.scores.bleu_sentence)),
    figure("ngram_counts", None, |t| json!(t.scores.ngram_counts)),
    figure("exact_match", Some("exact match"), |t| json!(t.scores.exact_match)),
    figure("token_accuracy", Some("token accuracy"), |t| json!(t.scores.token_accuracy)),
    figure("chrf", Some("chrF"), |t| json!(t.scores.chrf)),
    figure("parse_rate", Some("parses as Python"), |t| json!(t.scores.parse_rate)),
    figure("reference_parse_rate", Some("its references do"), |t| json!(t.scores.reference_parse_rate)),
    figure("unk_rate", Some("<UNK>"), |t| json!(t.scores.unk_rate)),
    figure(COPIED, Some("copied"), |t| json!(t.copied_rate)),
    figure("train_loss", Some("training loss"), |t| json!(t.train_loss)),
    figure("valid_loss", Some("validation loss"), |t| json!(t.valid_loss)),
    figure("best_valid_loss", Some("best validation loss"), |t| json!(t.best_valid_loss)),
    figure("test_loss", Some("test loss"), |t| json!(t.loss)),
    figure("parameters", Some("parameters"), |t| json!(t.parameters)),
    figure("epochs", Some("epochs"), |t| json!(t.epochs)),
    figure(SECONDS, Some("training time"), |t| json!(t.train_seconds)),
    figure("seed", Some("seed"), |t| json!(t.seed)),
    figure("beam", None, |t| json!(t.beam)),
    figure("pairs", None, |t| json!(t.scores.pairs)),
];

/// The result of a run as the file has it.
pub fn row(test: &TestEvent) -> Value {
    let pairs = FIGURES
        .iter()
        .filter(|f| f.key != COPIED || test.copied_rate.is_some());
    let pairs = pairs.map(|f| (f.key.to_owned(), (f.value)(test)));
    Value::Object(pairs.collect())
}

/// A table with a column for each run. Losses are nats a token.
pub fn table(tests: &[TestEvent]) -> String {
    let lines = FIGURES.iter().filter_map(|f| Some((f.name?, f)));
    let width = lines.clone().map(|(line, _)| line.len()).max().unwrap_or(0);
    let mut text = " ".repeat(width);
    for test in tests {
        text += &format!("  {:>12}", test.model.as_deref().unwrap_or_default());
    }
    text.push('\n');
    // Outputs that are no code have no such rate.
    let has_value = |f: &Figure| tests.iter().any(|test| (f.value)(test).is_number());
    let keys = ["bleu_python", COPIED];
    let of_some = |f: &Figure| f.key.ends_with("parse_rate") || keys.contains(&f.key);
    let shown = lines.filter(|(_, f)| !of_some(f) || has_value(f));
    for (line, figure) in shown {
        text += &format!("{line:<width$}");
        for test in tests {
            text += &format!(
                "  {:>12}",
                for_people(figure.key, Some(&(figure.value)(test)))
            );
        }
        text.push('\n');
    }
    text
}
