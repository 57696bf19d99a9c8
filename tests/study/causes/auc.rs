//! Areas and thresholds against counting every pair.

use rnnx::programs::charlm::study::causes::auc::{Ranked, auc};
use rnnx::rng::{Purpose, Stream};

/// By definition: over all pairs of one value with the label and one without.
fn by_pairs(pairs: &[(f32, f64)]) -> f64 {
    let of = |label: f64| pairs.iter().filter(move |pair| pair.1 == label);
    let mut won = 0.0;
    for (one, _) in of(1.0) {
        for (zero, _) in of(0.0) {
            won += match one.total_cmp(zero) {
                std::cmp::Ordering::Less => 0.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Greater => 1.0,
            };
        }
    }
    won / (of(1.0).count() * of(0.0).count()) as f64
}

fn drawn(n: usize, seed: u64) -> Vec<(f32, f64)> {
    let mut random = Stream::new(seed, Purpose::Study, 0).reader();
    // Few values, so that there are ties.
    let mut pair = || (random.below(7) as f32 - 2.0, f64::from(random.below(2)));
    (0..n).map(|_| pair()).collect()
}

#[test]
fn areas_are_those_of_all_pairs() {
    for seed in 0..20 {
        let pairs = drawn(60, seed);
        let negative: Vec<(f32, f64)> = pairs.iter().map(|&(x, y)| (-x, y)).collect();
        assert!((auc(&pairs) - by_pairs(&pairs)).abs() < 1e-12);
        assert!((Ranked::new(&pairs, true).auc(&|_| 1.0) - by_pairs(&negative)).abs() < 1e-12);
        // A file that counts twice is there twice.
        let files = [pairs.clone(), drawn(40, seed + 100), drawn(30, seed + 200)];
        let weighted = [files[0].clone(), files[2].clone(), files[2].clone()].concat();
        let area = Ranked::of_files(&files, false).auc(&|file| [1.0, 0.0, 2.0][file]);
        assert!((area - by_pairs(&weighted)).abs() < 1e-12);
    }
    assert_eq!(auc(&[(0.1, 0.0), (0.2, 1.0), (0.3, 1.0)]), 1.0);
    assert_eq!(auc(&[(0.1, 1.0), (0.2, 0.0)]), 0.0);
    assert!(auc(&[(0.1, 1.0)]).is_nan());
}

#[test]
fn no_threshold_divides_better() {
    for seed in 0..20 {
        let pairs = drawn(50, seed);
        let ranked = Ranked::new(&pairs, false);
        let best = ranked.balanced_accuracy(ranked.threshold());
        let others = pairs.iter().map(|&(x, _)| ranked.balanced_accuracy(x));
        let others = others.chain([0.5]).fold(0.0, f64::max);
        assert!((best - others).abs() < 1e-12, "{best} {others}");
    }
    let pairs = [(0.1, 0.0), (0.2, 0.0), (0.3, 1.0), (0.4, 0.0), (0.5, 1.0)];
    let ranked = Ranked::new(&pairs, false);
    assert_eq!(ranked.threshold(), 0.2);
    assert!((ranked.balanced_accuracy(0.2) - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
}
