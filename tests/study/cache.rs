//! The cache of a file against fractions by hand and a plain implementation.

use std::collections::BTreeMap;
use std::sync::Arc;

use rnnx::programs::charlm::study::ngram::{Cached, Contexts, KneserNey, LONGEST_MATCH};
use rnnx::programs::charlm::study::predictor::{Predictor, Uniform};

/// What the trait hands out is f32.
const F32: f64 = 1e-7;

fn next(model: &mut dyn Predictor) -> Vec<f64> {
    let mut p = vec![0.0; model.vocab()];
    model.predict(&mut p);
    p.into_iter().map(f64::from).collect()
}

#[track_caller]
fn assert_near(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (w, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= F32,
            "{what}: p({w}) is {got}, not {want}"
        );
    }
}

#[test]
fn a_file_by_hand() {
    let mut model = Cached::new(Uniform { vocab: 2 });
    // Nothing was read.
    assert_near("at the start", &next(&mut model), &[1.0 / 2.0, 1.0 / 2.0]);
    model.read(0);
    // Nothing followed a yet, m = 0: c(a) = (1 + 1/2) / 2 = 3/4, l(0) = 1/2, p(a) = 5/8.
    assert_near("a", &next(&mut model), &[5.0 / 8.0, 3.0 / 8.0]);
    model.read(0);
    // The cache's share was r = 1/2 * 3/4 / (5/8) = 3/5, so l(0) = (1 + 3/5) / 3 = 8/15. m = 1:
    // c(a) = (2 + 1/2) / 3 = 5/6, c(a | a) = (1 + 5/6) / 2 = 11/12, l(1) = 1/2, p(a) = 17/24.
    assert_near("aa", &next(&mut model), &[17.0 / 24.0, 7.0 / 24.0]);
    // A b: r = 1/24 / (7/24) = 1/7, so l(1) = (1 + 1/7) / 3 = 8/21.
    model.read(1);
    // Nothing followed b yet, m = 0: c(a) = (2 + 2/2) / 5 = 3/5, p(a) = 8/15 * 3/5 + 7/15 * 1/2.
    assert_near("aab", &next(&mut model), &[83.0 / 150.0, 67.0 / 150.0]);
    // An a: r = 8/25 / (83/150) = 48/83, so l(0) = (1 + 3/5 + 48/83) / 4.
    model.read(0);
    // m = 1: c(a) = (3 + 1) / 6 = 2/3, a was followed by a and b: c(a | a) = (1 + 4/3) / 4 = 7/12,
    // p(a) = 8/21 * 7/12 + 13/21 * 1/2 = 67/126.
    assert_near("aaba", &next(&mut model), &[67.0 / 126.0, 59.0 / 126.0]);
    model.reset();
    assert_near("a new file", &next(&mut model), &[1.0 / 2.0, 1.0 / 2.0]);
    model.read(1);
    assert_near("b", &next(&mut model), &[3.0 / 8.0, 5.0 / 8.0]);
}

/// A text that copies itself, some stretches longer than any match.
fn text(length: usize, vocab: u32) -> Vec<u32> {
    let mut text = vec![0];
    for n in 0.. {
        if text.len() >= length {
            break;
        }
        let from = (n * n * 7) % text.len();
        text.extend_from_within(from..(from + n % 37).min(text.len()));
        text.push((n * n % 11) as u32 % vocab);
    }
    text.truncate(length);
    text
}

/// c of every character, and m.
fn plain_cache(text: &[u32], vocab: usize) -> (Vec<f64>, Option<usize>) {
    let (mut c, mut matched) = (vec![1.0 / vocab as f64; vocab], None);
    for m in 0..=LONGEST_MATCH.min(text.len()) {
        let context = &text[text.len() - m..];
        let mut followers: BTreeMap<u32, f64> = BTreeMap::new();
        for at in m..text.len() {
            if &text[at - m..at] == context {
                *followers.entry(text[at]).or_default() += 1.0;
            }
        }
        if followers.is_empty() {
            break;
        }
        let (all, different) = (followers.values().sum::<f64>(), followers.len() as f64);
        for (w, c) in (0..).zip(&mut c) {
            let count = followers.get(&w).copied().unwrap_or(0.0);
            *c = (count + different * *c) / (all + different);
        }
        matched = Some(m);
    }
    (c, matched)
}

#[test]
fn the_trie_counts_as_a_search_does() {
    let vocab = 4;
    let text = text(700, vocab as u32);
    let contexts = Contexts::new([&text[..50], &text[300..400]], vocab, 4).expect("a short text");
    let mut base = KneserNey::new(Arc::new(contexts), 4);
    let mut model = Cached::new(base.clone());
    let mut weights: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for (t, &id) in text.iter().enumerate() {
        let (c, matched) = plain_cache(&text[..t], vocab);
        let q = next(&mut base);
        let weight = matched.map(|m| weights.entry(m).or_insert((1.0, 2.0)));
        let l = weight.as_ref().map_or(0.0, |(shares, n)| shares / n);
        let p: Vec<f64> = c
            .iter()
            .zip(&q)
            .map(|(c, q)| l * c + (1.0 - l) * q)
            .collect();
        // Not to ask makes no difference.
        if t % 3 != 2 {
            let got = next(&mut model);
            assert_near(&format!("place {t}"), &got, &p);
            assert!((got.iter().sum::<f64>() - 1.0).abs() < F32);
        }
        if let Some((shares, n)) = weight {
            *shares += l * c[id as usize] / p[id as usize];
            *n += 1.0;
        }
        base.read(id);
        model.read(id);
    }
    assert_eq!(
        weights.keys().copied().collect::<Vec<_>>(),
        (0..=LONGEST_MATCH).collect::<Vec<_>>()
    );
}

#[test]
fn a_place_is_held_until_the_next_file() {
    let text = text(300, 4);
    let contexts = Contexts::new([&text[..40]], 4, 3).expect("a short text");
    let mut model = Cached::new(KneserNey::new(Arc::new(contexts), 3));
    let start = next(&mut model);
    let mut never = model.clone();
    for &id in &text[..100] {
        model.read(id);
        never.read(id);
    }
    model.rewind();
    assert_eq!(next(&mut model), next(&mut never), "nothing was held");
    model.hold();
    for read in [&text[200..300], &text[150..160]] {
        read.iter().for_each(|&id| model.read(id));
        assert_ne!(next(&mut model), next(&mut never));
        model.rewind();
        assert_eq!(next(&mut model), next(&mut never));
    }
    // What was taken back is not there when the file goes on.
    for &id in &text[100..] {
        model.read(id);
        never.read(id);
        assert_near("behind the place", &next(&mut model), &next(&mut never));
    }
    model.reset();
    assert_eq!(next(&mut model), start);
    model.read(2);
    let other = next(&mut model);
    model.rewind();
    assert_eq!(next(&mut model), other, "of another file");
}

fn bits(model: &mut dyn Predictor, text: &[u32]) -> f64 {
    model.reset();
    let of = |&id: &u32| {
        let p = next(model)[id as usize];
        model.read(id);
        -p.log2()
    };
    text.iter().map(of).sum::<f64>() / text.len() as f64
}

/// 26 letters in an order of no sense, read again and again.
#[test]
fn a_text_that_repeats_itself_takes_fewer_bits() {
    let letters: Vec<u32> = (0..26).map(|n| n * 7 % 26).collect();
    let other: Vec<u32> = (0..2000).map(|n| n * n % 26).collect();
    let contexts = Contexts::new([&other[..]], 26, 5).expect("a short text");
    let mut model = KneserNey::new(Arc::new(contexts), 5);
    let mut cached = Cached::new(model.clone());
    let (once, often) = (letters.clone(), letters.repeat(20));
    assert!(bits(&mut model, &often) > 4.0);
    assert!(bits(&mut cached, &often) < 1.0);
    // Where nothing is there twice it costs little.
    assert!(bits(&mut cached, &once) < bits(&mut model, &once) + 0.5);
}
