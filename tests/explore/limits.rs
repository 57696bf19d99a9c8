//! Pages that are not made.

use rnnx::data::chars::CharVocab;
use rnnx::nn::CellKind;
use rnnx::programs::charlm::explore::{Explored, MAX_PAGE, render};
use rnnx::programs::charlm::generate::weights::CharLmWeights;

/// A tanh RNN of one unit whose weights are all `value`.
fn narrow(vocab: usize, dim: usize, value: f32) -> CharLmWeights {
    let has = |name: &str| name == "rnn.weight_hh_l0";
    let lookup = |name: &str| {
        let shape = match name {
            "embedding.weight" => vec![vocab, dim],
            "rnn.weight_ih_l0" => vec![1, dim],
            "rnn.weight_hh_l0" => vec![1, 1],
            "out.weight" => vec![vocab, 1],
            "out.bias" => vec![vocab],
            _ => vec![1],
        };
        let values = vec![value; shape.iter().product()];
        Ok((shape, values))
    };
    let weights = CharLmWeights::from_tensors(false, has, lookup).unwrap();
    assert_eq!(weights.cell(), CellKind::Rnn);
    weights
}

fn explored<'a>(weights: &'a CharLmWeights, vocab: &'a CharVocab) -> Explored<'a> {
    Explored {
        name: "wide".into(),
        weights,
        vocab,
        text: String::new(),
        step: None,
        valid_loss: None,
        found: None,
    }
}

#[test]
fn a_page_that_no_browser_should_be_given_is_refused() {
    let chars = (0x4e00..0x4e00 + 10_000).filter_map(char::from_u32);
    let vocab = CharVocab::from_tokens(chars).unwrap();
    // Base64 of 4 bytes a number: 3,900 by 10,000 would be 208 MB, 1,100 by 10,000 is 59 MB.
    let weights = narrow(vocab.len(), 3900, 0.0);
    let error = render(&explored(&weights, &vocab)).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    let message = error.to_string();
    for words in ["wide", "39,023,902 parameters", "198 MB", "64 MB", "fewer"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    let weights = narrow(vocab.len(), 1100, 0.0);
    let page = render(&explored(&weights, &vocab)).unwrap();
    assert!((50 << 20..MAX_PAGE).contains(&page.len()), "{}", page.len());
}

#[test]
fn what_is_no_model_for_a_page_is_refused() {
    let vocab = CharVocab::from_tokens(['a', 'b']).unwrap();
    let error = render(&explored(&narrow(3, 2, 0.0), &vocab)).unwrap_err();
    assert!(error.to_string().contains("2 tokens"), "{error}");
    let error = render(&explored(&narrow(2, 2, 1e6), &vocab)).unwrap_err();
    assert!(error.to_string().contains("does not fit in f16"), "{error}");
}
