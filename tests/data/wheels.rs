use std::io::{Cursor, Write};
use std::path::Path;

use rnnx::Result;
use rnnx::data::unpacking::Unpacking;
use rnnx::data::wheels;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{assert_fails, folder, gather};

fn wheel(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, content) in members {
        match name.strip_suffix('/') {
            Some(folder) => zip.add_directory(folder, options).expect("a folder"),
            None => {
                zip.start_file(*name, options).expect("a member");
                zip.write_all(content).expect("its content");
            }
        }
    }
    zip.finish().expect("a list").into_inner()
}

/// The only files that a command reads.
fn python_files(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    wheels::python_files(path, &mut Unpacking::default())
}

fn small() -> Vec<u8> {
    let members: [(&str, &[u8]); 5] = [
        ("pkg/b.py", b"b = 1\n"),
        ("pkg/folder.py/", b""),
        ("pkg/a.py", b"\xff"),
        ("pkg-1.0.dist-info/METADATA", b"Name: pkg"),
        ("pkg/c.pyc", b""),
    ];
    wheel(&members, CompressionMethod::Deflated)
}

#[test]
fn the_python_files_of_a_wheel_are_sorted_by_name() -> Result<()> {
    let stored = wheel(&[("x.py", b"x")], CompressionMethod::Stored);
    let dir = folder(&[("pkg.whl", &small()), ("pkg.zip", &stored)]);
    let at = |name: &str| dir.path().join(name);
    let expected = [
        ("pkg/a.py".to_owned(), b"\xff".to_vec()),
        ("pkg/b.py".to_owned(), b"b = 1\n".to_vec()),
    ];
    assert_eq!(python_files(&at("pkg.whl"))?, expected);
    let files = gather(&[at("pkg.whl"), at("pkg.zip")])?;
    assert_eq!(files.len(), 3);
    assert!(files[1].0.ends_with("pkg.whl/pkg/b.py"), "{}", files[1].0);
    assert_eq!(files[2].1, b"x");
    Ok(())
}

#[test]
fn an_archive_that_is_not_whole_is_refused() {
    let whole = small();
    let mut damaged = whole.clone();
    damaged[45] ^= 0xff; // in the first member's data
    let mut method = whole.clone();
    let list = whole
        .windows(4)
        .position(|w| w == b"PK\x01\x02")
        .expect("the list");
    method[list + 10] = 14; // LZMA
    let none = wheel(&[("README", b"")], CompressionMethod::Stored);
    let dir = folder(&[
        ("cut.whl", &whole[..whole.len() / 2]),
        ("empty.whl", b""),
        ("text.whl", b"no archive"),
        ("damaged.whl", &damaged),
        ("method.whl", &method),
        ("none.whl", &none),
        ("folder.whl/x", b""),
    ]);
    for (name, parts) in [
        (
            "cut.whl",
            &["not a whole zip archive", "fetch it again"][..],
        ),
        ("empty.whl", &["not a whole zip archive"]),
        ("text.whl", &["not a whole zip archive"]),
        ("damaged.whl", &["not a whole zip archive", "pkg/b.py"]),
        ("method.whl", &["not a whole zip archive"]),
        ("missing.whl", &["no such file"]),
        ("folder.whl", &["folder.whl"]),
    ] {
        let parts = [parts, &[name]].concat();
        assert_fails(python_files(&dir.path().join(name)), 3, &parts);
    }
    let gathered = gather(&[dir.path().join("none.whl")]);
    assert_fails(gathered, 3, &["none.whl: there are no .py files"]);
}

#[test]
fn a_member_of_an_absurd_size_is_refused() {
    let bomb = wheel(
        &[("big.py", &vec![b' '; 17 << 20])],
        CompressionMethod::Deflated,
    );
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    // The list may claim less than there is.
    let mut liar = bomb.clone();
    let list = bomb
        .windows(4)
        .rposition(|w| w == b"PK\x01\x02")
        .expect("the list");
    liar[list + 24..list + 28].copy_from_slice(&9u32.to_le_bytes());
    let dir = folder(&[("bomb.whl", &bomb), ("liar.whl", &liar)]);
    let path = dir.path().join("bomb.whl");
    assert_fails(
        python_files(&path),
        3,
        &["bomb.whl: big.py", "more than 16 MiB"],
    );
    assert_fails(python_files(&dir.path().join("liar.whl")), 3, &["liar.whl"]);
}

#[test]
fn the_archives_of_a_command_share_what_they_may_hold() -> Result<()> {
    let member = vec![b' '; 15 << 20];
    let bomb = wheel(&[("big.py", &member)], CompressionMethod::Deflated);
    let dir = folder(&[("bomb.whl", &bomb), ("small.whl", &small())]);
    let path = dir.path().join("bomb.whl");
    // 255 MiB of the 256 that small archives may hold, each of them harmless.
    let mut unpacking = Unpacking::default();
    for _ in 0..17 {
        wheels::python_files(&path, &mut unpacking)?;
    }
    wheels::python_files(&dir.path().join("small.whl"), &mut unpacking)?;
    assert_fails(
        wheels::python_files(&path, &mut unpacking),
        3,
        &[
            "bomb.whl: here the compressed files hold more than 256 MiB",
            "unpack it",
        ],
    );
    assert_fails(gather(&vec![path; 18]), 3, &["bomb.whl: here", "256 MiB"]);
    Ok(())
}
