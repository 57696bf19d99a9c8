//! The results of seq2seq models side by side.

use serde_json::{Map, Value};
use std::time::Duration;

use crate::log;
use crate::train::progress::clock;

/// The keys of a result, and what they are called in the `test` event.
const KEYS: [(&str, &str); 20] = [
    ("model", "model"),
    ("bleu", "bleu"),
    ("bleu_smoothed", "bleu_smoothed"),
    ("ngram_counts", "ngram_counts"),
    ("exact_match", "exact_match"),
    ("token_accuracy", "token_accuracy"),
    ("chrf", "chrf"),
    ("parse_rate", "parse_rate"),
    ("reference_parse_rate", "reference_parse_rate"),
    ("unk_rate", "unk_rate"),
    ("train_loss", "train_loss"),
    ("valid_loss", "valid_loss"),
    ("best_valid_loss", "best_valid_loss"),
    ("test_loss", "loss"),
    ("parameters", "parameters"),
    ("seconds", "train_seconds"),
    ("epochs", "epochs"),
    ("seed", "seed"),
    ("beam", "beam"),
    ("pairs", "pairs"),
];

/// The result of a run from its `test` event.
pub fn row(test: &Map<String, Value>) -> Value {
    let value = |name: &str| test.get(name).cloned().unwrap_or_default();
    let pairs = KEYS.map(|(key, name)| (key.to_owned(), value(name)));
    Value::Object(pairs.into_iter().collect())
}

/// How a figure is shown.
enum Shown {
    /// A number with four digits behind the point.
    Number,
    /// A count.
    Count,
    /// Seconds as a clock shows them.
    Time,
}

/// The lines of the table.
const LINES: [(&str, &str, Shown); 16] = [
    ("BLEU-4", "bleu", Shown::Number),
    ("BLEU-4, smoothed", "bleu_smoothed", Shown::Number),
    ("exact match", "exact_match", Shown::Number),
    ("token accuracy", "token_accuracy", Shown::Number),
    ("chrF", "chrf", Shown::Number),
    ("parses as Python", "parse_rate", Shown::Number),
    ("its references do", "reference_parse_rate", Shown::Number),
    ("<UNK>", "unk_rate", Shown::Number),
    ("training loss", "train_loss", Shown::Number),
    ("validation loss", "valid_loss", Shown::Number),
    ("best validation loss", "best_valid_loss", Shown::Number),
    ("test loss", "test_loss", Shown::Number),
    ("parameters", "parameters", Shown::Count),
    ("epochs", "epochs", Shown::Count),
    ("training time", "seconds", Shown::Time),
    ("seed", "seed", Shown::Count),
];

/// A table with a column for each result. Losses are nats a token.
pub fn table(rows: &[&Value]) -> String {
    let width = LINES.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let mut text = " ".repeat(width);
    for row in rows {
        text += &format!("  {:>12}", row["model"].as_str().unwrap_or_default());
    }
    text.push('\n');
    for (name, key, shown) in &LINES {
        text += &format!("{name:<width$}");
        for row in rows {
            text += &format!("  {:>12}", show(&row[*key], shown));
        }
        text.push('\n');
    }
    text
}

/// A value for people; a dash for one that there is not.
fn show(value: &Value, shown: &Shown) -> String {
    let text = match shown {
        Shown::Number => value.as_f64().map(|x| format!("{x:.4}")),
        Shown::Count => value.as_u64().map(log::thousands),
        Shown::Time => value.as_f64().map(|s| {
            let time = Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX);
            clock(time)
        }),
    };
    text.unwrap_or_else(|| "-".into())
}
