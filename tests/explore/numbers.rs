//! What the page computes is what rnnx computes.

use half::f16;
use rnnx::data::chars::{CharVocab, Token};
use rnnx::nn::CellKind;
use rnnx::programs::charlm::generate::weights::CharLmWeights;

use super::browser::Browser;
use super::support::{log_probs, model, page, python, vocab_of};

/// How far log-probabilities may be apart; sums in another order move them by about 1e-5.
const AGREES: f64 = 1e-4;

/// The page's log-probabilities of a text, with either product, beside generation's.
fn check(browser: &mut Browser, weights: &CharLmWeights, vocab: &CharVocab, text: &str) {
    browser.explore(&page(weights, vocab, text));
    let ids = vocab.encode(text).unwrap();
    let numbers: Vec<f64> = ids.iter().map(|&id| f64::from(id)).collect();
    assert_eq!(browser.numbers("explorer.track.ids"), numbers);
    let expected = log_probs(weights, vocab, &ids);
    let apart = |found: &[f64], what: &str| {
        assert_eq!(found.len(), ids.len());
        for (t, (found, &id)) in found.iter().zip(&ids).enumerate() {
            let expected = expected[t][usize::from(id)];
            assert!(
                (found - expected).abs() < AGREES,
                "{what}, character {t}: {found}, {expected}"
            );
        }
    };
    let n = ids.len();
    apart(
        &browser.numbers(&format!("explorer.track.score.slice(0, {n})")),
        "WebAssembly",
    );
    assert_eq!(browser.value("explorer.model.kernel"), "WebAssembly");
    let plain = format!(
        "(() => {{ const {{ Model, Track }} = explorer.parts; \
         const model = new Model(explorer.facts, explorer.tensors, true); \
         if (model.kernel !== 'JavaScript') throw Error(model.kernel); \
         const track = new Track(model, explorer.facts.limit); track.set(explorer.track.ids); \
         while (track.done < {n}) track.advance(); return track.score.slice(0, {n}); }})()"
    );
    apart(&browser.numbers(&plain), "JavaScript");
    // The whole distribution after the last character, too.
    let last = browser.numbers(&format!("explorer.track.after({n} - 1)"));
    assert_eq!(last.len(), vocab.len());
    for (found, expected) in last.iter().zip(&expected[n]) {
        assert!((found - expected).abs() < AGREES, "{found}, {expected}");
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn every_cell_agrees_with_generation_on_real_text() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let text = python(1500);
    let vocab = vocab_of(&text);
    for (cell, hidden, layers) in [
        (CellKind::Lstm, 64, 2),
        (CellKind::Gru, 40, 1),
        (CellKind::Rnn, 17, 3),
    ] {
        let weights = model(cell, vocab.len(), 12, hidden, layers);
        check(&mut browser, &weights, &vocab, &text);
    }
}

#[test]
fn models_of_any_script_and_of_bytes_agree() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let text = "print('ἐν ἀρχῇ — ω\u{301}')\n\t# 🜁 \"</script>\"\n";
    // In NFC, as the page reads it.
    let vocab = vocab_of(
        &CharVocab::symbols(&vocab_of(text), text)
            .iter()
            .collect::<String>(),
    );
    let weights = model(CellKind::Lstm, vocab.len(), 8, 24, 2);
    check(&mut browser, &weights, &vocab, text);

    let bytes = (0..=255u8).map(|b| Token::Char(char::from(b)));
    let vocab = CharVocab::new(bytes, true).unwrap();
    let weights = model(CellKind::Gru, vocab.len(), 8, 24, 1);
    check(&mut browser, &weights, &vocab, text);
}

#[test]
fn the_weights_are_those_of_the_model_in_f16() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let vocab = vocab_of("abc\n");
    let weights = model(CellKind::Gru, vocab.len(), 3, 5, 2);
    browser.explore(&page(&weights, &vocab, "abc"));
    let half = |values: &[f32]| -> Vec<f32> {
        values.iter().map(|&v| f16::from_f32(v).to_f32()).collect()
    };
    let full = |values: &[f32]| values.to_vec();
    let [first, second] = weights.layers() else {
        panic!("two layers")
    };
    for (name, expected) in [
        ("embedding", full(weights.embedding())),
        ("w_ih_l0", full(first.w_ih())),
        ("w_hh_l0", half(first.w_hh())),
        ("bias_l0", full(first.bias())),
        ("b_hn_l0", full(first.b_hn())),
        ("w_ih_l1", half(second.w_ih())),
        ("w_hh_l1", half(second.w_hh())),
        ("out_w", half(weights.out_w())),
        ("out_b", full(weights.out_b())),
    ] {
        let found = browser.numbers(&format!("explorer.tensors.{name}"));
        let found: Vec<f32> = found.iter().map(|&v| v as f32).collect();
        assert_eq!(found, expected, "{name}");
    }
}
