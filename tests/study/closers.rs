//! Measures of closing brackets against the oracle, the uniform model and a stack that forgets, on texts
//! whose brackets are counted by hand.

use rnnx::programs::charlm::study::measures::{closure, snippets};

use super::measures::{UNIFORM, span};
use super::support::{Said, V, assert_is, stack, two_of};

// ---- A: bracket closure --------------------------------------------------------------------

/// Of each line `[0]` closes after 2 characters at depth 2, `(a[0])` after 5 at depth 1.
const BRACKETS: &str = "f(a[0])\n";

#[test]
fn closure_counts_pairs_by_distance_and_depth() {
    let files = two_of(BRACKETS, 30);
    let found = closure::measure(&Said::by_oracle(&files).reading()).expect("brackets");
    let counts = |rows: &[closure::ClosureRow]| {
        let row = |r: &closure::ClosureRow| (r.distance, r.depth, r.n);
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let (near, far) = (Some(span(2, 3)), Some(span(4, 7)));
    let (one, two) = (Some(span(1, 1)), Some(span(2, 2)));
    assert_eq!(counts(&found.all), [(None, None, 120)]);
    assert_eq!(
        counts(&found.by_distance),
        [(near, None, 60), (far, None, 60)]
    );
    assert_eq!(counts(&found.by_depth), [(None, one, 60), (None, two, 60)]);
    let both = counts(&found.by_distance_and_depth);
    assert_eq!(both, [(near, two, 60), (far, one, 60)]);
    for row in found.by_distance.iter().chain(&found.by_depth) {
        for figure in [row.p, row.top1, row.type_accuracy] {
            assert_is(figure, 1.0);
        }
        assert_is(row.wrong_type, 0.0);
    }
    assert_is(found.closers_at_depth_0, 0.0);
    assert!(found.falls.iter().all(|fall| fall.distance.is_none()));
}

#[test]
fn closure_of_the_uniform_model() {
    let files = two_of(BRACKETS, 30);
    let found = closure::measure(&Said::by_uniform(&files).reading()).expect("brackets");
    let all = &found.all[0];
    assert_is(all.p, UNIFORM);
    assert_is(all.top1, 0.0);
    // No closer is likelier than the others.
    assert_is(all.type_accuracy, 0.0);
    assert_is(all.wrong_type, 2.0 * UNIFORM);
    assert_is(found.closers_at_depth_0, 3.0 * UNIFORM);
    for fall in &found.falls {
        assert_eq!(
            [fall.distance, fall.low, fall.high],
            [Some(2); 3],
            "{fall:?}"
        );
    }
}

#[test]
fn closure_of_a_stack_that_forgets() {
    let files = two_of(BRACKETS, 30);
    let said = Said::by(&files, |_| stack(3));
    let found = closure::measure(&said.reading()).expect("brackets");
    let [near, far] = &found.by_distance[..] else {
        panic!("{found:?}")
    };
    assert_is(near.p, 0.5);
    assert_is(near.top1, 1.0);
    assert_is(near.type_accuracy, 1.0);
    assert_is(near.wrong_type, 2.0 * 0.5 / (V - 1) as f64);
    // Beyond its reach the three closers are alike, and the first of them is the round one.
    assert_is(far.p, 1.0 / 6.0);
    assert_is(far.top1, 1.0);
    assert_is(far.type_accuracy, 0.0);
    assert_is(far.wrong_type, 1.0 / 3.0);
    assert_is(found.closers_at_depth_0, 0.0);
    let fall = |figure: &str, below: f64| {
        let mut falls = found.falls.iter();
        let fall = falls.find(|f| f.figure == figure && f.below == below);
        let fall = fall.expect("every threshold");
        [fall.distance, fall.low, fall.high]
    };
    assert_eq!(fall("type_accuracy", 0.9), [Some(4); 3]);
    assert_eq!(fall("top1", 0.5), [None; 3]);
    assert_eq!(fall("p", 0.5), [Some(4); 3]); // 0.5 itself is not below
    assert_eq!(fall("p", 0.75), [Some(2); 3]);
}

#[test]
fn brackets_in_strings_and_comments_and_few_brackets_do_not_count() {
    let quiet = two_of("a = '()' # ()\n", 30);
    assert_eq!(closure::measure(&Said::by_oracle(&quiet).reading()), None);
    let few = two_of(BRACKETS, 24); // 48 in a bin
    let found = closure::measure(&Said::by_oracle(&few).reading()).expect("brackets");
    assert_is(found.all[0].p, 1.0);
    assert_eq!((found.by_distance[0].n, found.by_distance[0].p), (48, None));
}

// ---- N: whole snippets ---------------------------------------------------------------------

#[test]
fn snippets_need_all_their_closers() {
    // Lines with 2, 1 and 0 closers; a function with 2, a class with 1.
    let files = two_of("def f(): a[0]\nclass A:\n    b(cdef)\n    d\n", 60);
    let oracle = snippets::measure(&Said::by_oracle(&files).reading()).expect("closers");
    let row = |r: &snippets::SnippetRow| (r.closers, r.n);
    let bins = [(Some(span(1, 1)), 120), (Some(span(2, 3)), 120)];
    assert_eq!((oracle.lines.n, oracle.statements.n), (240, 240));
    for rows in [&oracle.lines_by_closers, &oracle.statements_by_closers] {
        assert_eq!(rows.iter().map(row).collect::<Vec<_>>(), bins);
        for row in rows {
            assert_is(row.top1, 1.0);
            assert_is(row.type_accuracy, 1.0);
            assert_is(row.p, 1.0);
        }
    }
    // A stack that forgets the bracket of `b(cdef)` knows those of the other line.
    let said = Said::by(&files, |_| stack(3));
    let found = snippets::measure(&said.reading()).expect("closers");
    let [one, two] = &found.lines_by_closers[..] else {
        panic!("{found:?}")
    };
    assert_is(one.type_accuracy, 0.0);
    assert_is(one.p, 1.0 / 6.0);
    assert_is(two.type_accuracy, 1.0);
    assert_is(two.p, 0.25);
    assert_is(found.lines.type_accuracy, 0.5);
    let uniform = snippets::measure(&Said::by_uniform(&files).reading()).expect("closers");
    assert_is(uniform.lines.top1, 0.0);
    assert_is(uniform.lines_by_closers[1].p, UNIFORM * UNIFORM);
    let quiet = two_of("a\n", 60);
    assert_eq!(snippets::measure(&Said::by_oracle(&quiet).reading()), None);
}
