//! BLEU and chrF against sacrebleu (`tests/golden/bleu.py`), sentence BLEU against NLTK, and the other scores by hand.

use rnnx::eval::bleu::NgramCounts;
use rnnx::eval::chrf::ChrfCounts;
use rnnx::eval::scores::{Compared, TextFigures, TextScores};
use rnnx::eval::sentence::sentence_bleu;
use serde::Deserialize;
use serde_json::json;

/// Only the order of sums and products differs from theirs, at a few 2^-53 each.
const TOLERANCE: f64 = 1e-13;

#[derive(Deserialize)]
struct Case {
    name: String,
    references: Vec<String>,
    hypotheses: Vec<String>,
    matches: [u64; 4],
    totals: [u64; 4],
    hypothesis_length: u64,
    reference_length: u64,
    bleu: f64,
    bleu_smoothed: f64,
    chrf: f64,
}

fn goldens() -> Vec<Case> {
    serde_json::from_str(include_str!("golden/bleu.json")).unwrap()
}

/// The tokens of a line; none of an empty one.
fn tokens(line: &str) -> Vec<&str> {
    line.split(' ').filter(|t| !t.is_empty()).collect()
}

impl Case {
    fn pairs(&self) -> impl Iterator<Item = (Vec<&str>, Vec<&str>)> {
        let pairs = self.references.iter().zip(&self.hypotheses);
        pairs.map(|(r, h)| (tokens(r), tokens(h)))
    }

    #[track_caller]
    fn assert_near(&self, what: &str, got: f64, want: f64) {
        let name = &self.name;
        assert!(
            (got - want).abs() < TOLERANCE,
            "{name}: {what} {got}, not {want}"
        );
    }
}

// ---- sacrebleu -----------------------------------------------------------------------------

#[test]
fn bleu_is_sacrebleus() {
    let cases = goldens();
    assert!(cases.iter().filter(|c| c.bleu > 0.0).count() > 10);
    for case in &cases {
        let mut counts = NgramCounts::default();
        for (reference, hypothesis) in case.pairs() {
            counts.add(&reference, &hypothesis);
        }
        let want = NgramCounts {
            matches: case.matches,
            totals: case.totals,
            hyp_len: case.hypothesis_length,
            ref_len: case.reference_length,
        };
        assert_eq!(counts, want, "{}", case.name);
        case.assert_near("BLEU", counts.bleu(), case.bleu);
        let smoothed = counts.bleu_smoothed();
        case.assert_near("smoothed BLEU", smoothed, case.bleu_smoothed);
    }
}

/// With every n-gram right BLEU is the brevity penalty alone.
#[test]
fn the_brevity_penalty_begins_one_token_below_the_reference() {
    let bleu = |hyp_len: u64, ref_len: u64| {
        let totals = [0, 1, 2, 3].map(|n| hyp_len - n);
        let counts = NgramCounts {
            matches: totals,
            totals,
            hyp_len,
            ref_len,
        };
        assert_eq!(counts.bleu(), counts.bleu_smoothed());
        counts.bleu()
    };
    assert_eq!(bleu(4, 5), (1.0 - 5.0 / 4.0f64).exp());
    assert_eq!(bleu(1000, 1001), (1.0 - 1001.0 / 1000.0f64).exp());
    assert_eq!((bleu(5, 5), bleu(6, 5), bleu(9, 5)), (1.0, 1.0, 1.0));
}

#[test]
fn sentence_bleu_is_nltks() {
    #[derive(Deserialize)]
    struct Sentence {
        reference: String,
        hypothesis: String,
        bleu: f64,
    }
    let cases = include_str!("golden/sentence_bleu.json");
    let cases: Vec<Sentence> = serde_json::from_str(cases).unwrap();
    let is_partial = |case: &&Sentence| case.bleu > 0.0 && case.bleu < 1.0;
    assert!(cases.iter().filter(is_partial).count() > 20);
    for Sentence {
        reference,
        hypothesis,
        bleu,
    } in &cases
    {
        let got = sentence_bleu(reference, hypothesis);
        assert!(
            (got - bleu).abs() < TOLERANCE,
            "{reference:?} {hypothesis:?}: {got}, not {bleu}"
        );
    }
}

#[test]
fn chrf_is_sacrebleus() {
    for case in goldens() {
        let mut counts = ChrfCounts::default();
        for (reference, hypothesis) in case.pairs() {
            counts.add(&reference, &hypothesis);
        }
        case.assert_near("chrF", counts.chrf(), case.chrf);
    }
}

#[test]
fn nothing_counted_scores_nothing() {
    let counts = NgramCounts::default();
    assert_eq!((counts.bleu(), counts.bleu_smoothed()), (0.0, 0.0));
    assert_eq!(ChrfCounts::default().chrf(), 0.0);
}

#[test]
fn counts_of_parts_add_up() {
    let mut all = NgramCounts::default();
    let mut sum = NgramCounts::default();
    for case in goldens() {
        let mut part = NgramCounts::default();
        for (reference, hypothesis) in case.pairs() {
            all.add(&reference, &hypothesis);
            part.add(&reference, &hypothesis);
        }
        sum += part;
    }
    assert_eq!(sum, all);
    assert!(all.matches[3] > 0 && all.hyp_len != all.ref_len);
}

// ---- all scores ----------------------------------------------------------------------------

/// Stands for the parser: an even number of parentheses, and something to parse.
fn parses(text: &str) -> bool {
    !text.is_empty() && text.matches(['(', ')']).count().is_multiple_of(2)
}

/// Counts a pair of tokens that stand with blanks between them.
fn add(scores: &mut TextScores, source_length: usize, reference: &str, prediction: &str) {
    let owned = |line| tokens(line).into_iter().map(str::to_owned).collect();
    let [wanted, written]: [Vec<String>; 2] = [owned(reference), owned(prediction)];
    let pair = Compared {
        reference: &wanted,
        prediction: &written,
        reference_text: reference.to_owned(),
        whole: reference,
        text: prediction,
        exact: wanted == written,
        python: Some([wanted.clone(), written.clone()]),
        same_tree: wanted == written,
    };
    scores.add(source_length, &pair);
}

#[test]
fn the_scores_of_four_pairs() {
    let mut scores = TextScores::new(Some(parses), "<UNK>");
    // Exact, and parsed.
    add(&mut scores, 5, "def f ( x )", "def f ( x )");
    // Two of four positions; one token too many, which changes neither; an odd parenthesis.
    add(&mut scores, 6, "a b c d", "a <UNK> ( d e");
    // The right beginning, cut short: not exact.
    add(&mut scores, 10, "p q (", "p q");
    // Nothing.
    add(&mut scores, 31, "z", "");
    let figures = scores.figures();
    assert_eq!(figures.pairs, Some(4));
    assert_eq!(figures.exact_match, 1.0 / 4.0);
    assert_eq!(figures.token_accuracy, 9.0 / 13.0);
    assert_eq!(figures.parse_rate, 2.0 / 4.0);
    assert_eq!(figures.reference_parse_rate, 3.0 / 4.0);
    assert_eq!(figures.unk_rate, 1.0 / 12.0);
    // Without `def`: of f, x, a, b, c, d, p, q, z the outputs have f, x, a, d, p, q, and e besides.
    assert_eq!(figures.identifier_f1, 2.0 * 6.0 / (9.0 + 7.0));
    assert_eq!(figures.tree_match, 1.0 / 4.0);
    let counts = figures.ngram_counts.unwrap();
    assert_eq!(counts.matches, [9, 5, 3, 2]);
    assert_eq!(counts.totals, [12, 9, 6, 4]);
    assert_eq!((counts.hyp_len, counts.ref_len), (12, 13));
    let precisions = 9.0 / 12.0 * 5.0 / 9.0 * 3.0 / 6.0 * 2.0 / 4.0;
    let bleu = (-1.0f64 / 12.0).exp() * f64::powf(precisions, 0.25);
    assert!((figures.bleu - bleu).abs() < TOLERANCE);

    let rows = figures.by_length;
    let bounds: Vec<_> = rows.iter().map(|r| (r.from, r.to, r.pairs)).collect();
    assert_eq!(bounds, [(1, 5, 1), (6, 10, 2), (31, 35, 1)]);
    assert_eq!((rows[0].bleu, rows[0].bleu_smoothed), (1.0, 1.0));
    let mut second = NgramCounts::default();
    second.add(&tokens("a b c d"), &tokens("a <UNK> ( d e"));
    second.add(&tokens("p q ("), &tokens("p q"));
    assert_eq!((rows[1].bleu, second.bleu()), (0.0, 0.0));
    assert_eq!(rows[1].bleu_smoothed, second.bleu_smoothed());
    assert!(rows[1].bleu_smoothed > 0.0);
}

#[test]
fn a_predicted_unk_is_wrong_where_the_word_is_unknown() {
    let mut scores = TextScores::new(Some(parses), "<UNK>");
    add(&mut scores, 1, "rare x", "<UNK> x");
    let figures = scores.figures();
    assert_eq!((figures.exact_match, figures.token_accuracy), (0.0, 0.5));
    let matches = figures.ngram_counts.unwrap().matches;
    assert_eq!((matches[0], figures.unk_rate), (1, 0.5));
}

#[test]
fn scores_as_json() {
    let mut scores = TextScores::new(Some(parses), "<UNK>");
    add(&mut scores, 3, "a b c d e", "a b c d x");
    let figures = scores.figures();
    let json = json!(figures);
    let bleu = figures.bleu;
    assert!((bleu - 0.2f64.sqrt().sqrt()).abs() < TOLERANCE, "{bleu}");
    assert_eq!(
        json,
        json!({
            "pairs": 1,
            "bleu": bleu,
            "bleu_smoothed": bleu,
            "bleu_python": bleu,
            "bleu_sentence": bleu,
            "ngram_counts": {
                "matches": [4, 3, 2, 1],
                "totals": [5, 4, 3, 2],
                "hypothesis_length": 5,
                "reference_length": 5,
            },
            "exact_match": 0.0,
            "token_accuracy": 0.8,
            "chrf": figures.chrf,
            "parse_rate": 1.0,
            "reference_parse_rate": 1.0,
            "identifier_f1": 0.8,
            "tree_match": 0.0,
            "unk_rate": 0.0,
            "by_length": [{"from": 1, "to": 5, "pairs": 1, "bleu": bleu, "bleu_smoothed": bleu}],
        })
    );
    // No pair, no prediction: zeros, not NaN, which JSON has not.
    let none = json!(TextScores::new(Some(parses), "<UNK>").figures());
    for key in [
        "bleu",
        "bleu_smoothed",
        "bleu_python",
        "bleu_sentence",
        "exact_match",
        "token_accuracy",
        "chrf",
        "parse_rate",
        "reference_parse_rate",
        "identifier_f1",
        "tree_match",
        "unk_rate",
    ] {
        assert_eq!(none[key], json!(0.0), "{key}");
    }
    assert_eq!(none["by_length"], json!([]));
    // A file gives back what was written; what it lacks is NaN or none.
    assert_eq!(
        serde_json::from_value::<TextFigures>(json).unwrap(),
        figures
    );
    let part: TextFigures = serde_json::from_value(json!({ "bleu": 0.5, "chrf": null })).unwrap();
    assert_eq!((part.bleu, part.pairs), (0.5, None));
    assert!(part.chrf.is_nan() && part.unk_rate.is_nan() && part.by_length.is_empty());
}
