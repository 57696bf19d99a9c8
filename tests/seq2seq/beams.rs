//! Greedy and beam search against an exhaustive search, and against each other.

use super::decode::{GREEDY, ROUNDING, SCORE, decoded, model, options, score};
use super::{SIZES, for_each_kind, random_pairs, sizes_of};
use rnnx::autograd::Tape;
use rnnx::data::words::{EOS, PAD, SOS};
use rnnx::programs::seq2seq::copying::Extended;
use rnnx::programs::seq2seq::data::SourceBatch;
use rnnx::programs::seq2seq::decode::{
    DecodeOptions, Hypothesis, Search, SourceIds, decode, decode_n_best,
};
use rnnx::programs::seq2seq::model::{ModelKind, Seq2Seq, Seq2SeqSizes, Source};
use rnnx::train::model::Model;

/// Every output of at most `max_length` tokens.
fn all_outputs(max_length: usize) -> Vec<(Vec<u32>, bool)> {
    let mut all = vec![(Vec::new(), true)];
    let mut open: Vec<Vec<u32>> = vec![Vec::new()];
    for length in 1..=max_length {
        let words = (0..SIZES.target_vocab as u32).filter(|t| ![PAD, SOS, EOS].contains(t));
        let longer = open.iter().flat_map(|o| {
            let o = o.clone();
            words.clone().map(move |w| [&o[..], &[w]].concat())
        });
        open = longer.collect();
        all.extend(open.iter().map(|o| (o.clone(), length < max_length)));
    }
    all
}

/// A beam as wide as all hypotheses finds the best of all outputs.
#[test]
fn a_wide_beam_is_an_exhaustive_search() {
    let max_length = 3;
    let all = all_outputs(max_length);
    let pairs = random_pairs(SIZES, 9, 7);
    for_each_kind(|kind| {
        let model = model(kind);
        let outputs = decoded(&model, Search::Beam(all.len()), max_length);
        for (output, pair) in outputs.iter().zip(&pairs) {
            let of = |(tokens, ended): &(Vec<u32>, bool)| score(&model, &pair.0, tokens, *ended);
            let best = all.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
            assert!(
                (output.score - best).abs() < SCORE,
                "{kind}: {output:?}, best {best}"
            );
        }
    });
}

/// Log-probabilities of the tokens after a prefix.
fn after(model: &Seq2Seq, source: &[u32], prefix: &[u32]) -> Vec<f64> {
    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape);
    let batch = SourceBatch::new(&[source]).unwrap();
    let source = Source::new(&batch, model.vocab().0, None).unwrap();
    let mut from = model.encode(&mut tape, &params, &source, None).unwrap();
    let mut logits = Vec::new();
    for &last in [SOS].iter().chain(prefix) {
        let last = model.tokens(&[last]).unwrap();
        let out = model.step(&mut tape, &params, &from, &last).unwrap();
        from = out.state;
        logits = out.logits.value().data::<f32>().unwrap().to_vec();
    }
    let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    logits.iter().map(|&x| f64::from(x) - total.ln()).collect()
}

/// The scores of what a beam finds, the best first, written down anew: it stops when `width` have
/// ended and none that goes on is better than the best of them. Under a grammar all tokens are asked.
pub fn beam_scores(
    model: &Seq2Seq,
    source: &[u32],
    width: usize,
    options: DecodeOptions,
) -> Vec<f64> {
    let score = |sum: f64, length: usize| sum / (length as f64).powf(options.length_penalty);
    let may = |tokens: &[u32], token: u32| {
        let Some(syntax) = options.syntax else {
            return ![PAD, SOS].contains(&token);
        };
        let mut written = syntax.begin();
        tokens
            .iter()
            .for_each(|&id| assert!(written.push(syntax.form_of(id))));
        let next = written.next(syntax, options.max_length - tokens.len());
        match token {
            EOS => next.may_end(),
            _ => next.may_be(syntax.form_of(token)),
        }
    };
    let mut open = vec![(Vec::new(), 0.0)];
    let mut ended: Vec<f64> = Vec::new();
    for length in 1..=options.max_length {
        let mut all: Vec<(Vec<u32>, f64)> = Vec::new();
        for (tokens, sum) in &open {
            for (token, gain) in (0..).zip(after(model, source, tokens)) {
                if may(tokens, token) {
                    all.push(([&tokens[..], &[token]].concat(), sum + gain));
                }
            }
        }
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        let ends = |o: &(Vec<u32>, f64)| o.0.last() == Some(&EOS);
        let new = all.iter().take(width).filter(|o| ends(o));
        ended.extend(new.map(|o| score(o.1, length)));
        ended.sort_by(|a, b| b.total_cmp(a));
        open = all.into_iter().filter(|o| !ends(o)).take(width).collect();
        let better = |o: &(Vec<u32>, f64)| ended.first().is_none_or(|e| score(o.1, length) > *e);
        if ended.len() >= width && !open.iter().any(better) {
            return ended;
        }
    }
    ended.extend(open.iter().map(|o| score(o.1, options.max_length)));
    ended.sort_by(|a, b| b.total_cmp(a));
    ended
}

/// A greedy output may leave the beam: it is not lost, and no beam scores below it.
#[test]
fn a_beam_is_never_below_greedy() {
    let pairs = random_pairs(SIZES, 9, 7);
    let sources: Vec<&[u32]> = pairs.iter().map(|p| &p.0[..]).collect();
    for length_penalty in [0.0, 0.6, 1.0] {
        let options = |search| DecodeOptions {
            search,
            length_penalty,
            ..DecodeOptions::greedy(8)
        };
        let mut lost = 0;
        for kind in ModelKind::ALL {
            for seed in 1..10 {
                let mut model = Seq2Seq::new::<f32>(kind, sizes_of(kind, SIZES), seed);
                let values = model.params_mut().values_mut().data_mut::<f32>().unwrap();
                // A Transformer's parts stand one behind the other, each with norms that grow as well: they
                // would enlarge the rounding.
                let factor = if kind == ModelKind::Transformer {
                    1.5
                } else {
                    3.0
                };
                values.iter_mut().for_each(|x| *x *= factor);
                let of = |search| decode(&model, &sources, options(search)).unwrap();
                let (beams, greedy) = (of(Search::Beam(2)), of(GREEDY));
                for ((beam, greedy), source) in beams.iter().zip(&greedy).zip(&sources) {
                    let found = beam_scores(&model, source, 2, options(Search::Beam(2)))[0];
                    lost += usize::from(found + SCORE < greedy.score);
                    let want = found.max(greedy.score);
                    assert!((beam.score - want).abs() < SCORE, "{kind}: {beam:?} {want}");
                    assert!(beam.score >= greedy.score, "{kind}: {beam:?} {greedy:?}");
                }
            }
        }
        assert!(lost > 0, "with these models it does happen");
    }
}

/// Nor is the best of several, whatever the width, the penalty and the seed; of models that copy, too.
#[test]
fn the_best_of_several_is_never_below_greedy() {
    let pairs = random_pairs(SIZES, 9, 7);
    let extended: Vec<Extended> = pairs
        .iter()
        .map(|(source, _)| {
            // Every third token is one that only its source has.
            let v = SIZES.target_vocab as u32;
            let own = |(j, &id): (usize, &u32)| {
                if j % 3 == 0 {
                    v + j as u32 / 3
                } else {
                    id.min(v - 1)
                }
            };
            let source: Vec<u32> = source.iter().enumerate().map(own).collect();
            let unknown = source
                .iter()
                .filter(|id| **id >= v)
                .map(|id| format!("own{id}"));
            Extended {
                unknown: unknown.collect(),
                target: Vec::new(),
                source,
            }
        })
        .collect();
    let (mut better, mut all) = (0, 0);
    for seed in 0..24 {
        let kind = ModelKind::ALL[seed % ModelKind::ALL.len()];
        let sizes = Seq2SeqSizes {
            copy: kind.attends() && seed % 2 == 0,
            ..sizes_of(kind, SIZES)
        };
        let mut model = Seq2Seq::new::<f32>(kind, sizes, seed as u64);
        let values = model.params_mut().values_mut().data_mut::<f32>().unwrap();
        values.iter_mut().for_each(|x| *x *= 1.5);
        let sources = pairs
            .iter()
            .zip(&extended)
            .map(|(pair, extended)| SourceIds {
                ids: &pair.0,
                extended: sizes.copy.then_some(extended),
            });
        let sources: Vec<SourceIds> = sources.collect();
        let (width, n) = (2 + seed % 4, 1 + seed % 3);
        let length_penalty = [0.0, 0.5, 1.0, 1.7][seed / 6];
        let of = |search, n| {
            let options = DecodeOptions {
                search,
                length_penalty,
                ..DecodeOptions::greedy(4 + seed % 7)
            };
            decode_n_best(&model, &sources, options, n).unwrap()
        };
        for (best, greedy) in of(Search::Beam(width), n).iter().zip(of(GREEDY, 1)) {
            assert!((1..=n).contains(&best.len()));
            assert!(
                best[0].score >= greedy[0].score,
                "{kind} {seed}: {best:?} {greedy:?}"
            );
            better += usize::from(best[0].score > greedy[0].score);
            all += 1;
        }
    }
    assert!(all == 24 * 9 && better > all / 10, "{better} of {all}");
}

#[test]
fn the_n_best_are_different_and_the_best_comes_first() {
    for_each_kind(|kind| {
        let model = model(kind);
        let pairs = random_pairs(SIZES, 9, 7);
        let sources: Vec<&[u32]> = pairs.iter().map(|p| &p.0[..]).collect();
        let options = options(Search::Beam(4), 6);
        let best = decode(&model, &sources, options).unwrap();
        let all = decode_n_best(&model, &sources, options, 3).unwrap();
        for ((all, best), source) in all.iter().zip(&best).zip(&sources) {
            assert_eq!(all.len(), 3);
            assert!(
                all[0].score >= best.score - ROUNDING,
                "{kind}: {all:?} {best:?}"
            );
            assert!(all.is_sorted_by(|a, b| a.score >= b.score));
            for (i, a) in all.iter().enumerate() {
                let same = |b: &Hypothesis| (&a.tokens, a.ended) == (&b.tokens, b.ended);
                assert_eq!(
                    all.iter().filter(|b| same(b)).count(),
                    1,
                    "{kind} {i}: {all:?}"
                );
                let want = score(&model, source, &a.tokens, a.ended);
                assert!((a.score - want).abs() < SCORE);
            }
        }
    });
}

#[test]
fn a_wider_beam_changes_some_outputs() {
    for_each_kind(|kind| {
        let model = model(kind);
        assert_ne!(
            decoded(&model, GREEDY, 6),
            decoded(&model, Search::Beam(4), 6),
            "{kind}"
        );
    });
}

#[test]
fn a_beam_of_one_is_greedy() {
    for_each_kind(|kind| {
        let model = model(kind);
        assert_eq!(
            decoded(&model, GREEDY, 6),
            decoded(&model, Search::Beam(1), 6),
            "{kind}"
        );
    });
}
