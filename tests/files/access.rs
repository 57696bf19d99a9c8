//! What a user names: files to read, folders to write to.

use std::fs;
use std::path::Path;
use std::process::Command;

use rnnx::files::access::{check_writable, open};

use crate::names;

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), "text").unwrap();
    assert!(open(&at("file")).is_ok());
    assert!(open(&at("none")).is_err());
    // Nobody is at its other end: to open it is to wait for ever.
    let pipe = at("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    std::os::unix::fs::symlink("/dev/zero", at("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for path in [&pipe, &at("link"), &at("socket"), Path::new("/dev/null")] {
        let error = open(path).unwrap_err().to_string();
        assert!(error.contains("a pipe, a socket or a device"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_is_tried_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["", "new", "new/deep/er"] {
        check_writable(&at(name)).unwrap();
    }
    check_writable(Path::new("")).unwrap();
    assert!(names(dir.path()).is_empty());
    fs::write(at("file"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
    for (path, words) in [
        (at("file"), "file is no folder"),
        (at("file/in"), "cannot create"),
        (at("link/in"), "cannot create"),
        // Not even root can make something there.
        ("/proc/self/new".into(), "cannot create /proc/self/new: "),
        ("/proc/self".into(), "cannot write to /proc/self: "),
    ] {
        let error = check_writable(&path).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        let message = error.to_string();
        assert!(message.contains(words), "{message}");
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    }
    assert_eq!(names(dir.path()), ["file", "link"]);
}
