//! `rnnx data fetch` where something is in its way: planted programs, full disks, kills, interrupts.

use std::fs;
use std::process::{Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::data_fetch::{BRINGS, assert_no_temporary_files, fetch, place, python};
use super::support::{Done, Place};

#[test]
fn nobody_can_plant_a_pip() {
    // As Python does it: without -I, a module of the folder that it is started in is taken first.
    let planted = "[ $isolated ] || [ ! -f pip.py ] || exec touch $here/owned";
    let place = place(&format!(
        "{planted}; [ -f pip.py ] && exit 9; pwd > $here/pwd; {BRINGS}"
    ));
    place.write("pip.py", "raise SystemExit");
    fs::rename(place.path("bin/python3"), place.path("bin/mine")).unwrap();
    fetch(&place, "--python bin/mine").ok();
    assert!(!place.path("bin/owned").exists());
    let started = fs::read_to_string(place.path("bin/pwd")).unwrap();
    assert!(started.contains("/temp/rnnx-fetch-"), "{started}");
    // A python of the folder that it is started in is none either.
    fs::create_dir(place.path("empty")).unwrap();
    fs::copy(place.path("bin/mine"), place.path("python3")).unwrap();
    let mut command = place.command(&["data", "fetch", "--packages", "list.txt", "--out", "b"]);
    command.env("PATH", ".:empty");
    Done::of(command.output().unwrap()).fails(1, &["cannot find python3 or python"]);
}

#[test]
fn a_full_folder_for_temporary_files_is_said() {
    let said = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on \
                device";
    let place = place(&format!("echo '{said}' >&2; exit 1"));
    let temp = place.path("temp");
    let words = [
        &format!("cannot download into {}: no space is left", temp.display()),
        "120 MB",
        "set TMPDIR",
        said,
    ];
    fetch(&place, "").fails(1, &words);
    assert!(!place.path("runs").exists());
}

/// Waits until the script has written its process id, and returns that.
fn pid_of_pip(place: &Place) -> String {
    let (began, mut pip) = (Instant::now(), String::new());
    while !pip.ends_with('\n') {
        assert!(began.elapsed() < Duration::from_secs(60), "pip never ran");
        thread::sleep(Duration::from_millis(2));
        pip = fs::read_to_string(place.path("bin/pid")).unwrap_or_default();
    }
    pip.trim().to_owned()
}

/// A pip that does not end.
const WAITS: &str = "touch $TMPDIR/left; echo $$ > $here/pid; exec sleep 60";

#[test]
fn the_next_start_removes_what_a_killed_one_left() {
    let place = place(WAITS);
    let scratch = || {
        let entries = fs::read_dir(place.path("temp")).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let start = || {
        let mut command = place.command(&["data", "fetch", "--packages", "list.txt", "--quiet"]);
        command
            .env("PATH", place.path("bin"))
            .env("TMPDIR", place.path("temp"));
        command
    };
    let mut child = start().stdout(Stdio::null()).spawn().unwrap();
    let pip = pid_of_pip(&place);
    let left = scratch();
    assert_eq!(left.len(), 1);
    // As long as it runs, its folder stays, and what is no such folder stays in any case.
    place
        .sh(
            "mkdir temp/rnnx-fetch-x && touch temp/rnnx-fetch-y temp/mine",
            &[],
        )
        .ok();
    python(&place, "python3", BRINGS);
    Done::of(start().output().unwrap()).ok();
    let mut stays = vec!["mine".into(), "rnnx-fetch-y".into()];
    stays.splice(1..1, left);
    assert_eq!(scratch(), stays);
    // Killed, it cannot clean up.
    child.kill().unwrap();
    child.wait().unwrap();
    place.sh("kill -9 $1", &[&pip]).ok();
    assert_eq!(scratch(), stays);
    Done::of(start().arg("--force").output().unwrap()).ok();
    assert_eq!(scratch(), ["mine", "rnnx-fetch-y"]);
}

#[test]
fn an_interrupt_ends_pip_and_leaves_nothing() {
    for signal in ["INT", "TERM"] {
        let place = place(WAITS);
        let mut command = place.command(&["data", "fetch", "--packages", "list.txt"]);
        let mut child = command
            .env("PATH", place.path("bin"))
            .env("TMPDIR", place.path("temp"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(place.path("log")).unwrap())
            .spawn()
            .unwrap();
        let pip = pid_of_pip(&place);
        let kill = format!("kill -{signal} {}", child.id());
        place.sh(&kill, &[]).ok();
        let status = child.wait().unwrap();
        let (stdout, stderr) = (Vec::new(), fs::read(place.path("log")).unwrap());
        let output = Output {
            status,
            stdout,
            stderr,
        };
        Done::of(output).fails(130, &["interrupted: no pairs were written"]);
        let alive = place.sh("kill -0 $1", &[&pip]);
        assert_ne!(alive.code, Some(0), "pip still runs");
        assert_no_temporary_files(&place);
        assert!(!place.path("runs").exists());
    }
}
