//! Openers swapped, units fixed and patched, where the answer is known.

use super::models::{DEPTH, KIND, Nothing, files, ids, stack, vocab};
use rnnx::data::chars::CharVocab;
use rnnx::programs::charlm::study::causes::brackets::{BracketIds, bin, draw, pairs};
use rnnx::programs::charlm::study::causes::follow::Label;
use rnnx::programs::charlm::study::causes::network::Network;
use rnnx::programs::charlm::study::causes::swaps::{SwapSpec, Swapped, swaps};
use rnnx::programs::charlm::study::causes::units::{Act, Effect, Found, UnitSpec, effects};
use rnnx::programs::charlm::study::source::SourceFile;

const SWAPS: SwapSpec = SwapSpec {
    pairs_per_bin: 60,
    bins: 4,
    chars: 400,
};

/// The stack gives the closer 0.6 and the others 0.1 each.
const MOVED: f64 = -1.791_759_469_228_055; // ln(0.1 / 0.6)

fn all<N: Network>(network: &N, files: &[SourceFile]) -> Vec<Swapped> {
    swaps(network, &files.iter().collect::<Vec<_>>(), &ids(), &SWAPS)
}

#[test]
fn bins_are_powers_of_two_and_draws_are_seeded() {
    assert_eq!(
        [1, 2, 3, 4, 7, 8, 255, 256].map(bin),
        [0, 1, 1, 2, 2, 3, 7, 8]
    );
    let files = files(1, 8);
    let files: Vec<&SourceFile> = files.iter().collect();
    let all = pairs(&files, 400);
    assert!(
        all.iter()
            .all(|pair| pair.open > 0 && pair.close < 400 && pair.distance() > 0)
    );
    let drawn = draw(all.clone(), 20, 0);
    assert_eq!(drawn.len(), 20);
    assert!(drawn.is_sorted() && drawn.iter().all(|pair| all.contains(pair)));
    assert_eq!(drawn, draw(all.clone(), 20, 0));
    assert_ne!(drawn, draw(all.clone(), 20, 1));
    for pair in all {
        let file = files[pair.file];
        assert_eq!(file.chars[pair.open], pair.kind().opener());
        assert_eq!(file.chars[pair.close], pair.kind().closer());
    }
}

#[test]
fn a_vocabulary_without_a_bracket_has_no_swaps() {
    assert_eq!(BracketIds::of(&vocab()), Some(ids()));
    let without = CharVocab::from_tokens("()[]{ abc".chars()).expect("a vocabulary");
    assert_eq!(BracketIds::of(&without), None);
}

#[test]
fn a_stack_follows_the_opener_at_every_distance() {
    let bins = all(&stack(), &files(1, 8));
    let ranges: Vec<_> = bins.iter().map(|bin| bin.distance.name()).collect();
    assert_eq!(ranges, ["1", "2-3", "4-7", "8-15"]);
    let filled = bins.iter().filter(|bin| bin.n >= 50).count();
    assert!(filled >= 2, "{bins:?}");
    for bin in bins {
        assert!(bin.n <= 60);
        let figures = [
            (bin.true_log_p, MOVED),
            (bin.true_before, 0.6),
            (bin.true_after, 0.1),
            (bin.other_before, 0.1),
            (bin.other_after, 0.6),
        ];
        for (figure, expected) in figures {
            assert_eq!(figure.is_some(), bin.n >= 50);
            for value in figure
                .iter()
                .flat_map(|f| [Some(f.mean), f.low, f.high])
                .flatten()
            {
                assert!((value - expected).abs() < 1e-9, "{value} {expected}");
            }
        }
    }
}

#[test]
fn nothing_follows_no_opener() {
    let network = Nothing(vocab().len());
    for bin in all(&network, &files(1, 8)).iter().filter(|bin| bin.n >= 50) {
        assert_eq!(bin.true_log_p.expect("enough").mean, 0.0);
        let before = bin.true_before.expect("enough").mean;
        assert!((before - 1.0 / vocab().len() as f64).abs() < 1e-12);
    }
}

/// The stack predicts from the depth and from the type, and from nothing else.
#[test]
fn units_do_what_they_are_for() {
    let files = files(1, 8);
    let files: Vec<&SourceFile> = files.iter().collect();
    let spec = UnitSpec {
        pairs: 80,
        from: 2,
        to: 30,
        chars: 400,
        random: 4,
    };
    let found = [
        Found {
            label: Label::Depth,
            unit: DEPTH,
        },
        Found {
            label: Label::Square,
            unit: KIND,
        },
    ];
    let means = stack().shape().units().map(|unit| (unit, 0.0)).collect();
    let all = effects(&stack(), &files, &ids(), &found, &means, &spec);
    let kinds: Vec<_> = all.iter().map(|e| (e.label, e.unit, e.act)).collect();
    let acts = [
        Act::Ablated,
        Act::PatchedFromSwapped,
        Act::PatchedFromRemoved,
    ];
    let expected = found
        .iter()
        .flat_map(|f| acts.map(|act| (f.label, f.unit, act)));
    assert_eq!(kinds, expected.collect::<Vec<_>>());
    let value = |effect: &Effect| {
        let figures = [effect.true_closer, effect.other_closer];
        figures.map(|figure| figure.expect("enough pairs").mean)
    };
    let close = |effect: &Effect, [closer, other]: [f64; 2]| {
        let got = value(effect);
        assert!(
            (got[0] - closer).abs() < 1e-9 && (got[1] - other).abs() < 1e-9,
            "{effect:?}"
        );
    };
    // Depth 0: no closer is likely.
    close(&all[0], [(1e-9_f64 / 0.6).ln(), (1e-9_f64 / 0.1).ln()]);
    // The depth of the swapped text is the same.
    close(&all[1], [0.0, 0.0]);
    // That of the text without the opener is one less, which is 0 for outermost pairs.
    let [removed, _] = value(&all[2]);
    assert!(removed < -5.0, "{removed}");
    // Without a type all closers are wrong ones.
    close(&all[3], [MOVED, 0.0]);
    // The other type's closer.
    close(&all[4], [MOVED, -MOVED]);
    let text = all[4].true_closer_text.expect("enough pairs");
    assert!((text.mean - MOVED).abs() < 1e-9);
    assert_eq!(all[0].true_closer_text, None);
    // Random units hold nothing here.
    for effect in &all {
        let random = effect.true_closer_random.expect("enough pairs").mean;
        let other = effect.other_closer_random.expect("enough pairs").mean;
        assert_eq!((random, other), (0.0, 0.0), "{effect:?}");
    }
}
