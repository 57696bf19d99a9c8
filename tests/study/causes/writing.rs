//! What is said of a written function.

use super::models::{file, random_weights, vocab};
use rnnx::programs::charlm::study::causes::repeats::Trained;
use rnnx::programs::charlm::study::causes::writing::{
    Judged, LONGEST, LOOKED_UP, WritingSpec, judged, shown, writing,
};
use rnnx::programs::charlm::study::held_out::TrainingPart;

fn of(text: &str) -> Judged {
    judged(&text.chars().collect::<Vec<_>>())
}

const WHOLE: Judged = Judged {
    end: Some(27),
    parses: true,
    balanced: true,
    open_triple_quotes: false,
    first_error: None,
};

#[test]
fn functions_end_left_of_their_body() {
    assert_eq!(
        of("def f(a):\n    return [a, 1]\nx"),
        Judged {
            end: Some(28),
            ..WHOLE
        }
    );
    assert_eq!(
        of("def f(a):\n    return (a, 1)\n\n\n@"),
        Judged {
            end: Some(30),
            ..WHOLE
        }
    );
    // Blank lines, comments and what is inside brackets or strings do not end it.
    let text = "def f(a):\n\n# no\n    b = [\n1]\n    '''\nno\n'''\nx = 1";
    assert_eq!(
        of(text),
        Judged {
            end: Some(44),
            ..WHOLE
        }
    );
    // What is left of the body ends it, though it is not at the margin; so does a line that has no body.
    let method = of("def f(self):\n        return 1\n    def g");
    assert_eq!(
        method,
        Judged {
            end: Some(30),
            ..WHOLE
        }
    );
    assert_eq!(of("def f(a): return a\nx").end, Some(19));
    // As much as is shown of what follows shows the same.
    for text in [
        "def f(self):\n        a\n    def g(b):",
        "def f(a):\n    b\nxyz",
        "def f(a):\n  b\n  c",
    ] {
        let chars: Vec<char> = text.chars().collect();
        let cut = &chars[..shown(&chars)];
        assert_eq!(judged(cut).end, judged(&chars).end, "{text}");
        assert_eq!(
            cut.len() < chars.len(),
            judged(&chars).end.is_some(),
            "{text}"
        );
    }
    // Without an end it is no function, though it might be one.
    let unfinished = of("def f(a):\n    return a\n");
    assert_eq!((unfinished.end, unfinished.parses), (None, false));
}

#[test]
fn errors_have_their_places() {
    // The closer of another type.
    let wrong = of("def f(a):\n    return [a)\nx");
    assert_eq!(
        (wrong.parses, wrong.balanced, wrong.first_error),
        (false, false, Some(23))
    );
    // A bracket that stays open, up to a word that begins a statement.
    let open = of("def f(a):\n    b = (a\ndef g");
    assert_eq!(
        (open.end, open.balanced, open.first_error),
        (Some(21), false, Some(18))
    );
    // Brackets match, the rest does not parse: at the second name.
    let words = of("def f(a):\n    é = a b\nx");
    assert_eq!(
        (words.parses, words.balanced, words.first_error),
        (false, true, Some(20))
    );
    let windows = of("def f(a):\r\n    é = a b\r\nx");
    assert_eq!((windows.parses, windows.first_error), (false, Some(21)));
    let quotes = of("def f(a):\n    \"\"\"A docstring.\n\nx = 1\n");
    assert!(quotes.open_triple_quotes && quotes.end.is_none());
    assert!(!of("def f(a):\n    \"\"\"A.\"\"\"\nx").open_triple_quotes);
}

#[test]
fn texts_are_seeded_and_held_out_functions_stand_beside_them() {
    let (vocab, weights) = (vocab(), random_weights());
    let source =
        "import a\n\n\ndef f(a):\n    return a\n\n\ndef g(b):\n    return b + 1\n\n\nx = 1\n";
    let file = file("a.py", &source.repeat(30));
    let spec = WritingSpec {
        samples: 53,
        temperatures: vec![0.5, 1.0],
        seed: 4,
    };
    let parts = [TrainingPart {
        name: "b.py".into(),
        ids: file.ids.clone(),
    }];
    let trained = Trained::new(&parts);
    let rows = writing(&weights, &vocab, &[&file], Some(&trained), &spec).expect("writes");
    let temperatures: Vec<_> = rows.iter().map(|row| (row.temperature, row.n)).collect();
    assert_eq!(temperatures, [(Some(0.5), 53), (Some(1.0), 53), (None, 60)]);
    // The functions are 23 to 26 characters and the blank lines behind them.
    let real = &rows[2];
    for share in [real.complete, real.parses, real.balanced] {
        assert_eq!(share.expect("60 functions").mean, 1.0);
    }
    assert_eq!(real.open_triple_quotes.expect("60 functions").mean, 0.0);
    assert_eq!(real.first_error, None);
    // None is so long that something of it is looked up.
    assert_eq!(real.remembered, None);
    // Noise parses no better.
    let noise = &rows[1];
    assert!(noise.parses.expect("53 texts").mean < 0.2, "{noise:?}");
    assert!(noise.chars.expect("53 texts").mean <= LONGEST as f64);
    let again = writing(&weights, &vocab, &[&file], None, &spec).expect("writes");
    assert_eq!(again[1].parses, noise.parses);
    assert_eq!((again[1].chars, again[1].remembered), (noise.chars, None));
    // Two files of long functions, the first of which was trained on: half of them, and the interval is
    // over files.
    let [known, new] = ["a", "b"].map(|name| {
        let line = format!("    {name} = {name} + 1\n");
        let function = format!("def f({name}):\n{}\n\n", line.repeat(LOOKED_UP / 10));
        self::file(&format!("{name}.py"), &function.repeat(30))
    });
    let parts = [TrainingPart {
        name: "c.py".into(),
        ids: known.ids.clone(),
    }];
    let trained = Trained::new(&parts);
    let files = [&known, &new];
    let long = writing(&weights, &vocab, &files, Some(&trained), &spec).expect("writes");
    let remembered = long[2].remembered.expect("58 functions");
    assert_eq!(
        (remembered.mean, remembered.low, remembered.high),
        (0.5, Some(0.0), Some(1.0))
    );
    let other = WritingSpec { seed: 5, ..spec };
    let other = writing(&weights, &vocab, &[&file], None, &other).expect("writes");
    assert_ne!(other[1].chars, noise.chars);
}
