use std::path::Path;

use rnnx::Result;
use rnnx::data::chars::{CharVocab, Token};
use rnnx::data::charset::{Charset, CharsetChoice};
use rnnx::data::corpus::{
    Corpus, CorpusReport, CorpusSpec, EMBEDDED_SOURCE, embedded_files, embedded_license,
};

use super::{assert_fails, folder, spec};

#[test]
fn the_embedded_corpus_is_that_of_an_independent_program() -> Result<()> {
    // Seed, files, characters, newlines, sha256: from `python3 tests/golden/corpus.py LIB SEED`.
    let characters = "\n !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`\
                      abcdefghijklmnopqrstuvwxyz{|}~";
    for (seed, max_chars, files, newlines, sha256) in [
        (
            0,
            6_000_000,
            370,
            165_098,
            "fc0ed1b23910121ad040d0a49b96f218fa6482d6f1bf707193f033abe2ad7dc5",
        ),
        (
            1,
            6_000_000,
            380,
            165_521,
            "b9391d8ce99ad33639517d03b5d4c2d34ddee90aba0c480848bf2c4974a4f535",
        ),
        (
            0,
            usize::MAX,
            718,
            334_313,
            "d4c223169fb189e87cf41c98cdf063aeedc4225988734665221a73976a4396c2",
        ),
    ] {
        let corpus = Corpus::load(&CorpusSpec {
            paths: vec![],
            globs: vec![],
            stdin: None,
            charset: CharsetChoice::Auto,
            max_chars,
            seed,
        })?;
        let report = &corpus.report;
        assert_eq!(report.sha256, sha256);
        assert_eq!(
            (report.source.as_str(), report.files),
            (EMBEDDED_SOURCE, files)
        );
        assert_eq!(report.chars, max_chars.min(12_207_848));
        assert_eq!(report.chars, corpus.text.len());
        assert_eq!(report.truncated, max_chars == 6_000_000);
        let open_line = usize::from(!corpus.text.ends_with(b"\n"));
        assert_eq!(report.lines, newlines + open_line);
        let vocab = CharVocab::of(&corpus, 1)?;
        assert!(vocab.tokens().eq(characters.chars().map(Token::Char)));
        assert_eq!(vocab.len(), 96);
        if !report.truncated {
            assert_eq!((report.bytes, report.dropped), (12_211_461, 1277));
        }
    }
    Ok(())
}

#[test]
fn the_embedded_files_are_sorted_and_come_with_their_licence() -> Result<()> {
    assert!(include_str!("../../Cargo.toml").contains("rustpython-pylib = \"=0.6.0\""));
    assert!(EMBEDDED_SOURCE.contains("rustpython-pylib 0.6.0"));
    let files = embedded_files()?;
    assert_eq!(files.len(), 718);
    assert_eq!(
        files.iter().map(|(_, c)| c.len()).sum::<usize>(),
        12_211_461
    );
    assert!(files.is_sorted_by(|a, b| a.0.as_bytes() < b.0.as_bytes()));
    assert!(
        files
            .iter()
            .all(|(name, _)| name.ends_with(".py") && !name.contains('\\'))
    );
    let find = |name: &str| files.iter().find(|(n, _)| n == name).map(|(_, c)| c);
    let this = find("this.py").expect("this.py is there");
    assert!(this.starts_with(b"s = \"\"\"Gur Mra bs Clguba"));
    assert!(find("json/decoder.py").is_some());
    assert!(embedded_license()?.contains("PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2"));
    Ok(())
}

#[test]
fn one_file_is_exactly_its_cleaned_text() -> Result<()> {
    let dir = folder(&[("a.txt", b"x = 1 \r\ny\xff\xc3\xa9 = 2"), ("b.txt", b"ok")]);
    let mut ascii = spec(&[&dir.path().join("a.txt")]);
    ascii.charset = CharsetChoice::Ascii;
    let corpus = Corpus::load(&ascii)?;
    assert_eq!(corpus.text, b"x = 1\ny = 2");
    let expected = CorpusReport {
        source: dir.path().join("a.txt").display().to_string(),
        charset: Charset::Ascii,
        files: 1,
        bytes: 16,
        chars: 11,
        dropped: 2,
        invalid_utf8: 1,
        most_dropped: vec![('\u{e9}', 1), ('\u{fffd}', 1)],
        truncated: false,
        unused: vec![],
        lines: 2,
        // printf 'x = 1\ny = 2' | sha256sum
        sha256: "9af816430225a200bd1da83ad7cfc1e13bdff4759621e9d1c92867dfaae11c34".into(),
    };
    assert_eq!(corpus.report, expected);
    assert_eq!(
        corpus.report.dropped_note().as_deref(),
        Some(
            "dropped 2 characters outside printable ASCII (1 invalid UTF-8 sequence): '\u{e9}' once, \
             '\u{fffd}' once"
        )
    );
    let line = corpus.report.to_string();
    assert!(
        line.starts_with("11 characters in 2 lines of 1 file ("),
        "{line}"
    );
    let plain = Corpus::load(&spec(&[&dir.path().join("b.txt")]))?;
    assert_eq!(plain.report.dropped_note(), None);
    Ok(())
}

#[test]
fn files_join_in_the_order_given_with_a_newline_between() -> Result<()> {
    let dir = folder(&[
        ("open.txt", b"open"),
        ("closed.txt", b"closed\n"),
        ("blank.txt", b""),
        ("other.txt", b"\xff\xff"),
    ]);
    let at = |name: &str| dir.path().join(name);
    let (open, closed, blank, other) = (
        at("open.txt"),
        at("closed.txt"),
        at("blank.txt"),
        at("other.txt"),
    );
    let text = |paths: &[&Path]| Corpus::load(&spec(paths)).map(|c| c.text);
    assert_eq!(text(&[&open, &closed])?, b"open\nclosed\n");
    assert_eq!(text(&[&closed, &open])?, b"closed\nopen");
    assert_eq!(text(&[&open, &open])?, b"open\nopen");
    // A file of which nothing is left adds no newline.
    assert_eq!(text(&[&blank, &open, &other, &blank])?, b"open");
    assert_eq!(text(&[&open, &blank, &closed])?, b"open\nclosed\n");
    // The seed does not shuffle the user's files.
    let mut other_seed = spec(&[&open, &closed]);
    other_seed.seed = 99;
    assert_eq!(Corpus::load(&other_seed)?.text, b"open\nclosed\n");
    Ok(())
}

#[test]
fn max_chars_cuts_after_cleaning_and_is_named() -> Result<()> {
    let dir = folder(&[("a.txt", b"ab \xff\ncd \n"), ("b.txt", b"efg")]);
    let (a, b) = (dir.path().join("a.txt"), dir.path().join("b.txt"));
    // The whole is "ab \ncd\nefg": 10 characters.
    for (max_chars, text, files, truncated) in [
        (1, "a", 1, true),
        (4, "ab \n", 1, true),
        (7, "ab \ncd\n", 2, true),
        (9, "ab \ncd\nef", 2, true),
        (10, "ab \ncd\nefg", 2, false),
        (11, "ab \ncd\nefg", 2, false),
        (usize::MAX, "ab \ncd\nefg", 2, false),
    ] {
        let mut spec = spec(&[&a, &b]);
        spec.max_chars = max_chars;
        spec.charset = CharsetChoice::Ascii;
        let Corpus {
            text: cut, report, ..
        } = Corpus::load(&spec)?;
        assert_eq!(cut, text.as_bytes(), "{max_chars}");
        assert_eq!(
            (report.files, report.truncated),
            (files, truncated),
            "{max_chars}"
        );
        assert_eq!(report.chars, text.len());
        let line = report.to_string();
        assert_eq!(line.contains("cut there"), truncated, "{line}");
        assert_eq!(line.contains("more text than max-chars"), truncated);
    }
    // The newline between two files may be what no longer fits.
    let dir = folder(&[("a.txt", b"abc"), ("b.txt", b"\xff"), ("c.txt", b"d")]);
    let paths = ["a.txt", "b.txt", "c.txt"].map(|name| dir.path().join(name));
    for (max_chars, text, truncated) in [(3, "abc", true), (4, "abc\n", true), (5, "abc\nd", false)]
    {
        let mut spec = spec(&[&paths[0], &paths[1], &paths[2]]);
        spec.max_chars = max_chars;
        let Corpus {
            text: cut, report, ..
        } = Corpus::load(&spec)?;
        assert_eq!((&cut[..], report.truncated), (text.as_bytes(), truncated));
        let unused = &paths[1..if truncated { 3 } else { 2 }];
        let unused: Vec<String> = unused.iter().map(|p| p.display().to_string()).collect();
        assert_eq!(report.unused, unused);
        let note = format!("; nothing of {} is in it", unused.join(", "));
        assert!(report.to_string().ends_with(&note), "{report}");
    }
    // A character of several bytes is kept or left behind as one.
    let dir = folder(&[("greek.txt", "\u{3b1}\u{3b2}\u{3b3}".as_bytes())]);
    let mut greek = spec(&[&dir.path().join("greek.txt")]);
    greek.max_chars = 2;
    let Corpus {
        text: cut, report, ..
    } = Corpus::load(&greek)?;
    assert_eq!((&cut[..], report.chars), ("\u{3b1}\u{3b2}".as_bytes(), 2));
    let mut none = spec(&[&a]);
    none.max_chars = 0;
    assert_fails(Corpus::load(&none), 2, &["max-chars"]);
    Ok(())
}

#[test]
fn a_folder_gives_its_python_files_sorted_by_path() -> Result<()> {
    let dir = folder(&[
        ("b.py", b"1"),
        ("a/z.py", b"2"),
        ("a.py", b"3"),
        ("a-b/x.py", b"4"),
        ("a/deep/er/y.py", b"5"),
        ("Z.py", b"6"),
        ("notes.txt", b"no"),
        ("c.pyc", b"no"),
        ("__pycache__/d.py", b"no"),
        ("a/__pycache__/d.py", b"no"),
        (".git/e.py", b"no"),
        ("a/.hidden.py", b"no"),
        ("folder.py/f.py", b"7"),
    ]);
    // Bytewise: "Z" < "a-b/" < "a.py" < "a/".
    let corpus = Corpus::load(&spec(&[dir.path()]))?;
    assert_eq!(corpus.text, b"6\n4\n3\n5\n2\n1\n7");
    assert_eq!(corpus.report.files, 7);
    // A hidden folder that is named itself is read.
    assert_eq!(
        Corpus::load(&spec(&[&dir.path().join(".git")]))?.text,
        b"no"
    );
    // Folders and files mix in the order given.
    let mixed = Corpus::load(&spec(&[
        &dir.path().join("notes.txt"),
        &dir.path().join("a-b"),
    ]))?;
    assert_eq!(mixed.text, b"no\n4");
    Ok(())
}

#[cfg(unix)]
#[test]
fn links_do_not_loop() -> Result<()> {
    use std::os::unix::fs::symlink;
    let dir = folder(&[("a.py", b"1"), ("sub/b.py", b"2")]);
    let link = |to: &Path, name: &str| symlink(to, dir.path().join(name)).expect("a link");
    link(dir.path(), "sub/loop");
    link(&dir.path().join("a.py"), "c.py");
    assert_eq!(Corpus::load(&spec(&[dir.path()]))?.text, b"1\n1\n2");
    // A link that is named itself is followed.
    assert_eq!(
        Corpus::load(&spec(&[&dir.path().join("sub/loop/sub")]))?.text,
        b"2"
    );
    // One that leads nowhere does not refuse the folder.
    link(Path::new("nowhere.py"), "broken.py");
    link(Path::new("circle.py"), "circle.py");
    assert_eq!(Corpus::load(&spec(&[dir.path()]))?.text, b"1\n1\n2");
    assert_fails(
        Corpus::load(&spec(&[&dir.path().join("broken.py")])),
        3,
        &["broken.py", "no such file"],
    );
    Ok(())
}

#[test]
fn unusable_paths_are_named_with_a_way_out() {
    let dir = folder(&[
        ("file.txt", b"text"),
        ("empty.txt", b""),
        ("foreign.txt", "\u{44f}\u{44f} \u{44f}".as_bytes()),
        ("docs/readme.md", b"text"),
        ("docs/.venv/x.py", b"text"),
    ]);
    let load = |name: &str| {
        let mut spec = spec(&[&dir.path().join(name)]);
        spec.charset = CharsetChoice::Ascii;
        Corpus::load(&spec)
    };
    assert_fails(
        load("missing"),
        3,
        &["missing", "no such file or folder", "corpus"],
    );
    assert_fails(load("file.txt/x"), 3, &["file.txt/x", "cannot be read"]);
    assert_fails(
        load("docs"),
        3,
        &["docs", "no .py files", "name text files"],
    );
    assert_fails(
        load("empty.txt"),
        3,
        &["empty.txt", "corpus is empty", "0 bytes", "corpus"],
    );
    // A blank between two dropped letters stays, so this one is not empty.
    assert_eq!(
        load("foreign.txt").map(|c| c.text).ok(),
        Some(b" ".to_vec())
    );
    // A wrong path is an error even where the first one fills the corpus.
    let mut both = spec(&[&dir.path().join("file.txt"), &dir.path().join("missing")]);
    both.max_chars = 1;
    assert_fails(Corpus::load(&both), 3, &["missing"]);
    #[cfg(unix)]
    assert_fails(
        Corpus::load(&spec(&[Path::new("/dev/null")])),
        3,
        &[
            "/dev/null",
            "neither a file nor a folder",
            "save the text to a file",
        ],
    );
}

#[test]
fn text_of_which_nothing_is_left_is_an_empty_corpus() {
    let dir = folder(&[("x.py", "\u{44f}\u{a0} ".as_bytes())]);
    let mut ascii = spec(&[dir.path()]);
    ascii.charset = CharsetChoice::Ascii;
    assert_fails(
        Corpus::load(&ascii),
        3,
        &[
            "corpus is empty",
            "5 bytes in 1 file",
            "1 characters dropped: '\u{44f}' once",
            "charset unicode",
        ],
    );
}
