use std::path::PathBuf;

use rnnx::Result;
use rnnx::data::charset::{Charset, CharsetChoice};
use rnnx::data::corpus::{Corpus, CorpusSpec, embedded_files};
use rnnx::data::near::{NearReport, near};
use rnnx::data::pairs::{Pair, Splits};
use rnnx::data::prepare::{PrepareOptions, PrepareReport, Prepared, prepare, text};

use super::pairs::pair;
use super::{assert_fails, folder, gather, spec};

fn function(name: &str, docstring: &str, tail: &str) -> String {
    format!("def {name}(x):\n    '{docstring}'\n    return {tail}\n")
}

fn file(name: &str, content: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (name.into(), content.into())
}

fn options(train_pairs: usize, valid_pairs: usize, test_pairs: usize) -> PrepareOptions {
    PrepareOptions {
        train_pairs,
        valid_pairs,
        test_pairs,
        ..PrepareOptions::default()
    }
}

/// `n` functions without duplicates in one file.
fn functions(n: usize) -> Vec<(String, Vec<u8>)> {
    let one = |i| function(&format!("f{i}"), &format!("Do {i}."), "x");
    vec![file("a.py", (0..n).map(one).collect::<String>())]
}

fn all(splits: &Splits) -> Vec<&Pair> {
    let mut all: Vec<&Pair> = [&splits.train, &splits.valid, &splits.test]
        .into_iter()
        .flatten()
        .collect();
    all.sort_by(|a, b| a.code.cmp(&b.code));
    all
}

#[test]
fn what_is_left_out_is_counted() -> Result<()> {
    let long = vec!["word"; 31].join(" ");
    let files = [
        file(
            "a.py",
            function("a", "One.", "1") + &function("b", "Two.", "2"),
        ),
        file("latin.py", b"x = '\xe9'".to_vec()),
        file("two.py", "print 1"),
        file(
            "sub/b.py",
            function("a", " One.", "1") + &function("c", &long[5..], "3"),
        ),
        file(
            "c.py",
            function("d", &long, "1") + &function("e", "Long.", &"x + ".repeat(24)),
        ),
        file("d.py", function("d", "", "1") + "def g():\n    'Alone.'\n"),
        file(
            "e.py",
            function("e", "Fits.", &format!("{}x", "x + ".repeat(23))),
        ),
        file("no.py", ""),
    ];
    let Prepared { splits, report } = prepare(&files, "here", &PrepareOptions::default())?;
    let expected = PrepareReport {
        files: 8,
        not_utf8: vec!["latin.py".into()],
        not_parsed: vec!["two.py".into(), "c.py".into()],
        functions: 6,
        empty: 1,
        too_long: 0,
        duplicates: 1,
        pairs: 4,
        wanted: 7000,
    };
    assert_eq!(report, expected);
    assert_eq!(splits.source, "here");
    let pairs = all(&splits);
    let one = Pair {
        signature: Some("(x)".into()),
        ..pair("One.", "def a(x):\n    return 1")
    };
    assert_eq!(pairs[0], &one);
    assert_eq!(pairs[2].docstring, long[5..]);
    Ok(())
}

#[test]
fn the_limits_are_the_longest_that_stay() -> Result<()> {
    // Docstrings of 1 to 6 tokens, code of 4 tokens and as many more.
    let one = |i: usize| {
        function(
            &format!("f{i}"),
            &"w ".repeat(i),
            &("1".to_owned() + &" +1".repeat(i)),
        )
    };
    let files = [file("a.py", (1..=6).map(one).collect::<String>())];
    for (max_source, max_target, left) in [(6, 10, 6), (5, 10, 5), (6, 9, 5), (3, 50, 3)] {
        let options = PrepareOptions {
            max_source,
            max_target,
            ..PrepareOptions::default()
        };
        let report = prepare(&files, "here", &options)?.report;
        assert_eq!(
            (report.pairs, report.too_long),
            (left, 6 - left),
            "{max_source} {max_target}"
        );
    }
    Ok(())
}

#[test]
fn pairs_are_dealt_out_in_the_numbers_or_proportions_asked_for() -> Result<()> {
    for (n, wanted, got) in [
        (14, (5, 1, 1), [5, 1, 1]),
        (7, (5, 1, 1), [5, 1, 1]),
        (70, (500, 100, 100), [50, 10, 10]),
        (75, (500, 100, 100), [55, 10, 10]),
        (6, (5, 1, 1), [4, 1, 1]),
        (3, (5000, 1000, 1000), [1, 1, 1]),
        (10, (1, 1, 998), [1, 1, 8]),
        (10, (1, 998, 1), [1, 8, 1]),
        (10, (1, 500, 500), [2, 4, 4]),
    ] {
        let options = options(wanted.0, wanted.1, wanted.2);
        let Prepared { splits, .. } = prepare(&functions(n), "here", &options)?;
        let sizes = [&splits.train, &splits.valid, &splits.test].map(Vec::len);
        assert_eq!(sizes, got, "{n} {wanted:?}");
        let mut names: Vec<&str> = all(&splits).iter().map(|p| p.code.as_str()).collect();
        names.dedup();
        assert_eq!(names.len(), sizes.iter().sum::<usize>());
    }
    assert_fails(
        prepare(&functions(2), "here", &PrepareOptions::default()),
        3,
        &[
            "here: 2 pairs are left",
            "1 files",
            "2 functions",
            "max-source",
        ],
    );
    Ok(())
}

#[test]
fn the_seed_shuffles() -> Result<()> {
    let with = |seed| {
        let options = PrepareOptions {
            seed,
            ..PrepareOptions::default()
        };
        prepare(&functions(70), "here", &options).map(|p| p.splits)
    };
    let (one, two) = (with(1)?, with(2)?);
    assert_eq!(one, with(1)?);
    assert_ne!(one.test, two.test);
    assert_ne!(one.sha256, two.sha256);
    assert_eq!(all(&one), all(&two));
    Ok(())
}

#[test]
fn near_duplicates_share_four_of_five_words() {
    let train = [
        pair("Add.", "def add(a, b):\n    return a + b"),
        pair("Ten.", "a b c d e f g h i j"),
        pair("Signs.", "+ -"),
        pair("One word.", "pass"),
    ];
    let count = |code: &str, docstring: &str| {
        let NearReport {
            near_code,
            same_docstring,
        } = near(&train, &[pair(docstring, code)]);
        (near_code, same_docstring)
    };
    // Only signs and blanks differ.
    assert_eq!(count("def add(a,b): return (a - b)", "Sub."), (1, 0));
    // def add a b return a b: 7 words. Another name: 6 of 8 words shared, fewer than 4 of 5.
    assert_eq!(
        count("def sub(a, b): return a + b", "Add.\n\nMore."),
        (0, 1)
    );
    // 9 of 11, 8 of 10, 8 of 12 and 8 of 11 words.
    assert_eq!(count("a b c d e f g h i x", ""), (1, 0));
    assert_eq!(count("h g f e d c b a", ""), (1, 0));
    assert_eq!(count("a b c d e f g h x y", ""), (0, 0));
    assert_eq!(count("a b c d e f g h x", ""), (0, 0));
    // A word counts as often as it is there: 9 of 12.
    assert_eq!(count("a b c d e f g h i i i", ""), (0, 0));
    assert_eq!(count("pass;", ""), (1, 0));
    // Code without words resembles nothing.
    assert_eq!(count("+ -", "Signs."), (0, 1));
    assert_eq!(near(&[], &train), NearReport::default());
}

#[test]
fn text_is_what_the_character_lm_learns() -> Result<()> {
    let dir = folder(&[
        ("a/open.py", b"x = 1  \r\ny"),
        ("a/b.py", "z = '\u{e9}\u{44f}'\n".as_bytes()),
        ("empty.py", b""),
        ("bytes.txt", b"\xff\xfe tail"),
    ]);
    let at = |name: &str| dir.path().join(name);
    let paths = [at("a"), at("empty.py"), at("bytes.txt")];
    let files = gather(&paths)?;
    let joined = text(&files, Charset::Ascii, "these".into())?;
    assert_eq!(joined.text, b"z = ''\nx = 1\ny\n tail");
    let report = &joined.report;
    assert_eq!(
        (report.bytes, report.dropped, report.invalid_utf8),
        (28, 4, 2)
    );
    assert_eq!(report.source, "these");
    let paths = [&*paths[0], &paths[1], &paths[2]];
    for choice in [
        CharsetChoice::Ascii,
        CharsetChoice::Unicode,
        CharsetChoice::Bytes,
    ] {
        let mut spec = spec(&paths);
        spec.charset = choice;
        let joined = text(&files, choice.settle(false), "these".into())?;
        assert_eq!(Corpus::load(&spec)?.text, joined.text, "{choice:?}");
    }
    // The same of the embedded corpus, whose files a seed shuffles.
    let spec = CorpusSpec {
        paths: vec![],
        globs: vec![],
        stdin: None,
        charset: CharsetChoice::Auto,
        max_chars: usize::MAX,
        seed: 1,
    };
    let embedded = text(&embedded_files()?, Charset::Ascii, "embedded".into())?;
    assert_eq!(embedded.text.len(), Corpus::load(&spec)?.text.len());
    assert_eq!(embedded.report.dropped, 1277);
    Ok(())
}

#[test]
fn paths_stand_for_files() -> Result<()> {
    let dir = folder(&[
        ("p/z.py", b"1"),
        ("p/a/b.py", b"2"),
        ("p/__pycache__/c.py", b"no"),
        ("p/notes.txt", b"no"),
        ("script", b"3"),
        ("docs/readme.md", b"no"),
    ]);
    let at = |names: &[&str]| -> Vec<PathBuf> {
        names.iter().map(|name| dir.path().join(name)).collect()
    };
    let files = gather(&at(&["script", "p", "script"]))?;
    let contents: Vec<&[u8]> = files.iter().map(|(_, content)| &content[..]).collect();
    assert_eq!(contents, [b"3", b"2", b"1", b"3"]);
    assert!(files[1].0.ends_with("p/a/b.py"), "{}", files[1].0);
    assert_eq!(gather(&[])?, []);
    assert_fails(gather(&at(&["none"])), 3, &["none: no such file or folder"]);
    assert_fails(gather(&at(&["script/x"])), 3, &["script/x: cannot be read"]);
    assert_fails(
        gather(&at(&["p", "docs"])),
        3,
        &["docs: there are no .py files"],
    );
    Ok(())
}

#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_do_not_refuse_a_folder() -> Result<()> {
    use std::os::unix::fs::symlink;
    let dir = folder(&[("p/a.py", b"1"), ("q/b.py", b"2")]);
    let at = |name: &str| dir.path().join(name);
    for (target, link) in [
        ("loop.py", "p/loop.py"),
        ("none.py", "p/dangling.py"),
        ("..", "p/up"),
        ("../q", "p/folder.py"),
        ("../q/b.py", "p/good.py"),
        ("/dev/zero", "p/zero.py"),
        ("loop.py/x", "p/through.py"),
    ] {
        symlink(target, at(link)).expect("a link");
    }
    let files = gather(&[at("p")])?;
    let contents: Vec<&[u8]> = files.iter().map(|(_, content)| &content[..]).collect();
    assert_eq!(contents, [b"1", b"2"]);
    // Named by itself, it is an error.
    assert_fails(gather(&[at("p/loop.py")]), 3, &["loop.py: cannot be read"]);
    assert_fails(
        gather(&[at("p/zero.py")]),
        3,
        &["zero.py: cannot be read", "device"],
    );
    Ok(())
}
