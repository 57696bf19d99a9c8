//! Kneser-Ney models against fractions by hand, a plain implementation, and KenLM's lmplz
//! (`tests/golden/ngram.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rnnx::programs::charlm::study::ngram::{Contexts, KneserNey};
use rnnx::programs::charlm::study::predictor::Predictor;
use serde::Deserialize;

/// f64: only the order of a few additions differs.
const EXACT: f64 = 1e-13;
/// lmplz computes in f32.
const LMPLZ: f64 = 1e-6;
/// What the trait hands out is f32.
const F32: f64 = 1e-7;

fn contexts(files: &[Vec<u32>], vocab: usize, order: usize) -> Arc<Contexts> {
    let contexts = Contexts::new(files.iter().map(|file| &file[..]), vocab, order);
    Arc::new(contexts.expect("a short text"))
}

/// What follows these characters at the beginning of a file.
fn after(model: &mut KneserNey, read: &[u32]) -> Vec<f64> {
    model.reset();
    read.iter().for_each(|&id| model.read(id));
    model.probabilities().to_vec()
}

#[track_caller]
fn assert_near(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (w, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= tolerance,
            "{what}: p({w}) is {got}, not {want}"
        );
    }
}

// ---- by hand -------------------------------------------------------------------------------

/// The ids of a text of the letters a, b and c.
fn abc(text: &str) -> Vec<u32> {
    text.bytes().map(|b| u32::from(b - b'a')).collect()
}

/// Models of the files `abaab` and `abb`; no c is in them. `cases` are what was read, and the
/// probabilities of a, b and c in parts of `whole`.
#[track_caller]
fn assert_by_hand(order: usize, cases: &[(&str, [u32; 3], u32)]) {
    assert_of_files(&["abaab", "abb"], order, cases);
}

#[track_caller]
fn assert_of_files(files: &[&str], order: usize, cases: &[(&str, [u32; 3], u32)]) {
    let files: Vec<Vec<u32>> = files.iter().map(|file| abc(file)).collect();
    for longest in [order, order + 3] {
        let mut model = KneserNey::new(contexts(&files, 3, longest), order);
        for &(read, parts, whole) in cases {
            let want = parts.map(|part| f64::from(part) / f64::from(whole));
            let what = format!("order {order} after {read:?}");
            assert_near(&what, &after(&mut model, &abc(read)), &want, EXACT);
        }
    }
}

#[test]
fn unigrams_by_hand() {
    // a and b are there 4 times each. No character is there once, so D3 = 3/2: each has
    // (4 - 3/2) / 8 + (3/2 + 3/2) / 8 * 1/3 = 5/16 + 1/8, and c has 1/8.
    assert_by_hand(
        1,
        &[
            ("", [7, 7, 2], 16),
            ("a", [7, 7, 2], 16),
            ("cab", [7, 7, 2], 16),
        ],
    );
}

#[test]
fn a_discount_may_be_nothing() {
    // a once, b twice, c and d three times: n1 = n2 = 1, n3 = 2, n4 = 0, Y = 1 / (1 + 2) = 1/3, D1 = 1/3,
    // D2 = 2 - 3 * 1/3 * 2 = 0, D3 = 3. e has (1/3 + 0 + 3 + 3) / 9 * 1/5 = 19/135, a (1 - 1/3) / 9
    // more, b 2/9 more, c and d nothing more.
    let mut model = KneserNey::new(contexts(&[abc("abbcccddd")], 5, 1), 1);
    let want = [29.0, 49.0, 19.0, 19.0, 19.0].map(|part| part / 135.0);
    assert_near("unigrams", &after(&mut model, &[]), &want, EXACT);
}

#[test]
fn bigrams_by_hand() {
    // With ^ for the border: ab is there 3 times, ^a twice, ba, aa and bb once. So n1 = 3, n2 = n3 = 1,
    // n4 = 0 and Y = 3 / (3 + 2) = 3/5: D1 = 1 - 2 Y / 3 = 3/5, D2 = 2 - 3 Y = 1/5, D3 = 3.
    // Before a stand ^, a and b, before b stand a and b: counts 3 and 2, with discounts 3/2 and 1, for
    // n1 = 0. p(a) = (3 - 3/2) / 5 + 1/2 * 1/3 = 14/30, p(b) = (2 - 1) / 5 + 1/6 = 11/30, p(c) = 1/6.
    assert_by_hand(
        2,
        &[
            // a twice: p(a | ^) = (2 - 1/5) / 2 + 1/10 * 14/30.
            ("", [284, 11, 5], 300),
            // a once, b three times: p(a | a) = (1 - 3/5) / 4 + 9/10 * 14/30, p(b | a) = 9/10 * 11/30.
            ("a", [52, 33, 15], 100),
            ("ca", [52, 33, 15], 100),
            // a and b once: p(a | b) = (1 - 3/5) / 2 + 3/5 * 14/30.
            ("b", [48, 42, 10], 100),
            ("aab", [48, 42, 10], 100),
            // Nothing followed a c.
            ("c", [14, 11, 5], 30),
            ("abc", [14, 11, 5], 30),
        ],
    );
}

#[test]
fn trigrams_by_hand() {
    // ^ab is there twice, aba, baa, aab and abb once: n3 = 0, so the discounts are 1/2, 1 and 3/2. For
    // bigrams, too: before ab stand ^ and a, before aa a b, before ba and bb an a; ^a is there twice.
    // Unigrams as above.
    assert_by_hand(
        3,
        &[
            // Bigrams: p(a | ^) = (2 - 1) / 2 + 1/2 * 14/30.
            ("", [44, 11, 5], 60),
            // b twice: p(b | ^a) = (2 - 1) / 2 + 1/2 p(b | a), with
            // p(b | a) = (2 - 1) / 3 + (1 + 1/2) / 3 * 11/30 = 31/60, p(a | a) = 24/60.
            ("a", [24, 91, 5], 120),
            // Nothing followed ca: p(. | a).
            ("ca", [24, 31, 5], 60),
            // a and b once: p(a | ab) = (1 - 1/2) / 2 + 1/2 p(a | b), with
            // p(a | b) = (1 - 1/2) / 2 + 1/2 * 14/30 = 29/60, p(b | b) = 26/60.
            ("ab", [59, 56, 5], 120),
            ("caab", [59, 56, 5], 120),
            // a once: p(a | ba) = 1/2 + 1/2 p(a | a). That a second file begins with a is not of b.
            ("ba", [84, 31, 5], 120),
            // No file begins with b, and nothing followed bb, where the second ends.
            ("b", [29, 26, 5], 60),
            ("abb", [29, 26, 5], 60),
            ("acb", [29, 26, 5], 60),
            ("cc", [14, 11, 5], 30),
            ("abac", [14, 11, 5], 30),
        ],
    );
}

#[test]
fn files_of_a_character_by_hand() {
    // Before a and before b stands the same, a border: each has (1 - 1/2) / 2 + 1/2 * 1/3 = 5/12. a
    // begins two files: p(a | ^) = (2 - 1) / 3 + (1 + 1/2) / 3 * 5/12. Nothing follows.
    for order in [2, 3] {
        let cases = [
            ("", [13, 9, 2], 24),
            ("a", [5, 5, 2], 12),
            ("ba", [5, 5, 2], 12),
        ];
        assert_of_files(&["a", "b", "a"], order, &cases);
    }
}

#[test]
fn all_characters_are_equal_where_nothing_was_learnt() {
    for files in [vec![], vec![vec![], vec![]]] {
        let mut model = KneserNey::new(contexts(&files, 4, 3), 2);
        for read in [&[][..], &[1], &[1, 3, 0]] {
            assert_eq!(after(&mut model, read), [0.25; 4], "{read:?}");
        }
    }
}

// ---- a plain implementation ----------------------------------------------------------------

const BORDER: u32 = u32::MAX;

/// The formulas, with every n-gram of every order in a map.
struct Plain {
    vocab: usize,
    /// By order: the n-grams' counts a.
    counts: Vec<BTreeMap<Vec<u32>, u32>>,
    discounts: Vec<[f64; 4]>,
}

impl Plain {
    fn new(files: &[Vec<u32>], vocab: usize, order: usize) -> Self {
        let texts = files.iter().map(|file| [&[BORDER], &file[..]].concat());
        let texts: Vec<Vec<u32>> = texts.collect();
        let (mut counts, mut discounts) = (Vec::new(), Vec::new());
        for n in 1..=order {
            let mut found: BTreeMap<Vec<u32>, (u32, BTreeSet<u32>)> = BTreeMap::new();
            for text in &texts {
                for end in n.max(2)..=text.len() {
                    let (count, before) = found.entry(text[end - n..end].to_vec()).or_default();
                    *count += 1;
                    before.extend(end.checked_sub(n + 1).map(|at| text[at]));
                }
            }
            let counted = found.into_iter().map(|(gram, (count, before))| {
                let by_text = n == order || gram[0] == BORDER;
                (gram, if by_text { count } else { before.len() as u32 })
            });
            let counted: BTreeMap<Vec<u32>, u32> = counted.collect();
            let of = |k: u32| counted.values().filter(|&&count| count == k).count() as f64;
            let (n1, n2, n3, n4) = (of(1), of(2), of(3), of(4));
            let y = n1 / (n1 + 2.0 * n2);
            let d = [
                0.0,
                1.0 - 2.0 * y * n2 / n1,
                2.0 - 3.0 * y * n3 / n2,
                3.0 - 4.0 * y * n4 / n3,
            ];
            let told = n1 * n2 * n3 > 0.0 && (1..4).all(|k| d[k] >= 0.0 && d[k] <= k as f64);
            discounts.push(if told { d } else { [0.0, 0.5, 1.0, 1.5] });
            counts.push(counted);
        }
        Plain {
            vocab,
            counts,
            discounts,
        }
    }

    /// p(w | history).
    fn probability(&self, history: &[u32], w: u32) -> f64 {
        let n = history.len() + 1;
        let lower = || match n {
            1 => 1.0 / self.vocab as f64,
            _ => self.probability(&history[1..], w),
        };
        let a = |x: u32| {
            let gram = [history, &[x]].concat();
            self.counts[n - 1].get(&gram).copied().unwrap_or(0)
        };
        let discount = |a: u32| self.discounts[n - 1][a.min(3) as usize];
        let all = (0..self.vocab as u32).map(a);
        let sum: f64 = all.clone().map(f64::from).sum();
        if sum == 0.0 {
            return lower();
        }
        let taken: f64 = all.map(discount).sum();
        (f64::from(a(w)) - discount(a(w))) / sum + taken / sum * lower()
    }
}

/// A text with stretches that are there again, some of them longer than any order.
fn repetitive(seed: u64, files: &[usize], vocab: u64) -> Vec<Vec<u32>> {
    let mut state = seed;
    let mut draw = |n: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut all: Vec<u32> = vec![0];
    let mut file = |length: usize| {
        let mut file = Vec::new();
        while file.len() < length {
            let from = draw(all.len() as u64) as usize;
            let copied = all[from..].iter().take(draw(14) as usize).copied();
            file.extend(copied.chain([draw(vocab) as u32]));
        }
        file.truncate(length);
        all.extend(&file);
        file
    };
    files.iter().map(|&length| file(length)).collect()
}

#[test]
fn the_trie_counts_as_a_map_does() {
    let mut told = 0;
    for (seed, lengths, vocab) in [
        (1, &[60, 1, 0, 90, 60][..], 3),
        (2, &[200, 150, 3], 6),
        (3, &[300], 2),
    ] {
        let mut files = repetitive(seed, lengths, vocab as u64);
        // A file that is there twice, and the beginning of another.
        files.push(files[0].clone());
        files.push(files[0][..20].to_vec());
        let read = repetitive(seed + 100, &[40], vocab as u64).concat();
        let read = [&files[0][..30], &read, &files[0][5..50]].concat();
        let contexts = contexts(&files, vocab, 9);
        for order in 1..=9 {
            let plain = Plain::new(&files, vocab, order);
            told += plain.discounts.iter().filter(|d| d[1] != 0.5).count();
            let mut model = KneserNey::new(contexts.clone(), order);
            for t in 0..=read.len() {
                let text = [&[BORDER], &read[..t]].concat();
                let history = &text[text.len().saturating_sub(order - 1)..];
                let want = (0..vocab as u32).map(|w| plain.probability(history, w));
                let want: Vec<f64> = want.collect();
                let got = model.probabilities();
                assert_near(
                    &format!("text {seed}, order {order}, place {t}"),
                    got,
                    &want,
                    EXACT,
                );
                assert!((got.iter().sum::<f64>() - 1.0).abs() < EXACT);
                read.get(t).into_iter().for_each(|&id| model.read(id));
            }
        }
    }
    // Discounts of both kinds were met.
    assert!((40..110).contains(&told), "{told} of 135");
}

// ---- lmplz ---------------------------------------------------------------------------------

#[derive(Deserialize)]
struct Case {
    name: String,
    order: usize,
    vocab: usize,
    train: Vec<Vec<u32>>,
    read: Vec<Vec<u32>>,
    discounts: Vec<[f64; 3]>,
    probabilities: Vec<Vec<Vec<f64>>>,
}

#[test]
fn probabilities_are_lmplzs() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../golden/ngram.json")).unwrap();
    // Of these orders the discounts can be told, and of the others not.
    let told = cases
        .iter()
        .flat_map(|case| &case.discounts)
        .filter(|&&d| d != [0.5, 1.0, 1.5]);
    assert_eq!(told.count(), 7);
    for case in cases {
        let mut model = KneserNey::new(contexts(&case.train, case.vocab, case.order), case.order);
        for (file, probabilities) in case.read.iter().zip(&case.probabilities) {
            assert_eq!(file.len(), probabilities.len());
            for (t, want) in probabilities.iter().enumerate() {
                let got = after(&mut model, &file[..t]);
                assert_near(&format!("{}, place {t}", case.name), &got, want, LMPLZ);
            }
        }
    }
}

// ---- the trait -----------------------------------------------------------------------------

#[test]
fn a_place_is_held_until_the_next_file() {
    let mut model = KneserNey::new(contexts(&repetitive(4, &[200], 5), 5, 6), 4);
    assert_eq!((model.vocab(), model.order()), (5, 4));
    let mut at = |read: &[u32]| after(&mut model, read);
    let (first, there) = (at(&[]), at(&[1, 2, 0, 3]));
    assert_ne!(first, there);
    model.rewind();
    assert_eq!(model.probabilities(), there, "nothing was held");
    model.hold();
    for _ in 0..2 {
        model.read(4);
        model.read(2);
        assert_ne!(model.probabilities(), there);
        model.rewind();
        assert_eq!(model.probabilities(), there);
    }
    let mut single = vec![0.0; 5];
    model.predict(&mut single);
    let single: Vec<f64> = single.into_iter().map(f64::from).collect();
    assert_near("f32", &single, &there, F32);
    model.reset();
    model.rewind();
    assert_eq!(model.probabilities(), first);
}
