use rnnx::Result;
use rnnx::data::corpus::EMBEDDED_SOURCE;
use rnnx::data::pair_files::PairFormat;
use rnnx::data::pairs::{Pair, Splits, source_tokens, target_tokens};
use rnnx::data::python;

use super::{assert_fails, folder};

fn strict() -> PairFormat {
    PairFormat {
        strict: true,
        ..PairFormat::default()
    }
}

pub(super) fn pair(docstring: &str, code: &str) -> Pair {
    Pair {
        docstring: docstring.into(),
        code: code.into(),
        signature: None,
    }
}

#[test]
fn signatures_count_for_those_who_read_them() {
    let with = |signature: Option<&str>| Pair {
        signature: signature.map(str::to_owned),
        ..pair("a", "b")
    };
    let splits = |signature| Splits::new(vec![with(signature)], vec![], vec![], String::new());
    let hash = |signature| splits(signature).with_signatures().sha256;
    assert_eq!(splits(None).sha256, splits(Some("(x)")).sha256);
    assert_ne!(hash(Some("(x)")), hash(Some("(y)")));
    assert_ne!(hash(None), splits(None).sha256);
    assert_eq!(hash(None), hash(Some("")));
}

#[test]
fn source_tokens_are_those_of_the_first_paragraph() {
    for (docstring, tokens) in [
        ("Return  the\tsum.", "Return the sum."),
        ("One\ntwo,\n  three\n\nfour", "One two, three"),
        ("One\n \t \ntwo", "One"),
        ("\n\n  One\ntwo\n\nthree", "One two"),
        ("One\r\n\r\ntwo", "One"),
        ("caf\u{e9}\u{a0}au\u{2003}lait", "caf\u{e9} au lait"),
        // Python's str.split() takes these for white space, too.
        ("a\u{1c}b\u{1f}c\u{85}d", "a b c d"),
        ("a\u{200b}b", "a\u{200b}b"),
        ("", ""),
        (" \n\t\n", ""),
    ] {
        let found: Vec<&str> = source_tokens(docstring).collect();
        assert_eq!(found.join(" "), tokens, "{docstring:?}");
    }
}

#[test]
fn target_tokens_are_those_of_all_lines() {
    let code = "def f(a, b):\n    # sum\n\n    return a+b\n";
    let tokens: Vec<&str> = target_tokens(code).collect();
    assert_eq!(tokens, ["def", "f(a,", "b):", "#", "sum", "return", "a+b"]);
    assert_eq!(target_tokens(" \n").next(), None);
}

#[test]
fn the_hash_covers_every_string_in_order() {
    let (a, b, c) = (
        pair("add", "def f(): return 1"),
        pair("sub \u{e9}", "x = 2"),
        pair("mul", "y"),
    );
    let hash = |train: &[&Pair], valid: &[&Pair], test: &[&Pair]| {
        let own = |pairs: &[&Pair]| pairs.iter().map(|&p| p.clone()).collect();
        Splits::new(own(train), own(valid), own(test), String::new()).sha256
    };
    // hashlib.sha256 over len(s).to_bytes(8, "little") + s for the six strings.
    assert_eq!(
        hash(&[&a], &[&b], &[&c]),
        "ab2aa65aa3ad8e4212316f0c137ad41d9ff04b750765549fbe1f229eace290d8"
    );
    assert_ne!(hash(&[&a], &[&b], &[&c]), hash(&[&b], &[&a], &[&c]));
}

#[test]
fn overlap_counts_test_pairs_whose_tokens_train_has() {
    let train = vec![
        pair("Add  one.\n\nMore.", "def f(x):\n  return x"),
        pair("b", "c d"),
    ];
    let test = vec![
        pair("Add one.", "def f(x): return x"),
        pair("Add one.", "def g(x): return x"),
        pair("b c", "d"),
        pair("b", "c d"),
        pair("b", "c d"),
    ];
    let splits = Splits::new(train, test[2..3].to_vec(), test, "here".into());
    assert_eq!(splits.overlap(), 3);
}

#[test]
fn three_files_are_read_as_splits() -> Result<()> {
    let dir = folder(&[
        ("a.jsonl", b"{\"docstring\":\"a\",\"code\":\"x\"}\n"),
        ("b.jsonl", b"{\"docstring\":\"b\",\"code\":\"y\"}\n"),
        ("empty.jsonl", b"\n"),
    ]);
    let at = |name: &str| dir.path().join(name);
    let (a, b) = (at("a.jsonl"), at("b.jsonl"));
    let splits = Splits::read([&a, &b, &a], &strict())?;
    assert_eq!(splits.train, [pair("a", "x")]);
    assert_eq!(splits.valid, [pair("b", "y")]);
    assert_eq!((splits.test.len(), splits.overlap()), (1, 1));
    assert!(splits.source.contains("b.jsonl"), "{}", splits.source);
    let read = Splits::read([&a, &at("empty.jsonl"), &b], &strict());
    assert_fails(read, 3, &["empty.jsonl", "an empty split"]);
    Ok(())
}

#[test]
fn the_embedded_pairs_are_always_the_same() -> Result<()> {
    let splits = Splits::embedded()?;
    assert_eq!(splits.source, EMBEDDED_SOURCE);
    let parts = [&splits.train, &splits.valid, &splits.test];
    assert_eq!(parts.map(Vec::len), [3496, 699, 699]);
    assert_eq!(
        splits.sha256,
        "22fe1e95128b865006facddc722f63dbb77bb9a42e9027560c09e07d23dbe8b5"
    );
    assert_eq!(splits.overlap(), 0);
    for pair in parts.into_iter().flatten() {
        let source = source_tokens(&pair.docstring).count();
        let target = target_tokens(&pair.code).count();
        assert!((1..=30).contains(&source), "{pair:?}");
        assert!((1..=50).contains(&target), "{pair:?}");
        // Code as it is written to a file and read again: it parses and has no docstring to lose.
        assert!(python::parses(&pair.code), "{pair:?}");
        assert_eq!(python::without_docstring(&pair.code), None, "{pair:?}");
    }
    Ok(())
}
