use std::fs;

use rnnx::Result;
use rnnx::data::code::undescribed;
use rnnx::data::pair_files::PairFormat;
use rnnx::data::pairs::{Pair, Splits};
use rnnx::data::prepare::{PrepareOptions, prepare};

use super::{assert_fails, folder};

fn pair(docstring: &str, code: &str) -> Pair {
    Pair {
        docstring: docstring.into(),
        code: code.into(),
        signature: None,
    }
}

fn splits() -> Splits {
    Splits::new(
        vec![pair("One.", "def one(x): return x + 1")],
        vec![pair("Two.", "def two(a, b, c): return a * b + c ** two")],
        vec![pair("Signs.", "+ -")],
        "here".into(),
    )
}

fn codes(pairs: &[Pair]) -> Vec<&str> {
    pairs.iter().map(|pair| &*pair.code).collect()
}

/// The splits with the code of a file of these lines.
fn with(lines: &[&str]) -> Result<Splits> {
    let dir = folder(&[("code.jsonl", lines.join("\n").as_bytes())]);
    splits().with_code(&dir.path().join("code.jsonl"), &PairFormat::default())
}

fn line(code: &str) -> String {
    serde_json::json!({ "code": code }).to_string()
}

#[test]
fn code_stands_behind_the_training_pairs_once_each() -> Result<()> {
    let lines = [
        line("def new(y): return -y"),
        line("def one(x):  return x + 1"), // a training pair but for a blank
        line("def new(y):\n    return -y"),
        line("def f(y):\n    'Its docstring goes.'\n    return 2"),
        r#"{"code": "x = 3", "docstring": ["not read"], "other": 1}"#.to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let all = with(&lines)?;
    let want = [
        "def one(x): return x + 1",
        "def new(y): return -y",
        "def f(y):\n    return 2",
        "x = 3",
    ];
    assert_eq!(codes(&all.train), want);
    assert_eq!(all.train[0].docstring, "One.");
    assert!(all.train[1..].iter().all(|pair| pair.docstring.is_empty()));
    assert_eq!((&all.valid, &all.test), (&splits().valid, &splits().test));
    assert!(
        all.source.starts_with("here; 3 of the 5 targets of "),
        "{}",
        all.source
    );
    // They are other data, even where nothing is new.
    let none = with(&lines[1..2])?;
    assert_eq!(none.train, splits().train);
    let hashes = [
        &all.sha256,
        &none.sha256,
        &splits().sha256,
        &with(&lines[..1])?.sha256,
    ];
    for (i, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..i].contains(hash));
    }
    assert_eq!(with(&lines)?.sha256, all.sha256);
    Ok(())
}

#[test]
fn what_validates_or_is_tested_on_is_left_out() -> Result<()> {
    let held_out = [
        line("def two(a, b, c): return a * b + c ** two"),
        // 10 of its 11 words.
        line("def two(a, b, c):\n    return a * (b - c) ** two2"),
        // Without words, of which only the same is the same.
        line("+  -"),
    ];
    let new = [line("- +"), line("def three(a): return a")];
    let lines: Vec<&str> = held_out.iter().chain(&new).map(String::as_str).collect();
    let all = with(&lines)?;
    assert_eq!(codes(&all.train)[1..], ["- +", "def three(a): return a"]);
    assert!(all.source.contains("(3 left out"), "{}", all.source);
    let only: Vec<&str> = held_out.iter().map(String::as_str).collect();
    let words = ["code.jsonl", "all of its 3 targets", "data prepare --code"];
    assert_fails(with(&only), 3, &words);
    Ok(())
}

#[test]
fn files_that_cannot_be_used() {
    assert_fails(with(&[]), 3, &["code.jsonl", "no pairs"]);
    assert_fails(with(&["{}"]), 3, &["code.jsonl:1", "no field \"code\""]);
    assert_fails(
        with(&[r#"{"code": " "}"#]),
        3,
        &["code.jsonl:1", "holds no token"],
    );
    let dir = folder(&[]);
    let gone = splits().with_code(&dir.path().join("no.jsonl"), &PairFormat::default());
    assert_fails(gone, 3, &["no.jsonl"]);
}

#[test]
fn fields_and_tables_are_read_as_those_of_pairs() -> Result<()> {
    let dir = folder(&[("code.csv", b"text,body\nx,def f(): pass\n")]);
    let format = PairFormat {
        target_field: "body".into(),
        ..PairFormat::default()
    };
    let all = splits().with_code(&dir.path().join("code.csv"), &format)?;
    assert_eq!(codes(&all.train)[1..], ["def f(): pass"]);
    Ok(())
}

// ---- of Python files -------------------------------------------------------------------------

/// A function with a docstring, with one inside, with one around, and those beside it.
const FILE: &str = "
def described(x):
    'Has one.'
    def inside(y):
        return y
    return inside(x)

class C:
    def bare(self):
        return self.x

    def around(self):
        def deep(z):
            'Deep.'
            return z
        return deep
";

#[test]
fn functions_are_taken_but_for_those_around_and_inside_of_what_is_held_out() {
    let files = [
        ("a.py".to_owned(), FILE.into()),
        ("two.py".to_owned(), "print 2".into()),
        ("latin.py".to_owned(), b"\xe9".to_vec()),
        (
            "again.py".to_owned(),
            "def bare(self): return self.x".into(),
        ),
    ];
    let of = |held_out: &[&str], most: usize| {
        let test = held_out.iter().map(|code| pair("Held.", code)).collect();
        let splits = Splits::new(Vec::new(), Vec::new(), test, String::new());
        undescribed(&files, &splits, most)
    };
    let names = |code: Vec<String>| -> Vec<String> {
        let name = |code: &String| code["def ".len()..].split('(').next().unwrap().to_owned();
        code.iter().map(name).collect()
    };
    let all = of(&[], 50);
    assert_eq!(
        all[0],
        "def described(x):\n    def inside(y):\n        return y\n    return inside(x)"
    );
    assert_eq!(all[2], "def bare(self):\n    return self.x");
    assert_eq!(
        names(all),
        ["described", "inside", "bare", "around", "deep"]
    );
    // Those with more tokens are not there.
    assert_eq!(names(of(&[], 5)), ["inside", "bare", "deep"]);
    let inner = "def deep(z):\n    return z";
    assert_eq!(names(of(&[inner], 50)), ["described", "inside", "bare"]);
    let outer = "def described(x): def inside(y): return y return inside(x)";
    assert_eq!(names(of(&[outer, inner], 50)), ["bare"]);
    // The same function in another file is held out there, too.
    assert_eq!(
        names(of(&["def bare(self): return self.x"], 50)),
        ["described", "inside", "around", "deep"]
    );
}

/// The embedded corpus: nothing of what is held out is in it, and what trains is.
#[test]
fn the_embedded_code_has_the_training_pairs_and_none_held_out() -> Result<()> {
    let files = rnnx::data::corpus::embedded_files()?;
    let files = &files[..60];
    let options = PrepareOptions::default();
    let splits = prepare(files, "here", &options)?.splits;
    let code = undescribed(files, &splits, options.max_target);
    let dir = folder(&[]);
    let path = dir.path().join("code.jsonl.gz");
    rnnx::data::jsonl::write_code(&path, &code)?;
    assert!(fs::metadata(&path).is_ok());
    let words = |code: &str| code.split_whitespace().collect::<Vec<_>>().join(" ");
    let all: Vec<String> = code.iter().map(|code| words(code)).collect();
    for pair in splits.valid.iter().chain(&splits.test) {
        assert!(!all.contains(&words(&pair.code)), "{}", pair.code);
    }
    let trained = splits.train.iter();
    let there = trained
        .filter(|pair| all.contains(&words(&pair.code)))
        .count();
    // Some are inside of what is held out, or around it.
    assert!(10 * there > 9 * splits.train.len(), "{there}");
    assert!(all.len() > 2 * splits.train.len(), "{}", all.len());
    let (before, hash) = (splits.train.len(), splits.sha256.clone());
    let with = splits.with_code(&path, &PairFormat::default())?;
    assert!(with.train.len() > 2 * before && with.sha256 != hash);
    Ok(())
}
