//! Corpora, pairs, Python sources, wheels and lists of packages.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rnnx::Result;
use rnnx::data::charset::CharsetChoice;
use rnnx::data::corpus::{Corpus, CorpusSpec};
use rnnx::data::input::read_all;
use rnnx::data::jsonl::write_jsonl;
use rnnx::data::pair_files::{PairFile, PairFormat, read_pairs};
use rnnx::data::unpacking::Unpacking;
use rnnx::data::wheels::python_files;
use rnnx::data::{packages, python};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Slot, accepted, assert_survives, fuzz};

/// Python with what a reader of it must know.
const SOURCE: &[u8] = br#"import os

@decorator(1)
def load(path, *rest, key=None):
    """Reads a file.

    More words.
    """
    if path:  # a comment
        return f"{path!r:>{key}} {rest[0]}"
    return [x for x in rest if not x]


class A:
    async def scan(self):
        'One line.'
        async with self as b:
            yield await b


def only_words():
    """Nothing
	else."""
"#;

const PAIRS: &[u8] = br#"{"docstring":"Adds \u00e9 one.","code":"def f(x):\n    \"\"\"Adds.\"\"\"\n    return x + 1\n"}

{"code":"print 'Python 2'","docstring":"Says so.\nTwice.","more":[1,null]}
"#;

fn load(charset: CharsetChoice, path: PathBuf) -> Result<Corpus> {
    Corpus::load(&CorpusSpec {
        paths: vec![path],
        globs: vec![],
        stdin: None,
        charset,
        max_chars: 6_000_000,
        seed: 0,
    })
}

#[test]
fn corpus_text() {
    let slot = Slot::new("text.txt");
    let copy = Slot::new("copy.txt");
    let text = b"First line  \n\ttabbed\r\nna\xc3\xafve e\xcc\x81 \xff end";
    fuzz("corpus", &[SOURCE, text], |bytes| {
        let path = slot.put(bytes);
        if let Some(corpus) = accepted(load(CharsetChoice::Ascii, path.clone())) {
            assert!(corpus.text.len() <= 4 * bytes.len() + 1);
            // Clean text stays as it is, but for blanks that stood before a dropped character.
            let text = String::from_utf8(corpus.text).expect("ASCII");
            let lines = text.split('\n').map(|l| l.trim_end_matches([' ', '\t']));
            let left = lines.collect::<Vec<_>>().join("\n");
            if !left.is_empty() {
                let again = load(CharsetChoice::Ascii, copy.put(text.as_bytes()));
                assert_survives(&left.into_bytes(), again.map(|c| c.text));
            }
        }
        if let Some(corpus) = accepted(load(CharsetChoice::Unicode, path.clone())) {
            let text = std::str::from_utf8(&corpus.text).expect("UTF-8");
            assert_eq!(text.chars().count(), corpus.report.chars);
            let again = load(CharsetChoice::Unicode, copy.put(&corpus.text));
            assert_survives(&corpus.text, again.map(|c| c.text));
        }
        if let Some(corpus) = accepted(load(CharsetChoice::Bytes, path)) {
            assert_eq!(corpus.text, bytes);
        }
    });
}

// ---- pairs -----------------------------------------------------------------------------------

/// Pairs with CodeSearchNet's fields.
fn read_jsonl(path: &Path, strict: bool) -> Result<PairFile> {
    let format = PairFormat {
        strict,
        ..PairFormat::default()
    };
    read_pairs(path, &format)
}

fn check_pairs(slot: &Slot, copy: &Slot, bytes: &[u8]) {
    let path = slot.put(bytes);
    let Some(PairFile { pairs, skipped }) = accepted(read_jsonl(&path, false)) else {
        return;
    };
    assert_eq!(
        accepted(read_jsonl(&path, true)).is_some(),
        skipped.is_empty()
    );
    write_jsonl(&copy.path(), &pairs).expect("a file");
    let again = read_jsonl(&copy.path(), true).expect("what was written can be read");
    let again = again.pairs;
    assert_eq!(again.len(), pairs.len());
    for (again, pair) in again.iter().zip(&pairs) {
        assert_eq!(again.docstring, pair.docstring);
        // Code that is no Python may show a docstring only once another one is gone.
        if python::without_docstring(&pair.code).is_none() {
            assert_eq!(again.code, pair.code);
        }
    }
}

#[test]
fn pairs() {
    let (slot, copy) = (Slot::new("pairs.jsonl"), Slot::new("copy.jsonl"));
    fuzz("pairs", &[PAIRS], |bytes| check_pairs(&slot, &copy, bytes));
}

#[test]
fn tables_of_pairs() {
    const TABLE: &[u8] =
        b"id,docstring,code\n1,\"Adds, \"\"one\"\".\nTwice.\",x + 1\n\n2,na\xc3\xafve,y\n";
    let (csv, tsv) = (Slot::new("pairs.csv"), Slot::new("pairs.tsv"));
    let numbers = PairFormat {
        source_field: "2".into(),
        target_field: "3".into(),
        strict: false,
    };
    fuzz("tables", &[TABLE], |bytes| {
        let tabs = bytes.iter().map(|&b| if b == b',' { b'\t' } else { b });
        for path in [csv.put(bytes), tsv.put(&tabs.collect::<Vec<_>>())] {
            for format in [&PairFormat::default(), &numbers] {
                let Some(file) = accepted(read_pairs(&path, format)) else {
                    continue;
                };
                assert!(!file.pairs.is_empty());
                let strict = PairFormat {
                    strict: true,
                    ..format.clone()
                };
                let all = accepted(read_pairs(&path, &strict)).is_some();
                assert_eq!(all, file.skipped.is_empty());
            }
        }
    });
}

/// A raw block, a block of one byte repeated, and a frame to be skipped (RFC 8878).
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\xa0\x09\0\0\0\x20\0\0abcd\x2b\0\0e\
                      \x50\x2a\x4d\x18\x03\0\0\0abc";

#[test]
fn zstd_frames() {
    let slot = Slot::new("text.zst");
    assert_eq!(
        read_all(&slot.put(ZSTD)).expect("a whole file"),
        b"abcdeeeee"
    );
    fuzz("zstd", &[ZSTD], |bytes| {
        if let Some(text) = accepted(read_all(&slot.put(bytes))) {
            assert!(text.len() <= 256 << 20);
        }
    });
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).expect("memory");
    gzip.finish().expect("memory")
}

#[test]
fn compressed_pairs() {
    let (slot, copy) = (Slot::new("pairs.jsonl.gz"), Slot::new("copy.jsonl.gz"));
    let valid = gzip(PAIRS);
    let members = [gzip(PAIRS), gzip(PAIRS)].concat();
    fuzz("pairs, gz", &[&valid, &members], |bytes| {
        check_pairs(&slot, &copy, bytes);
    });
}

// ---- Python ----------------------------------------------------------------------------------

#[test]
fn python_sources() {
    fuzz("Python", &[SOURCE], |bytes| {
        let source = String::from_utf8_lossy(bytes);
        let functions = python::functions(&source, usize::MAX);
        assert!(python::parses(&source) || functions.is_none());
        for function in functions.unwrap_or_default() {
            let code = function.code.as_ref().expect("no limit");
            assert!(
                code.starts_with("def") || code.starts_with("async"),
                "{code}"
            );
            assert_eq!(python::without_docstring(code), None, "{code}");
            let clean = &function.docstring;
            assert!(!clean.contains('\t') && !clean.starts_with('\n'), "{clean}");
        }
        if let Some(code) = python::without_docstring(&source) {
            assert!(code.len() < source.len(), "{code}");
        }
        python::clean_docstring(&source);
    });
}

#[test]
fn wheels() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, method) in [
        ("pkg/a.py", CompressionMethod::Deflated),
        ("pkg/\u{e9}.py", CompressionMethod::Stored),
        ("pkg/data.bin", CompressionMethod::Deflated),
    ] {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(name, options).expect("a member");
        zip.write_all(SOURCE).expect("its content");
    }
    let valid = zip.finish().expect("a list").into_inner();
    let slot = Slot::new("pkg.whl");
    fuzz("wheels", &[&valid], |bytes| {
        for (name, content) in
            accepted(python_files(&slot.put(bytes), &mut Unpacking::default())).unwrap_or_default()
        {
            assert!(name.ends_with(".py"));
            // A stored member is part of the file; a deflated one is that text or shorter.
            assert!(content.len() <= bytes.len().max(2 * SOURCE.len()), "{name}");
        }
    });
}

#[test]
fn package_lists() {
    let hash = "5f".repeat(32);
    let valid = format!(
        "# a comment\none==1.0 \\\n    --hash=sha256:{hash} \\\n    --hash=sha256:{hash}\n\nTwo.x==2!3.post1 --hash=sha256:{hash} # so\n"
    );
    fuzz("packages", &[valid.as_bytes()], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Some(list) = accepted(packages::parse(&text, "list.txt")) else {
            return;
        };
        let lines: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_survives(&list, packages::parse(&lines.join("\n"), "list.txt"));
    });
}
