//! The suite `code`: what each part adds that makes code of descriptions, from the published models on.

use serde_json::json;
use toml::{Table, Value};

use super::model::ModelKind;
use crate::data::syntax::GrammarChoice;
use crate::data::tokens::TokenizerKind;
use crate::programs::suite::{Figure, Row, SECONDS, Suite, figure};

/// The published models; then, each on top of the one before, copying, Python's tokens, byte pairs, the
/// grammar and pre-training; and the Transformer with all but the last.
pub const CODE: Suite = Suite {
    name: "code",
    about: "the published models, and what copying, tokens, byte pairs, a grammar, pre-training (with \
            --pretrain) and a Transformer add",
    rows: &ROWS,
    figures: &FIGURES,
};

/// A row with these settings on top of another one's.
const fn row(name: &'static str, on: Option<&'static str>, values: fn() -> Table) -> Row {
    Row {
        name,
        on,
        values,
        needs: None,
        from: None,
    }
}

/// The row of pre-training, a language model.
const PRETRAINING: &str = "pretraining";

static ROWS: [Row; 10] = [
    row("rnn", None, || of_model(ModelKind::Rnn)),
    row("lstm", None, || of_model(ModelKind::Lstm)),
    row("attention", None, || of_model(ModelKind::Attention)),
    row("copy", Some("attention"), || settings([("copy", true)])),
    row("python", Some("copy"), || {
        of_tokens(TokenizerKind::Words, TokenizerKind::Python)
    }),
    row("bpe", Some("python"), || {
        of_tokens(TokenizerKind::Bpe, TokenizerKind::Bpe)
    }),
    row("grammar", Some("bpe"), || {
        settings([("grammar", GrammarChoice::Module.to_string())])
    }),
    Row {
        needs: Some("pretrain"),
        ..row(PRETRAINING, Some("grammar"), Table::new)
    },
    Row {
        from: Some(PRETRAINING),
        ..row("pretrained", Some("grammar"), Table::new)
    },
    row("transformer", Some("grammar"), || {
        of_model(ModelKind::Transformer)
    }),
];

fn of_model(model: ModelKind) -> Table {
    settings([("model", model.to_string())])
}

fn of_tokens(source: TokenizerKind, target: TokenizerKind) -> Table {
    let sides = [("source-tokens", source), ("target-tokens", target)];
    settings(sides.map(|(name, kind)| (name, kind.to_string())))
}

fn settings<const N: usize>(values: [(&str, impl Into<Value>); N]) -> Table {
    let owned = values.map(|(name, value)| (name.to_owned(), value.into()));
    Table::from_iter(owned)
}

/// What the table has of a run.
#[rustfmt::skip]
static FIGURES: [Figure; 18] = [
    figure("model", None, |t| json!(t.model)),
    figure("exact_match", Some("exact"), |t| json!(t.scores.exact_match)),
    figure("bleu", Some("BLEU-4"), |t| json!(t.scores.bleu)),
    figure("bleu_python", Some("Python's"), |t| json!(t.scores.bleu_python)),
    figure("bleu_sentence", Some("mean"), |t| json!(t.scores.bleu_sentence)),
    figure("chrf", Some("chrF"), |t| json!(t.scores.chrf)),
    figure("parse_rate", Some("parses"), |t| json!(t.scores.parse_rate)),
    figure("unk_rate", Some("<UNK>"), |t| json!(t.scores.unk_rate)),
    figure("copied_rate", Some("copied"), |t| json!(t.copied_rate)),
    figure("identifier_f1", Some("names F1"), |t| json!(t.scores.identifier_f1)),
    figure("tree_match", Some("tree"), |t| json!(t.scores.tree_match)),
    figure("best_valid_loss", Some("valid loss"), |t| json!(t.best_valid_loss)),
    figure("test_loss", None, |t| json!(t.loss)),
    figure("parameters", Some("parameters"), |t| json!(t.parameters)),
    figure(SECONDS, Some("training"), |t| json!(t.train_seconds)),
    figure("decode_seconds", None, |t| json!(t.decode_seconds)),
    figure("beam", None, |t| json!(t.beam)),
    figure("seed", None, |t| json!(t.seed)),
];
