//! Changed contexts, for a network that copies what stood 40 characters before.

use super::models::{LAG, Lag, Nothing, file, vocab};
use rnnx::programs::charlm::study::causes::context::{Contexts, NEAR, SCORED, contexts};
use rnnx::programs::charlm::study::causes::network::Network;
use rnnx::programs::charlm::study::estimate::Estimate;

const PLACES: usize = 50;

/// Files that repeat every 40 characters.
fn tried<N: Network>(network: &N, period: &str) -> Contexts {
    assert_eq!(period.chars().count(), LAG);
    let files = [
        file("a.py", &period.repeat(40)),
        file("b.py", &period.repeat(50)),
    ];
    let files: Vec<_> = files.iter().collect();
    let blank = vocab().id(' ').map(u32::from).expect("a blank");
    contexts(network, &files, blank, PLACES)
}

fn value(figure: Option<Estimate>) -> f64 {
    figure.expect("50 places").mean
}

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzabcdefghijklmn";
const OPERATORS: &str = "+-*/%+-*/%+-*/%+-*/%+-*/%+-*/%+-*/%+-*/%";
const LINES: &str = "ab\ncdef\ng\nhijklm\nno\npqrstu\nv\nwxyz\nabcde\n";

#[test]
fn nothing_is_lost_of_what_is_not_used() {
    let contexts = tried(&Nothing(vocab().len()), LETTERS);
    let uniform = (vocab().len() as f64).ln();
    assert_eq!(contexts.n, 50);
    assert!((value(contexts.whole) - uniform).abs() < 1e-9);
    for near in &contexts.near {
        for changed in [near.truncated, near.shuffled, near.names] {
            assert!((value(changed.loss) - uniform).abs() < 1e-9);
            assert_eq!(value(changed.more), 0.0);
        }
    }
}

/// With k = 32, eight of the sixteen characters need what is further away.
#[test]
fn losses_are_those_of_a_copy_at_40_characters() {
    let (right, wrong) = (-Lag::RIGHT.ln(), -Lag::wrong().ln());
    let uniform = (vocab().len() as f64).ln();
    for (period, names) in [(LETTERS, right), (OPERATORS, wrong)] {
        let contexts = tried(&Lag, period);
        assert!((value(contexts.whole) - right).abs() < 1e-9);
        let chars: Vec<usize> = contexts.near.iter().map(|near| near.chars).collect();
        assert_eq!(chars, NEAR);
        for near in &contexts.near {
            let share = (LAG.saturating_sub(near.chars)) as f64 / SCORED as f64;
            let mixed = |far: f64| share * far + (1.0 - share) * right;
            let expected = [mixed(uniform), right, mixed(names)];
            let got = [near.truncated, near.shuffled, near.names];
            for (changed, expected) in got.iter().zip(expected) {
                assert!((value(changed.loss) - expected).abs() < 1e-9, "{near:?}");
                assert!(
                    (value(changed.more) - expected + right).abs() < 1e-9,
                    "{near:?}"
                );
            }
        }
    }
}

#[test]
fn shuffled_lines_cost_what_their_order_was_worth() {
    let contexts = tried(&Lag, LINES);
    let right = -Lag::RIGHT.ln();
    for near in &contexts.near {
        let lost = value(near.shuffled.more);
        match near.chars < LAG {
            // Half of the characters are read off the shuffled part, mostly wrong.
            true => assert!(lost > 0.5, "{near:?}"),
            false => assert!(lost.abs() < 1e-9, "{near:?}"),
        }
    }
    assert!((value(contexts.whole) - right).abs() < 1e-9);
}

#[test]
fn files_that_are_too_short_leave_blanks() {
    let short = [file("a.py", LETTERS)];
    let contexts = contexts(&Lag, &[&short[0]], 0, PLACES);
    assert_eq!((contexts.n, contexts.whole), (0, None));
    assert!(contexts.near.iter().all(|near| near.names.loss.is_none()));
}
