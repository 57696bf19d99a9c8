//! Replacing files, links and folders.

use std::fs;
use std::io;
use std::path::Path;

use rnnx::files::atomic::{clean_leftovers, read_link, replace_link, write_atomic, write_folder};

use crate::{io_path, names};

#[test]
fn a_file_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    for text in ["first", "second"] {
        write_atomic(&path, |w| w.write_all(text.as_bytes())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    assert_eq!(names(dir.path()), ["a.txt"]);
}

#[test]
fn a_writer_that_fails_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    fs::write(&path, "old").unwrap();
    let result = write_atomic(&path, |w| {
        w.write_all(&[b'x'; 100_000])?;
        Err(io::Error::new(io::ErrorKind::StorageFull, "full"))
    });
    let text = result.as_ref().unwrap_err().to_string();
    assert_eq!(text, format!("cannot write {}: full", path.display()));
    assert_eq!(io_path(result), path);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names(dir.path()), ["a.txt"]);
}

#[test]
fn a_name_that_is_taken_by_a_folder_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::create_dir(&path).unwrap();
    assert_eq!(io_path(write_atomic(&path, |w| w.write_all(b"x"))), path);
    assert_eq!(names(dir.path()), ["a"]);
    let missing = dir.path().join("no/such/file");
    assert_eq!(
        io_path(write_atomic(&missing, |w| w.write_all(b"x"))),
        missing
    );
    let nameless = Path::new("/");
    assert_eq!(io_path(write_atomic(nameless, |_| Ok(()))), nameless);
}

#[test]
fn a_link_moves() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("best");
    assert_eq!(read_link(&link).unwrap(), None);
    for target in ["checkpoints/step-1", "checkpoints/step-2"] {
        replace_link(&link, Path::new(target)).unwrap();
        assert_eq!(read_link(&link).unwrap(), Some(dir.path().join(target)));
        #[cfg(unix)]
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
    }
    assert_eq!(names(dir.path()), ["best"]);
}

#[test]
fn a_text_file_and_a_folder_serve_as_links() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("best");
    fs::write(&text, "checkpoints/step-3\n").unwrap();
    let target = dir.path().join("checkpoints/step-3");
    assert_eq!(read_link(&text).unwrap(), Some(target));
    let folder = dir.path().join("last");
    fs::create_dir(&folder).unwrap();
    assert_eq!(read_link(&folder).unwrap(), Some(folder));
}

#[test]
fn a_link_that_cannot_be_replaced_stays() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("best");
    fs::create_dir(&link).unwrap();
    fs::write(link.join("x"), "x").unwrap();
    assert_eq!(io_path(replace_link(&link, Path::new("y"))), link);
    assert_eq!(names(dir.path()), ["best"]);
    assert_eq!(names(&link), ["x"]);
}

#[test]
fn a_folder_is_replaced_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("step-1");
    let fill = |text: &'static str| {
        move |temp: &Path| write_atomic(&temp.join(text), |w| w.write_all(text.as_bytes()))
    };
    write_folder(&path, fill("one")).unwrap();
    assert_eq!(names(&path), ["one"]);
    write_folder(&path, fill("two")).unwrap();
    assert_eq!(names(&path), ["two"]);

    // The second file of three fails: the error names its final path, the old folder stays.
    let result = write_folder(&path, |temp| {
        fill("three")(temp)?;
        write_atomic(&temp.join("four"), |_| Err(io::Error::other("no")))
    });
    assert_eq!(io_path(result), path.join("four"));
    assert_eq!(names(&path), ["two"]);
    assert_eq!(names(dir.path()), ["step-1"]);
}

#[test]
fn a_file_in_the_way_of_a_folder_stops_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("step-1");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("kept"), "").unwrap();
    let block = dir.path().join(".tmp-step-1");
    fs::write(&block, "x").unwrap();
    assert_eq!(io_path(write_folder(&path, |_| Ok(()))), block);
    assert_eq!(names(&path), ["kept"]);
    // A folder of that name is what a crash leaves: it gives way.
    fs::remove_file(&block).unwrap();
    fs::create_dir(&block).unwrap();
    fs::write(block.join("half"), "x").unwrap();
    write_folder(&path, |_| Ok(())).unwrap();
    assert_eq!(names(dir.path()), ["step-1"]);
    assert!(names(&path).is_empty());
}

#[test]
fn leftovers_are_cleared_and_a_folder_set_aside_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at(".tmp-a.txt-123"), "half").unwrap();
    fs::write(at("mine.tmp-x"), "kept").unwrap();
    for folder in [
        ".tmp-step-3",
        ".tmp-old-step-1",
        ".tmp-old-step-2",
        "step-2",
    ] {
        fs::create_dir(at(folder)).unwrap();
        fs::write(at(folder).join("from"), folder).unwrap();
    }
    clean_leftovers(dir.path()).unwrap();
    assert_eq!(names(dir.path()), ["mine.tmp-x", "step-1", "step-2"]);
    let from = |name: &str| fs::read_to_string(at(name).join("from")).unwrap();
    assert_eq!(from("step-1"), ".tmp-old-step-1");
    assert_eq!(from("step-2"), "step-2");
    clean_leftovers(&at("no-such-folder")).unwrap();
}
