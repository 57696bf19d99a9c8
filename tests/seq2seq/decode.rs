//! Decoding: scores, steps, what is never chosen, what is refused.

use super::{SIZES, batch, for_each_kind, random_pairs, sizes_of};
use rnnx::autograd::Tape;
use rnnx::data::words::{EOS, PAD, SOS, UNK};
use rnnx::programs::seq2seq::data::{Example, SourceBatch};
use rnnx::programs::seq2seq::decode::{DecodeOptions, Hypothesis, Search, decode};
use rnnx::programs::seq2seq::model::{ModelKind, Seq2Seq, Source};
use rnnx::programs::seq2seq::score::decode_by_length;
use rnnx::train::model::Model;

pub const GREEDY: Search = Search::Greedy;
/// f32 sums over other batches.
pub const SCORE: f64 = 1e-5;
/// A few roundings of f32 in a mean log-probability: products of other numbers of rows have other sums.
pub const ROUNDING: f64 = 1e-7;

pub fn model(kind: ModelKind) -> Seq2Seq {
    let mut model = Seq2Seq::new::<f32>(kind, sizes_of(kind, SIZES), 21);
    // Larger than at the start of training, so that the outputs differ.
    let values = model.params_mut().values_mut().data_mut::<f32>().unwrap();
    values.iter_mut().for_each(|x| *x *= 2.0);
    model
}

pub fn options(search: Search, max_length: usize) -> DecodeOptions<'static> {
    DecodeOptions {
        search,
        ..DecodeOptions::greedy(max_length)
    }
}

pub fn decoded(model: &Seq2Seq, search: Search, max_length: usize) -> Vec<Hypothesis> {
    let pairs = random_pairs(SIZES, 9, 7);
    let sources: Vec<&[u32]> = pairs.iter().map(|p| &p.0[..]).collect();
    decode(model, &sources, options(search, max_length)).unwrap()
}

/// Log-probabilities of the tokens of one output, teacher forced, `<EOS>` last if it `ended`.
pub fn score(model: &Seq2Seq, source: &[u32], tokens: &[u32], ended: bool) -> f64 {
    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape);
    let batch = SourceBatch::new(&[source]).unwrap();
    let source = Source::new(&batch, SIZES.source_vocab, None).unwrap();
    let mut from = model.encode(&mut tape, &params, &source, None).unwrap();
    let (mut last, mut sum, mut steps) = (SOS, 0.0, 0.0);
    for &token in tokens.iter().chain(ended.then_some(&EOS)) {
        let last_token = model.tokens(&[last]).unwrap();
        let out = model.step(&mut tape, &params, &from, &last_token).unwrap();
        from = out.state;
        let logits = out.logits.value().data::<f32>().unwrap();
        let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        sum += f64::from(logits[token as usize]) - total.ln();
        steps += 1.0;
        last = token;
    }
    sum / steps
}

#[test]
fn scores_are_mean_log_probabilities() {
    for_each_kind(|kind| {
        let model = model(kind);
        let pairs = random_pairs(SIZES, 9, 7);
        for search in [GREEDY, Search::Beam(3)] {
            for (output, pair) in decoded(&model, search, 6).iter().zip(&pairs) {
                let want = score(&model, &pair.0, &output.tokens, output.ended);
                assert!(
                    (output.score - want).abs() < SCORE,
                    "{kind}: {output:?} {want}"
                );
            }
        }
    });
}

/// Steps of a batch, each from the state after the one before, give what whole targets give.
#[test]
fn steps_give_the_logits_of_whole_targets() {
    let pairs = random_pairs(SIZES, 9, 7);
    let batch = batch(&pairs);
    for_each_kind(|kind| {
        let model = model(kind);
        let mut tape = Tape::inference();
        let params = model.params().bind(&mut tape);
        let inputs = model.inputs(&batch).unwrap();
        let whole = model.logits(&mut tape, &params, &inputs).unwrap();
        let whole = whole.logits.value().data::<f32>().unwrap();
        let source = Source::new(&batch.source, SIZES.source_vocab, None).unwrap();
        let mut from = model.encode(&mut tape, &params, &source, None).unwrap();
        let packing = &batch.packing;
        for t in 0..packing.steps() {
            let active = packing.active(t);
            if active < packing.active(t.saturating_sub(1)) {
                let first: Vec<u32> = (0..active as u32).collect();
                from.select(&first).unwrap();
            }
            let tokens = &batch.inputs[packing.offset(t)..][..active];
            let tokens = model.tokens(tokens).unwrap();
            let out = model.step(&mut tape, &params, &from, &tokens).unwrap();
            let want = &whole[packing.offset(t) * SIZES.target_vocab..];
            for (got, want) in out.logits.value().data::<f32>().unwrap().iter().zip(want) {
                let error = f64::from(got - want).abs();
                assert!(error < SCORE, "{kind}, step {t}: {got} is not {want}");
            }
            from = out.state;
        }
    });
}

#[test]
fn outputs_do_not_depend_on_the_batch() {
    let pairs = random_pairs(SIZES, 9, 7);
    for_each_kind(|kind| {
        let model = model(kind);
        for search in [GREEDY, Search::Beam(4)] {
            let together = decoded(&model, search, 6);
            for (pair, want) in pairs.iter().zip(&together) {
                let alone = decode(&model, &[&pair.0[..]], options(search, 6)).unwrap();
                assert_eq!(alone[0].tokens, want.tokens, "{kind} {search:?}");
                assert!((alone[0].score - want.score).abs() < SCORE);
            }
        }
    });
}

/// A test decodes sources of like length together, a few at a time: each output stands where its pair does.
#[test]
fn outputs_by_length_stand_in_the_order_of_the_pairs() {
    let pairs = random_pairs(SIZES, 11, 7);
    let example = |(source, target): &(Vec<u32>, Vec<u32>)| Example {
        docstring: String::new(),
        code: String::new(),
        source: Vec::new(),
        target: Vec::new(),
        source_ids: source.clone(),
        target_ids: target.clone(),
        extended: None,
    };
    let examples: Vec<Example> = pairs.iter().map(example).collect();
    let lengths: Vec<usize> = pairs.iter().map(|pair| pair.0.len()).collect();
    assert!(!lengths.is_sorted());
    for_each_kind(|kind| {
        let model = model(kind);
        for (search, rows) in [
            (GREEDY, 4),
            (GREEDY, 100),
            (Search::Beam(3), 7),
            (Search::Beam(3), 1),
        ] {
            let options = options(search, 6);
            let outputs = decode_by_length(&model, &examples, rows, options).unwrap();
            assert_eq!(outputs.len(), pairs.len());
            for (pair, output) in pairs.iter().zip(&outputs) {
                let alone = decode(&model, &[&pair.0[..]], options).unwrap();
                assert_eq!(output.tokens, alone[0].tokens, "{kind} {search:?} {rows}");
                assert!((output.score - alone[0].score).abs() < SCORE);
            }
        }
    });
}

#[test]
fn special_tokens_are_never_chosen_and_unknown_ones_only_if_allowed() {
    for_each_kind(|kind| {
        let mut model = model(kind);
        // Logits that favour the tokens that must not be chosen.
        let layout = model.params().layout().clone();
        let bias = layout
            .segments()
            .iter()
            .find(|s| s.name == "out.bias")
            .unwrap();
        let values = model.params_mut().values_mut().data_mut::<f32>().unwrap();
        for (token, boost) in [(PAD, 90.0), (SOS, 80.0), (UNK, 60.0)] {
            values[bias.offset + token as usize] = boost;
        }
        for search in [GREEDY, Search::Beam(3)] {
            for output in decoded(&model, search, 5) {
                assert_eq!(output.tokens, [UNK; 5], "{kind} {search:?}");
            }
            let options = DecodeOptions {
                no_unk: true,
                ..options(search, 5)
            };
            let output = decode(&model, &[&[5, 6][..]], options).unwrap().remove(0);
            let banned = [PAD, SOS, UNK];
            assert!(
                !output.tokens.iter().any(|t| banned.contains(t)),
                "{output:?}"
            );
        }
    });
}

#[test]
fn attention_has_a_row_for_each_token_and_the_end() {
    let pairs = random_pairs(SIZES, 9, 7);
    let attending = ModelKind::ALL.into_iter().filter(|kind| kind.attends());
    for (kind, search) in attending.flat_map(|kind| [(kind, GREEDY), (kind, Search::Beam(3))]) {
        let model = model(kind);
        for (output, pair) in decoded(&model, search, 6).iter().zip(&pairs) {
            let attention = output.attention.as_ref().unwrap();
            assert_eq!(
                attention.len(),
                output.tokens.len() + usize::from(output.ended)
            );
            for row in attention {
                assert_eq!(row.len(), pair.0.len());
                let sum: f32 = row.iter().sum();
                assert!((sum - 1.0).abs() < 1e-6, "{sum}"); // f32 rounding of at most 7 terms
            }
        }
    }
    for kind in [ModelKind::Rnn, ModelKind::Lstm] {
        assert_eq!(
            decode(&self::model(kind), &[&[5][..]], options(GREEDY, 3)).unwrap()[0].attention,
            None
        );
    }
}

#[test]
fn refused() {
    let model = model(ModelKind::Lstm);
    for (sources, options) in [
        (&[&[5][..]][..], options(Search::Beam(0), 5)),
        (&[&[5][..]], options(GREEDY, 0)),
        (&[&[][..]], options(GREEDY, 5)),
        (&[&[12][..]], options(GREEDY, 5)), // outside the vocabulary
    ] {
        assert!(
            decode(&model, sources, options).is_err(),
            "{sources:?} {options:?}"
        );
    }
}
