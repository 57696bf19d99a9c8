//! Words of brackets, and networks that close all, none or some of them.

use super::models::{Nothing, Stack};
use rnnx::nn::CellKind;
use rnnx::programs::charlm::study::causes::dyck::words::{Dyck, max_depth};
use rnnx::programs::charlm::study::causes::dyck::{DyckSpec, evaluate, train};
use rnnx::programs::charlm::study::estimate::Estimate;
use rnnx::rng::{Purpose, Stream};

fn spec() -> DyckSpec {
    DyckSpec {
        cell: CellKind::Lstm,
        trained: Dyck { types: 2, depth: 2 },
        trained_length: 10,
        hidden: 8,
        steps: 60,
        batch: 16,
        words: 50,
        seed: 3,
    }
}

fn mean(estimate: Option<Estimate>) -> f64 {
    estimate.expect("50 words").mean
}

fn bracket_stack(language: Dyck) -> Stack {
    let pairs = (0..language.types).map(|kind| (2 * kind, 2 * kind + 1));
    Stack {
        pairs: pairs.collect(),
        vocab: language.vocab(),
        closer: (0.6, 0.1),
    }
}

#[test]
fn words_are_closed_in_order_and_no_deeper_than_their_language() {
    let language = Dyck { types: 3, depth: 4 };
    let source = language.source(2..=30);
    let mut random = Stream::new(1, Purpose::Dyck, 0).reader();
    let mut deepest = 0;
    for _ in 0..300 {
        let length = source.length(&mut random);
        assert!(length % 2 == 0 && (2..=30).contains(&length), "{length}");
        let word = source.word(length, &mut random);
        assert_eq!(word.len(), length);
        let mut open = Vec::new();
        for id in &word {
            match language.closes(*id) {
                None => open.push(id / 2),
                Some(kind) => assert_eq!(open.pop(), Some(kind), "{word:?}"),
            }
        }
        assert!(open.is_empty() && max_depth(&word) <= 4, "{word:?}");
        deepest = deepest.max(max_depth(&word));
    }
    assert_eq!(deepest, 4);
}

/// Of length 6 there are five shapes, of which one is deeper than 2.
#[test]
fn words_of_a_length_are_equally_likely() {
    let language = Dyck { types: 1, depth: 2 };
    let source = language.source(6..=6);
    let mut random = Stream::new(2, Purpose::Dyck, 0).reader();
    let mut counts = std::collections::HashMap::new();
    for _ in 0..4000 {
        *counts.entry(source.word(6, &mut random)).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 4);
    // Five standard deviations of a count: 5 sqrt(4000 * 1/4 * 3/4).
    assert!(
        counts.values().all(|n| (1000_i32 - n).abs() < 137),
        "{counts:?}"
    );
}

#[test]
fn a_stack_closes_all_and_an_empty_network_the_first_type() {
    let spec = spec();
    for cell in evaluate(&bracket_stack(spec.trained), &spec) {
        assert_eq!(
            (mean(cell.right), mean(cell.whole), cell.words),
            (1.0, 1.0, 50)
        );
        assert!(
            (mean(cell.probability) - 0.6 / 0.7).abs() < 1e-9,
            "{cell:?}"
        );
    }
    for cell in evaluate(&Nothing(spec.trained.vocab()), &spec) {
        assert!((mean(cell.probability) - 0.5).abs() < 1e-9, "{cell:?}");
        // Of equals the first: right where the type is 0, half of the time.
        assert!(
            (mean(cell.right) - 0.5).abs() < 0.15 && mean(cell.whole) < 0.2,
            "{cell:?}"
        );
    }
}

#[test]
fn cells_hold_the_words_they_are_named_for() {
    let spec = spec();
    let cells = evaluate(&bracket_stack(spec.trained), &spec);
    let kinds: Vec<_> = cells
        .iter()
        .map(|c| (c.length_inside, c.depth_inside))
        .collect();
    assert_eq!(
        kinds,
        [(true, true), (true, false), (false, true), (false, false)]
    );
    // Half of a word's characters are closers: lengths 6 to 10, and 12 to 20.
    for cell in &cells {
        let length = 2.0 * cell.closers as f64 / cell.words as f64;
        let expected = if cell.length_inside {
            6.0..=10.0
        } else {
            12.0..=20.0
        };
        assert!(expected.contains(&length), "{cell:?}");
    }
    // One that does not tell types apart is right in half of the mass.
    let mut shallow = bracket_stack(spec.trained);
    shallow.closer = (0.6, 0.6);
    let cells = evaluate(&shallow, &spec);
    assert!(
        cells
            .iter()
            .all(|cell| (mean(cell.probability) - 0.5).abs() < 1e-9),
        "{cells:?}"
    );
}

#[test]
fn training_is_seeded_and_learns() {
    let spec = spec();
    let (network, loss) = train(&spec).expect("trains");
    // Before training: ln 5 a character.
    assert!(loss < 1.3, "{loss}");
    let (again, same) = train(&spec).expect("trains");
    assert_eq!(loss, same);
    let figures = |network| format!("{:?}", evaluate(network, &spec));
    assert_eq!(figures(&network), figures(&again));
}
