//! The figures that tables have of a seq2seq model's test, as lines name them.

use serde_json::json;

use crate::programs::suite::{BEST_VALID_LOSS, Figure, SECONDS, figure};

pub(super) const MODEL: Figure = figure("model", None, |t| json!(t.model));
pub(super) const BLEU: Figure = figure("bleu", Some("BLEU-4"), |t| json!(t.scores.bleu));
pub(super) const BLEU_SMOOTHED: Figure = figure("bleu_smoothed", Some("BLEU-4, smoothed"), |t| json!(t.scores.bleu_smoothed));
pub(super) const BLEU_PYTHON: Figure = figure("bleu_python", Some("BLEU-4, Python's tokens"), |t| json!(t.scores.bleu_python));
pub(super) const BLEU_SENTENCE: Figure = figure("bleu_sentence", Some("BLEU, mean of outputs"), |t| json!(t.scores.bleu_sentence));
pub(super) const NGRAM_COUNTS: Figure = figure("ngram_counts", None, |t| json!(t.scores.ngram_counts));
pub(super) const EXACT_MATCH: Figure = figure("exact_match", Some("exact match"), |t| json!(t.scores.exact_match));
pub(super) const TOKEN_ACCURACY: Figure = figure("token_accuracy", Some("token accuracy"), |t| json!(t.scores.token_accuracy));
pub(super) const CHRF: Figure = figure("chrf", Some("chrF"), |t| json!(t.scores.chrf));
pub(super) const PARSE_RATE: Figure = figure("parse_rate", Some("parses as Python"), |t| json!(t.scores.parse_rate));
pub(super) const REFERENCE_PARSE_RATE: Figure = figure("reference_parse_rate", Some("its references do"), |t| json!(t.scores.reference_parse_rate));
pub(super) const IDENTIFIER_F1: Figure = figure("identifier_f1", Some("identifiers, F1"), |t| json!(t.scores.identifier_f1));
pub(super) const TREE_MATCH: Figure = figure("tree_match", Some("syntax tree matches"), |t| json!(t.scores.tree_match));
pub(super) const UNK_RATE: Figure = figure("unk_rate", Some("<UNK>"), |t| json!(t.scores.unk_rate));
pub(super) const COPIED_RATE: Figure = figure("copied_rate", Some("copied"), |t| json!(t.copied_rate));
pub(super) const TRAIN_LOSS: Figure = figure("train_loss", Some("training loss"), |t| json!(t.train_loss));
pub(super) const VALID_LOSS: Figure = figure("valid_loss", Some("validation loss"), |t| json!(t.valid_loss));
pub(super) const BEST_VALID: Figure = figure(BEST_VALID_LOSS, Some("best validation loss"), |t| json!(t.best_valid_loss));
pub(super) const TEST_LOSS: Figure = figure("test_loss", Some("test loss"), |t| json!(t.loss));
pub(super) const PARAMETERS: Figure = figure("parameters", Some("parameters"), |t| json!(t.parameters));
pub(super) const EPOCHS: Figure = figure("epochs", Some("epochs"), |t| json!(t.epochs));
pub(super) const TRAINING: Figure = figure(SECONDS, Some("training time"), |t| json!(t.train_seconds));
pub(super) const DECODING: Figure = figure("decode_seconds", None, |t| json!(t.decode_seconds));
pub(super) const SEED: Figure = figure("seed", Some("seed"), |t| json!(t.seed));
pub(super) const BEAM: Figure = figure("beam", None, |t| json!(t.beam));
pub(super) const PAIRS: Figure = figure("pairs", None, |t| json!(t.scores.pairs));

/// Those that not every run has: of Python alone, or of models that copy.
pub(super) const OF_SOME: [&str; 6] = [
    BLEU_PYTHON.key, PARSE_RATE.key, REFERENCE_PARSE_RATE.key, IDENTIFIER_F1.key, TREE_MATCH.key, COPIED_RATE.key,
];
