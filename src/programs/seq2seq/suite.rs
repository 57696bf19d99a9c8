//! The suite `code`: what each part adds that makes code of descriptions, from the published models on.

use toml::{Table, Value};

use super::figures::*;
use super::model::ModelKind;
use crate::data::syntax::GrammarChoice;
use crate::data::tokens::TokenizerKind;
use crate::programs::suite::{Figure, Row, Suite};

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

/// Tokens, and room for them: of the 5,000 fetched targets, of at most 50 words between blanks each, 200 tokens
/// of Python's cut 22, and as many pieces 234.
fn of_tokens(source: TokenizerKind, target: TokenizerKind) -> Table {
    let sides = [("source-tokens", source), ("target-tokens", target)];
    let mut values = settings(sides.map(|(name, kind)| (name, kind.to_string())));
    values.extend(settings([("max-source", 60), ("max-target", 200)]));
    values
}

fn settings<const N: usize>(values: [(&str, impl Into<Value>); N]) -> Table {
    let owned = values.map(|(name, value)| (name.to_owned(), value.into()));
    Table::from_iter(owned)
}

/// What the table has of a run, under shorter names where it has columns of them.
static FIGURES: [Figure; 18] = [
    MODEL,
    EXACT_MATCH.called("exact"),
    BLEU,
    BLEU_PYTHON.called("Python's"),
    BLEU_SENTENCE.called("mean"),
    CHRF,
    PARSE_RATE.called("parses"),
    UNK_RATE,
    COPIED_RATE,
    IDENTIFIER_F1.called("names F1"),
    TREE_MATCH.called("tree"),
    BEST_VALID.called("valid loss"),
    TEST_LOSS.unseen(),
    PARAMETERS,
    TRAINING.called("training"),
    DECODING,
    BEAM,
    SEED.unseen(),
];
