//! Measures of indentation, strings, names, classes and contexts against the oracle, the uniform
//! model and ones made for them, on texts whose events are counted by hand.

use std::collections::HashMap;

use rnnx::programs::charlm::study::bins::Span;
use rnnx::programs::charlm::study::estimate::Bootstrap;
use rnnx::programs::charlm::study::measures::identifiers::count_names;
use rnnx::programs::charlm::study::measures::indentation::Move;
use rnnx::programs::charlm::study::measures::{
    classes, context, delimiters, identifiers, indentation,
};
use rnnx::programs::charlm::study::predictor::{Oracle, Predictor, Uniform};
use rnnx::programs::charlm::study::source::Class;

use super::support::{Said, V, assert_is, files, id, reader, stack, two_of};

pub const UNIFORM: f64 = 1.0 / V as f64;

fn log2_v() -> f64 {
    (V as f64).log2()
}

pub fn span(from: u64, to: u64) -> Span {
    Span { from, to: Some(to) }
}

// ---- B: indentation ------------------------------------------------------------------------

/// After the first line each `if` is at the level of `c`, `b` is deeper, and `c` goes one back.
const LEVELS: &str = "if a:\n    b\nc\n";

#[test]
fn indentation_counts_lines_by_step_level_and_distance() {
    let files = two_of(LEVELS, 60);
    let found = indentation::measure(&Said::by_oracle(&files).reading()).expect("lines");
    let steps: Vec<_> = found.by_step.iter().map(|r| (r.step, r.n)).collect();
    let [same, indent, dedent, _] = Move::ALL.map(Some);
    assert_eq!(steps, [(same, 118), (indent, 120), (dedent, 120)]);
    let levels: Vec<_> = found.by_level.iter().map(|r| (r.level, r.n)).collect();
    assert_eq!(levels, [(Some(span(0, 0)), 238), (Some(span(1, 1)), 120)]);
    // `b`'s line starts 6 characters behind that of its `if`.
    let [deep] = &found.by_step_and_distance[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (deep.step, deep.distance, deep.n),
        (indent, Some(span(4, 7)), 120)
    );
    for row in found.all.iter().chain(&found.by_step).chain([deep]) {
        for figure in [row.p, row.exact, row.legal] {
            assert_is(figure, 1.0);
        }
    }
}

#[test]
fn indentation_of_the_uniform_model() {
    let files = two_of(LEVELS, 60);
    let found = indentation::measure(&Said::by_uniform(&files).reading()).expect("lines");
    let [same, indent, dedent] = &found.by_step[..] else {
        panic!("{found:?}")
    };
    // Its likeliest character is the first of all, the newline: no blanks.
    for row in [same, dedent] {
        assert_is(row.p, 1.0 - UNIFORM);
        assert_is(row.exact, 1.0);
        assert_is(row.legal, 1.0);
    }
    let p = indent.p.expect("enough lines").mean;
    let wanted = UNIFORM.powi(4) * (1.0 - UNIFORM);
    assert!((p / wanted - 1.0).abs() < 1e-4, "{p:e} {wanted:e}");
    assert_is(indent.exact, 0.0);
    assert_is(indent.legal, 0.0);
}

#[test]
fn likeliest_lines_are_written_out_blank_by_blank() {
    let files = two_of(LEVELS, 60);
    // Four blanks at the start of every line.
    let said = Said::by(&files, |_| {
        let (newline, blank) = (id('\n') as u32, id(' '));
        reader(move |read| {
            let column = read.iter().rev().take_while(|&&c| c != newline).count();
            vec![(blank, if column < 4 { 0.9 } else { 0.001 })]
        })
    });
    let widths = &said.dumps()[0].greedy_widths;
    assert!(widths.iter().all(|&w| w == Some(4)), "{widths:?}");
    let found = indentation::measure(&said.reading()).expect("lines");
    let [same, indent, dedent] = &found.by_step[..] else {
        panic!("{found:?}")
    };
    let (shallow, deep) = (1.0 - 0.9, 0.9f64.powi(4) * (1.0 - 0.001));
    let wanted = [
        (same, [shallow, 0.0, 0.0]), // no level of four blanks is open
        (indent, [deep, 1.0, 1.0]),
        (dedent, [shallow, 0.0, 1.0]), // it is still open
    ];
    for (row, [p, exact, legal]) in wanted {
        assert_is(row.p, p);
        assert_is(row.exact, exact);
        assert_is(row.legal, legal);
    }
}

#[test]
fn one_line_is_no_text_for_indentation() {
    let files = files(&["a\n", "b\n"]);
    assert_eq!(
        indentation::measure(&Said::by_oracle(&files).reading()),
        None
    );
}

#[test]
fn a_file_without_code_has_no_line_to_indent() {
    let comment = "# nothing\n\n".to_owned();
    let files = files(&[comment, LEVELS.repeat(60)]);
    let found = indentation::measure(&Said::by_oracle(&files).reading()).expect("lines");
    assert_eq!(found.all[0].n, 179);
}

#[test]
fn a_line_that_is_wider_than_any_that_is_written_out_has_an_end() {
    let blanks = " ".repeat(300);
    let files = files(&[format!("if a:\n{blanks}b\n")]);
    let said = Said::by(&files, |_| reader(|_| vec![(id(' '), 0.9)]));
    assert_eq!(said.dumps()[0].greedy_widths, [Some(256), Some(301)]);
}

// ---- C: delimiters -------------------------------------------------------------------------

#[test]
fn delimiters_by_kind_and_length() {
    let text = "def f():\n    '''do'''\n    a = 'b\\'c' + \"d\" + \"\"\"e\"\"\"\n";
    let files = two_of(text, 30);
    let found = delimiters::measure(&Said::by_oracle(&files).reading()).expect("strings");
    let kinds: Vec<_> = found.by_kind.iter().map(|r| (&*r.kind, r.n)).collect();
    assert_eq!(
        kinds,
        [("'", 60), ("\"", 60), ("\"\"\"", 60), ("docstring", 60)]
    );
    let lengths = found.by_kind_and_length.iter().map(|r| r.length);
    let lengths: Vec<_> = lengths.collect();
    let [one, two, four] = [(1, 1), (2, 3), (4, 7)].map(|(a, b)| Some(span(a, b)));
    assert_eq!(lengths, [four, one, one, two]);
    for row in &found.by_kind {
        assert_is(row.p, 1.0);
        assert_is(row.share, 1.0);
        assert_is(row.early, 0.0);
    }
    let found = delimiters::measure(&Said::by_uniform(&files).reading()).expect("strings");
    for (row, quotes) in found.by_kind.iter().zip([1, 1, 3, 3]) {
        let p = row.p.expect("enough strings").mean;
        assert!((p / UNIFORM.powi(quotes) - 1.0).abs() < 1e-4, "{row:?}");
        assert_is(row.share, 0.5);
        assert_is(row.early, UNIFORM);
    }
}

#[test]
fn delimiters_of_a_model_that_remembers_the_first_quote() {
    let files = two_of("a = 'b\\'cd' + \"e\"\n", 30);
    // From an opening quote to the end of the line: 0.6 for that quote, 0.2 for the other.
    let said = Said::by(&files, |_| {
        let (newline, quotes) = (id('\n') as u32, ['\'', '"'].map(id));
        reader(move |read| {
            let line = read.rsplit(|&c| c == newline).next().unwrap_or(&[]);
            let is_quote = |c: &&u32| quotes.contains(&(**c as usize));
            match line.iter().find(is_quote) {
                Some(&first) => {
                    let at = usize::from(first as usize == quotes[1]);
                    vec![(quotes[at], 0.6), (quotes[1 - at], 0.2)]
                }
                None => vec![],
            }
        })
    });
    let found = delimiters::measure(&said.reading()).expect("strings");
    // The second string of a line is thought to be of the first one's quotes.
    for (row, (p, share)) in found.by_kind.iter().zip([(0.6, 0.75), (0.2, 0.25)]) {
        assert_is(row.p, p);
        assert_is(row.share, share);
        // Inside 'b\'cd' that is at b, the backslash, c and d; inside "e" at e.
        assert_is(row.early, p);
    }
    let quiet = files_without_strings();
    assert_eq!(
        delimiters::measure(&Said::by_oracle(&quiet).reading()),
        None
    );
}

fn files_without_strings() -> Vec<rnnx::programs::charlm::study::source::SourceFile> {
    files(&["a = 1\n", "b = 'open\n"])
}

// ---- D: identifiers ------------------------------------------------------------------------

fn trained() -> HashMap<String, u32> {
    let text = "foo = bar\n".repeat(5) + "bar\n";
    count_names(&[
        text.chars().collect(),
        "foo_x = 'foo' # foo".chars().collect(),
    ])
}

#[test]
fn names_of_the_training_text_are_counted() {
    let wanted = [("foo", 5), ("bar", 6), ("foo_x", 1)];
    let wanted = wanted.map(|(name, n)| (name.to_owned(), n));
    assert_eq!(trained(), HashMap::from(wanted));
}

#[test]
fn copies_of_rare_names() {
    // `bar` is not rare, `z` too short. `foo` comes again after 6 characters.
    let texts = vec!["foo = foo + bar(z)\n"; 60];
    let files = files(&texts);
    let chars: Vec<char> = ['\n']
        .into_iter()
        .chain((b' '..=b'~').map(char::from))
        .collect();
    let measure =
        |said: Said| identifiers::measure(&said.reading(), &trained(), &chars).expect("rare names");
    let oracle = measure(Said::by_oracle(&files));
    assert_eq!((oracle.first.n, oracle.later.n), (60, 60));
    let [row] = &oracle.later_by_distance[..] else {
        panic!("{oracle:?}")
    };
    assert_eq!(row.distance, Some(span(4, 7)));
    for row in [&oracle.first, &oracle.later, row] {
        assert_is(row.completed, 1.0);
        assert_is(row.bits, 0.0);
    }
    let uniform = measure(Said::by_uniform(&files));
    assert_is(uniform.first.bits, log2_v());
    assert_is(uniform.later.completed, 0.0);
    assert_is(uniform.later.gain, 0.0);
    // Half for the character of six places before, the rest alike.
    let copying = measure(Said::by(&files, |_| {
        reader(|read| match read.len().checked_sub(6) {
            Some(at) => vec![(read[at] as usize, 0.5)],
            None => vec![],
        })
    }));
    assert_is(copying.first.completed, 0.0);
    assert_is(copying.first.bits, log2_v());
    assert_is(copying.later.completed, 1.0);
    assert_is(copying.later.bits, 1.0);
    assert_is(copying.later.gain, log2_v() - 1.0);
    // A name that goes on too long is none: behind the second `foo` this one wants an `x`.
    let longer = measure(Said::by(&files, |_| {
        reader(|read| match read.len() {
            7 | 8 => vec![(id('o'), 0.9)],
            9 => vec![(id('x'), 0.9)],
            _ => vec![],
        })
    }));
    assert_is(longer.later.completed, 0.0);
}

// ---- E: classes ----------------------------------------------------------------------------

#[test]
fn classes_sum_to_the_whole() {
    // i f . a b ( 1 ) : $ _ _ 'c' . # d $
    let files = two_of("if ab(1):\n  'c' # d\n", 30);
    let uniform = classes::measure(&Said::by_uniform(&files).reading()).expect("characters");
    let counts: Vec<_> = uniform
        .by_class
        .iter()
        .map(|r| (r.class.unwrap(), r.n / 60))
        .collect();
    let wanted = [
        (Class::Keyword, 2),
        (Class::IdentifierStart, 1),
        (Class::IdentifierRest, 1),
        (Class::Number, 1),
        (Class::String, 3),
        (Class::Comment, 3),
        (Class::Operator, 1),
        (Class::Opener, 1),
        (Class::Closer, 1),
        (Class::Newline, 2),
        (Class::Indent, 2),
        (Class::Other, 2),
    ];
    assert_eq!(counts, wanted);
    assert_eq!(uniform.all.n, 20 * 60);
    for row in [&uniform.all].into_iter().chain(&uniform.by_class) {
        assert_is(row.bits, log2_v());
    }
    // The newline is the first of the ids, so it is what the uniform model says.
    assert_is(uniform.all.top1, 0.1);
    let oracle = classes::measure(&Said::by_oracle(&files).reading()).expect("characters");
    assert_is(oracle.all.bits, 0.0);
    assert_is(oracle.all.top1, 1.0);
    let stack = classes::measure(&Said::by(&files, |_| stack(9)).reading()).expect("characters");
    let sum: f64 = stack
        .by_class
        .iter()
        .map(|r| r.n as f64 * r.bits.unwrap().mean)
        .sum();
    assert!((sum / stack.all.n as f64 - stack.all.bits.unwrap().mean).abs() < 1e-9);
    let closers = stack
        .by_class
        .iter()
        .find(|r| r.class == Some(Class::Closer));
    assert_is(closers.unwrap().bits, 1.0);
    assert_eq!(classes::measure(&Said::by_oracle(&[]).reading()), None);
}

// ---- H: truncated context ------------------------------------------------------------------

#[test]
fn the_effective_context_is_what_a_model_needs() {
    // The same hundred characters again and again.
    let period: String = (0..100)
        .map(|i| char::from(b'a' + (i * i % 26) as u8))
        .collect();
    let files = two_of(&period, 20);
    let bootstrap = Bootstrap::new(2);
    let measure = |make: fn() -> Box<dyn Predictor>| {
        let found = context::measure(&files, &bootstrap, 100, |_| Ok(make()));
        found.expect("no interrupt").expect("long files")
    };
    let repeating = measure(|| {
        reader(|read| match read.len().checked_sub(100) {
            Some(at) => vec![(read[at] as usize, 0.5)],
            None => vec![],
        })
    });
    assert_eq!((repeating.all.class, repeating.all.n), (None, 100));
    for loss in &repeating.all.losses {
        assert_is(loss.bits, if loss.k < 100 { log2_v() } else { 1.0 });
    }
    assert_is(repeating.all.effective, 128.0);
    assert_eq!(repeating.by_class.iter().map(|r| r.n).sum::<u64>(), 100);
    let uniform = measure(|| Box::new(Uniform { vocab: V }));
    assert_is(uniform.all.effective, 1.0);
    let again = context::measure(&files, &bootstrap, 100, |_| {
        Ok(Box::new(Uniform { vocab: V }))
    });
    assert_eq!(again.expect("no interrupt").expect("long files"), uniform);
}

#[test]
fn short_files_have_no_far_context() {
    let files = files(&["a".repeat(1024), "b".repeat(100)]);
    let found = context::measure(&files, &Bootstrap::new(2), 100, |file| {
        Ok(Box::new(Oracle::new(&file.ids, V)))
    });
    assert_eq!(found.expect("no interrupt"), None);
}
