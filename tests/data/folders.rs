use rnnx::Result;
use rnnx::data::corpus::{Corpus, CorpusSpec};
use rnnx::data::folders::Patterns;

use super::{assert_fails, folder, spec};

fn globs(path: &std::path::Path, globs: &[&str]) -> CorpusSpec {
    CorpusSpec {
        globs: globs.iter().map(|glob| (*glob).to_owned()).collect(),
        ..spec(&[path])
    }
}

#[test]
fn patterns_say_which_files_of_a_folder_are_read() -> Result<()> {
    let dir = folder(&[
        ("a.txt", b"1"),
        ("b.md", b"2"),
        ("deep/c.txt", b"3"),
        ("deep/er/d.txt", b"4"),
        ("e.py", b"5"),
        (".hidden.txt", b"no"),
        ("A.TXT", b"6"),
    ]);
    let read = |patterns: &[&str]| Corpus::load(&globs(dir.path(), patterns)).map(|c| c.text);
    assert_eq!(read(&["*.txt"])?, b"1\n3\n4");
    assert_eq!(read(&["*.md", "*.py"])?, b"2\n5");
    // With a slash it is the path below the folder that is meant, and * is of one name.
    assert_eq!(read(&["deep/*.txt"])?, b"3");
    assert_eq!(read(&["deep/**/*.txt"])?, b"3\n4");
    assert_eq!(read(&["[ab].*"])?, b"1\n2");
    assert_eq!(read(&[])?, b"5");
    // A file that is named itself needs no pattern.
    let named = Corpus::load(&globs(&dir.path().join("b.md"), &["*.txt"]))?;
    assert_eq!(named.text, b"2");
    Ok(())
}

#[test]
fn a_folder_without_such_files_says_what_it_holds() {
    let dir = folder(&[("a.txt", b"1"), ("b.txt", b"2"), ("c.md", b"3")]);
    let parts = [
        "no .py files",
        "it holds 2 .txt, 1 .md files",
        "glob \"*.txt\"",
    ];
    assert_fails(Corpus::load(&spec(&[dir.path()])), 3, &parts);
    let parts = ["no files that are *.rst", "2 .txt, 1 .md"];
    assert_fails(Corpus::load(&globs(dir.path(), &["*.rst"])), 3, &parts);
    // Patterns without a folder would be of nothing.
    let embedded = CorpusSpec {
        globs: vec!["*.txt".into()],
        ..spec(&[])
    };
    assert_fails(
        Corpus::load(&embedded),
        2,
        &["glob is about folders", "as corpus"],
    );
    let wrong = Corpus::load(&globs(dir.path(), &["[a"]));
    assert_fails(wrong, 2, &["glob \"[a\" is no pattern"]);
    assert!(Patterns::is_pattern("*.txt") && !Patterns::is_pattern("a**b/***"));
}
