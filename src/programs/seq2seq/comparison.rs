//! The results of seq2seq models side by side: `comparison.json` and the table on the terminal.

use serde_json::{Value, json};

use super::figures::*;
use crate::files::TestEvent;
use crate::programs::suite::{Figure, for_people};
use crate::train::session::Summary;

/// All figures, in the order of the file and of the table.
static FIGURES: [Figure; 25] = [
    MODEL,
    BLEU,
    BLEU_SMOOTHED,
    BLEU_PYTHON,
    BLEU_SENTENCE,
    NGRAM_COUNTS,
    EXACT_MATCH,
    TOKEN_ACCURACY,
    CHRF,
    PARSE_RATE,
    REFERENCE_PARSE_RATE,
    IDENTIFIER_F1,
    TREE_MATCH,
    UNK_RATE,
    COPIED_RATE,
    TRAIN_LOSS,
    VALID_LOSS,
    BEST_VALID,
    TEST_LOSS,
    PARAMETERS,
    EPOCHS,
    TRAINING,
    SEED,
    BEAM,
    PAIRS,
];

/// The result of a run as the file has it.
pub fn row(test: &TestEvent) -> Value {
    let pairs = FIGURES
        .iter()
        .filter(|f| f.key != COPIED_RATE.key || test.copied_rate.is_some());
    let pairs = pairs.map(|f| (f.key.to_owned(), (f.value)(test)));
    Value::Object(pairs.collect())
}

/// The same of a language model, which writes nothing for a source and is not tested.
pub fn untested(model: &str, summary: &Summary) -> Value {
    let Summary { best, epoch, .. } = summary;
    let seconds = summary.elapsed.as_secs_f64();
    json!({
        MODEL.key: model, BEST_VALID.key: best, EPOCHS.key: epoch, TRAINING.key: seconds,
    })
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
    let has_value = |f: &Figure| tests.iter().any(|test| (f.value)(test).is_number());
    let shown = lines.filter(|(_, f)| !OF_SOME.contains(&f.key) || has_value(f));
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
