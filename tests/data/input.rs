use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use rnnx::Result;
use rnnx::data::corpus::{Corpus, CorpusSpec};
use rnnx::data::input::read_all;

use super::{assert_fails, folder, spec};

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).expect("memory takes every write");
    packer.finish().expect("memory takes every write")
}

/// A zstd frame of one raw block (RFC 8878): a single segment, its size in four bytes.
pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let (size, block) = (bytes.len() as u32, (bytes.len() as u32) << 3 | 1);
    let header = [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0], &size.to_le_bytes()[..]].concat();
    [&header, &block.to_le_bytes()[..3], bytes].concat()
}

/// A frame whose block is one byte, `n` times.
pub(super) fn repeated(byte: u8, n: u32) -> Vec<u8> {
    let header = [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0], &n.to_le_bytes()[..]].concat();
    let block = n << 3 | 2 | 1;
    [&header, &block.to_le_bytes()[..3], &[byte]].concat()
}

#[test]
fn compressed_texts_are_unpacked_by_name_or_content() -> Result<()> {
    let text = b"To be, or not to be:\nthat is the question.\n";
    // A frame that is to be skipped stands between two others.
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let dir = folder(&[
        ("plain.txt", text),
        ("a.txt.gz", &gzip(text)),
        ("packed", &gzip(text)),
        ("a.txt.zst", &zstd(text)),
        (
            "frames",
            &[zstd(&text[..5]), skipped, zstd(&text[5..])].concat(),
        ),
        ("run.zst", &repeated(b'a', 9)),
        ("big.gz", &gzip(&text.repeat(50_000))),
    ]);
    let path = |name: &str| dir.path().join(name);
    for name in ["plain.txt", "a.txt.gz", "packed", "a.txt.zst", "frames"] {
        assert_eq!(Corpus::load(&spec(&[&path(name)]))?.text, text, "{name}");
        assert_eq!(read_all(&path(name))?, text, "{name}");
    }
    assert_eq!(read_all(&path("run.zst"))?, b"aaaaaaaaa");
    // Longer than what is read at a time.
    let big = Corpus::load(&spec(&[&path("big.gz")]))?;
    assert_eq!(big.text, text.repeat(50_000));
    let globs = CorpusSpec {
        globs: vec!["*.txt.*".into()],
        ..spec(&[dir.path()])
    };
    assert_eq!(Corpus::load(&globs)?.text, text.repeat(2));
    Ok(())
}

#[test]
fn damaged_and_hostile_archives_are_named() {
    let text = b"abc\n".repeat(1000);
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 5].to_vec();
    let dir = folder(&[
        ("cut.gz", &cut(gzip(&text))),
        ("cut.zst", &cut(zstd(&text))),
        ("none.gz", b"plain"),
        ("none.zst", b"plain"),
        // 256 MiB and more of one letter in some kilobytes.
        ("bomb.zst", &repeated(b'a', 128 << 10).repeat(2049)),
    ]);
    for name in ["cut.gz", "cut.zst", "none.gz", "none.zst"] {
        let kind = name.rsplit('.').next().expect("an ending").to_owned();
        let kind = kind.replace("gz", "gzip").replace("zst", "zstd");
        let parts = [name, &format!("{kind} data is cut off or damaged")];
        let path = dir.path().join(name);
        assert_fails(read_all(&path), 3, &parts);
        assert_fails(Corpus::load(&spec(&[&path])), 3, &parts);
    }
    let bomb = dir.path().join("bomb.zst");
    assert_fails(read_all(&bomb), 3, &["bomb.zst", "more than 256 MiB"]);
    // What is cut off before that much is read is no harm.
    let begin = Corpus::load(&spec(&[&bomb])).expect("its first characters");
    assert_eq!(begin.report.chars, 6_000_000);
    assert_fails(read_all("no/such".as_ref()), 3, &["no such file"]);
}

#[test]
fn standard_input_is_one_of_the_paths() -> Result<()> {
    let dir = folder(&[("a.txt", b"1\n"), ("b.txt", b"3\n")]);
    let (a, b) = (dir.path().join("a.txt"), dir.path().join("b.txt"));
    let with = CorpusSpec {
        stdin: Some(Arc::from(&b"2\n"[..])),
        ..spec(&[&a, Path::new("-"), &b])
    };
    let corpus = Corpus::load(&with)?;
    assert_eq!(corpus.text, b"1\n2\n3\n");
    let of: Vec<_> = corpus.files.iter().map(|f| (&*f.name, f.source)).collect();
    // By the name of the copy that a run keeps, it is divided as that.
    assert_eq!(of, [("a.txt", 0), ("stdin.txt", 1), ("b.txt", 2)]);
    // It may be compressed as a file may.
    for packed in [gzip(b"2\n"), zstd(b"2\n")] {
        let packed = CorpusSpec {
            stdin: Some(Arc::from(packed)),
            ..with.clone()
        };
        assert_eq!(Corpus::load(&packed)?.text, b"1\n2\n3\n");
    }
    let damaged = CorpusSpec {
        stdin: Some(Arc::from(&gzip(&[b'a'; 999])[..15])),
        ..with
    };
    assert_fails(
        Corpus::load(&damaged),
        3,
        &["corpus -", "gzip data is cut off"],
    );
    Ok(())
}
