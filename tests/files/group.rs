//! Files that are replaced together.

use std::fs;
use std::path::Path;

use rnnx::Error;
use rnnx::files::atomic::write_atomic;
use rnnx::files::group::{current, finish_group, write_group};

use crate::{io_path, names};

const FILES: [&str; 3] = ["a", "b", "c"];

/// A folder with old files, and another one.
fn old() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in FILES {
        fs::write(dir.path().join(name), "old").unwrap();
    }
    fs::write(dir.path().join("other"), "other").unwrap();
    dir
}

fn fill(folder: &Path) -> rnnx::Result<()> {
    let mut files = FILES.iter();
    files.try_for_each(|name| write_atomic(&folder.join(name), |w| w.write_all(b"new")))
}

/// What the three files hold, and that there is nothing besides but the other one.
#[track_caller]
fn all_hold(folder: &Path, text: &str) {
    for name in FILES {
        assert_eq!(
            fs::read_to_string(folder.join(name)).unwrap(),
            text,
            "{name}"
        );
    }
    assert_eq!(names(folder), ["a", "b", "c", "other"]);
}

#[test]
fn they_are_all_replaced() {
    let dir = old();
    write_group(dir.path(), fill).unwrap();
    all_hold(dir.path(), "new");
    let deep = dir.path().join("deep/new");
    write_group(&deep, fill).unwrap();
    assert_eq!(names(&deep), FILES);
    finish_group(&deep.join("none")).unwrap();
}

#[test]
fn what_fails_leaves_all_the_old_ones() {
    let dir = old();
    let failed = write_group(dir.path(), |folder| {
        write_atomic(&folder.join("a"), |w| w.write_all(b"new"))?;
        Err(Error::Data("no more".into()))
    });
    assert!(failed.is_err());
    all_hold(dir.path(), "old");
    // The last one cannot be replaced; the others have stepped aside by then.
    let last = dir.path().join("c");
    fs::remove_file(&last).unwrap();
    fs::create_dir(&last).unwrap();
    fs::write(last.join("precious"), "").unwrap();
    assert_eq!(io_path(write_group(dir.path(), fill)), last);
    assert_eq!(names(&last), ["precious"]);
    fs::remove_dir_all(&last).unwrap();
    fs::write(&last, "old").unwrap();
    all_hold(dir.path(), "old");
}

#[test]
fn after_a_crash_at_any_step_all_the_new_ones_count() {
    // The steps behind the one that makes the new files count: three step aside, three take
    // their places, and then the folder goes.
    for crash in 0..=6 {
        let dir = old();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at(".rnnx-new")).unwrap();
        fill(&at(".rnnx-new")).unwrap();
        let aside = FILES.map(|name| (name.to_owned(), format!(".rnnx-new/.old-{name}")));
        let places = FILES.map(|name| (format!(".rnnx-new/{name}"), name.to_owned()));
        for (from, to) in aside.iter().chain(&places).take(crash) {
            fs::rename(at(from), at(to)).unwrap();
        }
        for name in FILES {
            let text = fs::read_to_string(current(&at(name))).unwrap();
            assert_eq!(text, "new", "{name} after {crash} steps");
        }
        assert_eq!(current(&at("other")), at("other"));
        finish_group(dir.path()).unwrap();
        all_hold(dir.path(), "new");
    }
    // Before that step, and half-way through removing the folder.
    for (crash, text) in [(".tmp-.rnnx-new/a", "old"), (".rnnx-new/.old-a", "old")] {
        let dir = old();
        let path = dir.path().join(crash);
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(path, "left").unwrap();
        let text_of = |name| fs::read_to_string(current(&dir.path().join(name))).unwrap();
        assert_eq!(FILES.map(text_of), [text; 3]);
        write_group(dir.path(), fill).unwrap();
        all_hold(dir.path(), "new");
    }
}
