use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rnnx::Result;
use rnnx::data::jsonl::write_jsonl;
use rnnx::data::pair_files::PairFormat;
use rnnx::data::pairs::Splits;

use super::pairs::pair;
use super::{assert_fails, folder, read_jsonl};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).expect("memory takes every write");
    packer.finish().expect("memory takes every write")
}

#[test]
fn what_is_written_is_read_again() -> Result<()> {
    let dir = folder(&[]);
    let pairs = [
        pair(
            "Add \"one\".\n\nTab\tand \u{1f40d}\u{0}.",
            "def f(x):\n    return x + 1",
        ),
        pair("\u{2028}b", "no Python at all ("),
    ];
    let (plain, packed) = (dir.path().join("p.jsonl"), dir.path().join("p.jsonl.gz"));
    for path in [&plain, &packed] {
        write_jsonl(path, &pairs)?;
        assert_eq!(read_jsonl(path, true)?.pairs, pairs);
    }
    let text = fs::read_to_string(&plain).expect("the file");
    assert!(text.ends_with("{\"docstring\":\"\u{2028}b\",\"code\":\"no Python at all (\"}\n"));
    assert_eq!(text.lines().count(), 2);
    let bytes = |path: &Path| fs::read(path).expect("the file");
    assert_eq!(bytes(&packed)[..2], [0x1f, 0x8b]);
    let first = bytes(&packed);
    write_jsonl(&packed, &pairs)?;
    assert_eq!(bytes(&packed), first);
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 2);
    let missing = dir.path().join("none/p.jsonl");
    assert_fails(
        write_jsonl(&missing, &pairs),
        1,
        &["cannot write", "none/p.jsonl"],
    );
    Ok(())
}

#[test]
fn lines_of_code_search_net() -> Result<()> {
    let line = r#"{"repo":"a/b","path":"c.py","func_name":"f","docstring":"Add.","code":"def f(x):\n        \"\"\"Add.\"\"\"\n        return x","code_tokens":["def"],"url":null}"#;
    let two = format!("\n{line}\r\n   \n{line}");
    let dir = folder(&[
        ("plain.jsonl", two.as_bytes()),
        ("named.jsonl.gz", &gzip(two.as_bytes())),
        ("packed.jsonl", &gzip(two.as_bytes())),
        (
            "members.gz",
            &[gzip(line.as_bytes()), gzip(b"\n"), gzip(line.as_bytes())].concat(),
        ),
    ]);
    for name in [
        "plain.jsonl",
        "named.jsonl.gz",
        "packed.jsonl",
        "members.gz",
    ] {
        let file = read_jsonl(&dir.path().join(name), true)?;
        assert_eq!(
            file.pairs,
            vec![pair("Add.", "def f(x):\n        return x"); 2],
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn a_line_that_is_no_pair_is_named() {
    let good = "{\"docstring\":\"a\",\"code\":\"b\"}\n\n";
    for (line, parts) in [
        (
            "{\"docstring\":\"a\",\"code\":\"b\"",
            &["broken JSON at column 27", "EOF"][..],
        ),
        (
            "{\"docstring\":\"a\" \"code\":\"b\"}",
            &["broken JSON at column 18", "expected"],
        ),
        (
            "{\"docstring\":\"\\q\",\"code\":\"b\"}",
            &["broken JSON", "escape"],
        ),
        ("{} {}", &["broken JSON at column 4"]),
        (&"[".repeat(5000), &["broken JSON", "recursion"]),
        ("[\"docstring\", \"code\"]", &["not a JSON object"]),
        ("{\"docstring\":\"a\"}", &["no field \"code\""]),
        (
            "{\"code\":\"b\",\"Docstring\":\"a\"}",
            &["no field \"docstring\""],
        ),
        (
            "{\"docstring\":null,\"code\":\"b\"}",
            &["\"docstring\" is not a string"],
        ),
        (
            "{\"docstring\":\"a\",\"code\":[\"b\"]}",
            &["\"code\" is not a string"],
        ),
        (
            "{\"docstring\":\"\",\"code\":\"b\"}",
            &["\"docstring\" is empty"],
        ),
        (
            "{\"docstring\":\" \\n\",\"code\":\"b\"}",
            &["\"docstring\" is empty"],
        ),
        (
            "{\"docstring\":\"a\",\"code\":\"\\t\"}",
            &["\"code\" is empty"],
        ),
    ] {
        let text = format!("{good}{line}\n{good}");
        let dir = folder(&[
            ("p.jsonl", text.as_bytes()),
            ("p.gz", &gzip(text.as_bytes())),
        ]);
        for name in ["p.jsonl", "p.gz"] {
            let parts = [parts, &["remove the line"]].concat();
            let place = format!("{name}:3: ");
            let parts = [&parts[..], &[&place]].concat();
            assert_fails(read_jsonl(&dir.path().join(name), true), 3, &parts);
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let line = b"{\"docstring\":\"a\",\"code\":\"b\"}\n";
    let many: Vec<u8> = (0..9000u32)
        .flat_map(|n| {
            format!("{{\"docstring\":\"a {n}\",\"code\":\"b {}\"}}\n", n * n).into_bytes()
        })
        .collect();
    let packed = gzip(&many);
    let mut damaged = packed.clone();
    damaged[packed.len() / 2] ^= 0x55;
    let mut sum = packed.clone();
    sum[packed.len() - 6] ^= 1;
    let dir = folder(&[
        (
            "latin.jsonl",
            &[line, &b"{\"docstring\":\"caf\xe9\"}\n"[..]].concat(),
        ),
        ("empty.jsonl", b""),
        ("blank.jsonl", b"\n \r\n\t"),
        ("blank.gz", &gzip(b"\n")),
        ("cut.gz", &packed[..packed.len() / 2]),
        ("header.gz", &packed[..5]),
        ("damaged.gz", &damaged),
        ("sum.gz", &sum),
        ("plain.gz", line),
        ("folder/p.jsonl", line),
        ("long.gz", &gzip(&vec![b' '; 65 << 20])),
    ]);
    for (name, parts) in [
        ("latin.jsonl", &[":2: byte 18 is not UTF-8"][..]),
        ("empty.jsonl", &["an empty split", "no pairs"]),
        ("blank.jsonl", &["an empty split"]),
        ("blank.gz", &["an empty split"]),
        ("cut.gz", &["gzip data is cut off or damaged"]),
        ("header.gz", &[":1: the gzip data is cut off"]),
        ("damaged.gz", &["damaged.gz"]),
        ("sum.gz", &[":9001: the gzip data is cut off or damaged"]),
        ("plain.gz", &[":1: the gzip data is cut off or damaged"]),
        ("folder", &["is a folder"]),
        ("none.jsonl", &["none.jsonl: no such file"]),
        ("long.gz", &[":1: the line is longer than"]),
    ] {
        let parts = [parts, &[name]].concat();
        assert_fails(read_jsonl(&dir.path().join(name), true), 3, &parts);
    }
}

#[test]
fn compressed_files_that_hold_too_much_are_refused() {
    let line = b"{\"docstring\":\"a\",\"code\":\"b\"}\n";
    // Blank lines, compressed to a thousandth: no line alone is too long.
    let blank = gzip(&[vec![b' '; (16 << 20) - 1], vec![b'\n']].concat());
    let part = [gzip(line), blank.repeat(10)].concat();
    let bomb = [gzip(line), blank.repeat(16)].concat();
    let dir = folder(&[("part.gz", &part), ("bomb.gz", &bomb)]);
    let [part, bomb] = ["part.gz", "bomb.gz"].map(|name| dir.path().join(name));
    assert!(fs::metadata(&bomb).expect("the file").len() < 1 << 20);
    let words = [
        "here the compressed files hold more than 256 MiB",
        "unpack it",
    ];
    assert_fails(
        read_jsonl(&bomb, false),
        3,
        &[&words[..], &["bomb.gz: "]].concat(),
    );
    assert_eq!(
        read_jsonl(&part, false).map(|file| file.pairs.len()).ok(),
        Some(1)
    );
    // The files of a command share the room.
    let splits = Splits::read([&*part, &part, &part], &PairFormat::default());
    assert_fails(splits, 3, &[&words[..], &["part.gz: "]].concat());
}
