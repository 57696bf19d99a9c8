//! Draws against the distribution they come from.

use rnnx::sampling::{Sampler, SamplingOptions};

const PLAIN: SamplingOptions = SamplingOptions {
    temperature: 1.0,
    top_k: None,
    top_p: None,
};

/// Logits whose softmax is 0.4, 0.3, 0.15, 0.1, 0.05 in a shuffled order of tokens.
fn known_logits() -> ([f32; 5], [f64; 5]) {
    let p = [0.1, 0.4, 0.05, 0.3, 0.15];
    (p.map(|p: f64| p.ln() as f32), p)
}

fn counts(options: SamplingOptions, logits: &[f32], n: usize) -> Vec<f64> {
    let mut sampler = Sampler::new(options, logits.len(), 42, 0).expect("valid");
    let mut counts = vec![0.0; logits.len()];
    for _ in 0..n {
        counts[sampler.sample(logits)] += 1.0;
    }
    counts
}

/// Pearson's statistic over the tokens that may occur; the others must not occur.
fn chi_square(counts: &[f64], p: &[f64]) -> f64 {
    let n: f64 = counts.iter().sum();
    let total: f64 = p.iter().sum();
    let cells = counts.iter().zip(p);
    cells
        .map(|(&count, &p)| {
            let expected = n * p / total;
            if expected == 0.0 {
                assert_eq!(count, 0.0, "a token outside the filter was drawn");
                0.0
            } else {
                (count - expected).powi(2) / expected
            }
        })
        .sum()
}

#[test]
fn draws_follow_the_filtered_distribution() {
    let (logits, p) = known_logits();
    let squared = p.map(|p| p * p);
    let cases = [
        ("plain", PLAIN, p),
        (
            "temperature 0.5",
            SamplingOptions {
                temperature: 0.5,
                ..PLAIN
            },
            squared,
        ),
        (
            "top-k 2",
            SamplingOptions {
                top_k: Some(2),
                ..PLAIN
            },
            [0.0, 0.4, 0.0, 0.3, 0.0],
        ),
        (
            "top-k beyond V",
            SamplingOptions {
                top_k: Some(9),
                ..PLAIN
            },
            p,
        ),
        // 0.4 + 0.3 falls short of 0.75, so the third token is in.
        (
            "top-p 0.75",
            SamplingOptions {
                top_p: Some(0.75),
                ..PLAIN
            },
            [0.0, 0.4, 0.0, 0.3, 0.15],
        ),
        (
            "top-p 1",
            SamplingOptions {
                top_p: Some(1.0),
                ..PLAIN
            },
            p,
        ),
        // Of the mass of the first three (0.85), 0.8 is 0.68: two tokens are enough.
        (
            "top-k 3, top-p 0.8",
            SamplingOptions {
                top_k: Some(3),
                top_p: Some(0.8),
                ..PLAIN
            },
            [0.0, 0.4, 0.0, 0.3, 0.0],
        ),
    ];
    for (name, options, p) in cases {
        // 18.47 is the 99.9 % point for 4 degrees of freedom.
        let statistic = chi_square(&counts(options, &logits, 20_000), &p);
        assert!(statistic < 18.47, "{name}: {statistic}");
    }
    // The test can fail: draws of one distribution do not pass for another.
    assert!(chi_square(&counts(PLAIN, &logits, 20_000), &squared) > 100.0);
}

/// The tokens that are drawn, in ascending order.
fn drawn(options: SamplingOptions, logits: &[f32]) -> Vec<usize> {
    let counts = counts(options, logits, 2000);
    (0..logits.len()).filter(|&t| counts[t] > 0.0).collect()
}

#[test]
fn the_nucleus_ends_where_its_mass_reaches_the_share() {
    // At this temperature a logit less by one is half the mass: 1/2, 1/4, 1/8, 1/8 of the tokens
    // 3, 0, 1, 2, and every sum is exact.
    let temperature = std::f64::consts::LOG2_E;
    assert_eq!([1.0, 2.0].map(|x| (-x / temperature).exp()), [0.5, 0.25]);
    let logits = [-1.0, -2.0, -2.0, 0.0];
    let by_mass = [3, 0, 1, 2];
    let nucleus = |p: f64| {
        let top_p = Some(p);
        drawn(
            SamplingOptions {
                temperature,
                top_k: None,
                top_p,
            },
            &logits,
        )
    };
    let first = |n: usize| {
        let mut tokens = by_mass[..n].to_vec();
        tokens.sort_unstable();
        tokens
    };
    for (n, p) in (1..).zip([0.5, 0.75, 0.875]) {
        assert_eq!(nucleus(p), first(n), "exactly {p}");
        assert_eq!(nucleus(p.next_down()), first(n), "just below {p}");
        assert_eq!(nucleus(p.next_up()), first(n + 1), "just above {p}");
    }
    assert_eq!(nucleus(f64::MIN_POSITIVE), first(1));
    assert_eq!(nucleus(1.0), first(4));
}

#[test]
fn the_nucleus_of_equal_tokens_has_the_lowest_and_is_a_share_of_the_top_k() {
    let drawn = |top_k, p| {
        let top_p = Some(p);
        drawn(
            SamplingOptions {
                top_k,
                top_p,
                ..PLAIN
            },
            &[0.7; 8],
        )
    };
    assert_eq!(drawn(None, 0.125), [0]);
    assert_eq!(drawn(None, 0.5), [0, 1, 2, 3]);
    assert_eq!(drawn(None, 0.5f64.next_up()), [0, 1, 2, 3, 4]);
    assert_eq!(drawn(Some(4), 0.5), [0, 1]);
    assert_eq!(drawn(Some(4), 0.5f64.next_up()), [0, 1, 2]);
    assert_eq!(drawn(Some(4), 1.0), [0, 1, 2, 3]);
}

#[test]
fn greedy_and_ties() {
    let greedy = SamplingOptions {
        temperature: 0.0,
        ..PLAIN
    };
    let one = SamplingOptions {
        top_k: Some(1),
        ..PLAIN
    };
    for options in [greedy, one] {
        let mut sampler = Sampler::new(options, 4, 1, 0).expect("valid");
        for _ in 0..50 {
            assert_eq!(sampler.sample(&[0.0, 2.0, 2.0, -1.0]), 1);
            assert_eq!(sampler.sample(&[0.0, -2.0, -2.0, 5.0]), 3);
        }
    }
    // The smallest positive temperature neither divides by zero nor yields NaN.
    let cold = SamplingOptions {
        temperature: f64::MIN_POSITIVE,
        ..PLAIN
    };
    assert_eq!(counts(cold, &[0.0, 1.0, 0.5], 100), [0.0, 100.0, 0.0]);
}

#[test]
fn a_forbidden_token_is_never_drawn_and_the_others_share_its_probability() {
    let logits = [9.0, 0.0, 3.0f32.ln(), -f32::INFINITY];
    for never in [0, 2] {
        for (top_k, top_p) in [(None, None), (Some(2), None), (None, Some(0.9))] {
            for temperature in [0.0, 1.0] {
                let options = SamplingOptions {
                    temperature,
                    top_k,
                    top_p,
                };
                let sampler = Sampler::new(options, 4, 3, 0).expect("valid");
                let mut sampler = sampler.never(Some(never));
                for _ in 0..200 {
                    assert_ne!(sampler.sample(&logits), never, "{options:?}");
                }
            }
        }
    }
    let sampler = Sampler::new(PLAIN, 4, 3, 0).expect("valid");
    let mut sampler = sampler.never(Some(0));
    let n = 20_000;
    let drawn = (0..n).filter(|_| sampler.sample(&logits) == 2).count();
    // 3 : 1, within five standard deviations.
    assert!((drawn as f64 / f64::from(n) - 0.75).abs() < 5.0 * (0.75 * 0.25 / f64::from(n)).sqrt());
}

#[test]
fn streams_draw_their_own_numbers() {
    let draw = |seed, stream| -> Vec<usize> {
        let mut sampler = Sampler::new(PLAIN, 50, seed, stream).expect("valid");
        (0..20).map(|_| sampler.sample(&[0.0; 50])).collect()
    };
    assert_eq!(draw(1, 0), draw(1, 0));
    assert_ne!(draw(1, 0), draw(1, 1));
    assert_ne!(draw(1, 0), draw(2, 0));
}

#[test]
fn sampling_values_are_checked() {
    let with = |t, k, p| SamplingOptions {
        temperature: t,
        top_k: k,
        top_p: p,
    };
    for (options, flag) in [
        (with(-0.1, None, None), "temperature -0.1"),
        (with(f64::NAN, None, None), "temperature NaN"),
        (with(f64::INFINITY, None, None), "temperature inf"),
        (with(1.0, Some(0), None), "top-k 0"),
        (with(1.0, None, Some(0.0)), "top-p 0"),
        (with(1.0, None, Some(1.5)), "top-p 1.5"),
        (with(1.0, None, Some(f64::NAN)), "top-p NaN"),
    ] {
        let error = Sampler::new(options, 3, 0, 0).expect_err(flag);
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(flag), "{error}");
    }
}
