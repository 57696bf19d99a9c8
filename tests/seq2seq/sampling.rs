//! Sampled outputs against the distribution they are drawn from.

use super::decode::{SCORE, score};
use super::{SIZES, random_pairs, sizes_of};
use rnnx::autograd::Tape;
use rnnx::data::python::grammar::Start;
use rnnx::data::python::parses_as_line;
use rnnx::data::syntax::{Form, Syntax};
use rnnx::data::tokens::{Tokenizer, TokenizerKind};
use rnnx::data::words::{EOS, PAD, SOS, UNK, WordVocab};
use rnnx::device::Gpu;
use rnnx::device::emulated::Emulated;
use rnnx::programs::seq2seq::copying::Extended;
use rnnx::programs::seq2seq::data::SourceBatch;
use rnnx::programs::seq2seq::decode::{
    DecodeOptions, Hypothesis, Sampling, Search, SourceIds, decode, decode_n_best,
};
use rnnx::programs::seq2seq::model::{ModelKind, Seq2Seq, Seq2SeqSizes, Source};
use rnnx::sampling::SamplingOptions;
use rnnx::train::model::Model;
use std::collections::HashSet;

/// As the model has it.
const PLAIN: SamplingOptions = SamplingOptions {
    temperature: 1.0,
    top_k: None,
    top_p: None,
};
/// Draws whose counts are compared with what is expected of them.
const MANY: usize = 4000;
/// Chi-square of so many degrees of freedom at most exceeds this once in 1000 times.
const RARE: [(usize, f64); 3] = [(4, 18.47), (6, 22.46), (30, 59.70)];

/// A model whose outputs differ.
fn model(kind: ModelKind, sizes: Seq2SeqSizes) -> Seq2Seq {
    let mut model = Seq2Seq::new::<f32>(kind, sizes_of(kind, sizes), 21);
    let values = model.params_mut().values_mut().data_mut::<f32>().unwrap();
    values.iter_mut().for_each(|x| *x *= 2.0);
    model
}

fn sampling(options: SamplingOptions, seed: u64) -> Search {
    Search::Sampling(Sampling {
        options,
        seed,
        source: 0,
    })
}

fn options(search: Search, max_length: usize) -> DecodeOptions<'static> {
    DecodeOptions {
        search,
        ..DecodeOptions::greedy(max_length)
    }
}

/// Probabilities of the first token.
fn first(model: &Seq2Seq, source: SourceIds) -> Vec<f64> {
    let mut tape = Tape::inference();
    let params = model.params().bind(&mut tape);
    let mut batch = SourceBatch::new(&[source.ids]).unwrap();
    if let Some(extended) = source.extended {
        batch = batch.with_copies(&[&extended.source]).unwrap();
    }
    let source = Source::new(&batch, model.vocab().0, None).unwrap();
    let from = model.encode(&mut tape, &params, &source, None).unwrap();
    let start = model.tokens(&[SOS]).unwrap();
    let out = model.step(&mut tape, &params, &from, &start).unwrap();
    let logits = out.logits.value().data::<f32>().unwrap();
    let masses: Vec<f64> = logits.iter().map(|&x| f64::from(x).exp()).collect();
    let sum: f64 = masses.iter().sum();
    masses.iter().map(|mass| mass / sum).collect()
}

/// Draws many first tokens, which must follow `p` where it allows any.
#[track_caller]
fn follows(model: &Seq2Seq, source: SourceIds, options: DecodeOptions, p: &[f64]) {
    let found = decode_n_best(model, &[source], options, MANY).unwrap();
    let mut counts = vec![0.0; p.len()];
    for hypothesis in &found[0] {
        let token = hypothesis.tokens.first().copied().unwrap_or(EOS);
        counts[token as usize] += 1.0;
    }
    let total: f64 = p.iter().sum();
    let (mut statistic, mut cells) = (0.0, 0);
    for (token, (&count, &p)) in counts.iter().zip(p).enumerate() {
        let expected = MANY as f64 * p / total;
        if expected == 0.0 {
            assert_eq!(count, 0.0, "token {token} cannot be");
            continue;
        }
        statistic += (count - expected).powi(2) / expected;
        cells += 1;
    }
    assert!(cells > 2);
    let bound = RARE.iter().find(|(degrees, _)| cells - 1 <= *degrees);
    let bound = bound.expect("a bound for so many tokens").1;
    assert!(statistic < bound, "{statistic}: {counts:?} of {p:?}");
}

/// The probabilities of tokens that may be chosen.
fn without(p: Vec<f64>, never: &[u32]) -> Vec<f64> {
    let of = |(token, p): (usize, f64)| {
        if never.contains(&(token as u32)) {
            0.0
        } else {
            p
        }
    };
    p.into_iter().enumerate().map(of).collect()
}

#[test]
fn draws_follow_the_model() {
    let source: &[u32] = &[5, 9, 4];
    for kind in [ModelKind::Rnn, ModelKind::Attention, ModelKind::Transformer] {
        let model = model(kind, SIZES);
        let p = without(first(&model, source.into()), &[PAD, SOS]);
        follows(&model, source.into(), options(sampling(PLAIN, 1), 1), &p);
        let squared: Vec<f64> = p.iter().map(|p| p * p).collect();
        let cold = SamplingOptions {
            temperature: 0.5,
            ..PLAIN
        };
        follows(
            &model,
            source.into(),
            options(sampling(cold, 1), 1),
            &squared,
        );
        let mut order: Vec<u32> = (0..p.len() as u32).collect();
        order.sort_by(|&a, &b| p[b as usize].total_cmp(&p[a as usize]));
        let three = SamplingOptions {
            top_k: Some(3),
            ..PLAIN
        };
        let p = without(p, &order[3..]);
        follows(&model, source.into(), options(sampling(three, 1), 1), &p);
    }
}

/// A source of a word, an unknown token, a word and the unknown one again.
fn held(words: u32) -> Extended {
    Extended {
        source: vec![4, words, 5, words],
        target: Vec::new(),
        unknown: vec!["p".into()],
    }
}

#[test]
fn draws_of_a_model_that_copies_follow_the_mixture() {
    let sizes = Seq2SeqSizes {
        copy: true,
        ..SIZES
    };
    let extended = held(7);
    let source = SourceIds {
        ids: &[5, UNK, 9, UNK],
        extended: Some(&extended),
    };
    for kind in [ModelKind::Attention, ModelKind::Transformer] {
        let model = model(kind, sizes);
        let p = without(first(&model, source), &[PAD, SOS, UNK]);
        assert!(p[7] > 0.05 && p[8..] == [0.0; 3], "{kind}: {p:?}");
        let options = DecodeOptions {
            no_unk: true,
            ..options(sampling(PLAIN, 1), 1)
        };
        follows(&model, source, options, &p);
    }
}

const TOKENS: [&str; 12] = [
    "x", "1", "'a'", "pass", "if", ":", "(", ")", "=", "+", "return", "None",
];

/// Masked, then renormalised: what may be a whole line shares the probability of all.
#[test]
fn draws_under_a_grammar_share_the_probability() {
    let vocab = WordVocab::from_tokens(TOKENS, 1).unwrap();
    let syntax = Syntax::new(Start::Line, TokenizerKind::Python, &vocab).unwrap();
    let sizes = Seq2SeqSizes {
        target_vocab: vocab.len(),
        copy: true,
        ..SIZES
    };
    let model = model(ModelKind::Attention, sizes);
    let words = vocab.len() as u32;
    // `p` is a name, and `'b` the beginning of a string that nothing ends.
    for (unknown, may) in [("p", true), ("'b", false)] {
        let extended = Extended {
            unknown: vec![unknown.into()],
            ..held(words)
        };
        let source = SourceIds {
            ids: &[5, UNK, 9, UNK],
            extended: Some(&extended),
        };
        let options = |max_length| DecodeOptions {
            syntax: Some(&syntax),
            ..options(sampling(PLAIN, 3), max_length)
        };
        let mut p = vec![0.0; vocab.len() + 4];
        let all = first(&model, source);
        let alone = ["x", "1", "'a'", "pass", "return", "None"].map(|token| vocab.id(token));
        for id in alone.into_iter().chain(may.then_some(words)) {
            p[id as usize] = all[id as usize];
        }
        assert_eq!(syntax.form(unknown) == Form::Never, !may);
        follows(&model, source, options(1), &p);
        let found = decode_n_best(&model, &[source], options(9), 200).unwrap();
        let texts = found[0].iter().map(|hypothesis| {
            let token = |&id: &u32| match id == words {
                true => unknown,
                false => vocab.token(id),
            };
            let tokens: Vec<&str> = hypothesis.tokens.iter().map(token).collect();
            Tokenizer::Python.join(&tokens)
        });
        let texts: HashSet<String> = texts.collect();
        assert!(texts.len() > 50, "{texts:?}");
        for text in texts {
            assert!(parses_as_line(&text), "{text}");
        }
    }
}

fn samples(model: &Seq2Seq, sources: &[&[u32]], seed: u64, n: usize) -> Vec<Vec<Hypothesis>> {
    decode_n_best(model, sources, options(sampling(PLAIN, seed), 6), n).unwrap()
}

fn tokens(samples: &[Hypothesis]) -> Vec<&[u32]> {
    samples.iter().map(|sample| &sample.tokens[..]).collect()
}

#[test]
fn a_sample_depends_on_seed_source_and_number_alone() {
    let pairs = random_pairs(SIZES, 9, 7);
    let sources: Vec<&[u32]> = pairs.iter().map(|p| &p.0[..]).collect();
    for kind in [ModelKind::Attention, ModelKind::Transformer] {
        let model = model(kind, SIZES);
        let all = samples(&model, &sources, 1, 5);
        assert_eq!(all, samples(&model, &sources, 1, 5));
        for (number, (source, all)) in (0..).zip(sources.iter().zip(&all)) {
            assert_eq!(all.len(), 5);
            let distinct: HashSet<&[u32]> = tokens(all).into_iter().collect();
            assert!(distinct.len() > 1, "{kind}: {distinct:?}");
            let alone = Search::Sampling(Sampling {
                options: PLAIN,
                seed: 1,
                source: number,
            });
            let two = decode_n_best(&model, &[*source], options(alone, 6), 2).unwrap();
            assert_eq!(tokens(&two[0]), tokens(&all[..2]), "{kind}");
        }
        assert_ne!(all, samples(&model, &sources, 2, 5));
        // The same source twice, and the same numbers of samples.
        let twice = samples(&model, &[sources[0]; 2], 1, 5);
        assert_ne!(tokens(&twice[0]), tokens(&twice[1]));
    }
}

#[test]
fn the_log_probability_is_the_models_own() {
    let cold = SamplingOptions {
        temperature: 0.3,
        top_k: Some(4),
        top_p: Some(0.9),
    };
    let source: &[u32] = &[5, 9, 4];
    for kind in [ModelKind::Lstm, ModelKind::Transformer] {
        let model = model(kind, SIZES);
        let p = first(&model, source.into());
        for sampling_options in [PLAIN, cold] {
            let options = options(sampling(sampling_options, 1), 1);
            for hypothesis in &decode_n_best(&model, &[source], options, 20).unwrap()[0] {
                let token = hypothesis.tokens.first().copied().unwrap_or(EOS);
                let want = p[token as usize].ln();
                assert!((hypothesis.log_probability - want).abs() < SCORE, "{kind}");
                assert_eq!(hypothesis.score, hypothesis.log_probability);
            }
        }
        let long = samples(&model, &[source], 1, 9).concat();
        for hypothesis in &long {
            let length = hypothesis.tokens.len() + usize::from(hypothesis.ended);
            assert_eq!(hypothesis.score, hypothesis.log_probability / length as f64);
            let want = score(&model, source, &hypothesis.tokens, hypothesis.ended);
            assert!((hypothesis.score - want).abs() < SCORE, "{kind}");
        }
        assert!(long.iter().any(|h| h.tokens.len() > 1));
    }
}

#[test]
fn at_temperature_0_it_is_greedy() {
    let pairs = random_pairs(SIZES, 9, 7);
    let sources: Vec<&[u32]> = pairs.iter().map(|p| &p.0[..]).collect();
    let cold = SamplingOptions {
        temperature: 0.0,
        ..PLAIN
    };
    for kind in [ModelKind::Gru, ModelKind::Attention, ModelKind::Transformer] {
        let model = model(kind, SIZES);
        let greedy = decode(&model, &sources, options(Search::Greedy, 6)).unwrap();
        let drawn = decode(&model, &sources, options(sampling(cold, 1), 6)).unwrap();
        assert_eq!(tokens(&drawn), tokens(&greedy));
    }
}

#[test]
fn the_emulated_device_draws_the_same() {
    let pairs = random_pairs(SIZES, 4, 7);
    let sources: Vec<&[u32]> = pairs.iter().map(|p| &p.0[..]).collect();
    let gpu = Gpu::new(Emulated::new(0));
    for kind in [ModelKind::Attention, ModelKind::Transformer] {
        let cpu = model(kind, SIZES);
        let mut on_gpu = cpu.clone();
        on_gpu.params_mut().to_gpu(&gpu, false).unwrap();
        let (want, got) = (
            samples(&cpu, &sources, 4, 3),
            samples(&on_gpu, &sources, 4, 3),
        );
        for (got, want) in got.concat().iter().zip(&want.concat()) {
            assert_eq!(got.tokens, want.tokens, "{kind}");
            assert!((got.log_probability - want.log_probability).abs() < SCORE);
        }
    }
}

#[test]
fn refused() {
    let model = model(ModelKind::Rnn, SIZES);
    let hot = SamplingOptions {
        temperature: -1.0,
        ..PLAIN
    };
    let source: &[u32] = &[5];
    let error = decode(&model, &[source], options(sampling(hot, 1), 2)).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("temperature -1"), "{error}");
}
